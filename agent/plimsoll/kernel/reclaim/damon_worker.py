"""
One container's kdamond: what it was told last, and when it is to be told something else.

Two threads meet here. What each writes is one whole value; who ends a worker and who changes it look at what the other
has written after their own, so that never both go on.
"""

from __future__ import annotations

from plimsoll.kernel.reclaim import damon_layout
from plimsoll.kernel.reclaim.damon_wishes import Wish
from plimsoll.kernel.reclaim.kdamonds import Kdamonds
from plimsoll.model.outcome import Outcome

# A change takes the kernel an interval and begins the next one anew, so what is wanted more is waited for a little.
SETTLE_SECONDS = 2.0 * damon_layout.INTERVAL_SECONDS
# What is wanted no more has to be stopped by then in one way or the other, though another one's change be in the way.
BRAKE_SECONDS = 1.5 * damon_layout.INTERVAL_SECONDS
# To look on costs as much as to page out.
REST_SECONDS = 600.0
# What a container allocates after its pages were marked is not: so one that grows by this is marked anew, for a while.
_GROWN = 1.05
MARK_SECONDS = 300.0


class Worker:
    """
    The kdamond ``number`` on the container of ``wish``; ``whole``: bytes of memory it looks at.

    ``changing`` while a change is under way; then the number may not be given to another. ``ended``: it shall not be
    changed any more. It begins by marking, and pages out from the first change on.
    """

    __slots__ = (
        "_begun",
        "_brake_since",
        "_idle_since",
        "_marked_at",
        "_marked_size",
        "_told_at",
        "changing",
        "ended",
        "marking",
        "number",
        "rate",
        "whole",
        "window",
        "wish",
    )

    def __init__(self, number: int, wish: Wish, whole: int, now: float) -> None:
        self.number = number
        self.wish = wish
        self.whole = whole
        self.rate = 0
        self.window = wish.window
        self.marking = True
        self.changing = False
        self.ended = False
        self._told_at = now
        self._begun = now
        self._marked_at = now + damon_layout.marking_seconds(whole)
        self._marked_size = wish.size
        self._brake_since: float | None = None
        self._idle_since: float | None = None if wish.rate else now

    def tired(self, wish: Wish, now: float) -> bool:
        """Whether it is to be stopped at once: the slow brake was too slow, or it has looked on for long."""
        self._idle_since = None if wish.rate else now if self._idle_since is None else self._idle_since
        braking = wish.rate == 0 and self.rate > 0
        self._brake_since = None if not braking else now if self._brake_since is None else self._brake_since
        return (self._brake_since is not None and now - self._brake_since >= BRAKE_SECONDS) or (
            self._idle_since is not None and now - self._idle_since >= REST_SECONDS
        )

    def follow(self, wish: Wish, now: float) -> None:
        """Wish this of it now. While the container grows, its pages are marked anew."""
        self.wish = wish
        if self.marking and wish.size > _GROWN * self._marked_size and now - self._begun < MARK_SECONDS:
            self._marked_size = wish.size
            self._marked_at = now + damon_layout.marking_seconds(self.whole)

    def due(self, now: float) -> bool:
        """Whether it is to be told something else."""
        if self.changing:
            return False
        if self.marking:
            return now >= self._marked_at
        if (self.wish.rate, self.wish.window) == (self.rate, self.window):
            return False
        return self.wish.rate < self.rate or now - self._told_at >= SETTLE_SECONDS

    def change(self, kdamonds: Kdamonds, now: float) -> None:
        """Tell it. Blocks for up to an interval; what is refused is due again."""
        self.changing = True
        try:
            if self.ended:
                return
            wish = self.wish
            task = damon_layout.task(wish.rate, wish.size, self.whole, wish.window)
            outcome, _ = kdamonds.change(self.number, task)
            if outcome is Outcome.OK:
                self.rate, self.window, self.marking, self._told_at = wish.rate, wish.window, False, now
        finally:
            self.changing = False
