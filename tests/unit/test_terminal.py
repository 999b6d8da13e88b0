"""Text on terminals of every width and ability, and hostile text on all of them."""

from __future__ import annotations

import io
import os
import pty
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.terminal import (
    Cell,
    Colour,
    Column,
    Screen,
    Style,
    bar,
    cells,
    fit,
    paint,
    printable,
    style_of,
    table,
)

PLAIN = Style(width=40)
FULL = Style(width=40, height=10, colour=True, unicode=True, live=True)
SGR = re.compile(r"\x1b\[\d+m")

COLUMNS = (
    Column("name", 6, 20),
    Column("size", 4, 6, right=True),
    Column("first", 5, 5, optional=True),
    Column("second", 6, 6, optional=True),
)
ROWS = [
    [Cell("short"), Cell("1K"), Cell("a"), Cell("b")],
    [Cell("a-rather-long-name"), Cell("12345"), Cell("c"), Cell("d", Colour.RED)],
]


@pytest.fixture
def terminal():
    """A real pseudo-terminal as a text stream, and the end where its output can be read."""
    reading, writing = pty.openpty()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield stream, reading
    os.close(reading)


def test_a_terminal_is_recognised(terminal):
    """Size from the terminal, or COLUMNS; no colour under NO_COLOR; nothing at all under TERM=dumb."""
    stream, _ = terminal
    assert style_of(stream, {"TERM": "xterm"}) == Style(80, 24, colour=True, unicode=True, live=True)
    assert style_of(stream, {"TERM": "xterm", "COLUMNS": "133"}).width == 133
    assert style_of(stream, {"TERM": "xterm", "COLUMNS": "wide"}).width == 80
    assert not style_of(stream, {"TERM": "xterm", "NO_COLOR": "1"}).colour
    assert style_of(stream, {"TERM": "xterm", "NO_COLOR": "1"}).live
    assert style_of(stream, {"TERM": "xterm", "NO_COLOR": ""}).colour
    for dumb in ({}, {"TERM": "dumb"}):
        assert (style_of(stream, dumb).colour, style_of(stream, dumb).live) == (False, False)


def test_a_file_is_plain(tmp_path):
    """No colour, no cursor, a fixed width; beyond ASCII only when the encoding can say it."""
    with (tmp_path / "a").open("w", encoding="utf-8") as file:
        assert style_of(file, {"TERM": "xterm"}) == Style(width=100, unicode=True)
        assert style_of(file, {"COLUMNS": "132"}).width == 132
        assert style_of(file, {"COLUMNS": "3"}).width == 20
    with (tmp_path / "b").open("w", encoding="latin-1") as file:
        assert not style_of(file, {}).unicode


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-0", "web-0"),
        ("\x1b[2J\x07gone", r"\x1b[2J\x07gone"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("ab\u202edc", r"ab\u202edc"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\u2028line", r"\u2028line"),
        ("\ud800", r"\ud800"),
        ("日本", "日本"),
        ("é", "é"),
    ],
)
def test_hostile_text_is_shown_not_obeyed(text, shown):
    """Controls of both kinds, escapes, reordering, invisible and broken characters; honest ones stay."""
    assert printable(text, FULL) == shown


def test_a_terminal_of_ascii_is_sent_ascii():
    """Everything else is escaped, bars and marks are of ASCII."""
    assert printable("日é", PLAIN) == r"\u65e5\xe9"
    assert fit("abcdef", 4, PLAIN) == "abc~"
    assert bar(0.5, 4, PLAIN) == "##  "


@given(st.text(), st.booleans())
def test_nothing_printable_can_act(text, unicode):
    """Whatever is given, nothing comes out that a terminal acts upon, and it can be encoded."""
    shown = printable(text, Style(unicode=unicode))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8" if unicode else "ascii")


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 30), st.booleans())
def test_fitted_text_has_exactly_its_cells(text, width, right):
    """Wide characters and combining marks included."""
    assert cells(fit(printable(text, FULL), width, FULL, right=right)) == width


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("…", 1), ("\u00e9", 1)],
)
def test_cells_of_text(text, width):
    """Two for wide characters, none for a combining mark."""
    assert cells(text) == width


