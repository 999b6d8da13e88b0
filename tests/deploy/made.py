"""
What is made under ``deploy/``: the README's table of values, the configuration's part of the schema, the dashboards,
and the manifests.

    python -m tests.deploy.made      writes them all (the manifests need Go, for Helm)

It owns how each is made from its source; tests/deploy holds them in step.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deploy.dashboards.all import DASHBOARDS
from tests.deploy.dashboards.grafana import document
from tests.deploy.helm import CHART, render_text

REPOSITORY = CHART.parents[2]
CONFIG_SCHEMA = REPOSITORY / "config/schema.json"
VALUES = CHART / "values.yaml"
VALUES_SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"
MANIFESTS = REPOSITORY / "deploy/manifests/plimsoll.yaml"
NAMESPACE = "plimsoll"
BEGIN, END = "<!-- made by python -m tests.deploy.made -->", "<!-- end -->"
# The level is for the mount of /sys/fs/cgroup alone: every hostPath needs it.
NAMESPACE_OBJECT = f"""\
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: privileged
"""

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):(?P<value>.*)$")

Json = dict[str, Any]


def values_schema(chart: Json, config: Json) -> Json:
    """The chart's schema with the agent's own in the place of the value ``config``."""
    parts = {key: value for key, value in config.items() if key not in ("$schema", "$defs")}
    # References stay as they are: the definitions stand at the root of both.
    properties = {**chart["properties"], "config": parts}
    return {**chart, "properties": properties, "$defs": config["$defs"]}


def values_table(text: str) -> str:
    """A row for each value with a comment of its own, from the text of values.yaml."""
    values = yaml.safe_load(text)
    rows = [(path, _default(values, path), comment) for path, comment in described(text)]
    lines = [f"| `{path}` | {default} | {comment} |" for path, default, comment in rows]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *lines, ""])


def described(text: str) -> Iterator[tuple[str, str]]:
    """Dotted path and comment of each described value; a comment may go on over more lines."""
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        remark = re.match(r" *# ?(-- )?(.*)", line)
        if remark:
            if remark[1]:
                comment = [remark[2]]
            elif comment:
                comment.append(remark[2])
            continue
        key = _KEY.match(line)
        if key:
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            if comment:
                yield ".".join(path), " ".join(comment)
        comment = []


def _default(values: Json, path: str) -> str:
    for key in path.split("."):
        values = values[key]
    return f"`{json.dumps(values, ensure_ascii=False)}`"


def manifests() -> str:
    """The chart with its default values. Raises BuildError without Go, HelmError."""
    head = (
        "# Made by python -m tests.deploy.made from deploy/helm/plimsoll with its default values. Put the image\n"
        "# where your nodes find it, and write its name, best with its digest, in the DaemonSet. For every Kubernetes\n"
        "# that the chart is for; from 1.31 on `helm template` makes the mounts below /sys/fs/cgroup read-only, too.\n"
    )
    return head + NAMESPACE_OBJECT + render_text("plimsoll", NAMESPACE, "--kube-version", oldest_kubernetes())


def oldest_kubernetes() -> str:
    """The first version that the chart is for: it takes no field that came later, and later ones take all of its."""
    wanted = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    return str(wanted).removeprefix(">=").removesuffix("-0")


def schema_text() -> str:
    made = values_schema(json.loads(VALUES_SCHEMA.read_text()), json.loads(CONFIG_SCHEMA.read_text()))
    return json.dumps(made, indent=2) + "\n"


def readme_text() -> str:
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{values_table(VALUES.read_text())}\n{END}{after}"


def main() -> int:
    VALUES_SCHEMA.write_text(schema_text())
    README.write_text(readme_text())
    for file, dashboard in DASHBOARDS.items():
        file.write_text(document(dashboard))
    MANIFESTS.write_text(manifests())
    return 0


if __name__ == "__main__":
    sys.exit(main())
