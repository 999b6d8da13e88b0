"""
Cold memory by the generations of the multi-generational LRU, aged by ourselves.

An ageing pass moves every page that was used since the last one into the youngest generation and begins another. So
what is in a generation from before one of our own passes has not been used between that pass and the latest one,
whatever the kernel did meanwhile. The ages the kernel prints are not used: those of a young cgroup are the cgroup's,
not its pages'.

It only finds: memory is moved out by ``memory.reclaim`` (``kernel/reclaim/plain.py``), which takes the oldest
generations first. What was read through file descriptors is not seen by a pass, so only swappable pages are counted.
Nothing stays behind in the kernel. Needs a kernel that walks page tables: the capability ``lru-gen``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.lru_gen import LruGen, Lruvec
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Selector, Watch

# Of the window, between two passes. The kernel keeps four generations: with shorter intervals a page that was not used
# for the whole window would have no generation of its own.
SHARE = 0.5
# Once little is left, what a pass finds is what is used seldom, not what is unused: a longer look tells them apart.
REST = 300.0
# Of the pod's swappable memory, and in bytes: less than the larger of the two is little.
_LITTLE_SHARE = 0.02
_LITTLE = 4 << 20
# In a row: what a pod has only allocated since the first pass cannot be cold yet at the third.
_LITTLE_PASSES = 2
# Passes of one turn: the last of them begins before this much time is over.
BUDGET = 0.5
# How old figures may be: what was reclaimed since must not be called cold once more.
REFRESH = 5.0
# More passes than this within the window would only make it finer.
_MAX_MARKS = 16

_Key = tuple[str, int, int]


class _Mark(NamedTuple):
    """One of our own passes: the number of the generation it began, and when."""

    number: int
    at: float


class _Pod:
    """
    What is known of one pod. ``below``: cgroups, whose own below them count in. ``window``: as in its watch.
    ``passed``: when the latest pass was; the next one is ``rest`` seconds later at least. ``little``: how many passes
    in a row have found little.
    """

    def __init__(self, below: frozenset[str]) -> None:
        self.below = below
        self.window = 0.0
        self.passed = float("-inf")
        self.rest = 0.0
        self.little = 0
        self.marks: dict[_Key, deque[_Mark]] = {}
        self.cold: int | None = None

    @property
    def due(self) -> float:
        """
        When the next pass is. It follows the window: one too soon after the window grew would leave the generation from
        before it no place of its own, and what is cold would not be known for a window more.
        """
        return self.passed + max(self.rest, SHARE * self.window)

    def has(self, lruvec: Lruvec) -> bool:
        return any(lruvec.path == path or lruvec.path.startswith(f"{path}/") for path in self.below)


class GenerationalMemory:
    """
    Two passes over a pod lie half of its window apart, and ``rest`` seconds once little is left; what was not used for
    the window is cold, so that takes as long to find out. ``clock`` gives monotonic seconds.
    """

    selector = Selector.MGLRU

    def __init__(
        self,
        host: HostFs,
        *,
        clock: Callable[[], float],
        rest: float = REST,
    ) -> None:
        self._file = LruGen(host)
        self._clock = clock
        self._rest = rest
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._pods: dict[str, _Pod] = {}
        self._read_due = float("-inf")
        # Replaced whole: another thread reads it.
        self._cold: Mapping[str, int] = {}
        self.outcome = Outcome.OK
        """What the last read or pass came to; a vanished cgroup is no failure."""

    @property
    def usable(self) -> bool:
        """Always: where it comes to know nothing, that shows pod by pod."""
        return True

    def watch(self, watches: Sequence[Watch]) -> None:
        pods: dict[str, _Pod] = {}
        for each in watches:
            below = frozenset(target.path for target in each.targets)
            known = self._pods.get(each.pod)
            pods[each.pod] = known if known is not None and known.below == below else _Pod(below)
            pods[each.pod].window = each.window
        self._pods = pods

    def advance(self, now: float) -> None:
        """At most one pass per pod, and none begins after half a second: what is due waits for the next turn."""
        due = sorted((each for each in self._pods.values() if each.due <= now), key=lambda each: each.due)
        if not self._pods:
            self._cold = {}
            return
        if not due and now < self._read_due:
            return
        end = self._clock() + BUDGET
        found = self._file.read()
        if due and not isinstance(found, Outcome):
            for pod in due:
                if self._clock() >= end and pod is not due[0]:
                    break
                self._pass(pod, found, now)
            found = self._file.read()
        self._read_due = now + REFRESH
        self._know(found)
        for pod in due:
            if pod.passed == now and not isinstance(found, Outcome):
                self._rest_after(pod, found)

    def halt(self, keep: Collection[str]) -> None:
        """Does nothing: it only finds."""

    def cold(self, pod: str) -> int | None:
        return self._cold.get(pod)

    def close(self) -> None:
        self._pods = {}
        self._cold = {}

    def _pass(self, pod: _Pod, found: Iterable[Lruvec], now: float) -> None:
        marks: dict[_Key, deque[_Mark]] = {}
        for lruvec in found:
            if not pod.has(lruvec):
                continue
            key = (lruvec.path, lruvec.memcg, lruvec.node)
            mine = pod.marks.get(key, deque(maxlen=_MAX_MARKS))
            if mine and mine[-1].number > lruvec.newest:
                # Generations only ever grow: this is another cgroup with the same name and number.
                mine = deque(maxlen=_MAX_MARKS)
            outcome = self._file.age(lruvec)
            if outcome is Outcome.OK:
                mine.append(_Mark(lruvec.newest + 1, now))
            elif outcome is not Outcome.REJECTED:
                self.outcome = outcome
            if mine:
                marks[key] = mine
        pod.marks = marks
        pod.passed = now

    def _know(self, found: tuple[Lruvec, ...] | Outcome) -> None:
        if isinstance(found, Outcome):
            self.outcome = found
            self._cold = {}
            return
        cold: dict[str, int] = {}
        for uid, pod in self._pods.items():
            known = [
                lruvec.anon_pages(below)
                for lruvec in found
                if pod.has(lruvec) and (below := self._unused_below(pod, lruvec)) is not None
            ]
            pod.cold = sum(known) * self._page if known else None
            if pod.cold is not None:
                cold[uid] = pod.cold
        self._cold = cold

    def _unused_below(self, pod: _Pod, lruvec: Lruvec) -> int | None:
        """Pages of generations with a smaller number were not used for the window before our latest pass."""
        marks = pod.marks.get((lruvec.path, lruvec.memcg, lruvec.node))
        if not marks or marks[-1].number > lruvec.newest:
            return None
        return next((each.number for each in reversed(marks) if marks[-1].at - each.at >= pod.window), None)

    def _rest_after(self, pod: _Pod, found: tuple[Lruvec, ...]) -> None:
        pod.rest = 0.0
        if pod.cold is None:
            return
        whole = sum(each.anon_pages() for each in found if pod.has(each)) * self._page
        little = pod.cold < max(_LITTLE_SHARE * whole, _LITTLE)
        pod.little = pod.little + 1 if little else 0
        pod.rest = self._rest if pod.little >= _LITTLE_PASSES else 0.0