def test_cut_text_says_so():
    """A wide character that has room for half of itself is left out whole."""
    assert fit("abcdef", 4, FULL) == "abc…"
    assert fit("日本語", 4, FULL) == "日… "
    assert fit("ab", 4, FULL) == "ab  "
    assert fit("ab", 4, FULL, right=True) == "  ab"


def test_bars():
    """Eighths of a cell; what is little is still seen, and nothing leaves the bar."""
    assert [bar(share, 2, FULL) for share in (0, 0.001, 0.5, 0.5625, 1, 7)] == ["  ", "▏ ", "█ ", "█▏", "██", "██"]
    assert [bar(share, 4, PLAIN) for share in (0, 0.01, 0.6, 1, -3)] == ["    ", "#   ", "##  ", "####", "    "]


def test_colours_only_where_there_are_colours():
    """And no colour is no escape at all."""
    assert paint("x", Colour.RED, FULL) == "\x1b[31mx\x1b[0m"
    assert paint("x", Colour.RED, PLAIN) == "x"
    assert paint("x", Colour.NONE, FULL) == "x"


def test_a_table_with_room():
    """Titles, columns as wide as needed, numbers to the right."""
    found = table(COLUMNS, ROWS, Style(width=60))
    assert found.lines == (
        "name                size first second",
        "short                 1K a     b",
        "a-rather-long-name 12345 c     d",
    )
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("width", "lines", "left_out"),
    [
        (26, ("name     size first second", "short      1K a     b", "a-rath~ 12345 c     d"), ()),
        (24, ("name   size first second", "short    1K a     b", "a-rat~ 123~ c     d"), ()),
        (20, ("name      size first", "short       1K a", "a-rathe~ 12345 c"), ("second",)),
        (9, ("name size", "sho~   1K", "a-r~ 123~"), ("first", "second")),
        (6, ("name ~", "sho~ ~", "a-r~ ~"), ("first", "second")),
    ],
)
def test_a_narrow_table_gives_up_the_optional_first(width, lines, left_out):
    """Names shrink to their least, then columns go from the right and are named, then names shrink further."""
    found = table(COLUMNS, ROWS, Style(width=width))
    assert (found.lines, found.left_out) == (lines, left_out)


@given(
    st.integers(1, 90),
    st.lists(
        st.tuples(st.text(max_size=40), st.text(max_size=12), st.text(max_size=8), st.text(max_size=8)), max_size=5
    ),
    st.booleans(),
)
def test_no_table_is_wider_than_its_terminal(width, rows, colour):
    """For any text and any width."""
    style = Style(width=width, colour=colour, unicode=True)
    found = table(COLUMNS, [[Cell(text, Colour.RED) for text in row] for row in rows], style)
    assert len(found.lines) == 1 + len(rows)
    assert all(cells(SGR.sub("", line)) <= width for line in found.lines)


def _all_of(reading):
    """What was written to a terminal whose other end is closed: a read gives a part of it at a time."""
    parts = []
    with suppress(OSError):  # EIO: nobody writes any more
        while part := os.read(reading, 65536):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_screen_draws_in_place_and_leaves_nothing(terminal):
    """The alternate screen is entered once and left at the end, the cursor is seen again, old text is cleared."""
    stream, reading = terminal
    with Screen(stream) as screen:
        screen.show(["one", "two"], FULL)
        screen.show(["three"], FULL)
    stream.close()
    sent = _all_of(reading).replace("\r\n", "\n")
    assert sent == (
        "\x1b[?1049h\x1b[?25l\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J\x1b[Hthree\x1b[K\n\x1b[J\x1b[?25h\x1b[?1049l"
    )


def test_a_screen_too_low_says_what_is_missing():
    """A picture never scrolls the terminal."""
    stream = io.StringIO()
    with Screen(stream) as screen:
        screen.show([str(line) for line in range(30)], FULL)
    drawn = stream.getvalue().split("\x1b[H")[1].split("\x1b[J")[0]
    assert drawn.count("\n") == FULL.height - 1
    assert "(22 more lines)" in drawn
    assert "7\x1b[K" in drawn
    assert "8\x1b[K" not in drawn


def test_without_a_terminal_pictures_follow_one_another():
    """No escape in a log, and nothing left out."""
    stream = io.StringIO()
    with Screen(stream) as screen:
        screen.show(["a"] * 30, PLAIN._replace(height=5))
        screen.show(["b"], PLAIN)
    assert stream.getvalue() == "a\n" * 30 + "b\n"
