"""
The dashboards there are, their files in the chart, and what their expressions are for one choice of variables.

It must not know how anything is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tests.deploy.dashboards.fleet import FLEET
from tests.deploy.dashboards.grafana import Dashboard, Panel, Query
from tests.deploy.dashboards.node import NODE
from tests.deploy.dashboards.pod import POD
from tests.deploy.helm import CHART

FOLDER = CHART / "files/dashboards"
DASHBOARDS = {FOLDER / f"{each.uid.removeprefix('plimsoll-')}.json": each for each in (FLEET, NODE, POD)}
"""By the file each is made into."""

NONE = " or vector(0)"

# Grafana's own variable, for a scrape each second: four times that.
_RATE_INTERVAL = "4s"


def queries(dashboard: Dashboard) -> Iterator[tuple[Panel, Query]]:
    return ((panel, query) for panel in dashboard.panels for query in panel.queries)


def counted(expression: str) -> str:
    """A query without the zero that stands in for it where there is nothing to count."""
    return expression.removesuffix(NONE)


def chosen(text: str, values: Mapping[str, str]) -> str:
    """A query as Grafana asks it once variables are chosen. Raises KeyError for one that is not in ``values``."""
    known = {"__rate_interval": _RATE_INTERVAL, **values}
    return re.sub(r"\$(\w+)", lambda found: known[found[1]], text)
