"""
The CPUs of a simulated node: what they are, how fast an agent lets them be, and which of them a pod may use.

A CPU runs at the ceiling of its core. What a slow one costs a pod is not modelled, only how many it has; what a fast
one takes is (power.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from plimsoll.config.machine import Machine
from plimsoll.model.cpus import CpuSet
from plimsoll.simulator.cpu_sets import CpuSets
from plimsoll.simulator.powercap import Powercap
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance

_THREADS = 2
_KHZ = 1000
# Of one package of four such cores.
_TDP_WATTS = 65.0


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
        self._fastest: dict[int, float] = {}
        self._powercap = Powercap(tree, self._described())
        self.follow()

    def add(self, pod: Instance) -> None:
        """A pod that starts."""
        self._sets.make(self._cgroups.cpuset_paths(pod))

    def remove(self, pod: Instance) -> None:
        """A pod that is over."""
        self._sets.forget(self._cgroups.cpuset_paths(pod)[0])

    def allowed(self, pod: Instance) -> CpuSet:
        """The CPUs its container may use."""
        return self._sets.allowed(self._cgroups.cpuset_paths(pod)[-1])

    def spend(self, seconds: float, uses: Iterable[tuple[Instance, float]]) -> None:
        """So long, pods have used so many CPUs: each of those they may use alike."""
        busy = dict.fromkeys(self._machine.cpus, 0.0)
        for pod, used in uses:
            cpus = self.allowed(pod)
            for cpu in cpus:
                busy[cpu] += used / len(cpus)
        self._powercap.spend(
            seconds,
            [
                (min(1.0, sum(busy[cpu] for cpu in core.cpus)), self._fastest[core.cpus[0]])
                for core in self._machine.cores
            ],
        )

    def follow(self) -> None:
        """Take what an agent wrote: sets of CPUs, and ceilings; show what has come of them."""
        self._sets.follow()
        self._powercap.show()
        for core in self._machine.cores:
            # A thread whose sibling may be faster is as fast as that one.
            ceilings = [self._tree.read(f"{FOLDER}/cpufreq/policy{cpu}/scaling_max_freq") for cpu in core.cpus]
            fastest = max(int(each.partition("\n")[0]) for each in ceilings)
            self._fastest[core.cpus[0]] = fastest / _KHZ
            for cpu in core.cpus:
                self._tree.swap(f"{FOLDER}/cpufreq/policy{cpu}/scaling_cur_freq", f"{fastest}\n")

    def _described(self) -> Machine:
        """The same machine, as a model of power knows it."""
        first = f"{FOLDER}/cpufreq/policy{self._machine.cpus[0]}"
        lowest, base, highest = (
            int(self._tree.read(f"{first}/{name}")) // _KHZ
            for name in ("cpuinfo_min_freq", "base_frequency", "cpuinfo_max_freq")
        )
        return Machine(
            packages=1,
            cores=len(self._machine.cores),
            threads=_THREADS,
            lowestMHz=lowest,
            baseMHz=base,
            turboMHz=highest,
            tdpWatts=_TDP_WATTS,
        )
