"""
Who has had to wait too much, for what, and for how long. Shares of time are 0 to 1, times monotonic seconds.

What a pod waits because of its own limits is its owner's choice: nobody else could give it anything. Unknown pressure
is no pressure. This module must not know whom an eviction would help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from plimsoll.config.eviction_section import EvictionSection, StallSection
from plimsoll.model.eviction import Resource, Shortage
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import NodeSample, PodSample, Snapshot
from plimsoll.policies.overcommit_budget import smooth
from plimsoll.policies.overcommit_pressure import some

NODE = ""
"""In place of a pod's UID."""

LOOKS = 3
"""So often the waiting must have been seen: one figure, over whatever time, is not yet something that lasts."""

# A pause between two looks says nothing of what was meanwhile; the longest interval there is has to fit.
_GAP_SECONDS = 120.0
# A pod's own pages fill its limit as a matter of course; when it waits there, the limit is what it waits for.
_AT_LIMIT = 0.95
_OWN_QUOTA, _OWN_LIMIT = "cpu_cfs_bandwidth", "cgroup_memory_reclaim"


class Episode(NamedTuple):
    """One that waits: since when, for what share of time (smoothed, and in the last look), in how many looks."""

    resource: Resource
    pod: str
    since: float
    share: float
    latest: float
    looks: int


def follow(
    before: tuple[Episode, ...], snapshot: Snapshot, seconds: float, config: EvictionSection
) -> tuple[Episode, ...]:
    """The episodes that go on or begin, ``seconds`` after the last look."""
    known = {(each.resource, each.pod): each for each in before}
    sections = thresholds(config)
    found = []
    for resource, pod, share in _waits(snapshot, node=config.node):
        section = sections.get(resource)
        if section is not None and share >= section.calm:
            episode = known.get((resource, pod))
            if episode is not None and seconds <= max(section.sustained, _GAP_SECONDS):
                mean = smooth(episode.share, share, seconds, section.sustained)
                found.append(episode._replace(share=mean, latest=share, looks=episode.looks + 1))
            elif share >= section.stalled:
                found.append(Episode(resource, pod, snapshot.monotonic, share, share, 1))
    return tuple(sorted(found))


def shortages(episodes: tuple[Episode, ...], now: float, config: EvictionSection) -> tuple[Shortage, ...]:
    """What the episodes come to by now; those furthest above what is too much come first."""
    sections = thresholds(config)

    def severity(each: Shortage) -> tuple[bool, float, Resource, str]:
        return (not each.sustained, -each.share / sections[each.resource].stalled, each.resource, each.pod)

    return tuple(sorted((_shortage(each, now, sections[each.resource]) for each in episodes), key=severity))


def thresholds(config: EvictionSection) -> Mapping[Resource, StallSection]:
    """Of the resources that are looked at."""
    sections = {Resource.CPU: config.cpu, Resource.MEMORY: config.memory, Resource.IO: config.io}
    return {resource: section for resource, section in sections.items() if section is not None}


def _shortage(episode: Episode, now: float, section: StallSection) -> Shortage:
    seconds = now - episode.since
    # On the average, and still: what is getting better by itself needs nobody to go.
    hard = min(episode.share, episode.latest) >= section.stalled
    sustained = hard and seconds >= section.sustained and episode.looks >= LOOKS
    return Shortage(episode.resource, episode.pod, episode.share, seconds, sustained)


def _waits(snapshot: Snapshot, *, node: bool) -> Iterator[tuple[Resource, str, float]]:
    for sample in snapshot.pods:
        leaving = sample.pod.object.deleting or sample.pod.object.finished
        if sample.pod.priority is Priority.HIGH and sample.pod.intent.managed and not leaving:
            for resource in Resource:
                share = _wait(sample, resource)
                if share is not None:
                    yield resource, sample.pod.uid, share
    if node:
        yield from _node_waits(snapshot.node)


def _wait(sample: PodSample, resource: Resource) -> float | None:
    share = some(sample, resource)
    if share is None:
        return None
    match resource:
        case Resource.CPU:
            # Added up over CPUs, and so rather too much than too little of it is taken for the pod's own doing.
            return _beside(share, sample, _OWN_QUOTA, degree=1)
        case Resource.MEMORY:
            used, limit = sample.memory_bytes, sample.memory_limit_bytes
            if used is not None and limit is not None and used >= limit * _AT_LIMIT:
                return 0.0
            return _beside(share, sample, _OWN_LIMIT, degree=0)
        case Resource.IO:
            return share


def _beside(share: float, sample: PodSample, cause: str, *, degree: int) -> float | None:
    """What is left without a cause of the pod's own, where this kernel tells them apart."""
    if cause not in sample.stall_rates:
        return share
    own = sample.stall_rates[cause][degree]
    return None if own is None else max(0.0, share - own)


def _node_waits(node: NodeSample) -> Iterator[tuple[Resource, str, float]]:
    # For the CPU the kernel prints a line for the node, of zeros: it cannot be that nobody runs for want of CPUs.
    for each in node.pressures:
        if each.cause in (Resource.MEMORY, Resource.IO) and each.full is not None and each.full.avg10 is not None:
            yield Resource(each.cause), NODE, each.full.avg10 / 10_000
