"""
Text for a terminal, or for a file that stands in its place: widths, colours, bars, tables, redrawing in place.

Every text given is taken as hostile: what could move the cursor, reorder or hide other text is shown escaped. This
module must not know what the texts mean, nor read a clock.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Self, TextIO

PLAIN_WIDTH = 100
_PLAIN_HEIGHT = 10_000
_NARROWEST = 20
# A name is never longer; what is, is not worth measuring.
_TEXT_LIMIT = 1024
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 1
# Less of a column is not worth showing while there is anything to take elsewhere.
_LEAST = 4


class Colour(IntEnum):
    """SGR parameters."""

    NONE = 0
    BOLD = 1
    DIM = 2
    RED = 31
    GREEN = 32
    YELLOW = 33


class Style(NamedTuple):
    """
    What the output can show: cells per line and lines, colours, more than ASCII.

    ``live``: the cursor can be moved, so that a picture may be drawn over the last one.
    """

    width: int = PLAIN_WIDTH
    height: int = _PLAIN_HEIGHT
    colour: bool = False
    unicode: bool = False
    live: bool = False


def style_of(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """
    Look at a stream and at ``COLUMNS``, ``TERM`` and ``NO_COLOR`` (https://no-color.org: set and not empty).

    Something else than a terminal is given plain text of 100 cells, or ``COLUMNS``.
    """
    utf8 = (stream.encoding or "").lower().replace("-", "") in {"utf8", "utf8sig"}
    columns = environment.get("COLUMNS", "")
    wanted = int(columns) if columns.isdecimal() and columns.isascii() and 0 < len(columns) < 6 else 0
    if not stream.isatty():
        return Style(width=max(_NARROWEST, wanted or PLAIN_WIDTH), unicode=utf8)
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:
        size = os.terminal_size((0, 0))
    live = environment.get("TERM", "dumb") != "dumb"
    return Style(
        # A serial line reports no size: zero.
        width=max(_NARROWEST, wanted or size.columns or 80),
        height=max(4, size.lines or 24),
        colour=live and not environment.get("NO_COLOR"),
        unicode=utf8,
        live=live,
    )


def printable(text: str, style: Style) -> str:
    """``text`` without anything a terminal would act upon; what is not shown as itself is escaped as in Python."""
    return "".join(_shown(character, style) for character in text[:_TEXT_LIMIT])


def _shown(character: str, style: Style) -> str:
    if " " <= character <= "~":
        return character
    # Controls, format characters (right-to-left overrides, zero width), surrogates, unassigned; separators of lines.
    if not style.unicode or unicodedata.category(character)[0] == "C" or character in "\u2028\u2029":
        return character.encode("unicode_escape").decode("ascii")
    return character


def cells(text: str) -> int:
    """How many cells a terminal gives to ``text``: none to combining marks, two to wide characters."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def fit(text: str, width: int, style: Style, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` cells: filled up, or cut with a mark that says so."""
    lacking = width - cells(text)
    if lacking >= 0:
        return " " * lacking + text if right else text + " " * lacking
    mark = "…" if style.unicode else "~"
    kept, room = "", width - 1
    for character in text:
        room -= _cells(character)
        if room < 0:
            break
        kept += character
    return fit(kept + mark if width > 0 else "", width, style)


def paint(text: str, colour: Colour, style: Style) -> str:
    """``text`` in a colour, where there are colours."""
    return f"\x1b[{colour.value}m{text}\x1b[0m" if style.colour and colour is not Colour.NONE else text


def bar(share: float, width: int, style: Style) -> str:
    """A bar of ``width`` cells for a share of 0 to 1; the least share above nothing is seen."""
    share = min(1.0, max(0.0, share))
    if not style.unicode:
        count = round(share * width)
        return ("#" * max(count, share > 0)).ljust(width)
    eighths = max(round(share * width * 8), share > 0)
    whole, part = divmod(eighths, 8)
    return (_EIGHTHS[8] * whole + (_EIGHTHS[part] if part else "")).ljust(width)


class Column(NamedTuple):
    """``most`` cells are enough; it goes below ``least`` only when all ``optional`` columns have made room for it."""

    title: str
    least: int
    most: int
    right: bool = False
    optional: bool = False


class Cell(NamedTuple):
    """A text and its colour."""

    text: str
    colour: Colour = Colour.NONE


class Table(NamedTuple):
    """Lines no wider than the style says, and the titles of the columns there was no room for."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...]


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], style: Style) -> Table:
    """
    Lay out rows below their titles.

    Where the room is short the columns shrink to their least, then the optional ones go, from the right, then the
    others shrink further.
    """
    texts = [[Cell(printable(cell.text, style), cell.colour) for cell in row] for row in rows]
    wanted = [
        min(column.most, max([column.least, cells(column.title), *(cells(row[index].text) for row in texts)]))
        for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if columns[index].optional and _needed(columns, wanted, shown) > style.width:
            shown.remove(index)
    widths = _shrink(columns, wanted, shown, style.width)
    lines = [_line([Cell(columns[index].title, Colour.DIM) for index in shown], columns, shown, widths, style)]
    lines.extend(_line([row[index] for index in shown], columns, shown, widths, style) for row in texts)
    return Table(tuple(lines), tuple(column.title for index, column in enumerate(columns) if index not in shown))


def _needed(columns: Sequence[Column], wanted: Sequence[int], shown: Sequence[int]) -> int:
    least = sum(wanted[index] if columns[index].optional else columns[index].least for index in shown)
    return least + _GAP * (len(shown) - 1)


def _shrink(columns: Sequence[Column], wanted: Sequence[int], shown: Sequence[int], width: int) -> dict[int, int]:
    widths = {index: wanted[index] for index in shown}
    over = sum(widths.values()) + _GAP * (len(shown) - 1) - width
    while over > 0:
        index = max(shown, key=lambda each: (widths[each] - columns[each].least, widths[each]))
        if widths[index] <= columns[index].least:
            # Nothing can be spared any more: the widest gives first.
            index = max(shown, key=lambda each: widths[each])
            if widths[index] <= _LEAST:
                break
        widths[index] -= 1
        over -= 1
    return widths


def _line(
    row: Sequence[Cell], columns: Sequence[Column], shown: Sequence[int], widths: Mapping[int, int], style: Style
) -> str:
    parts = []
    room = style.width
    for cell, index in zip(row, shown, strict=True):
        # Below even the least widths: the right edge cuts.
        width = min(widths[index], room)
        if width <= 0:
            break
        text = fit(cell.text, width, style, right=columns[index].right)
        parts.append(paint(text, cell.colour, style))
        room -= width + _GAP
    line = (" " * _GAP).join(parts)
    return line if style.colour else line.rstrip()


class Screen:
    """
    Draws one picture after the other: in place on a terminal (its alternate screen, left at the end), else in a row.

    Use it as a context; a style may differ from picture to picture, as the window may change its size.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._entered = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            self._entered = False
            self._stream.write("\x1b[?25h\x1b[?1049l")
            self._stream.flush()

    def show(self, lines: Sequence[str], style: Style) -> None:
        """Draw one picture. Lines that do not fit on a terminal are left out, and their number is said."""
        if not style.live:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
            return
        if not self._entered:
            self._entered = True
            self._stream.write("\x1b[?1049h\x1b[?25l")
        kept = list(lines)
        if len(kept) >= style.height:
            left_out = len(kept) - style.height + 2
            kept = [*kept[: style.height - 2], fit(f"({left_out} more lines)", style.width, style).rstrip()]
        # Cleared line by line: clearing the screen first would flicker.
        self._stream.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in kept) + "\x1b[J")
        self._stream.flush()
