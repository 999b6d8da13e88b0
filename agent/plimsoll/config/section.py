"""The habits every section of the configuration shares. It must not know any section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """Unknown keys are refused, values are not coerced, nothing changes later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        allow_inf_nan=False,
    )


def _switched_off(value: object) -> object:
    return "off" if value is False else value


def _switched(value: object) -> object:
    return "on" if value is True else _switched_off(value)


# YAML 1.1 reads a bare `off` as false, and a bare `on` as true.
OFF = BeforeValidator(_switched_off)
ON_OFF = BeforeValidator(_switched)

Mode = Annotated[Literal["off", "observe", "enforce"], OFF]
"""What a policy may do: nothing; decide and report; decide and write."""
