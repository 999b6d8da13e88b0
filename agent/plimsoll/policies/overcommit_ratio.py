"""
How far low-priority memory is overcommitted: ``(base + offloaded) / base``, over all low-priority pods.

``base`` is memory, ``offloaded`` what is on the device and nowhere else, so the ratio grows by reclaiming and by
nothing else. How it is reached is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.memory import PodMemory

HYSTERESIS = 0.97
"""Once reached, nothing is reclaimed until the ratio has fallen below this share of the target."""


class Level(NamedTuple):
    """One pod, in bytes. ``movable``: of ``base``, what swap could still take."""

    current: int
    base: int
    offloaded: int
    swap_cached: int
    movable: int


class Ratio(NamedTuple):
    """All of them. ``ratio`` is ``None`` where there is no memory to reckon with; ``gap``: bytes yet to be moved."""

    physical: int = 0
    base: int = 0
    offloaded: int = 0
    swap_cached: int = 0
    ratio: float | None = None
    gap: int = 0
    reached: bool = False


def level(memory: PodMemory | None, basis: str) -> Level | None:
    """One pod's, ``None`` where the kernel does not say enough."""
    if memory is None or memory.current is None or memory.anon is None or memory.swapped is None:
        return None
    # Pages of tmpfs go to swap like anonymous ones, and count as `file`. Too little is the safe side, here and below.
    # A page on its way to the device is nobody's any more and still memory: only the kernel's lists have it, and they
    # lack what is locked.
    swappable = max(memory.anon + (memory.shmem or 0), memory.listed or 0)
    # What was read back keeps its place on the device for a while, and what zswap holds is in memory.
    cached = memory.swap_cached or 0
    offloaded = max(0, memory.swapped - cached - (memory.zswapped or 0))
    movable = max(0, swappable - cached - (memory.unevictable or 0))
    return Level(memory.current, memory.current if basis == "total" else swappable, offloaded, cached, movable)


def measure(levels: Iterable[Level], config: OvercommitSection, *, reached: bool) -> Ratio:
    """``reached``: whether it was before."""
    found = list(levels)
    physical = sum(each.current for each in found)
    base = sum(each.base for each in found)
    offloaded = sum(each.offloaded for each in found)
    cached = sum(each.swap_cached for each in found)
    ratio = (base + offloaded) / base if base > 0 else None
    if config.target == "budget":
        most = config.budget or 0
        reached = physical <= (most / HYSTERESIS if reached else most)
        gap = max(0, physical - most)
    else:
        # Near 1.0 a share of the target would be less than no overcommit at all.
        enough = max(config.ratio * HYSTERESIS, (1 + config.ratio) / 2) if reached else config.ratio
        reached = ratio is None or ratio >= enough
        gap = max(0, cap(base + offloaded, config.ratio) - offloaded)
    return Ratio(physical, base, offloaded, cached, ratio, gap, reached)


def cap(logical: int, ratio: float) -> int:
    """How much of ``logical`` bytes is on the device when the ratio is exactly this."""
    return int(logical * (1 - 1 / ratio))
