"""The dashboards' files, and what the chart makes of them. Needs no server."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from plimsoll.exporter.families import FAMILIES
from tests.deploy.dashboards.all import DASHBOARDS, FOLDER, chosen, queries
from tests.deploy.dashboards.grafana import COLUMNS, Dashboard, document
from tests.deploy.helm import CHART, only, render

RULES = yaml.safe_load((CHART / "files/rules.yaml").read_text())["groups"]
RECORDED = {rule["record"] for group in RULES for rule in group["rules"] if "record" in rule}
# Prometheus' own, and prometheus-client's: see docs/metrics.md.
OTHERS = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}


@pytest.mark.parametrize(("file", "dashboard"), DASHBOARDS.items(), ids=lambda each: getattr(each, "uid", ""))
def test_the_files_are_in_step(file, dashboard: Dashboard):
    """`python -m tests.deploy.made` writes them."""
    assert file.read_text() == document(dashboard)


def test_no_file_is_left_of_a_dashboard_that_is_gone():
    assert set(FOLDER.iterdir()) == set(DASHBOARDS)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=lambda each: each.uid)
def test_only_metrics_that_exist_are_shown(dashboard: Dashboard):
    """A panel on a name that nothing exports would be empty for ever."""
    known = {family.name for family in FAMILIES} | RECORDED | OTHERS
    for _, query in queries(dashboard):
        # What is left without texts, variables, labels that are grouped by, and functions.
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\b(by|on) \([^)]*\)|\{[^}]*\}', "", query.expression)
        used = {each for each in re.findall(r"[A-Za-z_:][\w:]*(?!\w*\s*\()", bare) if "_" in each or each.isupper()}

        assert used <= known
        assert used or "up" in bare


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=lambda each: each.uid)
def test_the_panels_do_not_overlap(dashboard: Dashboard):
    """Each square of the grid is one panel's, and no panel is wider than the page; identifiers are unique."""
    panels = json.loads(document(dashboard))["panels"]
    squares = [
        (x, y)
        for place in (each["gridPos"] for each in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(squares) == len(set(squares))
    assert max(x for x, _ in squares) < COLUMNS
    assert len({each["id"] for each in panels}) == len(panels)


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=lambda each: each.uid)
def test_the_variables_of_a_query_can_be_chosen(dashboard: Dashboard):
    """One that is not on the page would match nothing."""
    known = {each.name: "x" for each in dashboard.variables}
    for _, query in queries(dashboard):
        chosen(query.expression, known)


@pytest.mark.cluster
@pytest.mark.usefixtures("helm")
def test_the_chart_gives_them_to_the_sidecar():
    """One ConfigMap each, with the label that is looked for, where it is looked for; none by default."""
    assert only(render(), "ConfigMap")
    values = {"dashboards": {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "Nodes"}}}
    found = [each for each in render(values) if each["metadata"].get("namespace") == "monitoring"]

    assert {each["kind"] for each in found} == {"ConfigMap"}
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in found} == {"1"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in found} == {"Nodes"}
    texts = {name: text for each in found for name, text in each["data"].items()}
    assert {name: json.loads(text) for name, text in texts.items()} == {
        f"plimsoll-{file.name}": json.loads(file.read_text()) for file in DASHBOARDS
    }
