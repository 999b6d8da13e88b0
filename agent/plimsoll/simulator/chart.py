"""
A chart as SVG, by hand: bars and lines over one axis, with a second scale on the right where one is wanted.

Needs no drawing library and no font of its own. It must not know what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plimsoll.exporter.markup import Html, joined, markup

WIDTH, HEIGHT = 900, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 70, 60, 60
_LEGEND = 44
_TICKS = 6
# Told apart without colour, too: by dashes.
_STROKES = (
    *(("#1a5fb4", ""), ("#c64600", "7 4"), ("#26a269", "2 3")),
    *(("#813d9c", "9 3 2 3"), ("#a51d2d", "1 2"), ("#986a44", "12 4")),
)
_BAR = "#99c1f1"


class Axis(NamedTuple):
    """What is along it, and between which values."""

    label: str
    low: float
    high: float


class Line(NamedTuple):
    """
    One y for each x, ``None`` where it is unknown: the line has a gap there. At most six lines are told apart.

    ``right``: on the right scale; ``stepped``: a value holds until the next one.
    """

    name: str
    values: Sequence[float | None]
    right: bool = False
    stepped: bool = False


class Chart(NamedTuple):
    """``bars``: heights on the left scale; ``places``: the x of every bar and of every point of a line."""

    title: str
    across: Axis
    left: Axis
    places: Sequence[float]
    lines: Sequence[Line] = ()
    bars: Sequence[float] = ()
    bars_name: str = ""
    right: Axis | None = None


def svg(chart: Chart) -> str:
    """A document of its own."""
    return markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="13" '
        'role="img"><title>{}</title><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="{}" y="26" font-size="17" text-anchor="middle">{}</text>{}</svg>\n',
        WIDTH,
        HEIGHT,
        chart.title,
        WIDTH // 2,
        chart.title,
        joined([*_axes(chart), *_bars(chart), *_lines(chart), *_legend(chart)]),
    )


def _x(chart: Chart, value: float) -> float:
    return round(_LEFT + _share(chart.across, value) * (WIDTH - _LEFT - _RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - _BOTTOM - _share(axis, value) * (HEIGHT - _TOP - _BOTTOM), 1)


def _share(axis: Axis, value: float) -> float:
    return (value - axis.low) / ((axis.high - axis.low) or 1.0)


def _ticks(axis: Axis) -> Iterator[float]:
    """Round values, at most six or so."""
    rough = (axis.high - axis.low or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    tick = math.ceil(axis.low / step) * step
    while tick <= axis.high + step / 1000:
        yield tick
        tick += step


def _axes(chart: Chart) -> Iterator[Html]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for tick in _ticks(chart.left):
        y = _y(chart.left, tick)
        yield markup('<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="#ddd"/>', _LEFT, right, y, y)
        yield markup('<text x="{}" y="{}" text-anchor="end">{}</text>', _LEFT - 8, y + 4, f"{tick:g}")
    for tick in _ticks(chart.across):
        x = _x(chart, tick)
        yield markup('<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="#888"/>', x, x, bottom, bottom + 5)
        yield markup('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 20, f"{tick:g}")
    if chart.right is not None:
        for tick in _ticks(chart.right):
            yield markup('<text x="{}" y="{}">{}</text>', right + 8, _y(chart.right, tick) + 4, f"{tick:g}")
        yield _upright(chart.right.label, WIDTH - 14)
    yield markup('<path d="M{} {}V{}H{}" fill="none" stroke="#888"/>', _LEFT, _TOP, bottom, right)
    yield markup(
        '<text x="{}" y="{}" text-anchor="middle">{}</text>', (_LEFT + right) // 2, HEIGHT - 18, chart.across.label
    )
    yield _upright(chart.left.label, 18)


def _upright(label: str, x: int) -> Html:
    middle = (_TOP + HEIGHT - _BOTTOM) // 2
    return markup('<text transform="translate({} {}) rotate(-90)" text-anchor="middle">{}</text>', x, middle, label)


def _bars(chart: Chart) -> Iterator[Html]:
    if not chart.bars:
        return
    width = 0.7 * (WIDTH - _LEFT - _RIGHT) / (len(chart.bars) + 1)
    for place, height in zip(chart.places, chart.bars, strict=True):
        y = _y(chart.left, height)
        yield markup(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>',
            round(_x(chart, place) - width / 2, 1),
            y,
            round(width, 1),
            round(HEIGHT - _BOTTOM - y, 1),
            _BAR,
        )


def _lines(chart: Chart) -> Iterator[Html]:
    for line, (colour, dashes) in zip(chart.lines, _STROKES, strict=False):
        axis = chart.right if line.right and chart.right is not None else chart.left
        path: list[str] = []
        drawing = False
        for place, value in zip(chart.places, line.values, strict=True):
            if value is None:
                drawing = False
                continue
            x, y = _x(chart, place), _y(axis, value)
            path.append(f"H{x}V{y}" if line.stepped and drawing else f"{'L' if drawing else 'M'}{x} {y}")
            drawing = True
        yield markup(
            '<path d="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>',
            "".join(path),
            colour,
            dashes or "none",
        )


def _legend(chart: Chart) -> Iterator[Html]:
    entries = [(chart.bars_name, _BAR, "", 10)] if chart.bars else []
    entries += [(line.name, colour, dashes, 2) for line, (colour, dashes) in zip(chart.lines, _STROKES, strict=False)]
    x, y = _LEFT, _LEGEND
    for name, colour, dashes, width in entries:
        long = 50 + 7 * len(name)
        if x > _LEFT and x + long > WIDTH:
            x, y = _LEFT, y + 15
        yield markup(
            '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>',
            x,
            x + 24,
            y,
            y,
            colour,
            width,
            dashes or "none",
        )
        yield markup('<text x="{}" y="{}">{}</text>', x + 30, y + 4, name)
        x += long
