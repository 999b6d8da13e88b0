"""Exponential backoff with full jitter. It must not wait: it only says how long."""

from __future__ import annotations

from collections.abc import Callable
from random import Random


class Backoff:
    """
    Delays in seconds: between 0 and a ceiling that doubles from ``first`` to ``longest``.

    The ceiling falls back only after things went well for ``stable`` seconds: a server that accepts connections and
    fails right after would otherwise be asked at full speed.
    """

    def __init__(
        self, *, first: float, longest: float, stable: float, clock: Callable[[], float], random: Random
    ) -> None:
        self._first = first
        self._longest = longest
        self._stable = stable
        self._clock = clock
        self._random = random
        self._ceiling = first
        self._healthy_since: float | None = None

    def healthy(self) -> None:
        """It works now; said again and again while it does."""
        if self._healthy_since is None:
            self._healthy_since = self._clock()

    def next(self) -> float:
        """It failed: how long to wait before the next attempt."""
        if self._healthy_since is not None and self._clock() - self._healthy_since >= self._stable:
            self._ceiling = self._first
        self._healthy_since = None
        ceiling = self._ceiling
        self._ceiling = min(self._longest, ceiling * 2)
        return self._random.uniform(0.0, ceiling)
