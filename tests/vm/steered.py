"""
Three pods of a guest that the frequency policy is to tell apart, and what the kernel says of their cpusets.

Owns the pods and the waiting for what becomes of them. Which CPUs are slow is for others to say.
"""

from __future__ import annotations

from plimsoll.model.cpus import CpuSet, parse_cpus
from tests.vm.agent import Agent
from tests.vm.cpusets import Witness
from tests.vm.machine import Machine
from tests.vm.pods import Pod

ALL = frozenset(range(8))


class Steered:
    """A high-priority pod, a low-priority one and a normal one, running, with the agent's sources in the guest."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.agent = Agent(guest)
        self.front = Pod(guest, 1, "front", priority="high")
        self.batch = Pod(guest, 2, "batch", "BestEffort", "low")
        self.plain = Pod(guest, 3, "plain")
        for pod in (self.front, self.batch, self.plain):
            # The container's cpuset, as the kubelet's CPU manager writes it; it brings the controller to the pod.
            pod.start("AllowedCPUs=0-7")
        for pod in (self.front, self.batch, self.plain):
            pod.wait()
        self.witness = Witness(guest)

    def cpus(self, pod: Pod) -> CpuSet:
        text = self.guest.sh(f"cat /sys/fs/cgroup/{pod.slice_path}/cpuset.cpus").strip()
        return parse_cpus(text) if text else ALL

    def wait_for_cpus(self, pod: Pod, comparison: str, count: int) -> None:
        """Until the pod's cpuset has so many CPUs (a shell comparison such as -ge)."""
        file = f"/sys/fs/cgroup/{pod.slice_path}/cpuset.cpus"
        # Empty: not steered yet, or not any more.
        counted = f"tr , '\\n' < {file} | awk -F- 'NF {{ n += NF > 1 ? $2 - $1 + 1 : 1 }} END {{ print n + 0 }}'"
        self.guest.sh(
            f'until n=$({counted}); [ "$n" -gt 0 ] && [ "$n" {comparison} {count} ]; do sleep 0.5; done', timeout=240
        )

    def settings(self) -> dict[str, str]:
        """Every setting of the kubelet's cgroups."""
        found: dict[str, str] = self.agent.script("settings.py")
        return found

    def assert_back(self, start: dict[str, str]) -> None:
        """
        Every setting is as it was, but for cpusets that were empty: with tasks in its cgroup one never is again
        (ENOSPC).

        All CPUs stand there then, which comes to the same.
        """
        left = self.settings()
        found = {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)}
        named = {f"/sys/fs/cgroup/{pod.slice_path}/cpuset.cpus" for pod in (self.front, self.batch)}
        assert {path: each for path, each in found.items() if path not in named or each != ("", "0-7")} == {}
