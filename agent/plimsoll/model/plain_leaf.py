"""
The plain forms that hold no other: bool, int, float, str and StrEnum; and what a form is.

The others are made of these in ``model/plain.py``. It must not know any type of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

_SCALARS: Mapping[type, str] = MappingProxyType(
    {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
)
_DIGITS = 4300
# Up to here every whole number is a float, too.
_LARGEST = 1 << 53
# What is quoted in an error may be anything.
SHOWN = 40


class Unfit(ValueError):  # noqa: N818 - says what is wrong with the data, as Rejected and Refused do
    """Data that is no value of the type. ``field`` is the place, as in ``pods[3].pod.object.uid``."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = ""

    def within(self, place: str) -> Unfit:
        """The same, seen from one level further up."""
        separator = "." if self.field and not self.field.startswith("[") else ""
        self.field = f"{place}{separator}{self.field}"
        return self

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem


class Form(NamedTuple):
    """How one type is written and read. ``encode`` is ``None`` where a value is its own plain form."""

    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any]


def leaf(hint: Any) -> Form | None:
    """The form of a type that holds no other; ``None`` for the others."""
    if is_enum(hint):
        return _enum(hint)
    if hint is float:
        return _float()
    return _scalar(hint) if hint in _SCALARS else None


def is_enum(hint: Any) -> bool:
    """Whether its values are text of a closed set."""
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def _scalar(kind: type) -> Form:
    wanted = _SCALARS[kind]

    def read(plain: Any) -> Any:
        # True is no whole number here; the member of a StrEnum is text.
        if type(plain) is kind or (kind is str and isinstance(plain, str)):
            return plain
        raise Unfit(f"is {shown(plain)}, not {wanted}")

    return Form(None, read)


def _float() -> Form:
    def read(plain: Any) -> Any:
        # A whole number may stand for a float, and then stays the one it was; a larger one could not become one.
        if (type(plain) is float and math.isfinite(plain)) or (type(plain) is int and abs(plain) <= _LARGEST):
            return plain
        raise Unfit(f"is {shown(plain)}, not {_SCALARS[float]}")

    return Form(None, read)


def _enum(kind: type[StrEnum]) -> Form:
    members = {each.value: each for each in kind}

    def read(plain: Any) -> StrEnum:
        found = members.get(plain) if isinstance(plain, str) else None
        if found is not None:
            return found
        raise Unfit(f"is {shown(plain)}, not one of {', '.join(members)}")

    # A member is text already.
    return Form(None, read)


def number(plain: str) -> int:
    """The whole number that text spells, as the key of a mapping. Raises Unfit."""
    digits = plain.removeprefix("-")
    # Two spellings of one number would be one key; longer text than that Python does not take for a number.
    if len(digits) < _DIGITS and digits.isascii() and digits.isdecimal() and str(int(plain)) == plain:
        return int(plain)
    raise Unfit("is no number")


def shown(plain: Any) -> str:
    """A value in an error: bounded."""
    if isinstance(plain, (dict, list)):
        return "a mapping" if isinstance(plain, dict) else "a list"
    text = repr(plain) if not isinstance(plain, int) or abs(plain) < 1 << 64 else "a huge number"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
