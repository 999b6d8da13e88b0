"""
Who gives how much: what may be taken in one decision, divided between the pods.

What a pod could give is told by ``overcommit_pod.py``; how much may be taken of all, by ``overcommit.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.overcommit import Pause
from plimsoll.model.plan import Reclaim, Selector, cgroup
from plimsoll.policies.overcommit_pod import Seen, flush, give
from plimsoll.policies.overcommit_step import stride
from plimsoll.policies.overcommit_swap import PAGE

_SLOWEST_RATE = 1 << 16


class Shares(NamedTuple):
    """By UID: how many bytes a pod gives, of those that give any, and why the others do not."""

    sizes: Mapping[str, int]
    pauses: Mapping[str, Pause]


def share_out(seen: Sequence[Seen], now: float, config: OvercommitSection, *, most: int) -> Shares:
    """
    At most ``most`` bytes: first of those who feel least, then of who has waited longest, then of the coldest.

    Those whose memory goes by itself share it evenly: it does so at a rate, which is costly to change.
    """
    sizes: dict[str, int] = {}
    pauses: dict[str, Pause] = {}
    given = [(each, *give(each, now, config)) for each in sorted(seen, key=_rank)]
    rates = sum(size for each, size, _ in given if each.selector is Selector.DAMON)
    part = min(1.0, most / rates) if rates else 1.0
    for each, wanted, pauses[each.uid] in given:
        size = min(int(wanted * part) if each.selector is Selector.DAMON else wanted, most) // PAGE * PAGE
        if size > 0:
            sizes[each.uid] = size
            most -= size
    return Shares(sizes, pauses)


def _rank(seen: Seen) -> tuple[bool, float, float, str]:
    cold = (seen.memory.cold or 0) / max(1, seen.level.current)
    return (seen.felt.share or 0.0) > 0, seen.kept.asked_at, -cold, seen.uid


def remember(seen: Seen, size: int, now: float, config: OvercommitSection) -> Seen:
    """The pod, asked for so much."""
    kept = seen.kept._replace(rate=0)
    if size <= 0:
        return seen._replace(kept=kept)
    asked = seen.offload.asked
    if seen.selector is Selector.DAMON:
        kept = kept._replace(rate=_rate(size / config.interval, seen.kept.rate))
    elif kept.asked_at > float("-inf") and asked == kept.told:
        # The last request was never made: there was no time for it, and nothing to be borne.
        return seen._replace(kept=kept._replace(asked_at=now))
    return seen._replace(kept=kept._replace(course=stride(kept.course, now, config), asked_at=now, told=asked))


def _rate(wanted: float, before: int) -> int:
    """A change of rate takes DAMON seconds: powers of two, not more than wanted, and more only where that is much."""
    return before if before <= wanted < before * 3 else 1 << int(math.log2(max(_SLOWEST_RATE, wanted)))


def brake(seen: Seen, pause: Pause) -> Seen:
    """The pod between two requests: what pages it out by itself stops as soon as it may give no more."""
    return seen if pause is Pause.NONE else seen._replace(kept=seen.kept._replace(rate=0))


def ask(seen: Seen, size: int, policy: str, swappiness: int | None) -> Reclaim | None:
    """The request for so many bytes; DAMON gets at them by itself."""
    if size <= 0 or seen.selector is Selector.DAMON:
        return None
    reason = "the overcommit target is not reached, and this pod hardly waits for swap"
    return Reclaim(seen.uid, cgroup(seen.sample.cgroup or ""), size, policy, reason, swappiness)


def empty(seen: Seen, policy: str, swappiness: int | None) -> tuple[Reclaim | None, Seen]:
    """Free what DAMON has paged out and the swap cache still holds, if that is much; and the pod, with that noted."""
    size = flush(seen) if seen.selector is Selector.DAMON else 0
    if size <= 0:
        return None, seen
    kept = seen.kept._replace(flushed=(seen.kept.flushed or 0) + size)
    reason = "what was paged out is still in the swap cache"
    target = cgroup(seen.sample.cgroup or "")
    reclaim = Reclaim(seen.uid, target, size, policy, reason, swappiness, written=True)
    return reclaim, seen._replace(kept=kept)
