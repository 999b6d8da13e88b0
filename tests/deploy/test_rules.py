"""The alerts are well-formed and say what they are for, by Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.helm import CHART

HERE = Path(__file__).parent
PLAYED = HERE / "rules_test.yaml"
pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus package"
)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_rules_are_well_formed():
    """Also duplicates and empty fields are found."""
    done = promtool("check", "rules", "--lint-fatal", CHART / "files/rules.yaml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_what_they_say():
    """Quiet while all is well and in short troubles, loud when it lasts: rules_test.yaml."""
    done = promtool("test", "rules", PLAYED)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_played():
    """Each alert is seen to be quiet and to fire, each recording to give figures."""
    groups = yaml.safe_load((CHART / "files/rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    tests = yaml.safe_load(PLAYED.read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    figures = {case["expr"] for test in tests for case in test.get("promql_expr_test", ()) if case["exp_samples"]}

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts
    assert {rule["record"] for rule in rules if "record" in rule} == figures
