"""
Which CPUs the cgroups of a simulated node may use: what an agent wrote, and what comes of it down the tree.

It must not know which cgroup is whose. That a kernel refuses some sets (cgroup v1) is not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from plimsoll.model.cpus import CpuSet, format_cpus, parse_cpus
from plimsoll.simulator.tree import Tree


class CpuSets:
    """
    The files below ``base``, a folder of cgroups; ``effective`` is what the kernel calls the one it writes itself.

    ``inherits``: a new cgroup has no set of its own (cgroup v2), else its parent's (cgroup v1).
    """

    def __init__(self, tree: Tree, base: str, effective: str, cpus: CpuSet, *, inherits: bool) -> None:
        self._tree = tree
        self._base = base
        self._effective = effective
        self._cpus = cpus
        self._inherits = inherits
        self._paths: dict[str, CpuSet] = {}

    def make(self, paths: Sequence[str]) -> None:
        """New cgroups, a parent before its children."""
        for path in paths:
            above = self._paths.get(path.rpartition("/")[0], self._cpus)
            self._tree.fixed(f"{self._base}/{path}/cpuset.cpus", "\n" if self._inherits else f"{format_cpus(above)}\n")
            self._show(path, above)

    def forget(self, path: str) -> None:
        """A cgroup is gone, with all below it."""
        for each in [each for each in self._paths if f"{each}/".startswith(f"{path}/")]:
            del self._paths[each]

    def follow(self) -> None:
        """Take what stands in the files now."""
        for path in self._paths:
            text = self._tree.read(f"{self._base}/{path}/cpuset.cpus").partition("\n")[0]
            above = self._paths.get(path.rpartition("/")[0], self._cpus)
            found = (parse_cpus(text) & above) or above
            if found != self._paths[path]:
                self._show(path, found)

    def allowed(self, path: str) -> CpuSet:
        """Where the tasks of a cgroup run."""
        return self._paths[path]

    def _show(self, path: str, cpus: CpuSet) -> None:
        self._paths[path] = cpus
        self._tree.swap(f"{self._base}/{path}/{self._effective}", f"{format_cpus(cpus)}\n")
