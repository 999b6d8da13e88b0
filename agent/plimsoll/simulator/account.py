"""What the kernel keeps of one cgroup while it lives: pressure and counters, advanced by what the cgroup got."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, PRESSURE_STAT_FULL_ONLY
from plimsoll.simulator.contention import Use
from plimsoll.simulator.psi import PsiGroup, Stall, together

_MEMORY_CAUSES = tuple(cause for cause in PRESSURE_STAT_CAUSES if cause not in PRESSURE_STAT_FULL_ONLY)
_CFS_PERIOD_SECONDS = 0.1
# Interrupts steal a little from every pod that runs.
_IRQ_SHARE = 0.002


class Account:
    """
    One cgroup's books. ``split``: the kernel divides pressure by cause (openEuler), and counts swap-in as memory stall.

    Without ``split`` waiting for swap-in is seen in ``io`` only, as on a stock kernel with the classic LRU.
    """

    def __init__(self, *, split: bool) -> None:
        self._split = split
        causes = {"cpu": True, "memory": True, "io": True, "irq": False}
        if split:
            causes |= {cause: cause not in PRESSURE_STAT_FULL_ONLY for cause in PRESSURE_STAT_CAUSES}
        self.psi = PsiGroup(causes)
        self.cpu_ns = 0.0
        self.periods = 0.0
        self.throttled_periods = 0.0
        self.throttled_ns = 0.0
        self.memory = 0
        self.swapped = 0
        self.refaults = 0.0
        self.limit_hits = 0.0
        self.io_bytes = 0.0

    def advance(self, duration_ns: int, uses: Iterable[Use]) -> None:
        """Add ``duration_ns`` nanoseconds of what this cgroup, one pod or many, got."""
        pods = tuple(uses)
        seconds = duration_ns / 1e9
        self.psi.advance(duration_ns, self._stalls(pods))
        self.memory = sum(use.memory for use in pods)
        self.swapped = sum(use.swapped for use in pods)
        for use in pods:
            self.cpu_ns += use.cpu * duration_ns
            # A throttled group's clock stands still on each CPU it ran on.
            self.throttled_ns += use.throttled * use.parallel * duration_ns
            self.periods += seconds / _CFS_PERIOD_SECONDS
            self.throttled_periods += seconds / _CFS_PERIOD_SECONDS * (use.throttled > 0)
            self.refaults += use.refaults * seconds
            self.limit_hits += use.limit_hits * seconds
            self.io_bytes += use.io * seconds

    def _stalls(self, pods: tuple[Use, ...]) -> Mapping[str, Stall]:
        if not pods:
            return {}
        found = {cause: together(use.stalls[cause] for use in pods) for cause in pods[0].stalls}
        counted = _MEMORY_CAUSES if self._split else tuple(each for each in _MEMORY_CAUSES if each != "swap")
        found["memory"] = together(_any(use.stalls[cause] for cause in counted) for use in pods)
        if not self._split:
            found["io"] = together(_any((use.stalls["io"], use.stalls["swap"])) for use in pods)
        found["irq"] = Stall(None, min(1.0, _IRQ_SHARE * sum(use.cpu for use in pods)))
        return found


def _any(stalls: Iterable[Stall]) -> Stall:
    """The stall of one pod for any of several reasons."""
    some = full = 1.0
    for each in stalls:
        some *= 1.0 - (each.some or 0.0)
        full *= 1.0 - each.full
    return Stall(1.0 - some, 1.0 - full)
