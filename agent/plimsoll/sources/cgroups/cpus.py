"""Which CPUs pods may use, and how much of them they do."""

from __future__ import annotations

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.topology import read_cpus
from plimsoll.model.cpus import CpuSet

_NONE: CpuSet = frozenset()


class CpuUse:
    """The CPU time of one pod as the last tick saw it."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def forget(self) -> None:
        """The cgroup is another one, or none."""
        self._last = None

    def advance(self, microseconds: int | None, interval: float | None) -> float | None:
        """
        CPUs' worth of time used in the ``interval`` seconds since the last tick.

        ``None`` for the first tick, for a counter that went backwards and for an interval that is none.
        """
        before, self._last = self._last, microseconds
        if before is None or microseconds is None or not interval or interval < 0 or microseconds < before:
            return None
        return (microseconds - before) / 1e6 / interval


class CpuFiles:
    """The CPU sets of cgroups. They are lists, which the batch reader does not know, and are read one by one."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._directory = hierarchies.directory("cpuset")
        v2 = self._directory is not None and self._directory is hierarchies.unified
        self._effective = "cpuset.cpus.effective" if v2 else "cpuset.effective_cpus"

    def effective(self, path: str) -> CpuSet | None:
        """Where the cgroup may run now; ``None`` when that cannot be known."""
        return self._read(f"{path}/{self._effective}")

    def written(self, path: str) -> CpuSet:
        """What is written down for it; no CPU where it inherits, or cannot be known."""
        return self._read(f"{path}/cpuset.cpus") or _NONE

    def _read(self, path: str) -> CpuSet | None:
        return None if self._directory is None else read_cpus(self._directory, path)
