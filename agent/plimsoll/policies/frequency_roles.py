"""
Who is who among the pods, as far as frequencies go, and where each of them can be.

Looks at one snapshot only; it must not know which CPUs are fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Unit
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample

Home = frozenset[int]
"""NUMA nodes, as :func:`node_of` names them."""


class Roles(NamedTuple):
    """
    ``high``/``low``/``both``: the pods to be steered, by where they may run. ``pinned_high``: high-priority pods that
    run on CPUs of their own, ``exclusive`` those CPUs; ``taken``: the CPUs the kubelet gave to any container alone.
    ``pending``: UIDs of high-priority pods whose cgroup is not there yet.
    """

    high: tuple[PodSample, ...]
    low: tuple[PodSample, ...]
    both: tuple[PodSample, ...]
    pinned_high: tuple[PodSample, ...]
    exclusive: CpuSet
    taken: CpuSet
    pending: tuple[str, ...]


def roles(pods: Iterable[PodSample], config: FrequencySection) -> Roles:
    """Pods that are not managed, or not found, have none; neither has one pinned by the kubelet, unless it is high."""
    by_role: dict[str, list[PodSample]] = {"high": [], "low": [], "both": [], "pinned_high": []}
    pending: list[str] = []
    taken: set[int] = set()
    for each in sorted(pods, key=lambda each: each.pod.uid):
        taken |= each.pinned
        if not each.pod.intent.managed or each.pod.object.finished:
            continue
        priority = each.pod.priority
        if each.state is CgroupState.PENDING and priority is Priority.HIGH:
            pending.append(each.pod.uid)
        if each.state is not CgroupState.FOUND or each.cgroup is None:
            continue
        if each.pinned:
            # The kubelet writes the cpusets of such pods, and a value of ours would be in its way.
            if priority is Priority.HIGH:
                by_role["pinned_high"].append(each)
        elif priority is Priority.HIGH:
            by_role["high"].append(each)
        elif priority is Priority.LOW or config.normal_pods == "low":
            by_role["low"].append(each)
        elif config.normal_pods == "all":
            by_role["both"].append(each)
    return Roles(
        high=tuple(by_role["high"]),
        low=tuple(by_role["low"]),
        both=tuple(by_role["both"]),
        pinned_high=tuple(by_role["pinned_high"]),
        exclusive=frozenset().union(*(each.pinned for each in by_role["pinned_high"])),
        taken=frozenset(taken),
        pending=tuple(pending),
    )


def node_of(unit: Unit) -> int:
    """The NUMA node of a unit; where the kernel does not say, its package stands for one (as -1, -2, ...)."""
    return unit.numa if unit.numa is not None else ~unit.package


def homes(
    pods: Iterable[PodSample], units: Sequence[Unit], known: Iterable[tuple[str, Home]]
) -> tuple[tuple[str, Home], ...]:
    """
    By pod UID, in order: the nodes a pod could run on when it was first seen, before any of our doing.

    There its memory is, so there it stays: a pod is never moved to another node for the sake of frequency.
    """
    nodes = frozenset(node_of(each) for each in units)
    before = dict(known)
    found: dict[str, Home] = {}
    for each in pods:
        home = before.get(each.pod.uid, frozenset()) & nodes
        if not home and each.cpus is not None:
            home = frozenset(node_of(unit) for unit in units if unit.cpus & each.cpus)
        if home:
            found[each.pod.uid] = home
    return tuple(sorted(found.items()))


def reach(sample: PodSample, everything: CpuSet) -> CpuSet:
    """Where a pod's tasks can be now. One pinned by the kubelet is on its own CPUs; unknown is anywhere."""
    if sample.pinned:
        return sample.pinned
    return everything if sample.cpus is None else sample.cpus & everything


def requested(samples: Iterable[PodSample]) -> tuple[float, float]:
    """The sum of the pods' CPU requests and the largest one, in CPUs."""
    requests = [(each.pod.object.cpu_request_millis or 0) / 1000 for each in samples]
    return sum(requests), max(requests, default=0.0)


def first_seen(names: Iterable[str], before: Iterable[tuple[str, float]], now: float) -> tuple[tuple[str, float], ...]:
    """Since when (seconds) each of these is what it is, in order."""
    known: Mapping[str, float] = dict(before)
    return tuple(sorted((name, known.get(name, now)) for name in names))
