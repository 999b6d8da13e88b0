"""
Lets the policies decide on snapshots of another time, and tells what changed from one to the next.

Pure: time is the snapshots' own, so the same snapshots give the same ticks. It must not know where they come from, nor
what stands on the node: it tells what is wanted, not what would be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from plimsoll.config.schema import Config
from plimsoll.exporter.changes import Owner, Owners, owners_of
from plimsoll.model.acting import Mode, Note, Report
from plimsoll.model.eviction import Evict
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import Conflict, Knob, Plan, Reclaim, Target, Watch, Write
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import registry

K = TypeVar("K")
V = TypeVar("V")
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Wanted(NamedTuple):
    """A write of a policy that enforces or, with ``mode`` OBSERVE, of one that would."""

    mode: Mode
    write: Write

    @property
    def key(self) -> tuple[Mode, Target, Knob]:
        return self.mode, *self.write.key


class Changed(NamedTuple):
    """A knob that is to have another value, or by another policy."""

    before: Wanted
    after: Wanted


class Noted(NamedTuple):
    """A note and the policy it is of."""

    policy: str
    note: Note


class Leaving(NamedTuple):
    """A pod that is evicted or, with ``mode`` OBSERVE, would be."""

    mode: Mode
    evict: Evict


class Asked(NamedTuple):
    """Memory that is reclaimed from a pod or, with ``mode`` OBSERVE, would be."""

    mode: Mode
    reclaim: Reclaim


class Watched(NamedTuple):
    """What is wanted of whatever knows which memory of a pod is cold or, with ``mode`` OBSERVE, would be."""

    mode: Mode
    watch: Watch


class Paused(NamedTuple):
    """The pod of that UID, or all of them where there is none, is reclaimed from for another reason, or is not."""

    pod: str
    before: Pause
    now: Pause


class Tick(NamedTuple):
    """
    What one snapshot changed of what is wanted. ``wanted`` counts all that is, changed or not. ``leaving``: pods that
    are to go now.

    ``reports`` are of the policies that fare otherwise than in the tick before. ``noted`` begins to be true,
    ``cleared`` no longer is. ``owners`` and ``pods`` (by UID) name those of this tick and of the one before.

    ``reclaims`` are of this tick. ``watches`` are new, or are told something else; those of ``unwatched`` are no longer
    wanted. ``overcommit`` is what it came to, ``None`` where it is off; ``pauses`` began in this tick, or are over.
    """

    sequence: int
    monotonic: float
    unix: float
    wanted: int
    added: tuple[Wanted, ...]
    changed: tuple[Changed, ...]
    removed: tuple[Wanted, ...]
    reports: tuple[Report, ...]
    noted: tuple[Noted, ...]
    cleared: tuple[Noted, ...]
    conflicts: tuple[Conflict, ...]
    owners: Owners
    pods: Mapping[str, Owner]
    leaving: tuple[Leaving, ...] = ()
    reclaims: tuple[Asked, ...] = ()
    watches: tuple[Watched, ...] = ()
    unwatched: tuple[Watched, ...] = ()
    overcommit: Overcommit | None = None
    pauses: tuple[Paused, ...] = ()

    @property
    def eventful(self) -> bool:
        """Whether anything changed."""
        changes = (self.added, self.changed, self.removed, self.reports, self.noted, self.cleared, self.conflicts)
        return any((*changes, self.leaving, self.reclaims, self.watches, self.unwatched, self.pauses))


class _Seen(NamedTuple):
    """What is compared with the next tick."""

    wanted: Mapping[tuple[Mode, Target, Knob], Wanted] = _NOTHING
    reports: Mapping[str, Report] = _NOTHING
    notes: Mapping[Noted, None] = _NOTHING
    conflicts: Mapping[tuple[object, ...], Conflict] = _NOTHING
    owners: Owners = _NOTHING
    pods: Mapping[str, Owner] = _NOTHING
    watches: Mapping[tuple[Mode, str], Watched] = _NOTHING
    overcommit: Overcommit | None = None
    pauses: Mapping[str, Pause] = _NOTHING


class Replay:
    """The policies of one configuration, with what they remember from snapshot to snapshot."""

    def __init__(self, config: Config) -> None:
        self._past: registry.Past = {}
        self._seen = _Seen()
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """From the next snapshot on. What the policies remember is kept, as by the running agent."""
        self._enrolled = registry.configured(config)

    def tick(self, snapshot: Snapshot) -> Tick:
        """Decide on the next snapshot. Raises nothing a policy may do."""
        decisions, self._past = registry.decide(self._enrolled, snapshot, snapshot.monotonic, self._past)
        before, now = self._seen, self._look(snapshot, decisions)
        self._seen = now
        return Tick(
            sequence=snapshot.sequence,
            monotonic=snapshot.monotonic,
            unix=snapshot.unix,
            wanted=len(now.wanted),
            added=_only(now.wanted, before.wanted),
            changed=tuple(
                Changed(before.wanted[key], each)
                for key, each in now.wanted.items()
                if key in before.wanted and _meant(before.wanted[key].write) != _meant(each.write)
            ),
            removed=_only(before.wanted, now.wanted),
            reports=tuple(
                each for name, each in now.reports.items() if _fares(before.reports.get(name)) != _fares(each)
            ),
            noted=tuple(each for each in now.notes if each not in before.notes),
            cleared=tuple(each for each in before.notes if each not in now.notes),
            conflicts=_only(now.conflicts, before.conflicts),
            owners={**before.owners, **now.owners},
            pods={**before.pods, **now.pods},
            leaving=tuple(Leaving(mode, each) for mode, plan in _plans(decisions) for each in plan.evictions),
            reclaims=tuple(Asked(mode, each) for mode, plan in _plans(decisions) for each in plan.reclaims),
            watches=tuple(each for key, each in now.watches.items() if before.watches.get(key) != each),
            unwatched=_only(before.watches, now.watches),
            overcommit=now.overcommit,
            pauses=_turns(before.pauses, now.pauses),
        )

    def _look(self, snapshot: Snapshot, decisions: registry.Decisions) -> _Seen:
        found = self._seen._replace(
            reports={each.policy: each for each in decisions.reports},
            owners=owners_of(snapshot),
            pods={each.pod.uid: (each.pod.namespace, each.pod.name) for each in snapshot.pods},
        )
        if not decisions.ready:
            # Nothing is wanted and nothing released either: what stood, stands.
            return found
        plans = _plans(decisions)
        wanted = [Wanted(mode, write) for mode, plan in plans for write in plan.writes]
        figures = next((each.overcommit for each in decisions.reports if each.overcommit is not None), None)
        if figures is not None and figures.pause is Pause.OFF:
            figures = None
        return found._replace(
            watches={(mode, each.pod): Watched(mode, each) for mode, plan in plans for each in plan.watches},
            overcommit=figures,
            pauses={} if figures is None else _pauses(figures),
            wanted={each.key: each for each in wanted},
            notes={Noted(report.policy, note): None for report in decisions.reports for note in report.notes},
            conflicts=_conflicts(plan for _, plan in plans),
        )


def _plans(decisions: registry.Decisions) -> tuple[tuple[Mode, Plan], ...]:
    return (Mode.ENFORCE, decisions.plan), (Mode.OBSERVE, decisions.observed)


def _conflicts(plans: Iterable[Plan]) -> dict[tuple[object, ...], Conflict]:
    return {(each.kept.key, *map(_meant, each)): each for plan in plans for each in plan.conflicts}


def _pauses(figures: Overcommit) -> dict[str, Pause]:
    """By UID; the node's has none."""
    return {"": figures.pause, **{each.uid: each.pause for each in figures.pods}}


def _turns(before: Mapping[str, Pause], now: Mapping[str, Pause]) -> tuple[Paused, ...]:
    both = ((pod, before.get(pod, Pause.NONE), now.get(pod, Pause.NONE)) for pod in {**before, **now})
    return tuple(Paused(*each) for each in both if each[1] is not each[2])


def _only(these: Mapping[K, V], those: Mapping[K, V]) -> tuple[V, ...]:
    return tuple(each for key, each in these.items() if key not in those)


def _meant(write: Write) -> tuple[str, ...]:
    # A reason may tell figures, which change all the time.
    return write.policy, write.value, write.on_exit


def _fares(report: Report | None) -> tuple[object, ...]:
    return () if report is None else (report.mode, report.status, report.reason, report.detail, report.lacking)
