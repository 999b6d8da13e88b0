"""
How long a pod waited for swap, and how much of what was taken from it came back.

openEuler kernels time it. Elsewhere it is estimated, and never from ``memory.pressure`` alone: a stock kernel counts
the wait for a page from swap there only if the page was part of the working set when it was evicted.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.model.pressure import Source
from plimsoll.model.snapshot import PodSample

SWAP = "swap"
_PAGE = 4096
# The slowest hundredth of the reads of a slow flash drive, and an everyday read of a disk. So many reads can explain so
# much waiting for I/O, and no more: a pod that waits for its own files must not look as if it waited for swap.
SLOWEST_READ = 0.01


class Counters(NamedTuple):
    """What the kernel had counted at the last decision."""

    refaulted: int | None = None
    passed_by: int | None = None


class Felt(NamedTuple):
    """
    ``share`` of time the pod waited for swap, ``None`` if nothing tells; ``exact`` if the kernel timed it.

    ``returned``: bytes that came back, ``None`` on the first look. ``passed_by``: bytes that reclaim found in use.
    """

    share: float | None
    exact: bool
    returned: int | None
    passed_by: int = 0


def feel(sample: PodSample, before: Counters, seconds: float) -> tuple[Felt, Counters]:
    """What happened in the ``seconds`` since the last decision, and what to hand in the next time."""
    memory = sample.memory
    now = Counters()
    if memory is not None:
        now = Counters(memory.refaulted, memory.passed_by)
    returned = _grown(before.refaulted, now.refaulted)
    share, exact = _exact(sample), True
    if share is None:
        share, exact = _estimate(sample, returned, seconds), False
    return Felt(share, exact, returned, _grown(before.passed_by, now.passed_by) or 0), now


def _exact(sample: PodSample) -> float | None:
    timed = any(each.cause == SWAP and each.source is Source.PRESSURE_STAT for each in sample.pressures)
    return some(sample, SWAP) if timed else None


def _estimate(sample: PodSample, came: int | None, seconds: float) -> float | None:
    # Pages found in the swap cache have come back, too, and cost nothing: the estimate is no less than what was waited.
    memory, io = some(sample, "memory"), some(sample, "io")
    possible = None if came is None or seconds <= 0 else min(1.0, came / _PAGE * SLOWEST_READ / seconds)
    known = [each for each in (io, possible) if each is not None]
    if not known:
        return None
    return max(memory or 0.0, min(known))


def some(sample: PodSample, cause: str) -> float | None:
    """The share of time at least one of the pod's tasks lost to ``cause`` since the last snapshot."""
    return sample.stall_rates.get(cause, (None, None))[0]


def _grown(before: int | None, now: int | None) -> int | None:
    return None if before is None or now is None or now < before else now - before
