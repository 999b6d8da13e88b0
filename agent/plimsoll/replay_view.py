"""
What a replay shows, as lines for a person and as data for programs (``plimsoll plan --replay``).

Names in a recording are a stranger's: what could move a terminal's cursor is shown escaped. Nothing is decided here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from plimsoll.exporter.changes import Owner, owner_of
from plimsoll.model.acting import Mode, Report
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import Target
from plimsoll.plan_view import beneficiary, conflict_facts, evict_facts, place, rivals, write_facts
from plimsoll.replay import Asked, Noted, Paused, Tick, Wanted, Watched
from plimsoll.terminal import Style, printable

# Beyond it, time.gmtime() raises sooner or later.
_YEAR_10000 = 253_402_300_800
_MIB = 1 << 20


def tick_lines(tick: Tick, style: Style) -> Iterator[str]:
    """What one tick changed; nothing where it changed nothing."""
    if tick.eventful:
        yield f"tick {tick.sequence}  {_moment(tick.unix)}  {tick.wanted} wanted"
        for line in _lines(tick):
            yield printable(line, style)


def _lines(tick: Tick) -> Iterator[str]:
    for report in tick.reports:
        detail = f": {report.detail}" if report.detail else ""
        lacking = f" (lacks {', '.join(report.lacking)})" if report.lacking else ""
        yield f"  {report.policy}: mode {report.mode}, {report.status}{detail}{lacking}"
    for mode, write in tick.added:
        yield f"  + {mode}  {write.knob} = {write.value}  {_target(write.target, tick)}"
        yield f"      {write.reason}"
    for before, (mode, write) in tick.changed:
        yield f"  ~ {mode}  {write.knob}: {before.write.value} -> {write.value}  {_target(write.target, tick)}"
        yield f"      {write.reason}"
    for mode, write in tick.removed:
        yield f"  - {mode}  {write.knob} = {write.value}  {_target(write.target, tick)}"
    for mode, evict in tick.leaving:
        yield f"  x {mode}  evict {evict.namespace}/{evict.name}{beneficiary(evict)}"
        yield f"      {evict.reason}"
    yield from _overcommit_lines(tick)
    for each in tick.conflicts:
        yield f"  ! {each.kept.knob}: {rivals(each)}  {_target(each.kept.target, tick)}"
    for noted in tick.noted:
        yield f"  {_name(noted.note.pod, tick)}  {noted.note.reason}: {noted.note.message}"
    for noted in tick.cleared:
        yield f"  {_name(noted.note.pod, tick)}  {noted.note.reason} no longer"


def _overcommit_lines(tick: Tick) -> Iterator[str]:
    figures = tick.overcommit
    if figures is not None and (tick.reclaims or tick.watches or tick.unwatched or tick.pauses):
        ratio = "unknown" if figures.ratio is None else f"{figures.ratio:.3f}"
        sizes = f"{figures.offloaded / _MIB:.1f} MiB on the device, {figures.gap / _MIB:.1f} MiB to go"
        yield f"  overcommit: ratio {ratio} of {figures.target:g}, {sizes}"
    for pod, before, now in tick.pauses:
        turn = f"paused: {now}" if now is not Pause.NONE else f"{before} no longer"
        yield f"  overcommit: {_name(pod, tick) if pod else 'all'}: {turn}"
    for mode, watch in tick.watches:
        rate = "halted" if watch.halt else f"{watch.rate / _MIB:g} MiB/s"
        yield f"  o {mode}  {watch.selector}, {rate}  {_name(watch.pod, tick)}"
    for mode, watch in tick.unwatched:
        yield f"  o {mode}  {watch.selector} no longer  {_name(watch.pod, tick)}"
    for mode, reclaim in tick.reclaims:
        yield f"  < {mode}  reclaim {reclaim.size / _MIB:.1f} MiB  {_name(reclaim.pod, tick)}"
        yield f"      {reclaim.reason}"


def tick_facts(tick: Tick) -> dict[str, object]:
    """One tick, JSON-ready: what changed nothing is a list without members."""
    return {
        "sequence": tick.sequence,
        "monotonic": tick.monotonic,
        "time": tick.unix,
        "wanted": tick.wanted,
        "added": [_wish_facts(each, tick) for each in tick.added],
        "changed": [
            {**_wish_facts(after, tick), "before": before.write.value, "beforePolicy": before.write.policy}
            for before, after in tick.changed
        ],
        "removed": [_wish_facts(each, tick) for each in tick.removed],
        "evictions": [{"mode": mode, **evict_facts(evict)} for mode, evict in tick.leaving],
        "policies": [_report_facts(each) for each in tick.reports],
        "notes": [_noted_facts(each, tick) for each in tick.noted],
        "notesCleared": [_noted_facts(each, tick) for each in tick.cleared],
        "conflicts": [conflict_facts(each) for each in tick.conflicts],
        "reclaims": [_reclaim_facts(each, tick) for each in tick.reclaims],
        "watches": [_watch_facts(each, tick) for each in tick.watches],
        "watchesEnded": [_watch_facts(each, tick) for each in tick.unwatched],
        "overcommit": None if tick.overcommit is None else _overcommit_facts(tick.overcommit),
        "pauses": [_pause_facts(each, tick) for each in tick.pauses],
    }


class Summary:
    """Counts ticks, for the end of a replay."""

    def __init__(self) -> None:
        self._ticks = 0
        self._first = self._last = 0.0
        self._wishes: Counter[tuple[str, str, str]] = Counter()
        self._left: Counter[tuple[str, Mode]] = Counter()
        self._noted: Counter[tuple[str, str]] = Counter()
        self._reclaims: Counter[tuple[str, Mode]] = Counter()
        self._reclaimed: Counter[tuple[str, Mode]] = Counter()
        self._paused: Counter[Pause] = Counter()
        self._fares: dict[str, Report] = {}
        self._ticks_of: Counter[tuple[str, Mode, str]] = Counter()

    def add(self, tick: Tick) -> None:
        """Take in the next tick."""
        if not self._ticks:
            self._first = tick.monotonic
        self._last = tick.monotonic
        self._ticks += 1
        for sign, wishes in (("+", tick.added), ("~", [each.after for each in tick.changed]), ("-", tick.removed)):
            self._wishes.update((each.write.policy, each.write.knob.value, sign) for each in wishes)
        self._left.update((each.evict.policy, each.mode) for each in tick.leaving)
        self._noted.update((each.policy, each.note.reason) for each in tick.noted)
        self._reclaims.update((each.reclaim.policy, each.mode) for each in tick.reclaims)
        for each in tick.reclaims:
            self._reclaimed[each.reclaim.policy, each.mode] += each.reclaim.size
        self._paused.update(each.now for each in tick.pauses if each.now is not Pause.NONE)
        self._fares.update((each.policy, each) for each in tick.reports)
        self._ticks_of.update((name, each.mode, each.status.value) for name, each in self._fares.items())

    def lines(self) -> Iterator[str]:
        """What it all came to."""
        yield f"{self._ticks} snapshots, {self._last - self._first:.0f} s"
        for (policy, mode, status), count in sorted(self._ticks_of.items()):
            yield f"  {policy}: mode {mode}, {status} in {count}"
        for policy, knob in sorted({(policy, knob) for policy, knob, _ in self._wishes}):
            added, changed, removed = (self._wishes[policy, knob, sign] for sign in "+~-")
            yield f"  {policy}: {knob}: {added} added, {changed} changed, {removed} removed"
        for (policy, mode), count in sorted(self._left.items()):
            yield f"  {policy}: mode {mode}, {count} evictions"
        for (policy, mode), count in sorted(self._reclaims.items()):
            yield f"  {policy}: mode {mode}, {count} reclaims, {self._reclaimed[policy, mode] / _MIB:.1f} MiB asked for"
        for pause, count in sorted(self._paused.items()):
            yield f"  overcommit: paused: {pause}: {count} times"
        for (policy, reason), count in sorted(self._noted.items()):
            yield f"  {policy}: {reason}: {count} times"


def _target(target: Target, tick: Tick) -> str:
    owner = owner_of(target, tick.owners)
    return place(target) if owner is None else f"{'/'.join(owner)}  {place(target)}"


def _name(uid: str, tick: Tick) -> str:
    owner = tick.pods.get(uid)
    return uid if owner is None else "/".join(owner)


def _wish_facts(wanted: Wanted, tick: Tick) -> dict[str, object]:
    owner = owner_of(wanted.write.target, tick.owners)
    return {"mode": wanted.mode, **write_facts(wanted.write), **_owner_facts(owner)}


def _noted_facts(noted: Noted, tick: Tick) -> dict[str, object]:
    return {
        "policy": noted.policy,
        "uid": noted.note.pod,
        **_owner_facts(tick.pods.get(noted.note.pod)),
        "reason": noted.note.reason,
        "message": noted.note.message,
    }


def _reclaim_facts(asked: Asked, tick: Tick) -> dict[str, object]:
    mode, reclaim = asked
    return {"mode": mode, **_pod_facts(reclaim.pod, tick), "bytes": reclaim.size, "swappiness": reclaim.swappiness}


def _watch_facts(watched: Watched, tick: Tick) -> dict[str, object]:
    mode, watch = watched
    facts = {"selector": watch.selector, "bytesPerSecond": watch.rate, "halt": watch.halt}
    return {"mode": mode, **_pod_facts(watch.pod, tick), **facts}


def _pause_facts(paused: Paused, tick: Tick) -> dict[str, object]:
    """Without a pod it is of all of them."""
    pod = _pod_facts(paused.pod, tick) if paused.pod else {"uid": None, **_owner_facts(None)}
    return {**pod, "before": paused.before, "now": paused.now}


def _pod_facts(uid: str, tick: Tick) -> dict[str, object]:
    return {"uid": uid, **_owner_facts(tick.pods.get(uid))}


def _overcommit_facts(figures: Overcommit) -> dict[str, object]:
    """Of all pods together."""
    return {
        "ratio": None if figures.ratio is None else round(figures.ratio, 4),
        "target": figures.target,
        "offloadedBytes": figures.offloaded,
        "gapBytes": figures.gap,
        "writeBudgetBytes": figures.write_budget,
        "pause": figures.pause,
    }


def _owner_facts(owner: Owner | None) -> Mapping[str, object]:
    namespace, pod = owner or (None, None)
    return {"namespace": namespace, "pod": pod}


def _report_facts(report: Report) -> dict[str, object]:
    return {
        "policy": report.policy,
        "mode": report.mode,
        "status": report.status,
        "reason": report.reason,
        "detail": report.detail,
        "lacking": list(report.lacking),
    }


def _moment(unix: float) -> str:
    if not 0 <= unix < _YEAR_10000:
        return f"{unix:g} s"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
