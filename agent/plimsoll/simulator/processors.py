"""
The CPUs of a simulated node: what they are, how fast an agent lets them be, and which of them a pod may use.

A CPU runs at the ceiling of its core. What a slow one costs a pod is not modelled, only how many it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from plimsoll.model.cpus import CpuSet
from plimsoll.simulator.cpu_sets import CpuSets
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance

_THREADS = 2


class Cgroups(Protocol):
    """Where a kind of node has the cgroups of sets of CPUs. ``inherits`` and ``effective`` as :class:`CpuSets` has."""

    cpuset_base: str
    effective: str
    inherits: bool

    @property
    def cpuset_roots(self) -> Sequence[str]:
        """The kubelet's cgroups, a parent before its children."""
        ...

    def cpuset_paths(self, pod: Instance) -> Sequence[str]:
        """The pod's own, then what is in it: its container last."""
        ...


class Processors:
    """``count`` CPUs of one package, each core with two of them; cpufreq, without Speed Select."""

    def __init__(self, tree: Tree, count: int, cgroups: Cgroups) -> None:
        self._tree = tree
        self._machine = describe(Generation.MAILBOX, packages=1, cores=count // _THREADS, threads=_THREADS)
        self._cgroups = cgroups
        self._sets = CpuSets(
            tree,
            cgroups.cpuset_base,
            cgroups.effective,
            frozenset(self._machine.cpus),
            inherits=cgroups.inherits,
        )
        lay_out(tree, self._machine)
        self._sets.make(cgroups.cpuset_roots)

    def add(self, pod: Instance) -> None:
        """A pod that starts."""
        self._sets.make(self._cgroups.cpuset_paths(pod))

    def remove(self, pod: Instance) -> None:
        """A pod that is over."""
        self._sets.forget(self._cgroups.cpuset_paths(pod)[0])

    def allowed(self, pod: Instance) -> CpuSet:
        """The CPUs its container may use."""
        return self._sets.allowed(self._cgroups.cpuset_paths(pod)[-1])

    def follow(self) -> None:
        """Take what an agent wrote: sets of CPUs, and ceilings."""
        self._sets.follow()
        for core in self._machine.cores:
            # A thread whose sibling may be faster is as fast as that one.
            ceilings = [self._tree.read(f"{FOLDER}/cpufreq/policy{cpu}/scaling_max_freq") for cpu in core.cpus]
            fastest = max(int(each.partition("\n")[0]) for each in ceilings)
            for cpu in core.cpus:
                self._tree.swap(f"{FOLDER}/cpufreq/policy{cpu}/scaling_cur_freq", f"{fastest}\n")
