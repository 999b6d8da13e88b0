"""
Helm, built from its Go module, on this repository's chart.

Owns the calls of the program; nothing of a developer's Helm (repositories, plugins, a cluster) is seen by it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.build import build

CHART = Path(__file__).resolve().parents[2] / "deploy/helm/plimsoll"
SECONDS = 300.0

Json = dict[str, Any]


class HelmError(RuntimeError):
    """Helm refused; the text is its own."""


def helm(
    *arguments: str | Path, values: Json | None = None, kubeconfig: Path | None = None, seconds: float = SECONDS
) -> str:
    """Run Helm, for so long at most, and give what it prints. Raises HelmError, BuildError when it cannot be built."""
    program = build("helm")
    with tempfile.TemporaryDirectory(prefix="plimsoll-helm-") as home:
        command = [str(program), *map(str, arguments)]
        if values is not None:
            file = Path(home) / "values.yaml"
            file.write_text(yaml.safe_dump(values), encoding="utf-8")
            command += ["--values", str(file)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home}
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    if done.returncode != 0:
        raise HelmError(done.stderr.strip())
    return done.stdout


def render_text(release: str, namespace: str, *arguments: str | Path, values: Json | None = None) -> str:
    """The chart's objects as text, as ``helm install`` would send them."""
    return helm("template", release, CHART, "--namespace", namespace, *arguments, values=values)


def render(values: Json | None = None, *arguments: str | Path, release: str = "plimsoll") -> list[Json]:
    """The chart's objects."""
    text = render_text(release, "plimsoll", *arguments, values=values)
    return [each for each in yaml.safe_load_all(text) if each]


def installed(objects: Sequence[Json]) -> list[Json]:
    """Those that ``helm install`` makes."""
    return [each for each in objects if not _is_hook(each)]


def hooks(objects: Sequence[Json]) -> list[Json]:
    """Those that are made at another time, and removed again."""
    return [each for each in objects if _is_hook(each)]


def only(objects: Sequence[Json], kind: str) -> Json:
    """The one installed object of a kind."""
    return one(installed(objects), kind)


def one(objects: Sequence[Json], kind: str) -> Json:
    """The one object of a kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def _is_hook(item: Json) -> bool:
    return "helm.sh/hook" in item["metadata"].get("annotations", ())
