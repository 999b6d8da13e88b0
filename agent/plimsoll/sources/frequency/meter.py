"""
How fast the CPUs really ran and how much power the packages took, each between two readings of a counter.

Readings take their turn within a bounded time, so that a large machine's tick is not longer than a small one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from plimsoll.kernel.cpufreq import read_current
from plimsoll.kernel.energy import Energy, read_energy, spent
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.msr import Cycles, megahertz, read_cycles
from plimsoll.model.frequency import Unit
from plimsoll.sources.frequency.layout import Layout
from plimsoll.sources.frequency.turn import Turn

# Before Linux 5.18 a CPU that was not asked for long is measured for 10 ms when somebody reads scaling_cur_freq.
_SECONDS: Final = 0.02
_MICRO: Final = 1e-6


class SpeedMeter:
    """MHz by CPU, by APERF and MPERF where those may be read, else as the driver says."""

    def __init__(self, host: HostFs, clock: Callable[[], float]) -> None:
        self._host = host
        self._turn: Turn[tuple[int, Unit]] = Turn(clock, _SECONDS)
        self._cycles: dict[int, Cycles] = {}
        self._found: dict[int, float] = {}

    def read(self, layout: Layout) -> Mapping[int, float]:
        """
        The last figure of each online CPU. A CPU that was idle all the time since its last turn has none.

        Of a policy's CPUs the driver knows one figure, which all of them are given.
        """
        pairs = [(cpu, unit) for unit in layout.units for cpu in sorted(unit.cpus)]
        online = {cpu for cpu, _ in pairs}
        self._cycles = {cpu: each for cpu, each in self._cycles.items() if cpu in online}
        self._found = {cpu: each for cpu, each in self._found.items() if cpu in online}
        for cpu, unit in self._turn.take(pairs):
            self._one(cpu, unit, layout.policy.get(cpu))
        return dict(self._found)

    def _one(self, cpu: int, unit: Unit, policy: str | None) -> None:
        now = None if unit.base is None else read_cycles(self._host, (cpu,)).get(cpu)
        figure: float | None = None
        if now is not None and unit.base is not None:
            before = self._cycles.get(cpu)
            figure = None if before is None else megahertz(before, now, unit.base)
            self._cycles[cpu] = now
        elif policy is not None:
            figure = read_current(self._host, policy)
        if figure is None:
            self._found.pop(cpu, None)
        else:
            self._found[cpu] = float(figure)


class PowerMeter:
    """Watts by package, from its energy counters."""

    def __init__(self, host: HostFs, clock: Callable[[], float]) -> None:
        self._host = host
        self._clock = clock
        self._before: tuple[float, Mapping[str, Energy]] | None = None

    def read(self) -> Mapping[int, float]:
        """Since the last reading; nothing the first time, and none of a package one of whose counters is new."""
        begun, zones = self._clock(), read_energy(self._host)
        # The middle: whoever is held up on one side of the reading would share out a longer time's energy to a shorter.
        now = (begun + self._clock()) / 2
        before, self._before = self._before, (now, {each.zone: each for each in zones})
        if before is None or now <= before[0]:
            return {}
        found: dict[int, float] = {}
        for package in {each.package for each in zones}:
            joules = _joules(before[1], [each for each in zones if each.package == package])
            if joules is not None:
                found[package] = joules / (now - before[0])
        return found


def _joules(before: Mapping[str, Energy], zones: Sequence[Energy]) -> float | None:
    """What these counters of one package went up by."""
    pairs = [(before.get(each.zone), each) for each in zones]
    known = [(then, now) for then, now in pairs if then is not None and then.package == now.package]
    return None if len(known) != len(zones) else sum(spent(*each) for each in known) * _MICRO
