"""
Memory overcommit for a person: what ``/status.json`` says of it, and in what words.

It must not compute anything the tick did not say.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

from plimsoll.exporter.changes import SHOWN, bounded
from plimsoll.model.acting import Acting, Mode
from plimsoll.model.memory import SwapDevice
from plimsoll.model.overcommit import Overcommit, Pause, PodOvercommit
from plimsoll.model.snapshot import Snapshot

WORDS = {
    Pause.NO_DEVICE: "no device is configured, or it is not in use as swap",
    Pause.NO_LIMIT: "this kernel cannot keep the other pods off the device",
    Pause.NO_RECLAIM: "this kernel cannot be asked to reclaim memory",
    Pause.SHARED: "the device holds memory of others, too",
    Pause.DEVICE_FULL: "the device is full",
    Pause.WRITE_BUDGET: "the device has been written as much as it may be for now",
    Pause.HIGH_PRESSURE: "a high-priority pod waits too much",
    Pause.OOM_KILL: "a process was killed for want of memory",
    Pause.REACHED: "the target is reached",
    Pause.UNKNOWN: "the kernel does not tell what it waits for",
    Pause.OWNER: "its owner wants it left alone, or it is being deleted",
    Pause.PROBATION: "it is new, or what is cold in it is not known yet",
    Pause.LOOKING: "the kernel has just looked at it, and it shall use again what it uses",
    Pause.FELT: "it felt the last request",
    Pause.STALLED: "it has waited for as long as it may",
    Pause.REFAULTS: "what was taken from it came back",
    Pause.FLOOR: "it has nothing above its floor",
    Pause.CAPPED: "its part is on the device",
    Pause.WARM: "nothing in it is cold",
    Pause.BUSY: "the last request is under way",
}
"""Why nothing is reclaimed; a pause without words is none."""


class Found(NamedTuple):
    """What the policy that overcommits came to; ``pods`` with namespace and name, who gave most first."""

    mode: Mode
    figures: Overcommit
    pods: tuple[tuple[str, str, PodOvercommit], ...]


def found(snapshot: Snapshot, acting: Acting) -> Found | None:
    """``None`` where no policy overcommits, and while there is no ratio to reach."""
    report = next((each for each in acting.reports if each.overcommit is not None), None)
    if report is None or report.overcommit is None or report.overcommit.pause is Pause.OFF:
        return None
    names = {each.pod.uid: (each.pod.namespace, each.pod.name) for each in snapshot.pods}
    pods = ((*names[each.uid], each) for each in report.overcommit.pods if each.uid in names)
    ordered = sorted(pods, key=lambda one: (-one[2].offloaded, one[0], one[1], one[2].uid))
    return Found(report.mode, report.overcommit, tuple(ordered))


def overcommit_facts(snapshot: Snapshot, acting: Acting) -> dict[str, object] | None:
    """JSON-ready data: bytes, seconds, shares of 0 to 1; ``None`` where nothing is overcommitted."""
    all_of_it = found(snapshot, acting)
    if all_of_it is None:
        return None
    mode, figures, pods = all_of_it
    device = None if snapshot.node.swap is None else snapshot.node.swap.device
    return {
        "mode": mode,
        "ratio": None if figures.ratio is None else round(figures.ratio, 4),
        "targetRatio": figures.target if figures.budget is None else None,
        "budgetBytes": figures.budget,
        "gapBytes": figures.gap,
        "memoryBytes": figures.physical,
        "baseBytes": figures.base,
        "offloadedBytes": figures.offloaded,
        "swapCachedBytes": figures.swap_cached,
        "offeredBytes": figures.offer,
        "selector": figures.selector,
        "passedOver": [{"selector": selector, "reason": reason} for selector, reason in figures.passed_over],
        "pause": _pause(figures.pause),
        "writes": {
            "bytesPerSecond": _rounded(figures.write_rate),
            "meanBytesPerSecond": _rounded(figures.write_mean),
            "limitBytesPerSecond": _rounded(figures.write_limit),
            "budgetBytes": figures.write_budget,
        },
        "device": None if device is None else _device(device, figures),
        "pods": [_pod(*each) for each in pods],
    }


def _device(device: SwapDevice, figures: Overcommit) -> dict[str, object]:
    return {
        "path": bounded(device.path),
        "active": device.active,
        "kind": device.kind or None,
        "sizeBytes": device.size,
        "usedBytes": device.used,
        "dedicated": device.dedicated,
        "reasons": [
            {"reason": reason, "message": bounded(message)}
            for reason, message in zip_longest(device.reasons[:SHOWN], device.details[:SHOWN], fillvalue="")
        ],
        "lifeSeconds": _rounded(figures.life),
    }


def _pod(namespace: str, name: str, pod: PodOvercommit) -> dict[str, object]:
    return {
        "namespace": namespace,
        "pod": name,
        "uid": pod.uid,
        "offloadedBytes": pod.offloaded,
        "capBytes": pod.cap,
        "floorBytes": pod.floor,
        "coldBytes": pod.cold,
        "windowSeconds": round(pod.window),
        "step": round(pod.step, 6),
        "swapPressure": None if pod.pressure is None else round(pod.pressure, 6),
        "exact": pod.exact,
        "stallBudgetSeconds": round(pod.stall_budget, 3),
        "refaultBytesPerSecond": _rounded(pod.refaults),
        "wantedBytes": pod.wanted,
        "selector": pod.selector,
        "pause": _pause(pod.pause, pod.pause_seconds),
    }


def _pause(pause: Pause, seconds: float | None = None) -> dict[str, object] | None:
    """``seconds``: for how long yet, as far as that is known."""
    if pause not in WORDS:
        return None
    told: dict[str, object] = {"reason": pause, "message": WORDS[pause]}
    return told if seconds is None else told | {"seconds": round(seconds, 1) or None}


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
