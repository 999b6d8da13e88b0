"""
Which low-priority pod has the largest part in a shortage, and what is said of it.

It must not know whether anybody is to be evicted now.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from plimsoll.model.eviction import Resource
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies.eviction_bounds import protection

# Two figures of one look that are so near to each other do not tell who has the larger part.
_NEAR = 0.9


class Candidate(NamedTuple):
    """A pod that may be evicted. ``use``: CPUs, bytes, or bytes per second."""

    sample: PodSample
    use: float


def choose(snapshot: Snapshot, resource: Resource, least_use: float, spared: Collection[str]) -> Candidate | None:
    """
    The pod to evict for ``resource``, none of the UIDs ``spared``; ``None`` where none has a part in it.

    It is the one that uses most of it; among those that use about as much, the one Kubernetes' scheduler finds least
    important, then the youngest: it has the least work to lose.
    """
    low = [each for each in snapshot.pods if each.state is CgroupState.FOUND and each.pod.priority is Priority.LOW]
    used = [Candidate(each, use) for each in low if (use := _use(each, resource)) is not None]
    whole = _whole(snapshot, resource, used)
    able = [
        each
        for each in used
        if each.use > 0
        and whole is not None
        and each.use >= least_use * whole
        and each.sample.pod.uid not in spared
        and protection(each.sample) is None
    ]
    if not able:
        return None
    most = max(each.use for each in able)
    return min((each for each in able if each.use >= _NEAR * most), key=_order)


def describe(candidate: Candidate, resource: Resource) -> str:
    """What the pod has of the resource, in a few words."""
    match resource:
        case Resource.CPU:
            return f"used {candidate.use:.1f} CPUs"
        case Resource.MEMORY:
            return f"held {candidate.use / 2**20:.0f} MiB"
        case Resource.IO:
            return f"read and wrote {candidate.use / 2**20:.1f} MiB/s"


def _use(sample: PodSample, resource: Resource) -> float | None:
    match resource:
        case Resource.CPU:
            return sample.cpu_usage
        case Resource.MEMORY:
            return None if sample.memory_bytes is None else float(sample.memory_bytes)
        case Resource.IO:
            return sample.io_rate


def _whole(snapshot: Snapshot, resource: Resource, used: Collection[Candidate]) -> float | None:
    """Of what a pod's use is a share."""
    match resource:
        case Resource.CPU:
            return None if snapshot.node.cpus is None else float(snapshot.node.cpus)
        case Resource.MEMORY:
            total = snapshot.node.memory_total_bytes
            return None if total is None else float(total)
        case Resource.IO:
            # How much a disk could do nobody knows.
            return sum(each.use for each in used)


def _order(candidate: Candidate) -> tuple[int, float, str]:
    pod = candidate.sample.pod.object
    # 0 is what a pod without a PriorityClass has; one whose age is not known counts as the oldest.
    return (pod.scheduling_priority or 0, -(pod.created or 0.0), pod.uid)
