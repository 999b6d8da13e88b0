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


def test_every_alert_is_played():
    """Each is seen to be quiet and to fire."""
    alerts = {rule["alert"] for rule in yaml.safe_load((CHART / "files/rules.yaml").read_text())["groups"][0]["rules"]}
    cases = [case for test in yaml.safe_load(PLAYED.read_text())["tests"] for case in test["alert_rule_test"]]

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts
