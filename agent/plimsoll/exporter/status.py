"""The agent's view of its node as plain data: ``/status.json``, and what ``plimsoll status`` shows."""

from __future__ import annotations

from plimsoll.exporter.metrics import AgentFacts
from plimsoll.exporter.tls import TlsState
from plimsoll.model.pressure import Pressure
from plimsoll.model.snapshot import PodSample, Snapshot


def status(snapshot: Snapshot, agent: AgentFacts, tls: TlsState | None = None) -> dict[str, object]:
    """JSON-ready data. Times are seconds, memory bytes, shares 0 to 1; unknown is ``null`` or absent."""
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
        "memoryTotalBytes": snapshot.node.memory_total_bytes,
        "memoryAvailableBytes": snapshot.node.memory_available_bytes,
        "cpus": snapshot.node.cpus,
        "nodePressure": {each.cause: _pressure(each) for each in snapshot.node.pressures},
        "pods": [_pod(each) for each in snapshot.pods],
        "unreadable": [
            {"pod": where, "reason": reason, "message": message} for where, reason, message in snapshot.poison
        ],
    }


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
