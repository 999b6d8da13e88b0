"""
Who may be evicted, and how many at once, whatever a policy wants.

A policy's evictions pass here before they are a plan, as its writes pass ``bounds.py``. This module must not know any
policy.
"""

from __future__ import annotations

from collections.abc import Sequence

from plimsoll.model.eviction import Evict
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.bounds import Violation

MAX_EVICTIONS = 1
"""In one decision: what one pod gives back is to be seen before another goes."""

SYSTEM_PRIORITY = 2_000_000_000
"""From here on Kubernetes' own classes begin (system-cluster-critical)."""

# They tolerate whatever is wrong with the node, so one that is evicted is back at once.
_BACK_AT_ONCE = frozenset({"DaemonSet", "Node"})


def protection(sample: PodSample) -> Violation | None:
    """Why this pod may not be evicted by anybody; ``None`` when it may."""
    pod, intent = sample.pod.object, sample.pod.intent
    if not intent.managed or pod.mirror or intent.eviction is False or pod.controller in _BACK_AT_ONCE:
        return Violation.UNMANAGED
    # Nothing would make it anew: only its owner can know whether that is well.
    if pod.controller is None and intent.eviction is not True:
        return Violation.UNMANAGED
    if intent.priority is not Priority.LOW or (pod.scheduling_priority or 0) >= SYSTEM_PRIORITY:
        return Violation.PRIORITY
    return Violation.TARGET if pod.deleting or pod.finished else None


def eviction_refusal(evict: Evict, policy: str, samples: Sequence[PodSample]) -> Violation | None:
    """Why ``policy`` may not have this eviction on a node with these pods; ``None`` when it may."""
    if evict.policy != policy:
        return Violation.OWNER
    if not all(isinstance(each, str) for each in evict):
        return Violation.VALUE
    named = (evict.pod, evict.namespace, evict.name)
    found = [each for each in samples if named == (each.pod.uid, each.pod.namespace, each.pod.name)]
    return protection(found[0]) if found else Violation.TARGET
