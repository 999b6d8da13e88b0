"""What the policies decided and what became of it, for those who report it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.model.eviction import Evict, Evicted, Eviction
from plimsoll.model.frequency_groups import FrequencyGroups
from plimsoll.model.outcome import Outcome
from plimsoll.model.overcommit import Overcommit
from plimsoll.model.plan import Conflict, Knob, Reclaimed, Result


class Mode(StrEnum):
    """What a policy's decisions come to. The values are the configuration's."""

    OFF = "off"
    OBSERVE = "observe"  # decided and reported, not written
    ENFORCE = "enforce"


class Status(StrEnum):
    """What became of a policy in a tick: label values, keep them stable."""

    OK = "ok"
    OFF = "off"
    WAITING = "waiting"  # not all of this node's pods are known yet
    MISSING = "missing"  # this node lacks a capability it cannot do without
    SKIPPED = "skipped"  # it failed: what it wanted last is held, as far as it may still want that


class Note(NamedTuple):
    """
    Something a pod's owner would want to know, true as long as every decision repeats it.

    ``pod`` is a UID. ``reason`` is a short identifier from a closed set (the type of a condition, the reason of an
    event, a label value); ``message`` a sentence that does not change from tick to tick.
    """

    pod: str
    reason: str
    message: str


class Report(NamedTuple):
    """
    One policy's tick, for people and metrics. ``reason`` is a short identifier and ``detail`` a sentence, both empty
    when all is well; ``writes`` is how many values it wants; ``failures`` counts skipped ticks by reason since start.
    ``overcommit``, ``eviction``, ``frequency``: the figures of the policy that has them, as of its last decision.
    """

    policy: str
    mode: Mode
    status: Status
    reason: str = ""
    detail: str = ""
    writes: int = 0
    notes: tuple[Note, ...] = ()
    lacking: tuple[str, ...] = ()
    failures: Mapping[str, int] = MappingProxyType({})
    overcommit: Overcommit | None = None
    eviction: Eviction | None = None
    frequency: FrequencyGroups | None = None


@dataclass(frozen=True, slots=True)
class Acting:
    """
    One tick of acting.

    ``results``: what was written, put back or tried (UNCHANGED ones too). ``observed``: what would be, for the policies
    that only observe; OK stands for a write. ``conflicts``: of both. ``held``: knobs there are to put back. ``writes``:
    results since start by (policy, knob, outcome), all but UNCHANGED; ``drifts``: times somebody else changed a knob we
    hold; ``disabled``: knobs given up on for now, with the errno. ``journal``: the state of the journal in a word,
    ``journal_ok``: whether new knobs may be touched. ``stuck_seconds``: how long a write has not come back (0: none).

    ``adopted``: in the first tick that acts after a start, one result for each knob in the journal; else empty.
    UNCHANGED: as an earlier run left it, or back at the original (``write.value``); DRIFTED: changed by somebody else;
    GONE: with its cgroup; any other outcome: it could not be read. ``reclaimed``: reclaims that have come to an end;
    ``reclaims``: how many since start by (policy, outcome).

    ``would_evict``: evictions wished for in this tick by policies that only observe; ``evicted``: what became of others
    since the last tick; ``evictions``: how many since start by (policy, outcome), and ``evictions_observed`` how many
    there would have been.
    """

    reports: tuple[Report, ...] = ()
    results: tuple[Result, ...] = ()
    observed: tuple[Result, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    held: int = 0
    writes: Mapping[tuple[str, Knob, Outcome], int] = field(default_factory=dict)
    drifts: Mapping[Knob, int] = field(default_factory=dict)
    disabled: Mapping[Knob, int] = field(default_factory=dict)
    journal: str = ""
    journal_ok: bool = True
    stuck_seconds: float = 0.0
    adopted: tuple[Result, ...] = ()
    reclaimed: tuple[Reclaimed, ...] = ()
    reclaims: Mapping[tuple[str, Outcome], int] = field(default_factory=dict)
    would_evict: tuple[Evict, ...] = ()
    evicted: tuple[Evicted, ...] = ()
    evictions: Mapping[tuple[str, Outcome], int] = field(default_factory=dict)
    evictions_observed: Mapping[str, int] = field(default_factory=dict)
