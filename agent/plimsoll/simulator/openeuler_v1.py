"""
The cgroup files of an openEuler node: v1 hierarchies, the cgroupfs driver, pressure files in the cpuacct hierarchy.

Knows names and places; what the figures are is ``simulator/account.py``'s business.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from plimsoll.model.pod import QosClass
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES
from plimsoll.simulator import spelling
from plimsoll.simulator.account import Account
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance, PodSpec, cpu_shares

_BASE = "sys/fs/cgroup"
_CPU = f"{_BASE}/cpu,cpuacct"
_MEMORY = f"{_BASE}/memory"
_BLKIO = f"{_BASE}/blkio"
_CLASSES = {
    QosClass.GUARANTEED: "kubepods",
    QosClass.BURSTABLE: "kubepods/burstable",
    QosClass.BEST_EFFORT: "kubepods/besteffort",
}
# LONG_MAX rounded down to a page.
_NO_LIMIT = 9223372036854771712
_PERIOD_US = 100_000


class OpenEulerV1:
    """Kernel 6.6 of openEuler 24.03, booted with ``psi=1 psi_v1=1``; it has no interrupt pressure."""

    split = True
    runtime = "containerd"
    release = "6.6.0-28.0.0.34.oe2403.x86_64"
    arguments = "systemd.unified_cgroup_hierarchy=0 psi=1 psi_v1=1"
    resources = ("cpu", "memory", "io")
    cpuset_base = f"{_BASE}/cpuset"
    effective = "cpuset.effective_cpus"
    inherits = False
    cpuset_roots = tuple(_CLASSES.values())

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def boot(self, accounts: Mapping[str, Account]) -> None:
        """Mount the hierarchies and start the kubelet. ``accounts``: see :meth:`show_groups`."""
        for name in ("cpu", "cpuacct"):
            self._tree.directory(_BASE)
            self._tree.link(f"{_BASE}/{name}", "cpu,cpuacct")
        self._tree.fixed(f"{_CPU}/cpu.shares", "1024\n")
        self._tree.fixed(f"{_BASE}/cpuset/cpuset.cpus", "0-7\n")
        self._tree.fixed(f"{_BLKIO}/blkio.reset_stats", "")
        for hierarchy in (_CPU, _MEMORY, f"{_BASE}/cpuset", _BLKIO):
            for path in _CLASSES.values():
                self._tree.directory(f"{hierarchy}/{path}")
        for path in _CLASSES.values():
            self._knobs(path)
            self._tree.fixed(f"{_CPU}/{path}/cpu.shares", "1024\n")
        self._tree.fixed("proc/sys/vm/memcg_qos_enable", "0\n")
        self.show_groups(accounts)

    def add(self, pod: Instance) -> None:
        """Make a pod's cgroups, as the kubelet and the runtime do."""
        spec = pod.spec
        for path in (self._pod(pod), self._container(pod)):
            self._tree.fixed(f"{_CPU}/{path}/cpu.shares", f"{cpu_shares(spec)}\n")
            self._tree.fixed(f"{_CPU}/{path}/cpu.cfs_period_us", f"{_PERIOD_US}\n")
            self._tree.fixed(f"{_CPU}/{path}/cpu.cfs_quota_us", f"{_quota(spec)}\n")
            self._knobs(path)
            limit = _NO_LIMIT if spec.memory_limit is None else spec.memory_limit
            self._tree.fixed(f"{_MEMORY}/{path}/memory.limit_in_bytes", f"{limit}\n")
        # The sandbox only holds the namespaces: its processes sleep for ever.
        idle = Account(split=True)
        self._show_cpu(f"{self._pod(pod)}/{pod.sandbox}", idle, idle)
        self._show_memory(f"{self._pod(pod)}/{pod.sandbox}", idle)
        self._knobs(f"{self._pod(pod)}/{pod.sandbox}")

    def cpuset_paths(self, pod: Instance) -> tuple[str, ...]:
        """The pod's cgroups in which sets of CPUs are, its own first and its container's last."""
        return (self._pod(pod), f"{self._pod(pod)}/{pod.sandbox}", self._container(pod))

    def gives_way(self, pod: Instance) -> bool:
        """Whether the pod runs only when no other wants to: somebody wrote so."""
        return self._tree.read(f"{_CPU}/{self._pod(pod)}/cpu.qos_level").strip() == "-1"

    def _knobs(self, path: str) -> None:
        self._tree.fixed(f"{_CPU}/{path}/cpu.qos_level", "0\n")
        self._tree.fixed(f"{_CPU}/{path}/cpu.idle", "0\n")
        self._tree.fixed(f"{_MEMORY}/{path}/memory.qos_level", "0\n")

    def remove(self, pod: Instance) -> None:
        """Remove a pod's cgroups."""
        for hierarchy in (_CPU, _MEMORY, _BLKIO, self.cpuset_base):
            if os.path.isdir(self._tree.path(f"{hierarchy}/{self._pod(pod)}")):
                self._tree.remove(f"{hierarchy}/{self._pod(pod)}")

    def show(self, pod: Instance, account: Account) -> None:
        """Write what a pod and its one container have come to."""
        # The kubelet gives pod and container the same quota; the container uses it up first and is the one throttled.
        idle = Account(split=True)
        self._show_cpu(self._pod(pod), account, idle)
        self._show_cpu(self._container(pod), account, account)
        self._show_memory(self._pod(pod), account)
        self._show_memory(self._container(pod), account)
        for path in (self._pod(pod), self._container(pod)):
            file = f"{_BLKIO}/{path}/blkio.throttle.io_service_bytes_recursive"
            self._tree.put(file, spelling.service_bytes(account.io_bytes))

    def show_groups(self, accounts: Mapping[str, Account]) -> None:
        """Write the cgroups above the pods: ``""`` is the whole node, the others are QoS classes."""
        node = accounts[""]
        idle = Account(split=True)
        self._show_cpu(".", node, idle)
        self._tree.put(f"{_MEMORY}/memory.usage_in_bytes", spelling.number(node.memory))
        for qos_class, path in _CLASSES.items():
            # What stands in kubepods itself are the Guaranteed pods, but its figures are those of all.
            account = node if qos_class is QosClass.GUARANTEED else accounts[qos_class]
            self._show_cpu(path, account, idle)
            self._show_memory(path, account)

    def _show_cpu(self, path: str, account: Account, throttled: Account) -> None:
        where = f"{_CPU}/{path}"
        for name in self.resources:
            self._tree.put(f"{where}/{name}.pressure", spelling.psi(account.psi, name))
        self._tree.put(f"{where}/pressure.stat", spelling.pressure_stat(account.psi, PRESSURE_STAT_CAUSES))
        self._tree.put(f"{where}/cpuacct.usage", spelling.number(account.cpu_ns))
        values = {
            "nr_periods": throttled.periods,
            "nr_throttled": throttled.throttled_periods,
            "throttled_time": throttled.throttled_ns,
        }
        self._tree.put(f"{where}/cpu.stat", spelling.keyed(values))

    def _show_memory(self, path: str, account: Account) -> None:
        where = f"{_MEMORY}/{path}"
        self._tree.put(f"{where}/memory.usage_in_bytes", spelling.number(account.memory))
        self._tree.put(f"{where}/memory.failcnt", spelling.number(account.limit_hits))
        events = {"low": 0, "high": 0, "limit_in_bytes": account.limit_hits, "oom": 0}
        self._tree.put(f"{where}/memory.events", spelling.keyed(events))
        rss = account.memory * 9 // 10
        own = {
            "cache": account.memory - rss,
            "rss": rss,
            "swap": account.swapped,
            "workingset_refault_anon": account.refaults,
        }
        self._tree.put(
            f"{where}/memory.stat", spelling.keyed({**own, **{f"total_{key}": value for key, value in own.items()}})
        )

    @staticmethod
    def _pod(pod: Instance) -> str:
        return f"{_CLASSES[pod.spec.qos_class]}/pod{pod.uid}"

    def _container(self, pod: Instance) -> str:
        return f"{self._pod(pod)}/{pod.container}"


def _quota(spec: PodSpec) -> int:
    return -1 if spec.cpu_limit is None else int(spec.cpu_limit * _PERIOD_US)
