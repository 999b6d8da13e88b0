"""Thousands of pods that come and go under a running agent, a bounded number of them alive, and what that leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from plimsoll.model.pod import Pod
from plimsoll.simulator.apiserver import ApiServer
from tests.bench import nodes
from tests.running import Running, Usage, until
from tests.support import pod_json

NODE = "churn"


class Left(NamedTuple):
    """After ``pods`` pods were made: what the agent uses, and the series of its page."""

    pods: int
    usage: Usage
    series: int


def churn(folder: Path, *, pods: int, alive: int, batch: int) -> Iterator[Left]:
    """
    Make ``pods`` pods, ``batch`` at a time, and delete the oldest so that never more than ``alive`` exist.

    Yields whenever ``alive`` pods are all seen by the agent and the deleted ones are gone from its page.
    """
    root = folder / "host"
    nodes.folder(root, [])
    (root / "run").mkdir()
    config = folder / "plimsoll.yaml"
    config.write_text("pressure: {interval: 1s}\n")
    server = ApiServer()
    server.start()
    kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
    agent = Running(folder, "--root", root, "--kubeconfig", kubeconfig, "--node-name", NODE, "--config", config)
    try:
        every = iter(nodes.pods(pods, 3 * pods))
        living: list[Pod] = []
        made = 0
        while coming := list(islice(every, batch if living else alive)):
            for pod in living[: max(0, len(living) + len(coming) - alive)]:
                server.delete_pod(pod.namespace, pod.name)
                (path, _), *_ = nodes.cgroup_paths([pod])
                shutil.rmtree(root / "sys/fs/cgroup" / path)
            living = [*living, *coming][-alive:]
            made += len(coming)
            nodes.folder(root, coming)
            for pod in coming:
                server.put_pod(pod_json(pod, NODE))
            wanted = {pod.name for pod in living}
            until(lambda wanted=wanted: _found(agent) == wanted, f"the pods alive after {made}")
            page = agent.get("/metrics")[1]
            yield Left(made, Usage.of(agent.process.pid), sum(not line.startswith(b"#") for line in page.splitlines()))
    finally:
        agent.stop()
        server.stop()


def _found(agent: Running) -> set[str]:
    page = agent.get("/metrics")[1].decode()
    lines = [line for line in page.splitlines() if line.startswith("plimsoll_pod_info{")]
    return {line.split('pod="', 1)[1].split('"', 1)[0] for line in lines if 'state="found"' in line}
