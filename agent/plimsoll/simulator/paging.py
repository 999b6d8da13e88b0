"""
Memory that is used often, seldom and never, and what becomes of it when it is reclaimed: a model.

A pod is chunks of memory, each used at its own interval. The kernel's list of a fresh pod is in the order of allocation
and every page of it has been used once, so the first reclaim takes what is hot as readily as what is cold; later ones
pass by what was used since they last came by. A page from swap costs what one cost in a guest with a virtio disk. There
are no queues, no page cache, no fork and no large pages here: it shows whether a law is sound and which of two is
better, not how good one is on a machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plimsoll.model.memory import PodMemory
from plimsoll.model.plan import Selector

MIB = 1 << 20
CHUNK = MIB // 4
PAGE = 4096
FAULT_SECONDS = 0.00045
"""Of one page, on the average (41 000 pages in 18.4 s)."""

# Half a window apart.
AGEING_PASSES = 3


class Part(NamedTuple):
    """``size`` bytes; each page of it is used every ``period`` seconds, or never (``None``)."""

    size: int
    period: float | None = None


STANDARD = (Part(64 * MIB, 2.6), Part(32 * MIB, 41.0), Part(160 * MIB))
"""A pod with hot, warm and cold memory. What it needs is 96 MiB."""


class Traffic(NamedTuple):
    """What a pod has read from and written to its swap device, in bytes."""

    read: int
    written: int


class _Chunk:
    __slots__ = ("due", "looked", "period", "resident", "used")

    def __init__(self, period: float | None, due: float) -> None:
        self.period = period
        self.due = due
        self.used = 0.0
        self.looked = -1.0
        self.resident = True


class PodMemoryModel:
    """
    One pod. ``limit``: bytes it may have on the device; ``protected``: its own ``memory.min``. ``chunk``: bytes that
    are used, reclaimed and read back as one; the larger, the cheaper the model.
    """

    def __init__(self, parts: Sequence[Part] = STANDARD, *, protected: int = 0, chunk: int = CHUNK) -> None:
        self.limit = 0
        self.stalled = 0.0
        self.refaulted = 0
        self.traffic = Traffic(0, 0)
        self.protected = protected
        self._chunk = chunk
        self._now = 0.0
        self._selector: Selector | None = None
        self._rate = 0
        self._window = 0.0
        self._passes: list[float] = []
        # The golden ratio spreads what a part's pages do over its period, and is the same in every run.
        self._chunks = [
            _Chunk(part.period, (part.period or 0.0) * (place * 0.6180339887 % 1.0))
            for part in parts
            for place in range(part.size // self._chunk)
        ]
        self._list = deque(self._chunks)

    @property
    def current(self) -> int:
        """Bytes in memory."""
        return len(self._list) * self._chunk

    @property
    def swapped(self) -> int:
        """Bytes on the device."""
        return (len(self._chunks) - len(self._list)) * self._chunk

    @property
    def needed(self) -> int:
        """Bytes that are used at all."""
        return sum(self._chunk for each in self._chunks if each.period is not None)

    def phase(self, old: float | None, new: float | None, size: int) -> None:
        """From now on ``size`` bytes that were used every ``old`` seconds are used every ``new`` ones."""
        left = size // self._chunk
        for place, each in enumerate(self._chunks):
            if left and each.period == old:
                left -= 1
                each.period = new
                each.due = self._now + (new or 0.0) * (place * 0.6180339887 % 1.0)

    def run(self, seconds: float, room: int) -> None:
        """Let the pod work, and its selector; ``room``: bytes free on the device."""
        self._now += seconds
        for each in self._chunks:
            if each.period is not None and each.due <= self._now:
                self._use(each, each.period)
        if self._selector is Selector.MGLRU and (not self._passes or self._now - self._passes[-1] >= self._window / 2):
            self._age()
        if self._selector is Selector.DAMON and self._rate:
            self._page_out(int(min(self._rate * seconds, room, max(0, self.limit - self.swapped))))

    def watch(self, selector: Selector | None, rate: int, window: float) -> None:
        """As ``model/plan.py`` has it."""
        if selector is not self._selector:
            self._passes = []
        self._selector, self._rate, self._window = selector, rate, window

    def reclaim(self, size: int, room: int) -> int:
        """Take at least ``size`` bytes if they can be found, whatever the pod protects; what came of it."""
        size = min(size, room, max(0, self.limit - self.swapped))
        freed, looks = 0, 2 * len(self._list)
        while freed < size and looks > 0 and self._list:
            looks -= 1
            each = self._list.popleft()
            if each.used > each.looked:
                each.looked = self._now
                self._list.append(each)
                continue
            each.resident = False
            freed += self._chunk
        self.traffic = self.traffic._replace(written=self.traffic.written + freed)
        return freed

    def memory(self) -> PodMemory:
        """As the kernel, and a selector, would tell."""
        return PodMemory(
            current=self.current,
            anon=self.current,
            file=0,
            shmem=0,
            unevictable=0,
            swapped=self.swapped,
            swap_cached=0,
            swap_limit=self.limit,
            swap_limited=True,
            protected=self.protected,
            refaulted=self.refaulted,
            oom_kills=0,
            limit_hits=0,
            cold=self._cold(),
        )

    def _use(self, chunk: _Chunk, period: float) -> None:
        missed = int((self._now - chunk.due) / period)
        chunk.used = chunk.due + missed * period
        chunk.due = chunk.used + period
        if chunk.resident:
            return
        chunk.resident = True
        self._list.append(chunk)
        self.refaulted += self._chunk
        self.traffic = self.traffic._replace(read=self.traffic.read + self._chunk)
        self.stalled += self._chunk // PAGE * FAULT_SECONDS

    def _age(self) -> None:
        self._passes.append(self._now)
        for each in self._list:
            each.looked = self._now
        self._list = deque(sorted(self._list, key=lambda each: each.used))

    def _cold(self) -> int | None:
        if self._selector is not Selector.MGLRU or len(self._passes) < AGEING_PASSES:
            return None
        return sum(self._chunk for each in self._list if self._now - each.used >= self._window)

    def _page_out(self, size: int) -> None:
        idle = [each for each in self._list if self._now - each.used >= self._window][: size // self._chunk]
        for each in idle:
            each.resident = False
        self._list = deque(each for each in self._list if each.resident)
        self.traffic = self.traffic._replace(written=self.traffic.written + len(idle) * self._chunk)


def stall_rates(stalled: float, seconds: float, *, silent: bool) -> Mapping[str, tuple[float | None, float | None]]:
    """What PSI says of ``stalled`` seconds of page-ins; ``silent``: a classic LRU, no memory stall is counted."""
    share = min(1.0, stalled / seconds)
    return {"memory": (0.0 if silent else share, 0.0), "io": (share, share)}
