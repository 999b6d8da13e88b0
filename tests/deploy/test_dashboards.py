"""
The dashboards show something: a real Prometheus server that has scraped running agents answers every query of theirs.

What their files look like is test_dashboard_files.py's.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from plimsoll.simulator.node import Kind as NodeKind
from tests.deploy.dashboards.all import DASHBOARDS, chosen, counted, queries
from tests.deploy.dashboards.grafana import Dashboard, Kind, Panel, Query, Row, Variable
from tests.deploy.dashboards.picture import Span, full_name, picture
from tests.deploy.dashboards.pictures import CHOICES, live, watched
from tests.deploy.prometheus import Prometheus
from tests.deploy.simulated import LivingNode

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus package"),
]

# Only bounds a failure: each takes some ten seconds.
SECONDS = 300.0
EVERYTHING = {"node": ".*", "namespace": ".*", "pod": ".*"}
# The low group's ceiling, `auto`: half-way from 800 to 2,200 MHz.
LOW_HERTZ = 1.5e9
SVG = "{http://www.w3.org/2000/svg}"
# What is nothing while all is well, and zero in its panel.
ZEROES = {
    expression
    for each in DASHBOARDS.values()
    for _, query in queries(each)
    if (expression := counted(query.expression)) != query.expression
}
# Of low-priority pods, and on so many cgroups that the knob is given up on.
REFUSED = "sys/fs/cgroup/memory/kubepods/*/pod*/**/memory.qos_level"
# Nobody listens there: the discard port.
NOWHERE = "127.0.0.1:9"


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """The server; each query that was answered with nothing for all the time; and from when to when."""
    with watched(tmp_path_factory.mktemp("dashboards")) as (fleet, server):
        missing = [
            (each.uid, panel.title, query.expression)
            for each in DASHBOARDS.values()
            for panel, query in queries(each)
            if counted(query.expression) not in ZEROES
        ]
        # Counters of what is rare begin when it happens: rate() needs a sample from before and one from after.
        assert live(fleet, lambda: bool(server.promql.query("plimsoll_knobs_held > 0")), SECONDS), "none is held"

        def complete() -> bool:
            fleet.meddle()
            missing[:] = [each for each in missing if not server.promql.query(chosen(each[2], EVERYTHING))]
            return not missing

        live(fleet, complete, SECONDS)
        # Cores are made slow one after the other.
        slow = f'plimsoll_frequency_group_hertz{{group="low"}} == {LOW_HERTZ}'
        assert live(fleet, lambda: len(server.promql.query(slow)) == len(fleet.nodes), SECONDS), "not all are slow"
        end = time.time()
        yield server, missing, Span(end - 20, end, 1.0)


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory):
    """What was never counted of :data:`ZEROES` while everything went wrong on a node, and the agent of another died."""
    folder = tmp_path_factory.mktemp("bad-day")
    with LivingNode(folder / "node", NodeKind.OPENEULER_V1, refuses=REFUSED) as node:
        live(node, lambda: node.agent.address() is not None, SECONDS)
        targets = {node.name: node.agent.address() or "", "node-away": NOWHERE}
        with Prometheus(folder / "prometheus", targets, hasty=True) as server:
            missing = set(ZEROES)

            def complete() -> bool:
                missing.difference_update([each for each in missing if server.promql.query(chosen(each, EVERYTHING))])
                return not missing

            # An agent whose API server is away evicts nobody.
            seen = live(node, lambda: complete() or not any("eviction" in each for each in missing), SECONDS)
            assert seen, "no eviction is seen"
            node.break_down()
            live(node, complete, SECONDS)
            yield missing


def test_no_query_is_answered_with_nothing(answered):
    """Of any panel, on nodes that are well; but for those that count what should not be."""
    _, missing, _ = answered

    assert missing == []


def test_what_should_not_be_is_counted_when_it_is(bad_day):
    """A zero in place of nothing is no answer: what stands before it has one on a bad day."""
    assert sorted(bad_day) == []


def test_nothing_else_stands_in_for_an_answer():
    """Another spelling of the zero would always be an answer."""
    assert ZEROES
    for each in DASHBOARDS.values():
        assert [query.expression for _, query in queries(each) if "vector(" in counted(query.expression)] == []
        assert [query.expression for _, query in queries(each) if "absent" in query.expression] == []


def test_a_query_of_what_does_not_exist_would_be_noticed(answered):
    """The check above can fail."""
    server, _, _ = answered
    nothing = Query('plimsoll_pod_info{node=~"$node", priority="none"}', "")
    made = Dashboard("x", "x", "", (Row("x", (Panel("x", (nothing,), ""),)),))

    assert [server.promql.query(chosen(query.expression, EVERYTHING)) for _, query in queries(made)] == [[]]


def test_the_frequencies_shown_are_those_of_groups_that_are_steered(answered):
    """Of each node: every CPU is in one group, the high one runs at the turbo and the low one at its ceiling."""
    server, _, span = answered
    # The nodes have stood still since.
    then = f"@ {span.end}"

    def by_node(expression: str) -> dict[str, float]:
        return {labels["node"]: value for labels, value in server.promql.query(expression)}

    speed = "over_time(plimsoll_frequency_group_hertz"
    nodes = [f"node-{each.value}" for each in NodeKind]
    cpus = f"last_over_time(plimsoll_frequency_group_cpus[1m] {then})"
    assert by_node(f"sum by (node) ({cpus})") == dict.fromkeys(nodes, 8)
    assert by_node(f'max_{speed}{{group="high"}}[1m] {then})') == dict.fromkeys(nodes, 4.6e9)
    assert by_node(f'min_{speed}{{group="low"}}[1m] {then})') == dict.fromkeys(nodes, LOW_HERTZ)
    # More than the static share of 65 W, and no more than four busy cores at the turbo take. Nodes live in steps: those
    # that this machine holds up take nothing for a while and then all at once.
    power = by_node(f"quantile_over_time(0.5, plimsoll_package_power_watts[30s] {then})")
    assert set(power) == set(nodes)
    assert all(0.35 * 65 < each < 180 for each in power.values()), power


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=lambda each: each.uid)
def test_no_two_lines_of_a_panel_have_the_same_name(answered, dashboard: Dashboard):
    """Also with several nodes chosen, or several pods of a namespace."""
    server, _, _ = answered
    several = {**EVERYTHING, "namespace": "analytics"}
    for panel in dashboard.panels:
        if panel.kind is not Kind.TABLE:
            names = Counter(
                full_name(query.legend, labels)
                for query in panel.queries
                for labels, _ in server.promql.query(chosen(query.expression, several))
            )
            assert {name: count for name, count in names.items() if count > 1} == {}, panel.title


@pytest.mark.parametrize(
    "variable",
    [each for dashboard in DASHBOARDS.values() for each in dashboard.variables],
    ids=lambda each: f"{each.metric}-{each.name}",
)
def test_a_variable_has_values_to_choose_from(answered, variable: Variable):
    """The series it is taken from are there, with its label."""
    server, _, _ = answered
    metric = chosen(variable.metric.replace('="$', '=~"$'), EVERYTHING)
    # A scrape that takes too long takes all series with it for a moment.
    found = server.promql.query(f"last_over_time({metric}[1m])")

    assert {labels.get(variable.label) for labels, _ in found} - {None, ""}


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
