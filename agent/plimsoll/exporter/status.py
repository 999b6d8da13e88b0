"""The agent's view of its node as plain data: ``/status.json``, and what ``plimsoll status`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plimsoll.exporter.acting_series import decided, observed_writes
from plimsoll.exporter.changes import SHOWN, Change, bounded, change, errno_name, owners_of, would_change
from plimsoll.exporter.frequency_status import frequency_facts
from plimsoll.exporter.metrics import AgentFacts
from plimsoll.exporter.overcommit_status import overcommit_facts
from plimsoll.exporter.tls import TlsState
from plimsoll.model.acting import Acting, Note, Report
from plimsoll.model.announcing import Announcing
from plimsoll.model.eviction import Eviction
from plimsoll.model.plan import Conflict
from plimsoll.model.pressure import Pressure
from plimsoll.model.publishing import Publishing
from plimsoll.model.snapshot import PodSample, Snapshot


def status(
    snapshot: Snapshot,
    agent: AgentFacts,
    tls: TlsState | None = None,
    acting: Acting | None = None,
    recent: Sequence[Change] = (),
) -> dict[str, object]:
    """
    JSON-ready data. Times are seconds, memory bytes, shares 0 to 1; unknown is ``null`` or absent.

    ``acting`` is ``None`` where nothing decides or acts; ``recent``: the last changes, the newest first.
    """
    return {
        "version": agent.version,
        "node": snapshot.node_name,
        "tick": snapshot.sequence,
        "uptimeSeconds": round(snapshot.monotonic - agent.started, 3),
        "intervalSeconds": agent.interval,
        "config": {"reloadOk": agent.config_reload_ok, "problems": list(agent.config_problems)},
        "tls": None if tls is None else {"reloadOk": tls.ok, "problems": list(tls.problems)},
        "sources": [
            {
                "name": each.name,
                "ok": each.ok,
                "complete": each.complete,
                "ageSeconds": each.age_seconds,
                "stuckSeconds": each.stuck_seconds,
                "detail": each.detail,
                "errors": dict(each.errors),
            }
            for each in snapshot.sources
        ],
        "capabilities": [
            {
                "name": each.name,
                "available": each.available,
                "reason": each.reason,
                "detail": each.detail,
                "cure": each.cure,
            }
            for each in snapshot.capabilities
        ],
        "acting": None if acting is None else _acting(acting, agent),
        "policies": [] if acting is None else _policies(acting, snapshot),
        "changes": [each.facts() for each in recent[:SHOWN]],
        "wouldChange": [] if acting is None else _would_change(acting, snapshot),
        "frequency": None if acting is None else frequency_facts(snapshot, acting),
        "overcommit": None if acting is None else overcommit_facts(snapshot, acting),
        "notices": None if agent.announcing is None else _notices(agent.announcing),
        "published": None if agent.publishing is None else _published(agent.publishing),
        "memoryTotalBytes": snapshot.node.memory_total_bytes,
        "memoryAvailableBytes": snapshot.node.memory_available_bytes,
        "cpus": snapshot.node.cpus,
        "nodePressure": {each.cause: _pressure(each) for each in snapshot.node.pressures},
        "pods": [_pod(each) for each in snapshot.pods],
        "unreadable": [
            {"pod": where, "reason": reason, "message": message} for where, reason, message in snapshot.poison
        ],
    }


def _acting(acting: Acting, agent: AgentFacts) -> dict[str, object]:
    return {
        "journal": acting.journal,
        "journalOk": acting.journal_ok,
        "held": acting.held,
        "stuckSeconds": acting.stuck_seconds,
        "disabled": [{"knob": knob, "errno": errno_name(code)} for knob, code in acting.disabled.items()],
        "drifts": dict(acting.drifts),
        "conflictCount": len(acting.conflicts),
        "conflicts": [_conflict(each) for each in acting.conflicts[:SHOWN]],
        "auditLinesLost": agent.audit_lines_lost,
    }


def _notices(announcing: Announcing) -> dict[str, object]:
    return {
        "channels": sorted(announcing.channels),
        "unavailable": None if announcing.channels else announcing.unavailable,
        "sent": dict(announcing.sent),
        "waiting": announcing.waiting,
        "suppressed": announcing.suppressed,
        "troubles": {
            channel: {"reason": reason, "message": bounded(message)}
            for channel, (reason, message) in announcing.troubles.items()
        },
    }


def _published(publishing: Publishing) -> dict[str, object]:
    reason, message = publishing.trouble or (None, "")
    trouble = None if reason is None else {"reason": reason, "message": bounded(message)}
    return {"wantedBytes": publishing.wanted, "standsBytes": publishing.stands, "trouble": trouble}


def _conflict(conflict: Conflict) -> dict[str, object]:
    kept, dropped = conflict
    return {
        "target": kept.target.path,
        "knob": kept.knob,
        "kept": {"policy": kept.policy, "value": bounded(kept.value)},
        "dropped": {"policy": dropped.policy, "value": bounded(dropped.value)},
    }


def _policies(acting: Acting, snapshot: Snapshot) -> list[dict[str, object]]:
    names = {each.pod.uid: (each.pod.namespace, each.pod.name) for each in snapshot.pods}
    would = observed_writes(acting)
    return [_policy(each, would.get(each.policy), names) for each in acting.reports]


def _policy(report: Report, would: int | None, names: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    return {
        "policy": report.policy,
        "mode": report.mode,
        "status": report.status,
        "reason": report.reason,
        "detail": bounded(report.detail),
        "writes": report.writes if decided(report) else None,
        "wouldChange": would,
        "lacking": list(report.lacking),
        "failures": dict(report.failures),
        "eviction": None if report.eviction is None else _eviction(report.eviction, names),
        "noteCount": len(report.notes),
        "notes": [_note(each, names) for each in report.notes[:SHOWN]],
    }


def _eviction(eviction: Eviction, names: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    return {
        "pause": eviction.pause or None,
        "lastHour": eviction.lately,
        "shortages": [
            {
                "resource": each.resource,
                "uid": each.pod or None,
                "pod": "/".join(names[each.pod]) if each.pod in names else None,
                "share": round(each.share, 4),
                "seconds": round(each.seconds, 1),
                "sustained": each.sustained,
            }
            for each in eviction.shortages[:SHOWN]
        ],
    }


def _note(note: Note, names: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    namespace, pod = names.get(note.pod, (None, None))
    return {
        "namespace": namespace,
        "pod": pod,
        "uid": note.pod,
        "reason": note.reason,
        "message": bounded(note.message),
    }


def _would_change(acting: Acting, snapshot: Snapshot) -> list[dict[str, object]]:
    owners = owners_of(snapshot)
    found = would_change(acting)[:SHOWN]
    return [change(each, snapshot.sequence, snapshot.unix, owners).facts() for each in found]


def _pod(sample: PodSample) -> dict[str, object]:
    pod = sample.pod
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "priority": pod.priority,
        "origin": pod.intent.origin,
        "managed": pod.intent.managed,
        "qosClass": pod.object.qos_class,
        "state": sample.state,
        "memoryBytes": sample.memory_bytes,
        "memoryLimitBytes": sample.memory_limit_bytes,
        "pressure": {
            each.cause: _pressure(each, *sample.stall_rates.get(each.cause, (None, None))) for each in sample.pressures
        },
        "ignored": [{"key": each.key, "reason": each.reason, "message": each.message} for each in pod.intent.rejected],
    }


def _pressure(each: Pressure, some: float | None = None, full: float | None = None) -> dict[str, object]:
    """``some``/``full``: the share of time lost since the previous tick; ``avg10``: the kernel's own average."""
    view: dict[str, object] = {"source": each.source}
    for degree, line, rate in (("some", each.some, some), ("full", each.full, full)):
        if line is not None:
            view[degree] = {
                "totalSeconds": line.total_us / 1e6,
                "avg10": None if line.avg10 is None else line.avg10 / 10000,
                "rate": None if rate is None else round(rate, 6),
            }
    return view
