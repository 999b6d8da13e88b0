"""
What the policies want now, as lines for a person and as data for programs (``plimsoll plan``).

It must not know how anything was decided or read.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.model.acting import Acting, Mode
from plimsoll.model.eviction import Evict
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Conflict, Result, Target, Write


def plan_lines(acting: Acting) -> Iterator[str]:
    """The policies, every knob with its reason, what two policies want, and how many knobs would change."""
    for report in acting.reports:
        yield f"{report.policy}: mode {report.mode}, {report.status}{' ' if report.detail else ''}{report.detail}"
        yield from (f"         {each.reason} of pod {each.pod}: {each.message}" for each in report.notes)
    rows = _rows(acting)
    for mode, each in rows:
        write = each.write
        would = "stands already" if each.outcome is Outcome.UNCHANGED else f"{each.before} -> {write.value}"
        if each.outcome not in (Outcome.OK, Outcome.UNCHANGED):
            would += f" ({each.outcome})"
        yield f"{mode:7}  {place(write.target)}  {write.knob}: {would}"
        yield f"         {write.reason}"
    for conflict in acting.conflicts:
        yield f"conflict  {place(conflict.kept.target)}  {conflict.kept.knob}: {rivals(conflict)}"
    for evict in acting.would_evict:
        yield f"would evict {evict.namespace}/{evict.name}{beneficiary(evict)}"
        yield f"         {evict.reason}"
    changes = sum(each.outcome is not Outcome.UNCHANGED for _, each in rows)
    yield f"{changes} of {len(rows)} knobs would change; nothing was written."


def plan_facts(acting: Acting) -> dict[str, object]:
    """The same, JSON-ready."""
    return {
        "policies": [
            {
                "policy": each.policy,
                "mode": each.mode,
                "status": each.status,
                "detail": each.detail,
                "notes": [note._asdict() for note in each.notes],
            }
            for each in acting.reports
        ],
        "writes": [
            {"mode": mode, **write_facts(each.write), "before": each.before, "outcome": each.outcome}
            for mode, each in _rows(acting)
        ],
        "conflicts": [conflict_facts(each) for each in acting.conflicts],
        "evictions": [evict_facts(each) for each in acting.would_evict],
    }


def write_facts(write: Write) -> dict[str, object]:
    """One wish, JSON-ready. The target is empty for the node."""
    return {
        "policy": write.policy,
        "target": write.target.path,
        "knob": write.knob,
        "value": write.value,
        "onExit": write.on_exit,
        "reason": write.reason,
    }


def conflict_facts(conflict: Conflict) -> dict[str, object]:
    """Two wishes for one knob, JSON-ready."""
    return {"kept": write_facts(conflict.kept), "dropped": write_facts(conflict.dropped)}


def rivals(conflict: Conflict) -> str:
    """The same for a person, without whose knob it is."""
    kept, dropped = conflict
    return f"{kept.policy} wins with {kept.value}, {dropped.policy} wanted {dropped.value}"


def evict_facts(evict: Evict) -> dict[str, object]:
    """One eviction, JSON-ready."""
    return {
        "policy": evict.policy,
        "namespace": evict.namespace,
        "pod": evict.name,
        "uid": evict.pod,
        "reason": evict.reason,
        "for": evict.sufferer or None,
    }


def beneficiary(evict: Evict) -> str:
    """For whom, with a blank before it; nothing where it is the node."""
    return f" for {evict.sufferer}" if evict.sufferer else ""


def place(target: Target) -> str:
    """A target for a person."""
    return target.path or "the node"


def _rows(acting: Acting) -> list[tuple[Mode, Result]]:
    enforced = [(Mode.ENFORCE, each) for each in acting.results]
    return enforced + [(Mode.OBSERVE, each) for each in acting.observed]
