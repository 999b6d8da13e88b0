"""
What a tick has to say to pods' owners: a snapshot and what the policies reported, as notices by pod and reason.

Pure. Which notices were told before, and whether one is told at all, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.acting import Acting, Mode, Status
from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Pod, Rejected
from plimsoll.model.snapshot import Snapshot

PRIORITY = "priority"
"""The origin of what is said of an owner's own statements; the other origins are the policies' names."""

INTENT_REJECTED = "IntentRejected"
"""The reason of those notices."""

EVICTED = "Evicted"
"""The reason of a notice of a pod that the agent had evicted; the kubelet calls its own evictions the same."""

# A pod that ends may be gone with the next tick: so long is it spoken of nevertheless.
FAREWELL_SECONDS = 60.0

# What events.k8s.io/v1 allows a note.
MESSAGE_BYTES = 1024
# The owner made no mistake; it is just not followed here.
_HARMLESS = frozenset({"unmanaged", "unsupported"})

Key = tuple[str, str]
"""A pod's UID and a reason: one notice at a time."""


class Certainty(StrEnum):
    """What it means that an origin does not say something."""

    DECIDED = "decided"  # it is not so
    HELD = "held"  # it did not look: what it said last stands
    SILENT = "silent"  # it no longer looks: nobody knows


class PodRef(NamedTuple):
    """What names a pod to the API server. ``managed``: the agent may act upon it."""

    uid: str
    namespace: str
    name: str
    managed: bool = True


class Notice(NamedTuple):
    """Something to say of a pod, true as long as it is said. ``message`` has at most MESSAGE_BYTES."""

    pod: PodRef
    origin: str
    reason: str
    message: str
    warning: bool = True

    @property
    def key(self) -> Key:
        return self.pod.uid, self.reason


class Said(NamedTuple):
    """
    Everything said in one tick.

    ``pods``: by UID, those there is anybody to tell about. ``withheld``: what a policy that writes nothing noted of a
    node on which it would; nobody knows whether it would be so.
    """

    pods: Mapping[str, PodRef]
    notices: Mapping[Key, Notice]
    certainty: Mapping[str, Certainty]
    withheld: frozenset[Key] = frozenset()


def said(snapshot: Snapshot, acting: Acting | None, facts: frozenset[str]) -> Said | None:
    """
    What this tick says; ``None`` while not all of this node's pods are known.

    ``facts``: reasons of notes that are true of the node as it is, whether or not their policy writes.
    """
    if not all(each.complete for each in snapshot.sources):
        return None
    # A pod that has ended, or is about to, has an owner who wants nothing more of it.
    alive = [each.pod for each in snapshot.pods if not (each.pod.object.finished or each.pod.object.deleting)]
    pods = {each.uid: _ref(each) for each in alive}
    notices = {each.key: each for each in _rejections(alive, pods)}
    for each in _farewells(snapshot):
        # Its status is of no use to anybody any more: no condition.
        pods[each.pod.uid] = each.pod
        notices[each.key] = each
    certainty = {PRIORITY: Certainty.DECIDED}
    withheld: set[Key] = set()
    for report in () if acting is None else acting.reports:
        certainty[report.policy] = _certainty(report.status)
        for note in report.notes:
            pod = pods.get(note.pod)
            if pod is None:
                continue
            if report.mode is Mode.ENFORCE or note.reason in facts:
                notice = Notice(pod, report.policy, note.reason, _bounded(note.message))
                notices.setdefault(notice.key, notice)
            else:
                withheld.add((note.pod, note.reason))
    return Said(pods, notices, certainty, frozenset(withheld))


def _ref(pod: Pod) -> PodRef:
    return PodRef(pod.uid, pod.namespace, pod.name, pod.intent.managed)


def _rejections(alive: list[Pod], pods: Mapping[str, PodRef]) -> Iterator[Notice]:
    for pod in alive:
        rejected = pod.intent.rejected
        if rejected:
            message = _bounded("; ".join(_sentence(each) for each in rejected))
            warning = any(each.reason not in _HARMLESS for each in rejected)
            yield Notice(pods[pod.uid], PRIORITY, INTENT_REJECTED, message, warning)


def _farewells(snapshot: Snapshot) -> Iterator[Notice]:
    for evict, outcome, at in snapshot.evictions:
        if outcome is Outcome.OK and snapshot.monotonic - at < FAREWELL_SECONDS:
            pod = PodRef(evict.pod, evict.namespace, evict.name, managed=False)
            yield Notice(pod, evict.policy, EVICTED, _bounded(evict.reason))


def _sentence(rejected: Rejected) -> str:
    return f"{rejected.key}: {rejected.message}"


def _certainty(status: Status) -> Certainty:
    match status:
        case Status.OK:
            return Certainty.DECIDED
        case Status.OFF:
            return Certainty.SILENT
        case Status.WAITING | Status.MISSING | Status.SKIPPED:
            return Certainty.HELD


def _bounded(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    return message if len(encoded) <= MESSAGE_BYTES else encoded[: MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"
