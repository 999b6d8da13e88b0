"""
The laws of others, from their published formulas: what one reading of a pod's cgroup makes each of them reclaim.

Pure, and each with its own period. They are yardsticks for the benchmark and nothing of the product; where a law leaves
something open, it is settled in the law's favour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MIB = 1 << 20


class Reading(NamedTuple):
    """
    One look at a pod: ``at`` in seconds; bytes; averages in percent, as PSI prints them; totals in seconds.

    ``memory_10`` to ``io_60`` are the averages of ``some``, ``memory_some`` and ``io_some`` its totals.
    """

    at: float
    current: int
    file: int
    mapped: int
    memory_10: float
    memory_60: float
    io_10: float
    io_60: float
    memory_some: float
    io_some: float


class Law(NamedTuple):
    """``period`` in seconds; ``size`` of (the reading before, this one) is how many bytes to reclaim now."""

    name: str
    period: float
    size: Callable[[Reading, Reading], int]


def tmo(before: Reading, now: Reading) -> int:
    """
    Weiner et al., "TMO: Transparent Memory Offloading in Datacenters", ASPLOS 2022, section 3.3.

    reclaim = current x 0.0005 x max(0, 1 - PSI some / 0.1 %), every six seconds, by the worse of memory and I/O.
    """
    seconds = max(now.at - before.at, 0.001)
    worst = max(now.memory_some - before.memory_some, now.io_some - before.io_some) / seconds
    return int(now.current * 0.0005 * max(0.0, 1 - worst / 0.001))


def oomd(before: Reading, now: Reading) -> int:
    """
    The Senpai plugin of facebookincubator/oomd with immediate_backoff: 1 % every six seconds while all is calm.

    Calm is less than 0.1 % in the ten and sixty seconds' averages of memory and I/O. It takes 1 % of what is above its
    floor of 100 MiB; here of everything, which lets it save more.
    """
    calm = max(now.memory_10, now.memory_60, now.io_10, now.io_60) < 0.1
    return int(now.current * 0.01) if calm else 0


def katalyst(before: Reading, now: Reading) -> int:
    """
    The PSI policy of kubewharf/katalyst-core's TMO plugin: every thirty seconds, and no more than page cache and 1 MiB.

    max(0, 1 - avg60 / 0.1) x 1 % of the use, capped by max(2 x (cache - mapped), 1 MiB).
    """
    target = int(max(0.0, 1 - now.memory_60 / 0.1) * 0.01 * now.current)
    return max(0, min(max(2 * (now.file - now.mapped), MIB), target))


def white_paper(before: Reading, now: Reading) -> int:
    """
    The rule of the 2024 white paper taken literally: n % of every pod whose pressure is under a threshold.

    It names no figures: 5 % every ten seconds under 1 % of memory pressure are ours.
    """
    return int(now.current * 0.05) if now.memory_10 < 1 else 0


LAWS = {
    each.name: each
    for each in (
        Law("tmo", 6, tmo),
        Law("oomd", 6, oomd),
        Law("katalyst", 30, katalyst),
        Law("white-paper", 10, white_paper),
    )
}
