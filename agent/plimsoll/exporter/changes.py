"""
Changes of knobs as people are told of them: what is news, whose cgroup it is, with every text bounded.

The applier repeats what it waits for in every tick; told again each time, it would bury what happened. This module must
not know how a change is shown.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.acting import Acting, Status
from plimsoll.model.eviction import Evict, Evicted
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Result, Target
from plimsoll.model.snapshot import Snapshot

SHOWN = 50
TEXT_LIMIT = 256
# A cgroup's path may be as long as PATH_MAX; those of pods are some hundred bytes.
_PATH_LIMIT = 1024
_DONE = (Outcome.OK, Outcome.CLAMPED)

Owner = tuple[str, str]
"""A pod's namespace and name."""
Owners = Mapping[str, Owner]
"""The pods by the path of their cgroup below the hierarchy's root."""


class Action(StrEnum):
    """What was done."""

    WRITE = "write"
    ADOPT = "adopt"  # many results summed up in one; only the reason tells more
    EVICT = "evict"


class Change(NamedTuple):
    """
    One result for a person. ``target`` is empty for the node, ``owner`` ``None`` where the cgroup is no pod's.

    ``errno`` is its name, empty where no system call failed. What is no write has no ``knob``, and an empty ``target``.
    """

    sequence: int
    unix: float
    policy: str
    target: str
    owner: Owner | None
    knob: Knob | None
    value: str
    before: str | None
    after: str | None
    outcome: Outcome
    errno: str
    reason: str
    action: Action = Action.WRITE

    def facts(self) -> dict[str, object]:
        """JSON-ready data; ``time`` is seconds since the epoch."""
        namespace, pod = self.owner or (None, None)
        return {
            "time": round(self.unix, 3),
            "sequence": self.sequence,
            "action": self.action,
            "policy": self.policy,
            "target": self.target,
            "namespace": namespace,
            "pod": pod,
            "knob": self.knob,
            "value": self.value,
            "before": self.before,
            "after": self.after,
            "outcome": self.outcome,
            "errno": self.errno,
            "reason": self.reason,
        }


def change(result: Result, sequence: int, unix: float, owners: Owners) -> Change:
    """What a result is to a person, who knows pods rather than cgroups."""
    write = result.write
    return Change(
        sequence,
        unix,
        write.policy,
        bounded(write.target.path, _PATH_LIMIT),
        owner_of(write.target, owners),
        write.knob,
        bounded(write.value),
        None if result.before is None else bounded(result.before),
        None if result.after is None else bounded(result.after),
        result.outcome,
        errno_name(result.errno),
        bounded(write.reason),
    )


def adoption(acting: Acting, sequence: int, unix: float) -> Change | None:
    """What became of all the knobs an earlier run had left, in one; ``None`` where there is nothing to tell."""
    results = acting.adopted
    if not results:
        return None
    count = Counter(each.outcome for each in results)
    back = sum(each.outcome is Outcome.UNCHANGED and each.before == each.write.value for each in results)
    ours = count.pop(Outcome.UNCHANGED, 0) - back
    drifted, gone = count.pop(Outcome.DRIFTED, 0), count.pop(Outcome.GONE, 0)
    parts = [f"adopted {ours} {'knob' if ours == 1 else 'knobs'} of an earlier run"]
    parts += [
        f"{number} {what}"
        for number, what in (
            (drifted, "changed by somebody else"),
            (back, "back already"),
            (gone, "gone with their cgroups"),
            (count.total(), "cannot be read"),
        )
        if number
    ]
    outcome = Outcome.DRIFTED if drifted else Outcome.UNCHANGED
    reason = ", ".join(parts)
    return Change(sequence, unix, "", "", None, None, "", None, None, outcome, "", reason, Action.ADOPT)


def departures(acting: Acting, sequence: int, unix: float) -> list[Change]:
    """What became of evictions, with what the API server said."""
    return [_departure(each.evict, each, sequence, unix) for each in acting.evicted]


def would_leave(acting: Acting, sequence: int, unix: float) -> list[Change]:
    """The evictions that would be."""
    return [_departure(each, Evicted(each, Outcome.OK), sequence, unix) for each in acting.would_evict]


