"""
What one frequency decision addresses on this node, from its topology: it holds until CPUs go on or off line.

It must not know what stands in any register or file now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.kernel.cpufreq import FrequencyPolicy, read_policies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import Domain, PerfLevel
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.topology import Cpu, read_topology
from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Backend, Unit


class Layout(NamedTuple):
    """
    ``policies``: by unit, the names of the cpufreq policies that have its CPUs, also where it is not cpufreq that sets
    frequencies; ``policy``: by CPU. ``cores``: by CPU, its online siblings.
    """

    backend: Backend = Backend.NONE
    units: tuple[Unit, ...] = ()
    policies: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    policy: Mapping[int, str] = MappingProxyType({})
    cores: Mapping[int, CpuSet] = MappingProxyType({})


def lay_out(host: HostFs, found: Platform | Absence) -> Layout:
    """Speed Select where it can be used, else cpufreq where it can, else nothing."""
    cpus = {each.number: each for each in read_topology(host)}
    policies = read_policies(host)
    cores = {each.number: each.core for each in cpus.values()}
    if not isinstance(found, Absence):
        backend, units = found.generation, _of_platform(found, cpus, policies)
    else:
        units = _of_policies(cpus, [each for each in policies if each.maximum is not None and each.highest is not None])
        backend = Backend.CPUFREQ if units else Backend.NONE
    policy = {cpu: each.name for each in policies for cpu in sorted(each.cpus)}
    return Layout(
        backend=backend,
        units=tuple(sorted(units, key=lambda each: (each.package, each.domain, min(each.cpus)))),
        policies={each.name: _names(each.cpus, policy) for each in units},
        policy=policy,
        cores=cores,
    )


def _names(cpus: CpuSet, policy: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(policy[cpu] for cpu in sorted(cpus) if cpu in policy))


def _of_platform(platform: Platform, cpus: Mapping[int, Cpu], policies: Sequence[FrequencyPolicy]) -> list[Unit]:
    by_cpu = {cpu: (policy,) for policy in policies for cpu in policy.cpus}
    levels = {(each.package, each.domain): _level(platform, each) for each in platform.domains if each.cpu is not None}
    units = []
    for each in platform.units:
        first = cpus.get(min(each.cpus))
        level = levels.get((each.package, each.domain))
        unit = Unit(
            name=each.name,
            package=each.package,
            domain=each.domain,
            cpus=each.cpus,
            numa=None if first is None else first.numa,
            cache=None if first is None else first.cache,
        )
        unit = _ranged(unit, [policy for cpu in each.cpus for policy in by_cpu.get(cpu, ())])
        if level is not None:
            # A node whose frequencies the firmware scales has no cpufreq, and Speed Select all the same.
            unit = unit._replace(
                base=unit.base if unit.base is not None else next(iter(level.base), None),
                highest=unit.highest if unit.highest is not None else level.highest,
            )
        units.append(unit)
    return units


def _level(platform: Platform, domain: Domain) -> PerfLevel | None:
    levels = platform.binding.perf_levels(domain).value
    return None if levels is None else platform.binding.perf_level(domain, levels.current).value


def _of_policies(cpus: Mapping[int, Cpu], policies: Sequence[FrequencyPolicy]) -> list[Unit]:
    """
    One for all the policies that have CPUs of the same cores.

    A thread whose sibling asks for more runs as fast as that one, whatever its own limit: one without the other would
    limit nothing.
    """
    units = []
    for together in _joined(cpus, policies):
        members = frozenset().union(*(each.cpus for each in together))
        first = cpus.get(min(members))
        unit = Unit(
            name=together[0].name,
            package=0 if first is None else first.package,
            domain=0,
            cpus=members,
            numa=None if first is None else first.numa,
            cache=None if first is None else first.cache,
            targets=tuple(each.name for each in together) if len(together) > 1 else (),
        )
        units.append(_ranged(unit, together))
    return units


def _joined(cpus: Mapping[int, Cpu], policies: Sequence[FrequencyPolicy]) -> list[list[FrequencyPolicy]]:
    """Policies in groups that share no core. Each group is in the order given."""
    groups: list[tuple[set[int], list[FrequencyPolicy]]] = []
    for policy in policies:
        reach = set(policy.cpus)
        for cpu in policy.cpus:
            reach |= cpus[cpu].core if cpu in cpus else frozenset()
        touching = [group for group in groups if group[0] & reach]
        joined: list[FrequencyPolicy] = []
        for group in touching:
            reach |= group[0]
            joined += group[1]
            groups.remove(group)
        groups.append((reach, [*joined, policy]))
    return [joined for _, joined in groups]


def _ranged(unit: Unit, policies: Sequence[FrequencyPolicy]) -> Unit:
    """With what all of these policies can do."""
    lowest = [each.lowest for each in policies if each.lowest is not None]
    base = [each.base for each in policies if each.base is not None]
    highest = [each.highest for each in policies if each.highest is not None]
    tables = {each.steps for each in policies}
    return unit._replace(
        lowest=max(lowest, default=None),
        base=min(base, default=None),
        highest=min(highest, default=None),
        steps=next(iter(tables)) if len(tables) == 1 else (),
    )
