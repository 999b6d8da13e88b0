"""
Which policies there are, in what order they win, and how a broken one is kept from hurting the node and the others.

Pure, given the time: the same arguments give the same decisions, so a recorded list of snapshots replays a day. It must
not know what any policy wants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from plimsoll.config.eviction_section import EvictionSection
from plimsoll.config.frequency_section import FrequencySection
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.config.policy_sections import IoLimitSection, PreemptionSection
from plimsoll.config.schema import Config
from plimsoll.model.acting import Mode, Note, Report, Status
from plimsoll.model.eviction import Evict, Eviction
from plimsoll.model.frequency_groups import FrequencyGroups
from plimsoll.model.overcommit import Overcommit
from plimsoll.model.plan import Knob, Plan, Reclaim, Watch, Write, merge
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import eviction, frequency, io_limit, overcommit, preemption
from plimsoll.policies.bounds import Territory, territory
from plimsoll.policies.grant import Grant, Skip
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.reclaim_bounds import Reclaimable


class Enrolled(NamedTuple):
    """
    A policy as the administrator wants it. What comes first in a sequence of these wins a knob two want.

    ``liberties``: knobs the administrator lets it write where the rules do not by themselves: to pods of more
    priorities, for more disks. ``pace``: within how many seconds it wants the next snapshot while it enforces.
    """

    policy: Policy[Any, Any]
    mode: Mode
    config: object
    liberties: frozenset[Knob] = frozenset()
    pace: float = math.inf


class Decisions(NamedTuple):
    """
    What the policies of one tick came to.

    ``plan`` is to be carried out, ``observed`` only shown. While ``ready`` is false nothing may be carried out, and
    nothing be released either: what is not in the plan is not known to be unwanted.
    """

    ready: bool
    plan: Plan
    observed: Plan
    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What one policy decided last, and when (seconds of the caller's clock; ``None``: never).

    ``reclaims`` and ``evictions`` are of this tick only: what was asked for once must not be asked for again because
    nothing was decided.
    """

    state: object
    decided: float | None = None
    writes: tuple[Write, ...] = ()
    watches: tuple[Watch, ...] = ()
    reclaims: tuple[Reclaim, ...] = ()
    overcommit: Overcommit | None = None
    evictions: tuple[Evict, ...] = ()
    eviction: Eviction | None = None
    frequency: FrequencyGroups | None = None
    notes: tuple[Note, ...] = ()
    lacking: tuple[str, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)


Past = Mapping[str, Standing]
"""By policy name: everything there is to remember between ticks. Begin with an empty one."""


class _Tick(NamedTuple):
    """What all policies of one tick share."""

    snapshot: Snapshot
    now: float
    ground: Territory
    reclaimable: Reclaimable
    available: frozenset[str]


def enrol(
    *,
    preemption_section: PreemptionSection,
    frequency_section: FrequencySection | None = None,
    overcommit_section: OvercommitSection | None = None,
    io_limit_section: IoLimitSection | None = None,
    eviction_section: EvictionSection | None = None,
) -> tuple[Enrolled, ...]:
    """Every policy, in the order they win, with its section of the configuration; without one it is not there."""
    enrolled = [Enrolled(preemption.POLICY, Mode(preemption_section.mode), preemption_section)]
    if frequency_section is not None:
        liberties = frozenset() if frequency_section.normal_pods == "untouched" else frozenset({Knob.CPUSET_CPUS})
        section, pace = frequency_section, frequency_section.interval
        enrolled.append(Enrolled(frequency.POLICY, Mode(section.mode), section, liberties, pace))
    if overcommit_section is not None:
        enrolled.append(Enrolled(overcommit.POLICY, Mode(overcommit_section.mode), overcommit_section))
    if io_limit_section is not None:
        anywhere = io_limit.POLICY.bounds if io_limit_section.system_disk == "allow" else frozenset()
        enrolled.append(Enrolled(io_limit.POLICY, Mode(io_limit_section.mode), io_limit_section, anywhere))
    if eviction_section is not None:
        enrolled.append(Enrolled(eviction.POLICY, Mode(eviction_section.mode), eviction_section))
    return tuple(enrolled)


def configured(config: Config) -> tuple[Enrolled, ...]:
    """Those the administrator can say something about, as wanted."""
    return enrol(
        preemption_section=config.preemption,
        frequency_section=config.frequency,
        overcommit_section=config.overcommit,
        io_limit_section=config.io_limit,
        eviction_section=config.eviction,
    )


