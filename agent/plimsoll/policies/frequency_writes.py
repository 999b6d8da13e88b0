"""
What the groups come to, as values of knobs, in the order in which they may be written.

The phases keep high-priority pods off slow CPUs after every single write, and in the reverse order while everything is
put back. It must not decide which unit is in which group.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.cpus import CpuSet, format_cpus
from plimsoll.model.frequency import Backend, Unit
from plimsoll.model.plan import Knob, Target, TargetKind, Write, cgroup
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.frequency_ceiling import shared_ceiling, shared_floor, shared_lowest, unit_floor
from plimsoll.policies.frequency_groups import HIGH_CLASS, LOW_CLASS, Ground, Groups
from plimsoll.policies.frequency_roles import Home, node_of

RAISE, OTHERS, STEER, LOWER, CLASSES, PRIORITISE, TURBO = 10, 20, 30, 40, 45, 50, 55
"""The phases. What a high-priority pod could suffer from depends on all that comes before it."""

ALL_RATIOS = "f" * 16
"""Every turbo ratio limit as high as it goes: the hardware takes its own for what is beyond."""

CPUSET_V2, CPUSET_V1, ENERGY = "cpuset-v2", "cpuset-v1", "energy-preference"
"""Capabilities."""


class Scheme(NamedTuple):
    """
    Everything there is to say. ``fast``: CPUs high-priority pods may be given; ``turbo``: packages whose turbo
    frequency is to be on; ``armed``: the hardware is to heed the classes.
    """

    policy: str
    ground: Ground
    groups: Groups
    fast: CpuSet
    homes: Mapping[str, Home]
    turbo: frozenset[int]
    armed: bool
    reason: str


def writes(scheme: Scheme, config: FrequencySection, capabilities: Collection[str]) -> tuple[Write, ...]:
    """All of them. Some phase may be empty; a later one never depends on something that is not there."""
    made: list[Write] = []
    if scheme.ground.sample.backend is Backend.CPUFREQ:
        made.extend(_cpufreq(scheme, config, capabilities))
    else:
        made.extend(_associations(scheme))
        if scheme.armed:
            made.extend(_classes(scheme, config))
            made.extend(_packages(scheme))
    if CPUSET_V2 in capabilities or CPUSET_V1 in capabilities:
        made.extend(_cpusets(scheme, containers=CPUSET_V2 not in capabilities))
    return tuple(made)


def _associations(scheme: Scheme) -> Iterator[Write]:
    raising = {name for name, _ in scheme.groups.raising}
    for each in scheme.ground.units:
        target = Target(TargetKind.UNIT, each.name)
        if each.name in scheme.groups.low:
            yield _chained(scheme, (target, Knob.CLOS_ASSOCIATION), str(LOW_CLASS), LOWER, "it is in the low group")
            continue
        write = _write(scheme, (target, Knob.CLOS_ASSOCIATION), str(HIGH_CLASS), RAISE, _standing(each, scheme))
        # One that has long been fast is nothing the others have to wait for.
        yield write._replace(chain=scheme.policy) if each.name in raising else write


def _cpufreq(scheme: Scheme, config: FrequencySection, capabilities: Collection[str]) -> Iterator[Write]:
    for unit in scheme.ground.units:
        # SMT siblings may have a policy each: one alone limits nothing while the other asks for more.
        for path in unit.targets or (unit.name,):
            yield from _policy(scheme, unit, Target(TargetKind.UNIT, path), config, capabilities)


def _policy(
    scheme: Scheme, unit: Unit, target: Target, config: FrequencySection, capabilities: Collection[str]
) -> Iterator[Write]:
    groups = scheme.groups
    raising = {name for name, _ in groups.raising}
    if unit.name in groups.low:
        ceiling = scheme.ground.lowerable[unit.name]
        why = "it is in the low group"
        yield _chained(scheme, (target, Knob.SCALING_MAX_FREQ), str(ceiling * 1000), LOWER, why)
        if config.energy_preference == "auto" and ENERGY in capabilities:
            yield _write(scheme, (target, Knob.ENERGY_PREFERENCE), "power", LOWER, why)
        return
    # These files show what is in force, not what was asked for. A unit that never was slow is left as it is found:
    # a limit of the moment, by heat say, would be taken for its original. One that was raised from such a limit stays
    # asked for: to give up the wish would be to put that limit back, for good.
    if unit.highest is not None and unit.name in groups.touched | groups.raised:
        top = str(unit.highest * 1000)
        write = _write(scheme, (target, Knob.SCALING_MAX_FREQ), top, RAISE, _standing(unit, scheme))
        yield write._replace(chain=scheme.policy) if unit.name in raising else write
    if config.high_group_min_mhz != "auto" and unit.name in groups.high:
        floor = unit_floor(unit, config.high_group_min_mhz)
        yield _write(scheme, (target, Knob.SCALING_MIN_FREQ), str(floor * 1000), RAISE, _standing(unit, scheme))


def _standing(unit: Unit, scheme: Scheme) -> str:
    if unit.name in scheme.groups.high:
        return f"it is in the high group: {scheme.reason}"
    return "it is in neither group, or about to leave the high one"


def _classes(scheme: Scheme, config: FrequencySection) -> Iterator[Write]:
    domains: dict[tuple[int, int], list[Unit]] = {}
    for each in scheme.ground.units:
        domains.setdefault((each.package, each.domain), []).append(each)
    for (package, domain), units in sorted(domains.items()):
        ceiling = shared_ceiling(units, config.low_group_max_mhz)
        if ceiling is None:
            continue
        texts = (
            (HIGH_CLASS, 0, shared_floor(units, config.high_group_min_mhz), "none"),
            (LOW_CLASS, 15, shared_lowest(units, ceiling), str(ceiling)),
        )
        for number, priority, floor, top in texts:
            value = f"prio={priority} min={floor} max={top}"
            if scheme.ground.sample.backend is Backend.MAILBOX:
                value += f" epp={priority} desired=0"
            target = Target(TargetKind.CLASS, f"{package}/{domain}/{number}")
            why = "what the low group may reach" if number == LOW_CLASS else "what the high group is given first"
            yield _chained(scheme, (target, Knob.CLOS_PARAMETERS), value, CLASSES, why)


def _packages(scheme: Scheme) -> Iterator[Write]:
    for package in sorted({each.package for each in scheme.ground.units}):
        target = Target(TargetKind.PACKAGE, str(package))
        yield _chained(scheme, (target, Knob.CORE_POWER), "ordered", PRIORITISE, "classes of service count")
        if package in scheme.turbo:
            why = "the high group may use the low one's turbo"
            # Without the limits the ordinary turbo table would still hold the high group back.
            yield _chained(scheme, (target, Knob.TURBO_FREQUENCY), "on", TURBO, why)
            yield _chained(scheme, (target, Knob.TURBO_LIMITS), ALL_RATIOS, TURBO, why)


def _cpusets(scheme: Scheme, *, containers: bool) -> Iterator[Write]:
    pods, groups = scheme.ground.pods, scheme.groups
    drained = {each.name for each in scheme.ground.units} & scheme.ground.lowerable.keys() - groups.high
    # While nothing is slow yet, what will be has to do.
    slow = _cpus(scheme, groups.low or drained) - pods.taken
    for each in pods.high:
        home = scheme.homes.get(each.pod.uid)
        near = _near(scheme, home) if home is not None else scheme.fast
        # With no CPU left to choose from there are no slow ones either; to want nothing would be to let it go first.
        cpus = near or scheme.fast or scheme.ground.everything
        yield from _steer(scheme, each, cpus, STEER, containers=containers)
    for each in pods.low:
        # In the same phase what they are given: nobody of high priority is left there. In a later one it would be put
        # back before everything is fast, also of a pod that has become a high-priority one.
        yield from _steer(scheme, each, slow, OTHERS, containers=containers)
    for each in pods.both:
        yield from _steer(scheme, each, scheme.ground.everything - pods.taken, OTHERS, containers=containers)


def _near(scheme: Scheme, home: Home) -> CpuSet:
    return frozenset().union(*(each.cpus for each in scheme.ground.units if node_of(each) in home)) & scheme.fast


def _steer(scheme: Scheme, sample: PodSample, cpus: CpuSet, phase: int, *, containers: bool) -> Iterator[Write]:
    if not cpus or sample.cgroup is None:
        # A cgroup without a CPU cannot have tasks.
        return
    chain = scheme.policy if phase == STEER else ""
    why = f"{sample.pod.priority}-priority pods run on these CPUs: {scheme.reason}"
    paths = (*sample.container_cgroups, sample.cgroup) if containers else (sample.cgroup,)
    for path in paths:
        yield Write(cgroup(path), Knob.CPUSET_CPUS, format_cpus(cpus), scheme.policy, why, phase=phase, chain=chain)


def _cpus(scheme: Scheme, names: Iterable[str]) -> CpuSet:
    chosen = frozenset(names)
    return frozenset().union(*(each.cpus for each in scheme.ground.units if each.name in chosen))


def _write(scheme: Scheme, key: tuple[Target, Knob], value: str, phase: int, reason: str) -> Write:
    return Write(*key, value, scheme.policy, reason, phase=phase)


def _chained(scheme: Scheme, key: tuple[Target, Knob], value: str, phase: int, reason: str) -> Write:
    return _write(scheme, key, value, phase, reason)._replace(chain=scheme.policy)
