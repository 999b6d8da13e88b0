"""
What a dashboard is, in as few words as it takes, and how Grafana spells that.

Owns the layout and Grafana's JSON (schema 39, Grafana 10 and later). It must not know what is shown: see fleet.py,
node.py and pod.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

COLUMNS = 24
SCHEMA = 39

Json = dict[str, Any]

# Whoever imports a dashboard may have several servers: which one is chosen on the page.
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Kind(StrEnum):
    """How Grafana draws it."""

    LINES = "timeseries"
    FIGURE = "stat"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what each of its series is called (Grafana's ``{{label}}``)."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """``unit`` is Grafana's name of one; ``about``: what a person should know who looks at it. ``width`` in columns."""

    title: str
    queries: Sequence[Query]
    about: str
    unit: str = "short"
    kind: Kind = Kind.LINES
    width: int = 12
    stacked: bool = False
    # None: as the figures are.
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, placed from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen at the top: values that ``label`` has in ``metric``, one of them or, with ``many``, several."""

    name: str
    metric: str
    label: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """``uid`` is its address in Grafana, and must stay."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    @property
    def panels(self) -> Iterator[Panel]:
        return (panel for row in self.rows for panel in row.panels)


def document(dashboard: Dashboard) -> str:
    """The dashboard as Grafana imports it."""
    found = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["plimsoll"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Plimsoll",
                "tags": ["plimsoll"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_datasource(), *(_variable(each) for each in dashboard.variables)]},
        "panels": list(_placed(dashboard)),
    }
    return json.dumps(found, indent=1) + "\n"


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> Json:
    query = f"label_values({variable.metric}, {variable.label})"
    found: Json = {
        "name": variable.name,
        "label": variable.name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": variable.name},
        # When the time range changes, too: pods come and go.
        "refresh": 2,
        "sort": 1,
    }
    if variable.many:
        # `.*`, so that series without the label are shown where nothing is chosen.
        found |= {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return found


def _placed(dashboard: Dashboard) -> Iterator[Json]:
    number, y = 1, 0
    for row in dashboard.rows:
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": _at(0, y)}
        number, y = number + 1, y + 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            height = _height(panel)
            yield _panel(panel, number, _at(x, y, panel.width, height))
            number, x = number + 1, x + panel.width
        y += height


def _height(panel: Panel) -> int:
    return 4 if panel.kind is Kind.FIGURE else 8


def _at(x: int, y: int, width: int = COLUMNS, height: int = 1) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: Json) -> Json:
    limits = {"min": 0} | ({} if panel.maximum is None else {"max": panel.maximum})
    custom: Json = {}
    if panel.kind is Kind.LINES:
        custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
        if panel.stacked:
            custom |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    return {
        "id": number,
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom, **limits}, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(panel, each, chr(ord("A") + place)) for place, each in enumerate(panel.queries)],
    }


_OPTIONS: dict[Kind, Json] = {
    Kind.LINES: {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Kind.FIGURE: {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "textMode": "auto"},
    Kind.TABLE: {"showHeader": True},
}


def _target(panel: Panel, query: Query, name: str) -> Json:
    found: Json = {"refId": name, "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
    if panel.kind is Kind.LINES:
        return found | {"range": True}
    return found | {"instant": True} | ({"format": "table"} if panel.kind is Kind.TABLE else {})
