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
from plimsoll.model.plan import Target
from plimsoll.plan_view import beneficiary, conflict_facts, evict_facts, place, rivals, write_facts
from plimsoll.replay import Noted, Tick, Wanted
from plimsoll.terminal import Style, printable

# Beyond it, time.gmtime() raises sooner or later.
_YEAR_10000 = 253_402_300_800


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
    for each in tick.conflicts:
        yield f"  ! {each.kept.knob}: {rivals(each)}  {_target(each.kept.target, tick)}"
    for noted in tick.noted:
        yield f"  {_pod(noted, tick)}  {noted.note.reason}: {noted.note.message}"
    for noted in tick.cleared:
        yield f"  {_pod(noted, tick)}  {noted.note.reason} no longer"


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
    }


class Summary:
    """Counts ticks, for the end of a replay."""

    def __init__(self) -> None:
        self._ticks = 0
        self._first = self._last = 0.0
        self._wishes: Counter[tuple[str, str, str]] = Counter()
        self._left: Counter[tuple[str, Mode]] = Counter()
        self._noted: Counter[tuple[str, str]] = Counter()
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
        for (policy, reason), count in sorted(self._noted.items()):
            yield f"  {policy}: {reason}: {count} times"


def _target(target: Target, tick: Tick) -> str:
    owner = owner_of(target, tick.owners)
    return place(target) if owner is None else f"{'/'.join(owner)}  {place(target)}"


def _pod(noted: Noted, tick: Tick) -> str:
    owner = tick.pods.get(noted.note.pod)
    return noted.note.pod if owner is None else "/".join(owner)


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
