"""What is made under deploy/ is in step with what it is made from. Needs neither Helm nor root."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from plimsoll import __version__
from plimsoll.config.loader import parse_config
from tests.deploy import made
from tests.deploy.helm import CHART

RULES = [
    rule for group in yaml.safe_load((CHART / "files/rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [each for each in RULES if "alert" in each]


def test_the_values_schema_has_the_agents_own():
    """`python -m tests.deploy.made` writes it: Helm refuses what the agent would refuse."""
    assert made.VALUES_SCHEMA.read_text() == made.schema_text()


def test_the_readme_has_every_value():
    """`python -m tests.deploy.made` writes the table; a value without a comment would be missing in it."""
    assert made.README.read_text() == made.readme_text()
    described = dict(made.described(made.VALUES.read_text()))

    def leaves(values, path=""):
        for key, value in values.items():
            here = f"{path}{key}"
            if here in described or not isinstance(value, dict) or not value:
                yield here
            else:
                yield from leaves(value, f"{here}.")

    assert set(leaves(yaml.safe_load(made.VALUES.read_text()))) == set(described)


@pytest.mark.parametrize("sample", sorted((CHART / "ci").iterdir()), ids=lambda each: each.stem)
def test_the_agent_takes_what_the_samples_say(sample):
    """Helm's schema cannot tell a duration from another text, and the agent checks what belongs together."""
    values = yaml.safe_load(sample.read_text())
    text = yaml.safe_dump(values.get("config", {}))

    assert parse_config(text, sample.name)
    assert set(values) <= set(yaml.safe_load(made.VALUES.read_text()))


def test_the_schema_knows_every_value_and_no_other():
    """A value that the schema forgot would be refused; one that is gone would still be taken."""
    schema = json.loads(made.VALUES_SCHEMA.read_text())

    def same(values, properties):
        assert set(values) == set(properties)
        for key, value in values.items():
            if isinstance(value, dict) and value and "properties" in properties[key]:
                same(value, properties[key]["properties"])

    # What a parent chart says: nothing here reads it.
    properties = {key: value for key, value in schema["properties"].items() if key != "enabled"}
    resources = properties.pop("resources")["properties"]
    values = yaml.safe_load(made.VALUES.read_text())
    assert set(values.pop("resources")) < set(resources)
    same(values, properties)


def test_the_chart_installs_this_version():
    """The image's tag is the chart's appVersion."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == __version__


def test_an_image_that_is_built_as_documented_has_this_version():
    """Its label and its document say what the program says of itself."""
    (found,) = re.findall(r'^ARG VERSION="(.*?)"', (made.REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)

    assert found == __version__


def test_the_command_of_the_table_is_described_in_pieces():
    """A described mapping is one row; its keys, described themselves or not, are found under their whole path."""
    text = "a:\n  # -- One,\n  # and more.\n  b: {c: 1}\n# not a description\nd: 2\n"

    assert list(made.described(text)) == [("a.b", "One, and more.")]
    assert made.values_table("# -- X.\na: [1]\n").splitlines()[-1] == "| `a` | `[1]` | X. |"


def test_every_alert_has_its_runbook():
    """The link of each leads to a heading of docs/operations.md that has its name; no runbook is without an alert."""
    text = (made.REPOSITORY / "docs/operations.md").read_text()
    headings = re.findall(r"^### (Plimsoll\w+)$", text, re.MULTILINE)

    assert [rule["alert"] for rule in ALERTS] == headings
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_rules_know_only_metrics_that_exist():
    """An alert on a name that nothing exports would be silent for ever."""
    from plimsoll.exporter.families import FAMILIES

    used = {name for rule in RULES for name in re.findall(r"plimsoll_\w+", rule["expr"])}

    assert used
    assert used <= {family.name for family in FAMILIES}
