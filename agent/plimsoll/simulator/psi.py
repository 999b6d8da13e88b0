"""
The kernel's pressure arithmetic (kernel/sched/psi.c), in integers as there: totals, and averages sampled from them.

Knows time and shares only; what stalls, and which file shows it, is the business of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from plimsoll.model.pressure import Pressure, PressureLine, Source

# PSI_FREQ is 2*HZ+1 jiffies: 2.004 s with the HZ=250 that Debian and openEuler (arm64) build with.
PERIOD_NS = 2_004_000_000
# Averages are fixed-point numbers of 11 bits; the constants are 1/exp(2s/10s), 1/exp(2s/60s), 1/exp(2s/300s) of psi.c.
_SHIFT = 11
_ONE = 1 << _SHIFT
_DECAY = (1677, 1981, 2034)


class Stall(NamedTuple):
    """
    The share of a stretch of time, 0 to 1, in which some task waited and in which all did; ``full`` <= ``some``.

    ``some`` is ``None`` where the kernel keeps no such line.
    """

    some: float | None
    full: float


NO_STALL = Stall(0.0, 0.0)


def together(stalls: Iterable[Stall]) -> Stall:
    """The stall of a group of groups that wait independently: some waits when any does, all wait when each does."""
    free, full, lined, seen = 1.0, 1.0, False, False
    for each in stalls:
        seen = True
        if each.some is not None:
            lined = True
            free *= 1.0 - each.some
        full *= each.full
    if not seen:
        return NO_STALL
    return Stall(1.0 - free if lined else None, min(full, 1.0 - free) if lined else full)


def _calc_load(load: int, decay: int, active: int) -> int:
    """calc_load() of include/linux/sched/loadavg.h: rounds up while the load rises, so that it can reach its goal."""
    new = load * decay + active * (_ONE - decay)
    if active >= load:
        new += _ONE - 1
    return new >> _SHIFT


class Counter:
    """One ``some`` or ``full`` line: time stalled since birth, and its three averages."""

    __slots__ = ("_averages", "_sampled_ns", "_total_ns")

    def __init__(self) -> None:
        self._total_ns = 0
        self._sampled_ns = 0
        self._averages = [0, 0, 0]

    def add(self, stalled_ns: int) -> None:
        self._total_ns += stalled_ns

    def sample(self, period_ns: int) -> None:
        """Fold what came since the last sample into the averages; what exceeds the period is kept for the next."""
        sample = min(self._total_ns - self._sampled_ns, period_ns)
        self._sampled_ns += sample
        active = (sample * 100 // period_ns) << _SHIFT
        self._averages = [_calc_load(load, decay, active) for load, decay in zip(self._averages, _DECAY, strict=True)]

    def line(self) -> PressureLine:
        ten, sixty, three_hundred = (
            (load >> _SHIFT) * 100 + (((load & (_ONE - 1)) * 100) >> _SHIFT) for load in self._averages
        )
        return PressureLine(ten, sixty, three_hundred, self._total_ns // 1000)


class PsiGroup:
    """
    The pressure of one cgroup. ``causes`` maps each cause it shows to whether it has a ``some`` line beside ``full``.

    A cause of which nothing is heard in a step does not stall in it.
    """

    def __init__(self, causes: Mapping[str, bool]) -> None:
        self._counters = {cause: (Counter() if some else None, Counter()) for cause, some in causes.items()}
        self._since_ns = 0

    def advance(self, duration_ns: int, stalls: Mapping[str, Stall]) -> None:
        """Let ``duration_ns`` nanoseconds pass with these stalls; the averages follow at the end of each period."""
        while duration_ns > 0:
            step = min(duration_ns, PERIOD_NS - self._since_ns)
            for cause, (some, full) in self._counters.items():
                stall = stalls.get(cause, NO_STALL)
                full.add(round(stall.full * step))
                if some is not None:
                    some.add(round((stall.some or 0.0) * step))
            duration_ns -= step
            self._since_ns += step
            if self._since_ns == PERIOD_NS:
                self._since_ns = 0
                for some, full in self._counters.values():
                    full.sample(PERIOD_NS)
                    if some is not None:
                        some.sample(PERIOD_NS)

    def lines(self, cause: str) -> tuple[PressureLine | None, PressureLine]:
        """(some, full) of one cause. Raises KeyError for one this group does not show."""
        some, full = self._counters[cause]
        return (None if some is None else some.line()), full.line()

    def pressures(self, causes: Iterable[str]) -> tuple[Pressure, ...]:
        """The sections of a ``pressure.stat``, in the order given."""
        return tuple(Pressure(cause, Source.PRESSURE_STAT, *self.lines(cause)) for cause in causes)
