"""
The chart's release beside its pods on a whole cluster: what their cgroups are set to, now and before the agent came.

Owns how long the real thing may take. What must come of it is the tests'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tests.kubelet.cgroups import pod_path, settings
from tests.kubelet.release import Release
from tests.kubelet.up import Cluster
from tests.kubelet.workload import Workload
from tests.running import until
from tests.vm.machine import Machine

# On an emulated processor that others use, too; each wait ends with its condition.
EFFECT_SECONDS = 300.0
# The kubelet brings a changed ConfigMap with its next look at the pod.
FOLLOWED_SECONDS = 600.0

# Set by the kubelet with a container, and set afresh by systemd when it reloads its units; never by the agent.
SYSTEMDS = "memory.oom.group"
_CONTAINER = re.compile(r"(cri-containerd-)?[0-9a-f]{64}(\.scope)?")


class Installed(NamedTuple):
    """The release beside its pods; ``before``: what every cgroup's settings were before it came."""

    cluster: Cluster
    release: Release
    before: Mapping[str, str]

    @property
    def guest(self) -> Machine:
        return self.cluster.node.guest

    def path(self, pod: Workload) -> str:
        """The folder of the pod's cgroup."""
        return pod_path(self.cluster.control_plane.request("GET", pod.path), self.cluster.node.driver)

    def setting(self, pod: Workload, file: str) -> str:
        """What a file of the pod's cgroup says."""
        return self.guest.sh(f"cat {self.path(pod)}/{file}").strip()

    def wait(self, pod: Workload, file: str, value: str, seconds: float = EFFECT_SECONDS) -> None:
        until(lambda: self.setting(pod, file) == value, f"{pod.name}: {file} {value}", seconds)

    def wait_for_metric(self, promql: str, value: float, seconds: float = EFFECT_SECONDS) -> None:
        """Until Prometheus knows exactly one such series, of this value."""
        self.release.prometheus.wait(promql, lambda found: [each for _, each in found] == [value], seconds)

    def changed(self) -> dict[str, tuple[str, str | None]]:
        """
        The settings that are not what they were before the install, printed for whoever waits for none in vain.

        Of a container that was replaced nothing is left to compare with; its pod's cgroup stays.
        """
        after = settings(self.guest, self.cluster.node.driver)
        there = {path.rpartition("/")[0] for path in after}
        found = {
            path: (value, after.get(path))
            for path, value in self.before.items()
            if after.get(path) != value and not path.endswith(SYSTEMDS) and not _replaced(path, there)
        }
        print(found)
        return found


def _replaced(path: str, there: set[str]) -> bool:
    folder = path.rpartition("/")[0]
    return folder not in there and _CONTAINER.fullmatch(folder.rpartition("/")[2]) is not None
