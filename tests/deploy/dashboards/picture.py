"""
A dashboard as one SVG, from what a Prometheus server answers: for the documentation, where no Grafana is.

Owns the drawing of panels: lines by the simulator's chart, figures and tables by hand. It must not know which
dashboards there are. At most six lines of a panel are drawn, the largest at the end first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from plimsoll.exporter.markup import Html, joined, markup
from plimsoll.simulator import chart
from plimsoll.simulator.chart import Axis, Chart, Line
from tests.deploy.dashboards.grafana import COLUMNS, Dashboard, Kind, Panel
from tests.promql import Promql

WIDTH = 1200
_UNIT = WIDTH // COLUMNS
_GAP = 6
_LINES = 6
_NAME = 44
_HEIGHTS = {Kind.LINES: 280, Kind.FIGURE: 90, Kind.TABLE: 190}
_ROWS = 6
_MIB = 1 << 20
# What Grafana does with a unit: name, and what one of it is.
_UNITS = {
    "bytes": ("MiB", _MIB),
    "Bps": ("MiB/s", _MIB),
    "s": ("seconds", 1.0),
    "percentunit": ("%", 0.01),
    "wps": ("writes/s", 1.0),
    "ops": ("1/s", 1.0),
    "hertz": ("MHz", 1e6),
    "watt": ("W", 1.0),
    "short": ("", 1.0),
}

Spell = Callable[[str], str]


class Span(NamedTuple):
    """From when to when, in seconds since the epoch, and how many seconds are between two points."""

    start: float
    end: float
    step: float

    @property
    def places(self) -> list[float]:
        return [self.start + number * self.step for number in range(int((self.end - self.start) / self.step) + 1)]


def picture(dashboard: Dashboard, promql: Promql, spell: Spell, span: Span) -> str:
    """The whole dashboard. ``spell`` gives the expression of one choice of variables. Raises OSError: no answer."""
    parts: list[Html] = []
    y = 34
    for row in dashboard.rows:
        parts.append(markup('<text x="{}" y="{}" font-size="16">{}</text>', _GAP, y + 20, row.title))
        y += 30
        x = height = 0
        for panel in row.panels:
            width = panel.width * _UNIT
            if x + width > WIDTH:
                x, y = 0, y + height
            height = _HEIGHTS[panel.kind]
            drawn = _DRAW[panel.kind](panel, promql, spell, span)
            parts.append(_placed(panel, drawn, (x + _GAP // 2, y + _GAP // 2, width - _GAP, height - _GAP)))
            x += width
        y += height
    return markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="13" '
        'role="img"><title>{}</title><rect width="100%" height="100%" fill="#fff"/>'
        '<text x="{}" y="24" font-size="20">{}</text>{}</svg>\n',
        WIDTH,
        y + _GAP,
        dashboard.title,
        _GAP,
        dashboard.title,
        joined(parts),
    )


def _placed(panel: Panel, drawn: Html, box: Sequence[int]) -> Html:
    inner = (chart.WIDTH, chart.HEIGHT) if panel.kind is Kind.LINES else box[2:]
    return joined(
        [
            markup('<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#ccc"/>', *box),
            markup('<svg x="{}" y="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}</svg>', *box, *inner, drawn),
        ]
    )


def _lines(panel: Panel, promql: Promql, spell: Spell, span: Span) -> Html:
    unit, one = _UNITS[panel.unit]
    found: list[Line] = []
    for query in panel.queries:
        for labels, points in promql.query_range(spell(query.expression), *span):
            # Prometheus answers at exactly the times that were asked for.
            known = {round((at - span.start) / span.step): value / one for at, value in points}
            values = [known.get(number) for number in range(len(span.places))]
            found.append(Line(_named(query.legend, labels), values))
    found.sort(key=lambda each: max((value for value in each.values if value is not None), default=0.0), reverse=True)
    shown = found[:_LINES]
    most = max((value for each in shown for value in each.values if value is not None), default=0.0)
    places = [each - span.start for each in span.places]
    across, left = Axis("seconds", 0.0, places[-1]), Axis(unit, 0.0, most * 1.05 or 1.0)
    title = panel.title if len(found) == len(shown) else f"{panel.title} ({len(shown)} of {len(found)} lines)"
    return Html(chart.svg(Chart(title, across, left, places, shown)))


def _figure(panel: Panel, promql: Promql, spell: Spell, span: Span) -> Html:
    unit, one = _UNITS[panel.unit]
    found = [
        (_named(query.legend, labels), value / one)
        for query in panel.queries
        for labels, value in promql.query(spell(query.expression))
    ]
    said = "  ".join(f"{value:g} {unit}".strip() for _, value in found)
    return joined(
        [
            markup('<text x="8" y="18">{}</text>', panel.title),
            markup('<text x="8" y="52" font-size="26">{}</text>', said),
            markup('<text x="8" y="72" fill="#666">{}</text>', " ".join(name for name, _ in found)),
        ]
    )


def _table(panel: Panel, promql: Promql, spell: Spell, span: Span) -> Html:
    (query,) = panel.queries
    found = promql.query(spell(query.expression))
    hidden = {"__name__", "instance", "job", "uid"}
    columns = [each for each in (found[0][0] if found else ()) if each not in hidden]
    rows = [columns, *([labels.get(each, "") for each in columns] for labels, _ in found[:_ROWS])]
    title = panel.title if len(found) <= _ROWS else f"{panel.title} ({_ROWS} of {len(found)} rows)"
    return joined([markup('<text x="8" y="18">{}</text>', title), *_cells(rows)])


def _cells(rows: Sequence[Sequence[str]]) -> Iterator[Html]:
    columns = max(1, len(rows[0]))
    wide = (WIDTH - 2 * _GAP) // columns
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            weight = "bold" if number == 0 else "normal"
            yield markup(
                '<text x="{}" y="{}" font-weight="{}">{}</text>', 8 + place * wide, 42 + number * 20, weight, text
            )


def full_name(legend: str, labels: dict[str, str]) -> str:
    """What Grafana calls a series."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def _named(legend: str, labels: dict[str, str]) -> str:
    name = full_name(legend, labels)
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


_DRAW = {Kind.LINES: _lines, Kind.FIGURE: _figure, Kind.TABLE: _table}
