"""
What stops everything at once: pods that are not low-priority come to harm, whatever the cause.

It must not know how much is reclaimed, nor whether that has anything to do with the harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from plimsoll.model.overcommit import Pause
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.overcommit_budget import smooth
from plimsoll.policies.overcommit_pressure import some

HOLD_SECONDS = 60.0
# A database waits for its disk all day: only more than is usual for it is news.
_USUAL_SECONDS = 600.0


class Kills(NamedTuple):
    """What ``memory.events`` of a pod had counted."""

    kills: int | None = None
    limit_hits: int | None = None


class Alarm(NamedTuple):
    """
    ``until`` (monotonic seconds) nothing is reclaimed, because of ``pause``. By UID, sorted: ``usual``, the share of
    time each high-priority pod has waited for I/O lately; ``kills``, of every pod.
    """

    until: float = float("-inf")
    pause: Pause = Pause.NONE
    usual: tuple[tuple[str, float], ...] = ()
    kills: tuple[tuple[str, Kills], ...] = ()


def listen(samples: Iterable[PodSample], now: float, seconds: float, limit: float, before: Alarm) -> Alarm:
    """After ``seconds``. ``limit``: the share of time a high-priority pod may wait."""
    known, counted = dict(before.usual), dict(before.kills)
    usual: dict[str, float] = {}
    kills: dict[str, Kills] = {}
    pause = Pause.NONE
    for each in samples:
        uid, memory = each.pod.uid, each.memory
        if memory is not None:
            kills[uid] = Kills(memory.oom_kills, memory.limit_hits)
            if _killed(each, counted.get(uid), kills[uid]):
                pause = Pause.OOM_KILL
        if each.pod.priority is not Priority.HIGH:
            continue
        waits = [some(each, "memory") or 0.0]
        io = some(each, "io")
        if io is not None:
            waits.append(io - known.get(uid, io))
            usual[uid] = smooth(known.get(uid), io, seconds, _USUAL_SECONDS)
        elif uid in known:
            usual[uid] = known[uid]
        if max(waits) > limit and pause is Pause.NONE:
            pause = Pause.HIGH_PRESSURE
    remembered = tuple(sorted(usual.items())), tuple(sorted(kills.items()))
    if pause is not Pause.NONE:
        return Alarm(now + HOLD_SECONDS, pause, *remembered)
    if now < before.until:
        return Alarm(before.until, before.pause, *remembered)
    return Alarm(float("-inf"), Pause.NONE, *remembered)


def killed(before: Kills | None, now: Kills) -> bool:
    """Whether a process of the pod was killed for want of memory meanwhile."""
    return before is not None and None not in (before.kills, now.kills) and (now.kills or 0) > (before.kills or 0)


def _killed(sample: PodSample, before: Kills | None, now: Kills) -> bool:
    """Whether that is all pods' concern: a low-priority pod that runs into its own limit, again and again, is not."""
    if not killed(before, now):
        return False
    own = before is not None and (now.limit_hits or 0) > (before.limit_hits or 0)
    return not (own and sample.pod.priority is Priority.LOW)
