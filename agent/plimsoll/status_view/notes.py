"""What there is to be said besides the table: sources, policies, what keeps them from acting, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plimsoll.model.acting import Mode, Status
from plimsoll.model.frequency_groups import Group
from plimsoll.status_view.fields import UNKNOWN, duration, mappings, number, text
from plimsoll.status_view.overcommit import overcommit_lines


def notes(document: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line each for sources, configuration, policies, what is missing and what was ignored, in any width."""
    sources = []
    for each in mappings(document.get("sources")):
        age = number(each.get("ageSeconds"))
        state = "good" if each.get("ok") is True else f"NOT GOOD ({text(each.get('detail'))})"
        sources.append(f"{text(each.get('name'))} {state}, {UNKNOWN if age is None else duration(age)} old")
    if sources:
        yield f"sources: {'; '.join(sources)}"
    for name in ("config", "tls"):
        section = document.get(name)
        if isinstance(section, Mapping) and section.get("reloadOk") is False:
            problems = section.get("problems")
            details = "; ".join(text(each) for each in problems) if isinstance(problems, list) else ""
            yield f"{name}: NOT TAKEN, the last good one is in force: {details}"
    yield from _acting(document)
    for each in mappings(document.get("capabilities")):
        if each.get("available") is False:
            yield f"missing: {text(each.get('name'))} ({text(each.get('reason'))}): {text(each.get('detail'))}"
    for pod in pods:
        for each in mappings(pod.get("ignored")):
            where = f"{text(pod.get('namespace'))}/{text(pod.get('name'))}"
            yield f"ignored: {where}: {text(each.get('key'))}: {text(each.get('message'))}"
    for each in mappings(document.get("unreadable")):
        yield f"left out: {text(each.get('pod'))}: {text(each.get('message'))}"


def _acting(document: Mapping[str, Any]) -> Iterator[str]:
    """A line for each policy, and one for each thing that keeps them from acting."""
    for each in mappings(document.get("policies")):
        yield _policy(each)
        yield from _shortages(each)
    frequency = document.get("frequency")
    if isinstance(frequency, Mapping):
        yield _frequency(frequency)
    overcommit = document.get("overcommit")
    if isinstance(overcommit, Mapping):
        yield from overcommit_lines(overcommit)
    acting = document.get("acting")
    if not isinstance(acting, Mapping):
        return
    if acting.get("journalOk") is False:
        yield f"journal: NOT WRITABLE ({text(acting.get('journal'))}), no knob is touched for the first time"
    for each in mappings(acting.get("disabled")):
        yield f"knob: {text(each.get('knob'))} GIVEN UP for now ({text(each.get('errno'))})"
    if stuck := number(acting.get("stuckSeconds")):
        yield f"writes: STUCK for {duration(stuck)}"
    if lost := number(acting.get("auditLinesLost")):
        yield f"audit: {lost:.0f} lines LOST"


def _frequency(frequency: Mapping[str, Any]) -> str:
    groups = frequency.get("groups")
    parts = []
    for name in Group:
        group = groups.get(name) if isinstance(groups, Mapping) else None
        if not isinstance(group, Mapping) or not number(group.get("units")):
            continue
        speed = number(group.get("megahertz"))
        parts.append(f"{name} {text(group.get('cpus'))}" + ("" if speed is None else f" at {speed:.0f} MHz"))
    demand, target = number(frequency.get("demandCpus")), number(frequency.get("targetCpus"))
    if demand is not None and target is not None:
        parts.append(f"high pods use {demand:.1f} CPUs of {target:.0f} wanted")
    if isinstance(change := frequency.get("lastChange"), str):
        parts.append(f"last change: {text(change)}")
    return f"frequency: {text(frequency.get('backend'))}: {'; '.join(parts) or UNKNOWN}"


def _policy(policy: Mapping[str, Any]) -> str:
    mode, status = policy.get("mode"), policy.get("status")
    line = f"policy: {text(policy.get('policy'))}: {text(mode)}"
    if mode == Mode.OFF:
        return line
    wants, would = number(policy.get("writes")), number(policy.get("wouldChange"))
    if wants is not None:
        line += f", wants {wants:.0f} values"
    if would is not None:
        line += f", would change {would:.0f} now"
    if status != Status.OK:
        name = text(status)
        line += f", {name.upper() if name == Status.SKIPPED else name} ({text(policy.get('reason'))})"
        line += f": {text(policy.get('detail'))}"
    return line


def _shortages(policy: Mapping[str, Any]) -> Iterator[str]:
    """Who waits for what, worst first, and why nobody goes for it."""
    eviction = policy.get("eviction")
    if not isinstance(eviction, Mapping):
        return
    for each in mappings(eviction.get("shortages")):
        share, seconds = number(each.get("share")), number(each.get("seconds"))
        who = text(each.get("pod") or each.get("uid") or "the node")
        how = UNKNOWN if share is None else f"{share:.0%}"
        since = UNKNOWN if seconds is None else duration(seconds)
        yield f"waits: {who} for {text(each.get('resource'))}, {how} of the time, for {since}"
    if eviction.get("pause") is not None:
        yield f"nobody is evicted: {text(eviction.get('pause'))}"
