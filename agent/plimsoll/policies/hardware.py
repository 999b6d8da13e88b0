"""
The parts of the CPUs one snapshot shows, as targets: what is not there is never written.

This module must not know any policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plimsoll.model.cpus import CpuSet, parse_cpus
from plimsoll.model.frequency import Backend, FrequencySample, Unit
from plimsoll.model.plan import Knob, Target, TargetKind

_CPUFREQ = frozenset({Knob.SCALING_MIN_FREQ, Knob.SCALING_MAX_FREQ, Knob.ENERGY_PREFERENCE})
_SPEED_SELECT = frozenset(
    {
        Knob.CLOS_ASSOCIATION,
        Knob.CLOS_PARAMETERS,
        Knob.CORE_POWER,
        Knob.TURBO_FREQUENCY,
        Knob.TURBO_LIMITS,
    }
)
_KNOBS: Mapping[Backend, frozenset[Knob]] = {
    Backend.TPMI: _SPEED_SELECT,
    Backend.MAILBOX: _SPEED_SELECT,
    Backend.CPUFREQ: _CPUFREQ,
    Backend.NONE: frozenset(),
}
# The two classes of service in between may be somebody else's.
_CLASSES = ("0", "3")


class Hardware:
    """What one observation of the node's frequencies shows."""

    __slots__ = ("_cpus", "_knobs", "_others", "_units")

    def __init__(self, sample: FrequencySample | None) -> None:
        units = sample.units if sample is not None and not sample.foreign else ()
        self._knobs = _KNOBS[sample.backend] if sample is not None else frozenset()
        self._units: Mapping[str, Unit] = {path: each for each in units for path in each.targets or (each.name,)}
        self._cpus: CpuSet = frozenset().union(*(each.cpus for each in units))
        self._others = frozenset(target for each in units for target in _above(each))

    def has(self, target: Target, knob: Knob) -> bool:
        """Whether this is a part of the CPUs that has such a knob."""
        there = target.path in self._units if target.kind is TargetKind.UNIT else target in self._others
        return there and knob in self._knobs

    def fits(self, target: Target, knob: Knob, value: str) -> bool:
        """Whether a value that is one of this knob's is one for this target; ``has`` it, or a cgroup."""
        if knob is Knob.CPUSET_CPUS:
            return parse_cpus(value) <= self._cpus
        if knob not in (Knob.SCALING_MIN_FREQ, Knob.SCALING_MAX_FREQ):
            return True
        unit = self._units[target.path]
        khz = int(value)
        return (unit.lowest or 0) * 1000 <= khz and (unit.highest is None or khz <= unit.highest * 1000)


def _above(unit: Unit) -> Iterator[Target]:
    yield Target(TargetKind.PACKAGE, str(unit.package))
    for each in _CLASSES:
        yield Target(TargetKind.CLASS, f"{unit.package}/{unit.domain}/{each}")
