"""
The dashboards show something: a real Prometheus server that has scraped running agents answers every query of theirs.

What their files look like is test_dashboard_files.py's.
"""

from __future__ import annotations

import shutil
import time
from xml.etree import ElementTree as ET

import pytest

from tests.deploy.dashboards.all import DASHBOARDS, chosen, queries
from tests.deploy.dashboards.grafana import Dashboard, Kind, Panel, Query, Row, Variable
from tests.deploy.dashboards.picture import Span, picture
from tests.deploy.dashboards.pictures import CHOICES, live, watched

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus package"),
]

# Only bounds a failure: it takes some ten seconds.
SECONDS = 200.0
EVERYTHING = {"node": ".*", "namespace": ".*", "pod": ".*"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The server; each query that was answered with nothing for all the time; and from when to when."""
    with watched(tmp_path_factory.mktemp("dashboards")) as (fleet, server):
        missing = [(each.uid, *found) for each in DASHBOARDS.values() for found in queries(each)]
        # Counters of what is rare begin when it happens: rate() needs a sample from before and one from after.
        live(fleet, lambda: bool(server.promql.query("plimsoll_knobs_held > 0")), SECONDS)

        def complete() -> bool:
            fleet.meddle()
            missing[:] = [each for each in missing if not server.promql.query(chosen(each[2].expression, EVERYTHING))]
            return not missing

        live(fleet, complete, SECONDS)
        end = time.time()
        yield server, missing, Span(end - 20, end, 1.0)


def test_no_query_is_answered_with_nothing(answered):
    """Of any panel. Gauges of what is rare have their zero."""
    _, missing, _ = answered

    assert [(uid, panel.title, query.expression) for uid, panel, query in missing] == []


def test_a_query_of_what_does_not_exist_would_be_noticed(answered):
    """The check above can fail."""
    server, _, _ = answered
    nothing = Query('plimsoll_pod_info{node=~"$node", priority="none"}', "")
    made = Dashboard("x", "x", "", (Row("x", (Panel("x", (nothing,), ""),)),))

    assert [server.promql.query(chosen(query.expression, EVERYTHING)) for _, query in queries(made)] == [[]]


@pytest.mark.parametrize(
    "variable",
    [each for dashboard in DASHBOARDS.values() for each in dashboard.variables],
    ids=lambda each: f"{each.metric}-{each.name}",
)
def test_a_variable_has_values_to_choose_from(answered, variable: Variable):
    """The series it is taken from are there, with its label."""
    server, _, _ = answered
    metric = chosen(variable.metric.replace('="$', '=~"$'), EVERYTHING)

    assert {labels.get(variable.label) for labels, _ in server.promql.query(metric)} - {None, ""}


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=lambda each: each.uid)
def test_the_picture_has_every_panel(answered, dashboard: Dashboard):
    """Each with its title, and those with lines with lines."""
    server, _, span = answered
    values = CHOICES[dashboard.uid]
    drawn = ET.fromstring(picture(dashboard, server.promql, lambda each: chosen(each, values), span))
    titles = [each.text or "" for each in drawn.iter(f"{SVG}text")]
    lines = [each for each in drawn.iter(f"{SVG}path") if each.get("stroke-width") == "2" and each.get("d")]

    for panel in dashboard.panels:
        assert any(each.startswith(panel.title) for each in titles), panel.title
    assert len(lines) >= sum(panel.kind is Kind.LINES for panel in dashboard.panels)
