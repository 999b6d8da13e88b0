"""The Prometheus operator's custom resources, from its Go module: a real API server then checks ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def custom_resources() -> list[dict[str, Any]]:
    """Their CustomResourceDefinitions. Raises ValueError when the module is not the known one."""
    folder = module(MODULE, SUM) / "example/prometheus-operator-crd"
    return [yaml.safe_load((folder / f"monitoring.coreos.com_{kind}.yaml").read_text()) for kind in KINDS]


def module(name: str, known: str) -> Path:
    """The folder of a Go module's files. Raises ValueError when its sum is not the known one."""
    with tempfile.TemporaryDirectory() as elsewhere:
        command = ["go", "mod", "download", "-json", name]
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"{name}: {done.stdout}{done.stderr}")
    found = json.loads(done.stdout)
    if found["Sum"] != known:
        raise ValueError(f"{name} has the sum {found['Sum']}, not {known}")
    return Path(found["Dir"])
