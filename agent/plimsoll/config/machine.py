"""The description of a machine for ``plimsoll simulate``. It must not know what is computed from it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictInt, ValidationError, model_validator

from plimsoll.config.problem import ConfigError, Problem
from plimsoll.config.section import Section
from plimsoll.config.yaml_text import MAX_BYTES, load

Megahertz = Annotated[int, Field(strict=True, ge=100, le=25_500)]
Volts = Annotated[float, Field(strict=True, gt=0, le=3)]


class Machine(Section):
    """A machine of equal packages. The defaults are those of no product, but near those of many."""

    packages: Annotated[StrictInt, Field(ge=1, le=16)] = Field(2, description="Packages (sockets).")
    cores: Annotated[StrictInt, Field(ge=2, le=512)] = Field(32, description="Cores of one package.")
    threads: Annotated[StrictInt, Field(ge=1, le=8)] = Field(2, description="Threads of one core.")
    lowest_mhz: Megahertz = Field(800, alias="lowestMHz", description="The lowest frequency.")
    base_mhz: Megahertz = Field(2000, alias="baseMHz", description="What all cores reach together within the TDP.")
    turbo_mhz: Megahertz = Field(3500, alias="turboMHz", description="The highest frequency of a core.")
    tdp_watts: Annotated[float, Field(strict=True, gt=0, le=5000)] = Field(
        270.0, description="What one package takes with every core busy at its base frequency, and may take at most."
    )
    static_share: Annotated[float, Field(strict=True, ge=0, lt=1)] = Field(
        0.35, description="The share of that which no core's frequency changes: leakage, uncore, memory controllers."
    )
    lowest_volts: Volts = Field(0.65, description="What a core needs at its lowest frequency.")
    base_volts: Volts = Field(0.8, description="What it needs at its base frequency; beyond, the line goes on.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.lowest_mhz < self.base_mhz <= self.turbo_mhz:
            raise ValueError("lowestMHz must be less than baseMHz, and that at most turboMHz")
        if self.lowest_volts > self.base_volts:
            raise ValueError("lowestVolts must be at most baseVolts")
        return self


def load_machine(path: str | None, **changes: object) -> Machine:
    """The machine a YAML file describes, with ``changes`` by key. Raises ConfigError, and OSError for the file."""
    data: object = None
    lines: dict[tuple[str | int, ...], int] = {}
    name = path or "the command line"
    if path is not None:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8", "replace")
        data, lines = load(text, file=path)
    if data is not None and not isinstance(data, dict):
        raise ConfigError((Problem(name, 1, "", "the file is not a mapping", "write `baseMHz: 2000` lines"),))
    try:
        return Machine.model_validate({**(data or {}), **changes})
    except ValidationError as error:
        problems = []
        for each in error.errors(include_url=False):
            field = ".".join(map(str, each["loc"]))
            line = None if field in changes else lines.get(each["loc"])
            problems.append(Problem(name, line, field, each["msg"].removeprefix("Value error, "), "correct it"))
        raise ConfigError(tuple(problems)) from error
