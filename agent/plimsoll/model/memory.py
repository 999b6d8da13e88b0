"""
Memory and swap of pods and of the node, in bytes; counters since the cgroup was made. Unknown is ``None``.

Nothing here knows files, or how much of it should be where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class PodMemory:
    """
    One pod's memory, its containers' included (hierarchical counters).

    ``anon`` and ``shmem`` are what processes have mapped; ``listed``, what the kernel's lists hold for swap, has also
    what is on its way to the device. ``swapped`` is what ``memory.swap.current`` says; ``swap_cached`` of it is in
    memory as well. ``protected``: the largest of what the pod's own ``memory.min``, its ``memory.low`` and those of its
    containers together ask to be kept. ``swap_limit``: ``None`` is no limit, so ``swap_limited`` says whether one is
    known. ``refaulted``: anonymous pages that were evicted and came back, as bytes. ``passed_by``: bytes that reclaim
    has come to and found in use, so far; an estimate. ``oom_kills`` and ``limit_hits`` are of ``memory.events``.
    ``cold`` is what a selector knows to have been idle for its whole window.
    """

    current: int | None = None
    anon: int | None = None
    file: int | None = None
    shmem: int | None = None
    listed: int | None = None
    unevictable: int | None = None
    swapped: int | None = None
    swap_cached: int | None = None
    swap_limit: int | None = None
    swap_limited: bool = False
    zswapped: int | None = None
    protected: int = 0
    refaulted: int | None = None
    passed_by: int | None = None
    oom_kills: int | None = None
    limit_hits: int | None = None
    cold: int | None = None


@dataclass(frozen=True, slots=True)
class SwapDevice:
    """
    The device configured for low-priority memory, and whether it holds nothing else.

    ``path`` as configured; ``device_path``: one of its own, the kernel's while it is in use; ``device`` is
    ``MAJOR:MINOR``. ``priority``: what it is used with, as the kernel prints it. ``headed``: whether mkswap was run on
    it, as far as anybody looked: while it is in use nobody does. ``length``: bytes of a file; ``makeable``: nothing is
    at the configured path, and a file could be made there. ``dedicated`` is ``None`` while that cannot be known;
    then, and while it is false, ``reasons`` says why (short identifiers), with a sentence for each in ``details``.
    ``read`` and ``written`` count bytes since boot, of a file since it was first seen.
    ``in_memory``: what a compressing device takes for what it holds.
    ``removed``: it is gone, but the kernel still has it in use.
    """

    path: str
    active: bool
    device: str | None = None
    size: int | None = None
    used: int | None = None
    read: int | None = None
    written: int | None = None
    dedicated: bool | None = None
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    backend: str = ""
    kind: str = ""  # block | zram | file
    in_memory: int | None = None
    device_path: str | None = None
    priority: int | None = None
    headed: bool = False
    length: int | None = None
    makeable: bool = False
    removed: bool = False


class Earned(NamedTuple):
    """What of an :class:`Offload` came about under one selector, in the same units."""

    asked: int = 0
    freed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Offload:
    """
    What reclaiming has done for one pod since the agent started.

    ``asked``/``freed``: bytes; ``seconds``: spent in the kernel for it; ``partial``: times it freed less than asked
    (EAGAIN), ``exceeded``: times it took so much more that the rest was let be; ``selector`` in use; ``busy_bytes``
    what is still being reclaimed. ``earned``: by selector. What DAMON pages out by itself is in none of this: only what
    was reclaimed after it is.
    """

    asked: int = 0
    freed: int = 0
    seconds: float = 0.0
    partial: int = 0
    selector: str = ""
    busy_bytes: int = 0
    earned: Mapping[str, Earned] = field(default_factory=dict)
    exceeded: int = 0


@dataclass(frozen=True, slots=True)
class NodeSwap:
    """
    The node's swap: the dedicated device, and by pod UID what reclaiming came to.

    ``failing``: the selectors (``model/plan.py``) that were tried and do not work here for now.
    """

    device: SwapDevice | None = None
    offloads: Mapping[str, Offload] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
