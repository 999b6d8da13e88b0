"""
How much memory the node offers to more low-priority pods: what is on the device, as far as it stays there.

A scheduler places pods by it, and they stay when it shrinks: so it grows slowly and in steps, by what was there all the
time, and shrinks when less has been there for a while. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

STEP = 256 << 20
RISE_SECONDS = 600.0
FALL_SECONDS = 60.0
# Of the node's memory: with less available, whoever is placed here would be evicted again.
RESERVE = 0.1


class Offer(NamedTuple):
    """
    ``size``: bytes offered. ``least`` was on the device at any time since ``since``. ``most`` at any time since
    ``below_since``, all of it less than what is offered; ``None``: there is enough.
    """

    size: int = 0
    least: int = 0
    since: float | None = None
    most: int = 0
    below_since: float | None = None


def offer(before: Offer, offloaded: int, now: float, *, available: int | None, total: int | None) -> Offer:
    """
    What is offered when ``offloaded`` bytes are on the device and nowhere else.

    ``available`` and ``total``: of the node's memory; where they are not known nothing is added.
    """
    after = _fall(before, offloaded, now)
    if after.since is None or now < after.since:
        return after._replace(least=offloaded, since=now)
    least = min(after.least, offloaded)
    if now - after.since < RISE_SECONDS:
        return after._replace(least=least)
    room = available is not None and total is not None and available >= RESERVE * total
    more = _steps(least) if room else 0
    return after._replace(size=max(after.size, more), least=offloaded, since=now)


def _fall(before: Offer, offloaded: int, now: float) -> Offer:
    if offloaded >= before.size:
        return before._replace(below_since=None, most=0)
    if before.below_since is None:
        return before._replace(below_since=now, most=offloaded)
    most = max(before.most, offloaded)
    if now - before.below_since < FALL_SECONDS:
        return before._replace(most=most)
    return before._replace(size=_steps(most), below_since=None, most=0)


def _steps(size: int) -> int:
    return size // STEP * STEP
