"""
The table of the C reader: a row per file, and flat arrays that the C code fills with the interpreter lock released.

Rows are decoded only when asked for. This module must not open files; whatever a row's status says beyond "read well"
or "refused" is the caller's business.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from struct import Struct

from plimsoll.kernel.batch_format import FileSpec, Format
from plimsoll.kernel.pressure import Lines
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, Pressure, PressureLine, Source

try:
    from plimsoll import _native
except ImportError as _error:
    _absence: str | None = f"not built, or not for this platform: {_error.msg}"
else:
    _absence = None

SWITCH = "PLIMSOLL_NATIVE"
"""The environment variable that turns the C reader off when it is ``0``."""

_NAME_MAX = 255  # one byte holds the length of a name
_LINE = len(PressureLine._fields)
_PSI = Struct(f"={1 + 2 * _LINE}q")
_STAT = Struct(f"={1 + 2 * _LINE * len(PRESSURE_STAT_CAUSES)}q")
_WORD = 8


def native_available() -> tuple[bool, str]:
    """Whether the C extension can be used, and if not, why."""
    if _absence is not None:
        return False, _absence
    if os.environ.get(SWITCH) == "0":
        return False, f"turned off by {SWITCH}=0"
    return True, ""


class Table:
    """
    The rows, their values and statuses. Rows and places of the same width are used again.

    While :meth:`read` runs only it may be called; decoding a row then gives figures of two passes mixed.
    """

    def __init__(self) -> None:
        self.status = array("i")
        """How the last pass went for each row: 0, an errno value, or one of the C reader's own numbers below zero."""
        self._table = array("i")
        self._values = array("q")
        self._offsets: list[int] = []
        self._keys = b""
        self._key_offsets: dict[tuple[str, ...], int] = {}
        self._free: dict[int, list[int]] = {}

    def join(self, spec: FileSpec) -> int | None:
        """A row for a file, without a descriptor yet; ``None`` for keys that only the parsers in Python take."""
        names = PRESSURE_STAT_CAUSES if spec.format is Format.PRESSURE_STAT else spec.keys
        if spec.format not in (Format.KEYED, Format.PRESSURE_STAT):
            names = ()
        if len(names) > _native.KEYS_MAX or not all(_plain(name) for name in names):
            return None
        width = _width(spec.format, len(names))
        free = self._free.get(width)
        if free:
            row = free.pop()
            offset = self._offsets[row]
        else:
            row = len(self.status)
            offset = len(self._values)
            self.status.append(_native.CLOSED)
            self._offsets.append(offset)
            self._table.extend([0] * _native.ROW_INTS)
            self._values.extend([0] * width)
        self.status[row] = _native.CLOSED
        at = row * _native.ROW_INTS
        self._table[at : at + _native.ROW_INTS] = array("i", (-1, spec.format, offset, self._intern(names), len(names)))
        return row

    def leave(self, row: int, spec: FileSpec) -> None:
        """Give a row back."""
        at = row * _native.ROW_INTS
        self._table[at : at + 2] = array("i", (-1, _native.FREE))
        self._free.setdefault(_width(spec.format, self._table[at + 4]), []).append(row)

    def hold(self, row: int, descriptor: int) -> None:
        """The descriptor to read this row from; -1 for none."""
        self._table[row * _native.ROW_INTS] = descriptor

    def read(self, rows: Iterable[int] | None) -> list[int]:
        """One pass over some rows or all. Gives those that need another look: closed, failed or odd."""
        chosen = None if rows is None else array("i", rows)
        return _native.read(self._table, self._keys, self._values, self.status, chosen)

    def value(self, row: int) -> int:
        """The integer of a VALUE row that was read well."""
        return self._values[self._offsets[row]]

    def keyed(self, row: int, count: int) -> tuple[int | None, ...]:
        """The ``count`` values of a KEYED row that was read well."""
        offset = self._offsets[row]
        values = self._values[offset + 1 : offset + 1 + count]
        mask = self._values[offset]
        if mask == (1 << count) - 1:
            return tuple(values)
        return tuple([value if mask >> index & 1 else None for index, value in enumerate(values)])

    def psi(self, row: int) -> Lines:
        """(some, full) of a PSI row that was read well."""
        words = _PSI.unpack_from(self._values, _WORD * self._offsets[row])
        return _lines(words[0], words[1:])

    def pressure_stat(self, row: int) -> tuple[Pressure, ...]:
        """The sections of a PRESSURE_STAT row that was read well."""
        words = _STAT.unpack_from(self._values, _WORD * self._offsets[row])
        mask = words[0]
        return tuple(
            Pressure(cause, Source.PRESSURE_STAT, *_lines(mask >> 2 * index, words[1 + 8 * index : 9 + 8 * index]))
            for index, cause in enumerate(PRESSURE_STAT_CAUSES)
            if mask >> 2 * index & 3
        )

    def _intern(self, names: tuple[str, ...]) -> int:
        offset = self._key_offsets.get(names)
        if offset is None:
            offset = self._key_offsets[names] = len(self._keys)
            self._keys += b"".join(bytes((len(name),)) + name.encode("ascii") for name in names)
        return offset


def _plain(name: str) -> bool:
    return 0 < len(name) <= _NAME_MAX and " " not in name and "\n" not in name


def _width(layout: Format, names: int) -> int:
    if layout is Format.VALUE:
        return 1
    if layout is Format.KEYED:
        return 1 + names
    return 1 + 2 * _LINE * (1 if layout is Format.PSI else names)


def _lines(mask: int, words: tuple[int, ...]) -> Lines:
    return (
        PressureLine._make(words[:4]) if mask & 1 else None,
        PressureLine._make(words[4:]) if mask & 2 else None,
    )
