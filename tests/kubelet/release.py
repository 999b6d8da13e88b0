"""
The chart's release on a whole cluster: installed with Helm, run by the DaemonSet, scraped by Prometheus in the guest.

Owns the release's values and how its one agent is found. What it shall do is the tests'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.helm import CHART, helm
from tests.deploy.image import TAG
from tests.kubelet.up import Cluster
from tests.running import until
from tests.vm.prometheus import Prometheus

NAMESPACE = "plimsoll"
NAME = "plimsoll"
PORT = 9470
READY_SECONDS = 600.0
# Of all that Helm waits for when it takes the release away, each by itself.
UNINSTALL_SECONDS = 600.0
CONFIG: Mapping[str, Any] = {
    "pressure": {"interval": "1s"},
    "preemption": {"mode": "enforce"},
}
# An agent whose emulated processor gets no time for half a minute is none that hangs.
PATIENCE: Mapping[str, Any] = {
    "livenessProbe": {"timeoutSeconds": 60, "failureThreshold": 10},
    "postDeleteCleanup": {"timeoutSeconds": int(UNINSTALL_SECONDS) - 60},
}

Json = dict[str, Any]


class Release:
    """The release; nothing is installed yet. ``folder`` gets the administrator's kubeconfig."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._kubeconfig = cluster.control_plane.kubeconfig(folder / "kubeconfig")
        self._prometheus: Prometheus | None = None

    def install(self, config: Mapping[str, Any] = CONFIG) -> None:
        """Returns when the DaemonSet is ready and scraped."""
        self.helm("install", CHART, "--create-namespace", config=config)
        self.wait_until_ready()

    def restarted(self, before: tuple[str, int]) -> None:
        """Returns when the agent, whose ``restarts`` were these, is there again and scraped."""
        self._prometheus = None
        # What the API server knows of the node is from before.
        until(lambda: self.restarts[1] > before[1], "another container", READY_SECONDS)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until the one agent of the DaemonSet's present template is ready; Prometheus then scrapes that one."""
        until(self._ready, "the DaemonSet ready", READY_SECONDS)
        address = f"{self.pod['status']['podIP']}:{PORT}"
        if self._prometheus is None:
            self._prometheus = Prometheus(self._cluster.node.guest, address)
        else:
            self._prometheus.scrape(address)

    def helm(self, verb: str, *arguments: str | Path, config: Mapping[str, Any] | None = None) -> str:
        """One of Helm's commands on the release; ``config`` comes with the values that name the image."""
        registry, _, name = TAG.partition("/")
        repository, _, tag = name.partition(":")
        image = {"registry": registry, "repository": repository, "tag": tag, "pullPolicy": "Never"}
        values = None if config is None else {"image": image, "config": dict(config), **PATIENCE}
        common = (f"--namespace={NAMESPACE}",)
        return helm(
            verb, NAME, *arguments, *common, values=values, kubeconfig=self._kubeconfig, seconds=3 * UNINSTALL_SECONDS
        )

    def uninstall(self) -> None:
        """Returns when all of it is gone, the agent, what sees to the node behind it, and their pods."""
        self.helm("uninstall", "--wait", "--cascade=foreground", f"--timeout={UNINSTALL_SECONDS:.0f}s")

    @property
    def prometheus(self) -> Prometheus:
        """The server that scrapes the agent; once there was one."""
        assert self._prometheus is not None
        return self._prometheus

    @property
    def pods(self) -> list[Json]:
        """The release's pods, also those that are ending."""
        selector = f"labelSelector=app.kubernetes.io/instance={NAME}"
        items: list[Json] = self._cluster.control_plane.request(
            "GET", f"/api/v1/namespaces/{NAMESPACE}/pods?{selector}"
        )["items"]
        return items

    @property
    def pod(self) -> Json:
        """The agent's pod."""
        (found,) = self.pods
        return found

    @property
    def restarts(self) -> tuple[str, int]:
        """Which pod the agent is, and how often its container was started again."""
        pod = self.pod
        (status,) = pod["status"]["containerStatuses"]
        return pod["metadata"]["uid"], status["restartCount"]

    @property
    def audit(self) -> list[Json]:
        """What the agent says it wrote, line by line."""
        return [json.loads(line) for line in self._cluster.node.guest.sh("cat /run/plimsoll/audit.jsonl").splitlines()]

    def _ready(self) -> bool:
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}"
        daemon_set = self._cluster.control_plane.request("GET", path)
        status = daemon_set["status"]
        seen = status.get("observedGeneration") == daemon_set["metadata"]["generation"]
        return bool(seen and status.get("numberReady") == status.get("updatedNumberScheduled") == 1)
