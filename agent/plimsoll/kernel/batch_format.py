"""
What the text of a cgroup file says: the formats the batch reader knows and the parsers that have the last word on them.

The C reader takes only what these take, and gives the same. This module reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from plimsoll.kernel.pressure import Lines, parse_pressure_stat, parse_psi
from plimsoll.model.pressure import Pressure

UNLIMITED = (1 << 63) - 1
"""What ``max`` in a single-value file reads as: known, and without a bound."""


class Format(IntEnum):
    """How the text of a file is laid out. The numbers are also those of cext/common.h."""

    VALUE = 0  # one integer, or `max`
    KEYED = 1  # lines of `key integer`
    PSI = 2
    PRESSURE_STAT = 3


@dataclass(frozen=True, slots=True)
class FileSpec:
    """
    What to read: ``keys`` are those wanted of a KEYED file, in the order the values are given back.

    Raises ValueError for a key that stands twice or is not ASCII.
    """

    name: str
    format: Format
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.keys)) != len(self.keys) or not all(key.isascii() for key in self.keys):
            raise ValueError(f"keys stand twice or are not ASCII: {self.keys}")

    def wanted(self) -> dict[bytes, int]:
        """The place of each key among the values."""
        return {key.encode("ascii"): index for index, key in enumerate(self.keys)}


class Parsed(NamedTuple):
    """What one reading came to; only the field of the file's format is filled."""

    value: int | None = None
    keyed: tuple[int | None, ...] = ()
    psi: Lines = (None, None)
    stat: tuple[Pressure, ...] = ()


NOTHING = Parsed()


def parse(layout: Format, wanted: Mapping[bytes, int], data: bytes) -> Parsed:
    """The content of a file. Raises ValueError for anything that is not in its format."""
    if layout is Format.PSI:
        return Parsed(psi=parse_psi(data.decode("ascii")))
    if layout is Format.PRESSURE_STAT:
        return Parsed(stat=parse_pressure_stat(data.decode("ascii")))
    if layout is Format.VALUE:
        return Parsed(value=parse_value(data))
    return Parsed(keyed=parse_keyed(data, wanted))


def parse_value(data: bytes) -> int:
    """One integer, or ``max`` as :data:`UNLIMITED`. Raises ValueError."""
    text = data.strip()
    if text == b"max":
        return UNLIMITED
    return _integer(text)


def parse_keyed(data: bytes, wanted: Mapping[bytes, int]) -> tuple[int | None, ...]:
    """The wanted values of ``key integer`` lines; a key that is not printed is ``None``. Raises ValueError."""
    if not data.endswith(b"\n"):
        raise ValueError("keyed file ends within a line")
    found: list[int | None] = [None] * len(wanted)
    for line in data.splitlines():
        key, _, value = line.partition(b" ")
        index = wanted.get(key)
        if index is not None:
            found[index] = _integer(value)
    return tuple(found)


def _integer(text: bytes) -> int:
    # int() also takes signs, underscores and other scripts' digits; the kernel prints none of these.
    digits = text.strip(b" ")
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"not an integer: {text[:40]!r}")
    return min(int(digits), UNLIMITED)
