"""
Carrying reclaims out, slice by slice, and keeping the selectors on the pods that are watched.

Everything here may take its time in the kernel, so it runs on a thread of its own (``actor.py``); what it came to is
read from another. It must not know why memory is reclaimed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.reclaim import plain
from plimsoll.kernel.reclaim.selector import ColdMemory
from plimsoll.kernel.reclaim.wording import Wording
from plimsoll.model.memory import Earned, Offload
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.plan import Reclaim, Reclaimed, Selector, Watch

# What the kernel is asked for in one write, which cannot be stopped meanwhile. It looks at more and more of the memory
# until it has found a quarter of that, and takes all it passes by that was not used since it last came: where it has to
# look far it takes many times what it was asked for, and of a large slice it takes the rest from what it has just
# looked at, however much that is used.
SLICE = 1 << 20
# So much more than what should have gone to swap is a sign of that; a huge page goes whole, which is 2 MiB.
EXCESS, WRITTEN_EXCESS = 4 << 20, 1 << 18
# What waits to be picked up is bounded, should nobody ask.
_MAX_RESULTS = 1000


class Reclaimer:
    """
    ``selectors`` by name; ``clock`` gives monotonic seconds.

    :meth:`run` is the worker's. :meth:`want`, :meth:`take` and the properties may be called meanwhile from another
    thread: each of them reads or replaces one whole value, or takes what is there.
    """

    def __init__(
        self,
        hierarchies: Hierarchies,
        selectors: Sequence[ColdMemory] = (),
        *,
        clock: Callable[[], float],
        slice_bytes: int = SLICE,
    ) -> None:
        self._hierarchies = hierarchies
        self._selectors = {each.selector: each for each in selectors}
        self._clock = clock
        self._slice = slice_bytes
        self._wording = Wording()
        self._wanted: frozenset[str] = frozenset()
        self._watched: Mapping[str, Selector] = {}
        self._begun = False
        self._offloads: Mapping[str, Offload] = {}
        self._results: deque[Reclaimed] = deque(maxlen=_MAX_RESULTS)

    @property
    def offloads(self) -> Mapping[str, Offload]:
        """By pod UID, of the pods that are watched or were reclaimed from."""
        return MappingProxyType(self._offloads)

    @property
    def watching(self) -> bool:
        """Whether any pod is, or may be: what an earlier life has left is found by the first run."""
        return bool(self._watched) or not self._begun

    @property
    def failing(self) -> tuple[str, ...]:
        """The selectors that do not work here for now."""
        return tuple(str(name) for name, each in self._selectors.items() if not each.usable)

    def cold(self, pod: str) -> int | None:
        """What the pod's selector says is cold, in bytes."""
        selector = self._watched.get(pod)
        found = None if selector is None else self._selectors.get(selector)
        return None if found is None else found.cold(pod)

    def want(self, pods: Iterable[str]) -> None:
        """These pods only may be reclaimed from: whatever else is under way ends after the slice it is in."""
        self._wanted = frozenset(pods)

    def keep(self, pods: Iterable[str]) -> None:
        """Of these pods only may a selector page out by itself, from this moment on."""
        kept = frozenset(pods)
        for each in self._selectors.values():
            each.halt(kept)

    def take(self) -> tuple[Reclaimed, ...]:
        """What has become of reclaims since this was asked last."""
        # As many as there are now: more may be added meanwhile.
        return tuple(self._results.popleft() for _ in range(len(self._results)))

    def run(
        self, watches: Sequence[Watch], reclaims: Sequence[Reclaim], seconds: float, known: Collection[str] = ()
    ) -> None:
        """
        Let the selectors go on, then reclaim for at most ``seconds`` and one slice.

        ``known``: the pods there are. What reclaiming one has come to is remembered as long as it is there.
        """
        end = self._clock() + seconds
        self._watched = {each.pod: each.selector for each in watches}
        now = self._watched.keys() | {each.pod for each in reclaims}
        self._offloads = {pod: each for pod, each in self._offloads.items() if pod in known} | {
            pod: replace(self._offloads.get(pod, Offload()), selector=str(self._watched.get(pod, Selector.PLAIN)))
            for pod in now
        }
        for each in reclaims:
            self._account(each.pod, busy=each.size)
        for name, selector in self._selectors.items():
            selector.watch([each for each in watches if each.selector is name])
            selector.advance(self._clock())
        self._begun = True
        for each in reclaims:
            self._results.append(self._reclaim(each, end))

    def close(self) -> None:
        """End all watching."""
        for selector in self._selectors.values():
            selector.close()

    def _reclaim(self, reclaim: Reclaim, end: float) -> Reclaimed:
        left, freed, seconds = reclaim.size, 0, 0.0
        outcome, code = Outcome.OK, 0
        self._account(reclaim.pod, asked=reclaim.size, busy=left)
        while left > 0 and outcome is Outcome.OK:
            if reclaim.pod not in self._wanted or self._clock() >= end:
                outcome = Outcome.HELD
                break
            size = min(left, self._slice)
            answer = self._slice_of(reclaim, size)
            outcome, code = answer.outcome, answer.errno
            # Huge pages go whole. If that did not count, the last slices would take what is in use.
            left = max(0, left - max(size, answer.freed or 0, answer.moved or 0))
            freed += answer.freed or 0
            seconds += answer.seconds
            most = WRITTEN_EXCESS if reclaim.written else size + EXCESS
            if outcome is Outcome.OK and (answer.moved or 0) >= most:
                outcome = Outcome.EXCEEDED
            self._account(
                reclaim.pod,
                freed=answer.freed or 0,
                seconds=answer.seconds,
                partial=int(outcome is Outcome.BUSY),
                exceeded=int(outcome is Outcome.EXCEEDED),
                busy=left,
            )
        self._account(reclaim.pod, busy=0)
        return Reclaimed(reclaim, outcome, freed, seconds, code)

    def _slice_of(self, reclaim: Reclaim, size: int) -> plain.Answer:
        above = self._hierarchies.directory("memory")
        if above is None:
            return plain.Answer(Outcome.MISSING, 0, None, 0.0)
        try:
            directory = above.directory(reclaim.target.path)
        except OSError as error:
            code = error.errno or errno.EIO
            outcome = outcome_of(code)
            return plain.Answer(Outcome.GONE if outcome is Outcome.MISSING else outcome, code, None, 0.0)
        with directory:
            return self._wording.reclaim(directory, size, reclaim.swappiness, clock=self._clock)

    def _account(
        self,
        pod: str,
        *,
        asked: int = 0,
        freed: int = 0,
        seconds: float = 0.0,
        partial: int = 0,
        exceeded: int = 0,
        busy: int = 0,
    ) -> None:
        before = self._offloads.get(pod, Offload())
        earned = before.earned.get(before.selector, Earned())
        now = replace(
            before,
            earned={
                **before.earned,
                before.selector: Earned(earned.asked + asked, earned.freed + freed, earned.seconds + seconds),
            },
            asked=before.asked + asked,
            freed=before.freed + freed,
            seconds=before.seconds + seconds,
            partial=before.partial + partial,
            exceeded=before.exceeded + exceeded,
            busy_bytes=busy,
        )
        # A new mapping each time: the other thread may be reading the one there was.
        self._offloads = {**self._offloads, pod: now}