def _departure(evict: Evict, evicted: Evicted, sequence: int, unix: float) -> Change:
    whom = f" Done for {evict.sufferer}." if evict.sufferer else ""
    said = f" {evicted.detail}" if evicted.detail else ""
    return Change(
        sequence,
        unix,
        evict.policy,
        "",
        (bounded(evict.namespace), bounded(evict.name)),
        None,
        "",
        None,
        None,
        evicted.outcome,
        "",
        # Two sentences of ours and one of the server's, each of them bounded where it comes from.
        bounded(f"{evict.reason}{whom}{said}", 4 * TEXT_LIMIT),
        Action.EVICT,
    )


def owners_of(snapshot: Snapshot) -> dict[str, Owner]:
    """Whose cgroups these are."""
    return {
        sample.cgroup.strip("/"): (sample.pod.namespace, sample.pod.name)
        for sample in snapshot.pods
        if sample.cgroup is not None
    }


def owner_of(target: Target, owners: Owners) -> Owner | None:
    """The pod whose cgroup the target is, or is in."""
    path = target.cgroup
    while path:
        if path in owners:
            return owners[path]
        path = path.rpartition("/")[0]
    return None


def errno_name(code: int) -> str:
    """``EINVAL``; empty for 0."""
    return errno.errorcode.get(code, "unknown") if code else ""


def bounded(text: str, limit: int = TEXT_LIMIT) -> str:
    """At most ``limit`` characters, the last one telling that there were more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def looked(acting: Acting) -> bool:
    """Whether the plan of this tick came before the kernel at all: not while waiting, nor behind a write that hangs."""
    if acting.results or acting.observed:
        return True
    return not acting.stuck_seconds and not any(each.writes or each.status is Status.WAITING for each in acting.reports)


def would_change(acting: Acting) -> tuple[Result, ...]:
    """What the policies that only observe would write now."""
    return tuple(each for each in acting.observed if each.outcome is Outcome.OK)


class News:
    """Tells what is new. Every write is; what did not come to one is when it differs from the last tick's."""

    def __init__(self) -> None:
        self._told: dict[tuple[Target, Knob], tuple[str, Outcome, int]] = {}
        self._wanted: dict[tuple[Target, Knob], str] = {}

    def results(self, acting: Acting) -> list[Result]:
        """Of what was tried."""
        if not looked(acting):
            return []
        before, self._told = self._told, {}
        found = []
        for each in acting.results:
            if each.outcome is Outcome.UNCHANGED:
                continue
            if each.outcome in _DONE:
                found.append(each)
                continue
            told = each.write.value, each.outcome, each.errno
            self._told[each.write.key] = told
            if before.get(each.write.key) != told:
                found.append(each)
        return found

    @staticmethod
    def adopted(acting: Acting) -> list[Result]:
        """Of an earlier run's knobs: those that are not as it left them, unless this tick's plan tells of them too."""
        told = {each.write.key for each in acting.results}
        quiet = (Outcome.UNCHANGED, Outcome.GONE)
        return [each for each in acting.adopted if each.outcome not in quiet and each.write.key not in told]

    def observed(self, acting: Acting) -> list[Result]:
        """Of what would be written: another value than the last tick's, or one where there was none."""
        if not looked(acting):
            return []
        before, self._wanted = self._wanted, {}
        found = []
        for each in would_change(acting):
            self._wanted[each.write.key] = each.write.value
            if before.get(each.write.key) != each.write.value:
                found.append(each)
        return found


class Recent:
    """The last changes, and whose cgroups they were in."""

    def __init__(self, limit: int = SHOWN) -> None:
        self._news = News()
        self._ring: deque[Change] = deque(maxlen=limit)
        self._present: dict[str, Owner] = {}
        self.owners: Owners = {}
        """Also of the pods that were there in the tick before: what their cgroups' end came to is told now."""

    def add(self, snapshot: Snapshot, acting: Acting) -> None:
        """Take in one tick."""
        before, self._present = self._present, owners_of(snapshot)
        self.owners = before | self._present
        news = self._news.results(acting)
        self._ring.extend(change(each, snapshot.sequence, snapshot.unix, self.owners) for each in news)
        self._ring.extend(departures(acting, snapshot.sequence, snapshot.unix))
        # Last, though it came first: what a start wrote must not push it out.
        if (start := adoption(acting, snapshot.sequence, snapshot.unix)) is not None:
            self._ring.append(start)

    def newest_first(self) -> tuple[Change, ...]:
        """What is kept."""
        return tuple(reversed(self._ring))