def decide(enrolled: Sequence[Enrolled], snapshot: Snapshot, now: float, past: Past) -> tuple[Decisions, Past]:
    """
    Let every policy that is due decide, check what it wants, and merge it. Raises nothing a policy may do.

    ``now`` is monotonic seconds. Returns the decisions and what to hand in the next time.
    """
    if not all(source.complete for source in snapshot.sources):
        reports = tuple(_waiting(each, past.get(each.policy.name)) for each in enrolled)
        return Decisions(ready=False, plan=Plan(), observed=Plan(), reports=reports), past
    available = frozenset(each.name for each in snapshot.capabilities if each.available)
    tick = _Tick(snapshot, now, territory(snapshot), Reclaimable(snapshot.pods), available)
    wanted: dict[Mode, list[Standing]] = {Mode.ENFORCE: [], Mode.OBSERVE: []}
    reports_of: list[Report] = []
    following: dict[str, Standing] = {}
    for each in enrolled:
        standing = past.get(each.policy.name) or Standing(each.policy.initial)
        standing, report = _run(each, tick, standing)
        following[each.policy.name] = standing
        reports_of.append(report)
        if each.mode in wanted:
            wanted[each.mode].append(standing)
    precedence = [each.policy.name for each in enrolled]
    decisions = Decisions(
        ready=True,
        plan=_merged(wanted[Mode.ENFORCE], precedence),
        observed=_merged(wanted[Mode.OBSERVE], precedence),
        reports=tuple(reports_of),
    )
    return decisions, following


def _merged(standings: Sequence[Standing], precedence: Sequence[str]) -> Plan:
    """``standings`` are in the order of precedence."""
    plan = merge((write for each in standings for write in each.writes), precedence)
    watches: dict[str, Watch] = {}
    reclaims: dict[str, Reclaim] = {}
    evictions: dict[str, Evict] = {}
    for standing in standings:
        for watch in standing.watches:
            watches.setdefault(watch.pod, watch)
        for reclaim in standing.reclaims:
            reclaims.setdefault(reclaim.pod, reclaim)
        for evict in standing.evictions:
            evictions.setdefault(evict.pod, evict)
    return plan._replace(
        watches=tuple(watches.values()), reclaims=tuple(reclaims.values()), evictions=tuple(evictions.values())
    )


def _waiting(each: Enrolled, standing: Standing | None) -> Report:
    failures = {} if standing is None else standing.failures
    if each.mode is Mode.OFF:
        return Report(each.policy.name, each.mode, Status.OFF, failures=failures)
    detail = "Not all of this node's pods are known yet; nothing is written or released."
    return Report(each.policy.name, each.mode, Status.WAITING, "sources", detail, failures=failures)


def _run(each: Enrolled, tick: _Tick, standing: Standing) -> tuple[Standing, Report]:
    policy, mode, failures = each.policy, each.mode, standing.failures
    if mode is Mode.OFF:
        return Standing(policy.initial, failures=failures), Report(policy.name, mode, Status.OFF, failures=failures)
    missing = tuple(name for name in policy.needs if name not in tick.available)
    if missing:
        detail = f"This node lacks: {', '.join(missing)}."
        report = Report(policy.name, mode, Status.MISSING, "capability", detail, lacking=missing, failures=failures)
        return Standing(policy.initial, failures=failures), report
    status, reason, detail = Status.OK, "", ""
    if standing.decided is None or tick.now - standing.decided >= policy.interval:
        result = _decision(each, tick, standing.state)
        if isinstance(result, Skip):
            status, (reason, detail) = Status.SKIPPED, result
            counted = {**failures, reason: failures.get(reason, 0) + 1}
            standing = replace(_still_legal(standing, each, tick), failures=counted)
        else:
            standing = Standing(
                result.state,
                tick.now,
                result.writes,
                result.watches,
                result.reclaims,
                result.overcommit,
                result.evictions,
                result.eviction,
                result.frequency,
                result.notes,
                result.lacking,
                failures,
            )
    else:
        standing = _still_legal(standing, each, tick)
    report = Report(
        policy.name,
        mode,
        status,
        reason,
        detail,
        len(standing.writes),
        standing.notes,
        standing.lacking,
        standing.failures,
        standing.overcommit,
        standing.eviction,
        standing.frequency,
    )
    return standing, report


def _still_legal(standing: Standing, enrolled: Enrolled, tick: _Tick) -> Standing:
    """What was wanted before, of pods that are still there and may still be acted upon."""
    grant = _grant(enrolled, tick)
    return replace(
        standing,
        writes=tuple(each for each in standing.writes if grant.refusal(each) is None),
        watches=tuple(each for each in standing.watches if grant.watch_refusal(each) is None),
        reclaims=(),
        evictions=(),
    )


def _grant(each: Enrolled, tick: _Tick) -> Grant:
    return Grant(each.policy, each.liberties, tick.ground, tick.reclaimable, tick.snapshot.pods)


def _decision(each: Enrolled, tick: _Tick, state: object) -> Decision[Any] | Skip:
    try:
        return _grant(each, tick).checked(each.policy.decide(tick.snapshot, each.config, state))
    except Exception as error:  # noqa: BLE001 - whatever a policy raises is its own failure, and is reported as such
        return Skip.raised(error)
