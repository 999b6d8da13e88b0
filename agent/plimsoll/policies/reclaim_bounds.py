"""
Whose memory may be watched and reclaimed, and how much of it at once, whatever a policy wants.

A policy's watches and reclaims pass here before they are a plan, as its writes pass ``bounds.py``. This module must not
know any policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plimsoll.model.plan import Reclaim, Selector, Target, TargetKind, Watch
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.bounds import Violation

MIB = 1 << 20
MAX_RECLAIM = 256 * MIB
"""Of one pod: eight slices. What a broken policy could take in one tick comes back in seconds."""

MAX_RECLAIMS = 1024 * MIB
"""Of all pods together."""

MAX_RATE = 1024 * MIB
"""Bytes per second a selector may page out of one pod by itself."""

MOST_SWAPPINESS = 200


class Reclaimable:
    """The pods of one snapshot that may be reclaimed from, with their cgroups."""

    __slots__ = ("_cgroups", "_samples")

    def __init__(self, samples: Iterable[PodSample]) -> None:
        self._samples: Mapping[str, PodSample] = {each.pod.uid: each for each in samples if each.cgroup is not None}
        self._cgroups: Mapping[str, frozenset[str]] = {
            uid: frozenset({each.cgroup or "", *each.container_cgroups}) for uid, each in self._samples.items()
        }

    def watch_refusal(self, watch: Watch, policy: str) -> Violation | None:
        """Why ``policy`` may not have this watch; ``None`` when it may."""
        if watch.policy != policy:
            return Violation.OWNER
        selector: object = watch.selector
        if not _whole(watch.rate, 0, MAX_RATE) or not isinstance(selector, Selector):
            return Violation.VALUE
        found = self._refusal(watch.pod)
        if found is not None:
            return found
        return None if self._owns(watch.pod, watch.targets) else Violation.TARGET

    def reclaim_refusal(self, reclaim: Reclaim, policy: str) -> Violation | None:
        """Why ``policy`` may not have this reclaim; ``None`` when it may."""
        if reclaim.policy != policy:
            return Violation.OWNER
        legal = reclaim.swappiness is None or _whole(reclaim.swappiness, 0, MOST_SWAPPINESS)
        if not legal or not _whole(reclaim.size, 1, MAX_RECLAIM):
            return Violation.VALUE
        found = self._refusal(reclaim.pod)
        if found is not None:
            return found
        # What the containers protect for themselves holds only when the pod above them is asked.
        pod = self._samples[reclaim.pod].cgroup
        return None if reclaim.target == Target(TargetKind.CGROUP, pod or "") else Violation.TARGET

    def _refusal(self, uid: str) -> Violation | None:
        sample = self._samples.get(uid)
        if sample is None:
            return Violation.TARGET
        if not sample.pod.intent.managed or not sample.pod.intent.reclaim:
            return Violation.UNMANAGED
        return None if sample.pod.priority is Priority.LOW else Violation.PRIORITY

    def _owns(self, uid: str, targets: Sequence[Target]) -> bool:
        owned = self._cgroups[uid]
        return all(each.kind is TargetKind.CGROUP and each.path in owned for each in targets)


def _whole(value: object, low: int, high: int) -> bool:
    """What was written down as a number is not yet one, and a float would be spelled with a point."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def too_much(watches: Sequence[Watch], reclaims: Sequence[Reclaim]) -> bool:
    """Whether one pod is named twice, or all of it is more than may be taken at once."""
    for pods in ([each.pod for each in watches], [each.pod for each in reclaims]):
        if len(set(pods)) < len(pods):
            return True
    return sum(each.size for each in reclaims) > MAX_RECLAIMS
