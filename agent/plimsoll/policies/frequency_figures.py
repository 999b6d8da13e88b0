"""
What a decision on frequencies came to, counted, and whether the CPUs run as their groups should.

It must not decide anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.frequency import Backend, Unit
from plimsoll.model.frequency_groups import Cause, Group, GroupFigures
from plimsoll.policies.frequency_ceiling import shared_floor
from plimsoll.policies.frequency_groups import Ground, Groups

# Cycles are counted over a time, and a ratio of the hardware is 100 MHz.
_TOLERANCE: Final = 0.05

SENTENCES: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.START: "what is needed is not known yet",
        Cause.FULL: "it is full, and hides what is needed",
        Cause.USED: "high-priority pods use most of it",
        Cause.UNUSED: "less is used than it was made for",
        Cause.REQUESTS: "requests and the configured minimum are covered",
        Cause.NO_FIGURES: "not all use is known",
        Cause.FITS: "it fits",
    }
)
"""For people."""


def figures(ground: Ground, groups: Groups, config: FrequencySection, *, busy: bool) -> Mapping[Group, GroupFigures]:
    """Of each group. ``busy``: most of the high group is used, so that none of its CPUs has a reason to be slow."""
    names = frozenset(each.name for each in ground.units)
    members = {
        Group.HIGH: groups.high & names,
        Group.LOW: groups.low & names,
        Group.NEITHER: names - groups.high - groups.low,
    }
    found: dict[Group, GroupFigures] = {}
    for group, chosen in members.items():
        units = [each for each in ground.units if each.name in chosen]
        cpus = frozenset().union(*(each.cpus for each in units))
        ran = [ground.sample.megahertz[cpu] for cpu in sorted(cpus) if cpu in ground.sample.megahertz]
        mean = sum(ran) / len(ran) if ran else None
        astray = None
        if config.mode == "enforce" and group is not Group.NEITHER and ran:
            astray = _astray(group, units, ground, groups, config, busy=busy)
        found[group] = GroupFigures(len(units), cpus, mean, astray)
    return found


def _astray(
    group: Group, units: Collection[Unit], ground: Ground, groups: Groups, config: FrequencySection, *, busy: bool
) -> frozenset[int]:
    ran = ground.sample.megahertz
    raising = {name for name, _ in groups.raising}
    found: set[int] = set()
    for each in units:
        if each.name in raising:
            continue
        if group is Group.LOW:
            ceiling = ground.lowerable.get(each.name)
            found |= {cpu for cpu in each.cpus if ceiling and ran.get(cpu, 0) > ceiling * (1 + _TOLERANCE)}
        else:
            least = _least(each, ground, config, busy=busy)
            found |= {cpu for cpu in each.cpus & ran.keys() if ran[cpu] < least * (1 - _TOLERANCE)}
    return frozenset(found)


def _least(unit: Unit, ground: Ground, config: FrequencySection, *, busy: bool) -> int:
    """
    What a CPU of the high group runs at while it runs at all.

    Without a floor of ours a CPU with little to do may be slow by its governor's own choice, but not one that is busy.
    """
    cpufreq = ground.sample.backend is Backend.CPUFREQ
    if cpufreq and config.high_group_min_mhz == "auto":
        return ground.lowerable.get(unit.name, 0) if busy else 0
    peers = [unit] if cpufreq else [each for each in ground.units if _domain(each) == _domain(unit)]
    return shared_floor(peers, config.high_group_min_mhz)


def _domain(unit: Unit) -> tuple[int, int]:
    return unit.package, unit.domain
