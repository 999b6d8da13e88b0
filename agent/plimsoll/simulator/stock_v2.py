"""
The cgroup files of a node with a stock kernel: cgroup v2, the systemd driver, no ``pressure.stat``.

Knows names and places; what the figures are is ``simulator/account.py``'s business.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll.model.pod import QosClass
from plimsoll.simulator import spelling
from plimsoll.simulator.account import Account
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance, PodSpec, cpu_shares

_BASE = "sys/fs/cgroup"
_ROOT = "kubepods.slice"
_CONTROLLERS = "cpuset cpu io memory pids\n"
_PERIOD_US = 100_000


class StockV2:
    """Linux 6.1 of Debian 12, which has interrupt pressure."""

    split = False
    runtime = "containerd"
    release = "6.1.0-18-amd64"
    arguments = "quiet"
    resources = ("cpu", "memory", "io", "irq")
    cpuset_base = _BASE
    effective = "cpuset.cpus.effective"
    inherits = True

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def boot(self, accounts: Mapping[str, Account]) -> None:
        """Mount the hierarchy and start the kubelet. ``accounts``: see :meth:`show_groups`."""
        self._tree.fixed(f"{_BASE}/cgroup.controllers", _CONTROLLERS)
        for path in (_ROOT, _slice(QosClass.BURSTABLE), _slice(QosClass.BEST_EFFORT)):
            self._tree.fixed(f"{_BASE}/{path}/cgroup.controllers", _CONTROLLERS)
            self._tree.fixed(f"{_BASE}/{path}/cpu.weight", "100\n")
            self._knobs(path)
        self.show_groups(accounts)

    def add(self, pod: Instance) -> None:
        """Make a pod's cgroups, as the kubelet, systemd and the runtime do."""
        spec = pod.spec
        for path in (self._pod(pod), self._scope(pod, pod.container)):
            where = f"{_BASE}/{path}"
            self._tree.fixed(f"{where}/cgroup.controllers", _CONTROLLERS)
            self._tree.fixed(f"{where}/cgroup.pressure", "1\n")
            self._tree.fixed(f"{where}/cpu.weight", f"{_weight(spec)}\n")
            self._knobs(path)
            self._tree.fixed(f"{where}/cpu.max", f"{_quota(spec)} {_PERIOD_US}\n")
            self._tree.fixed(f"{where}/memory.max", f"{'max' if spec.memory_limit is None else spec.memory_limit}\n")
        # The sandbox only holds the namespaces: its processes sleep for ever.
        idle = Account(split=False)
        self._show(self._scope(pod, pod.sandbox), idle, idle)

    @property
    def cpuset_roots(self) -> tuple[str, ...]:
        """The kubelet's cgroups, a parent before its children."""
        return (_ROOT, _slice(QosClass.BURSTABLE), _slice(QosClass.BEST_EFFORT))

    def cpuset_paths(self, pod: Instance) -> tuple[str, ...]:
        """The pod's cgroups in which sets of CPUs are, its own first and its container's last."""
        return (self._pod(pod), self._scope(pod, pod.sandbox), self._scope(pod, pod.container))

    def gives_way(self, pod: Instance) -> bool:
        """Whether the pod runs only when no other wants to: somebody wrote so."""
        return self._tree.read(f"{_BASE}/{self._pod(pod)}/cpu.idle").strip() == "1"

    def _knobs(self, path: str) -> None:
        for name in ("cpu.idle", "memory.low", "memory.min"):
            self._tree.fixed(f"{_BASE}/{path}/{name}", "0\n")

    def remove(self, pod: Instance) -> None:
        """Remove a pod's cgroups."""
        self._tree.remove(f"{_BASE}/{self._pod(pod)}")

    def show(self, pod: Instance, account: Account) -> None:
        """Write what a pod and its one container have come to."""
        # The kubelet gives pod and container the same quota; the container uses it up first and is the one throttled.
        self._show(self._pod(pod), account, Account(split=False))
        self._show(self._scope(pod, pod.container), account, account)

    def show_groups(self, accounts: Mapping[str, Account]) -> None:
        """Write the cgroups above the pods: ``""`` is the whole node, the others are QoS classes."""
        idle = Account(split=False)
        for name in self.resources:
            self._tree.put(f"{_BASE}/{name}.pressure", spelling.psi(accounts[""].psi, name))
        self._show(_ROOT, accounts[""], idle)
        for qos_class in (QosClass.BURSTABLE, QosClass.BEST_EFFORT):
            self._show(_slice(qos_class), accounts[qos_class], idle)

    def _show(self, path: str, account: Account, throttled: Account) -> None:
        where = f"{_BASE}/{path}"
        for name in self.resources:
            self._tree.put(f"{where}/{name}.pressure", spelling.psi(account.psi, name))
        cpu_us = account.cpu_ns / 1000
        stat = {
            "usage_usec": cpu_us,
            "user_usec": cpu_us * 0.8,
            "system_usec": cpu_us * 0.2,
            "nr_periods": throttled.periods,
            "nr_throttled": throttled.throttled_periods,
            "throttled_usec": throttled.throttled_ns / 1000,
        }
        self._tree.put(f"{where}/cpu.stat", spelling.keyed(stat))
        self._tree.put(f"{where}/memory.current", spelling.number(account.memory))
        self._tree.put(f"{where}/io.stat", spelling.io_stat(account.io_bytes))
        events = {"low": 0, "high": 0, "max": account.limit_hits, "oom": 0, "oom_kill": 0}
        self._tree.put(f"{where}/memory.events", spelling.keyed(events))
        anonymous = account.memory * 9 // 10
        memory = {
            "anon": anonymous,
            "file": account.memory - anonymous,
            "workingset_refault_anon": account.refaults,
        }
        self._tree.put(f"{where}/memory.stat", spelling.keyed(memory))

    @staticmethod
    def _pod(pod: Instance) -> str:
        # systemd nests slices by the dashes of their names, so those of the UID are written as underscores.
        parent = _slice(pod.spec.qos_class)
        prefix = parent.rpartition("/")[2].removesuffix(".slice")
        return f"{parent}/{prefix}-pod{pod.uid.replace('-', '_')}.slice"

    def _scope(self, pod: Instance, container: str) -> str:
        return f"{self._pod(pod)}/cri-containerd-{container}.scope"


def _slice(qos_class: QosClass) -> str:
    if qos_class is QosClass.GUARANTEED:
        return _ROOT
    return f"{_ROOT}/kubepods-{qos_class.lower()}.slice"


def _quota(spec: PodSpec) -> str:
    return "max" if spec.cpu_limit is None else str(int(spec.cpu_limit * _PERIOD_US))


def _weight(spec: PodSpec) -> int:
    # How the runtimes map cpu.shares 2..262144 to cpu.weight 1..10000.
    return 1 + (cpu_shares(spec) - 2) * 9999 // 262142
