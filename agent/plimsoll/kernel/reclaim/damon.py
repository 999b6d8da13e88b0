"""
Cold memory by the kernel's data access monitor, which pages it out by itself: a kdamond for each container.

It looks at the node's memory by ranges, and before it takes a page it looks at that twice, a window apart, the first
time as soon as the monitor begins: no other way is as exact. For it to act on one container alone it takes a kdamond of
its own, with that very cgroup as a filter; what the cgroup protects (``memory.min``, ``memory.low``) it does not heed,
so who may lose memory, and how fast, is decided elsewhere and comes with each watch.

Three brakes: a quota bounds what an interval may take; a change of it keeps what is known but takes the kernel up to an
interval; ``off`` is at once, and what was known is lost. After a kill the kdamonds go on within quota and swap limit
until the next start, which ends them: all of them stand in the journal as one knob (``kernel/kdamonds_knob.py``), and
none is touched here before that is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim import damon_layout
from plimsoll.kernel.reclaim.damon_wishes import Wish, wishes
from plimsoll.kernel.reclaim.damon_worker import Worker
from plimsoll.kernel.reclaim.kdamonds import Kdamonds
from plimsoll.model.kdamonds import WORKERS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Selector, Watch

# What has failed so often in a row, or was not ours for so long, is somebody else's or not to be had: not for a while.
FAILURES = 5
CLAIM_SECONDS = 60.0
RETRY_SECONDS = 600.0
# One that ended by itself, its cgroup maybe with it, is not begun again at once.
RESTART_SECONDS = 30.0

Apart = Callable[[Callable[[], None]], object]
"""Runs a function on a thread of its own, or not at all while the one before it has not come back. Does not wait."""


class DamonMemory:
    """``clock`` gives monotonic seconds; ``apart`` is for what blocks. :meth:`halt` may be called by any thread."""

    selector = Selector.DAMON

    def __init__(self, host: HostFs, hierarchies: Hierarchies, *, apart: Apart) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._kdamonds = Kdamonds(host)
        self._apart = apart
        self._watches: Sequence[Watch] = ()
        # Replaced whole: another thread reads it.
        self._workers: tuple[Worker, ...] = ()
        self._leaving: list[Worker] = []
        self._kept: Collection[str] = frozenset()
        self._begun: dict[str, float] = {}
        self._failures = 0
        self._unclaimed_since: float | None = None
        self._retry_at = float("-inf")
        self.outcome = Outcome.OK
        """What the last try to begin came to."""

    @property
    def usable(self) -> bool:
        return self._retry_at == float("-inf")

    def watch(self, watches: Sequence[Watch]) -> None:
        self._watches = watches

    def halt(self, keep: Collection[str]) -> None:
        self._kept = keep
        for each in self._workers:
            if each.wish.pod not in keep:
                # Should it be refused, it is tried again with every turn.
                self._kdamonds.off(each.number)

    def advance(self, now: float) -> None:
        """Begins one kdamond at most, and asks for one change: the others wait for the next turn."""
        if now >= self._retry_at:
            self._retry_at = float("-inf")
        claimed = self._kdamonds.claimed
        if claimed is None:
            # The kernel is at work on one of them: the next turn will do.
            return
        if not claimed:
            self._wait_for_claim(now)
            return
        self._unclaimed_since = None
        wanted = wishes(self._hierarchies, self._watches if self.usable else (), self._kept)
        self._end(wanted, now)
        # Of an earlier life, or refused to stop.
        for number in sorted(set(range(WORKERS)) - {each.number for each in self._workers}):
            if self._kdamonds.running(number):
                self._kdamonds.off(number)
        self._begun = {path: at for path, at in self._begun.items() if path in wanted}
        self._begin(wanted, now)
        for each in self._workers:
            each.follow(wanted[each.wish.path], now)
        due = next((each for each in self._workers if each.due(now)), None)
        if due is not None:
            self._apart(lambda: due.change(self._kdamonds, now))

    def cold(self, pod: str) -> int | None:  # noqa: ARG002 - the protocol's
        """Not told: what it knows is by ranges of memory, whoever they belong to."""
        return None

    def close(self) -> None:
        self._watches, self._kept = (), frozenset()
        if self._kdamonds.claimed is not False:
            for number in range(WORKERS):
                self._kdamonds.off(number)
        self._workers = ()

    def _wait_for_claim(self, now: float) -> None:
        """Without it there is nothing of ours, and nothing to be done."""
        self._workers = ()
        self._begun = {}
        if not self._watches:
            self._unclaimed_since = None
            return
        if self._unclaimed_since is None:
            self._unclaimed_since = now
        if now - self._unclaimed_since >= CLAIM_SECONDS and self.usable:
            self.outcome = Outcome.HELD
            self._retry_at = now + RETRY_SECONDS

    def _end(self, wanted: Mapping[str, Wish], now: float) -> None:
        staying = []
        for each in self._workers:
            if each.wish.path not in wanted or each.tired(wanted[each.wish.path], now):
                self._kdamonds.off(each.number)
            elif self._kdamonds.running(each.number) is not False:
                staying.append(each)
                continue
            each.ended = True
            self._leaving.append(each)
        self._workers = tuple(staying)
        self._leaving = [each for each in self._leaving if each.changing]

    def _begin(self, wanted: Mapping[str, Wish], now: float) -> None:
        running = {each.wish.path for each in self._workers}
        taken = {each.number for each in (*self._workers, *self._leaving)}
        number = next((each for each in range(WORKERS) if each not in taken), None)
        wish = next((each for path, each in wanted.items() if path not in running and self._may(each, now)), None)
        if number is None or wish is None:
            return
        ranges = damon_layout.memory_ranges(self._host)
        setting = damon_layout.setting(wish.path, damon_layout.regions(ranges))
        outcome, _ = self._kdamonds.start(number, setting) if ranges else (Outcome.MISSING, 0)
        if outcome is Outcome.OK:
            self._failures, self.outcome = 0, outcome
            self._begun[wish.path] = now
            self._workers = (*self._workers, Worker(number, wish, damon_layout.total(ranges), now))
        elif outcome is not Outcome.REJECTED or self._exists(wish.path):
            self._failed(outcome, now)

    def _may(self, wish: Wish, now: float) -> bool:
        """One that was begun before had its rest: it is not begun again only to look on."""
        begun = self._begun.get(wish.path)
        if begun is None:
            return wish.worth
        return wish.rate > 0 and now - begun >= RESTART_SECONDS

    def _failed(self, outcome: Outcome, now: float) -> None:
        self.outcome = outcome
        self._failures += 1
        if self._failures >= FAILURES:
            self._failures = 0
            self._retry_at = now + RETRY_SECONDS

    def _exists(self, cgroup: str) -> bool:
        above = self._hierarchies.directory("memory")
        return above is not None and above.exists(cgroup)
