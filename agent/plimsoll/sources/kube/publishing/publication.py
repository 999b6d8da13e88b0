"""
What is to be written to the node, and when: a state machine without I/O, thread or clock of its own.

What an agent before this one may have left there is not known, so the first thing to be said is what shall stand now,
also that nothing shall.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import NamedTuple

from plimsoll.model.publishing import Publishing
from plimsoll.sources.kube.backoff import Backoff


class Limits(NamedTuple):
    """
    All times in seconds. ``repeat``: what stands is said again, as a kubelet that starts sets what it does not know to
    0; the API server stores nothing where nothing changes.
    """

    repeat: float = 300.0
    forbidden: float = 600.0  # rights are granted by people
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    backoff_stable: float = 120.0
    retry_after_longest: float = 300.0


class Fate(StrEnum):
    """What the answer to a patch comes to."""

    DONE = "done"
    FORBIDDEN = "forbidden"  # a right is missing, or the guard says no
    FAILED = "failed"


class Reply(NamedTuple):
    """``reason`` and ``message`` say what went wrong; ``retry_after``: seconds the server asked for."""

    fate: Fate
    reason: str = ""
    message: str = ""
    retry_after: float | None = None


class Patch(NamedTuple):
    """``size`` bytes shall stand on the node; ``None``: nothing."""

    size: int | None


class Publication:
    """Of one node. ``clock``: monotonic seconds."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float], random: Random) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._backoff = Backoff(
            first=limits.backoff_first,
            longest=limits.backoff_longest,
            stable=limits.backoff_stable,
            clock=clock,
            random=random,
        )
        self._on = False
        self._wanted: int | None = None
        self._stands: int | None = None
        self._known = False
        self._again = float("-inf")
        self._resume = float("-inf")
        self._sent = 0
        self._failed: Counter[str] = Counter()
        self._trouble: tuple[str, str] | None = None

    @property
    def state(self) -> Publishing:
        """What became of it so far."""
        failed = dict(self._failed)
        return Publishing(self._wanted, self._stands, self._known, self._sent, failed, self._trouble)

    def want(self, size: int | None, *, on: bool = True) -> None:
        """
        So many bytes shall stand on the node, ``None``: nothing.

        ``on``: whether anything is published at all; where it never was, nothing is said to the API server.
        """
        self._on = self._on or on
        self._wanted = size if on else None

    def next(self, *, last: bool = False) -> Patch | float | None:
        """What to write now, how many seconds to wait, or ``None``: for news. ``last``: there is no later."""
        now = self._clock()
        settled = self._known and self._stands == self._wanted
        if not self._on or (settled and (self._wanted is None or last)):
            return None
        due = self._again if settled else self._resume
        return due - now if due > now and not last else Patch(self._wanted)

    def settle(self, patch: Patch, reply: Reply) -> None:
        """What became of it."""
        now = self._clock()
        if reply.fate is Fate.DONE:
            self._sent += 1
            self._trouble = None
            self._backoff.healthy()
            self._stands, self._known = patch.size, True
            self._again, self._resume = now + self._limits.repeat, now
            return
        self._failed[reply.reason] += 1
        self._trouble = reply.reason, reply.message
        delay = self._backoff.next()
        if reply.fate is Fate.FORBIDDEN:
            delay = self._limits.forbidden
        elif reply.retry_after is not None:
            wanted = min(reply.retry_after, self._limits.retry_after_longest)
            delay = max(delay, wanted + self._random.uniform(0.0, self._limits.backoff_first))
        self._again = self._resume = now + delay
