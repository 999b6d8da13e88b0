"""When the next request may be sent: a token bucket, and pauses after failures. It must not wait itself."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from plimsoll.sources.kube.backoff import Backoff


class Rates(Protocol):
    """How much may be sent. ``burst``: requests at once, and ``every`` so many seconds one more; times in seconds."""

    @property
    def burst(self) -> int: ...

    @property
    def every(self) -> float: ...

    @property
    def backoff_first(self) -> float: ...

    @property
    def backoff_longest(self) -> float: ...

    @property
    def backoff_stable(self) -> float: ...

    @property
    def retry_after_longest(self) -> float: ...


class Pace:
    """Of all requests of one kind. ``clock``: monotonic seconds."""

    def __init__(self, limits: Rates, *, clock: Callable[[], float], random: Random) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._tokens = float(limits.burst)
        self._counted = clock()
        self._resume = float("-inf")
        self._backoff = Backoff(
            first=limits.backoff_first,
            longest=limits.backoff_longest,
            stable=limits.backoff_stable,
            clock=clock,
            random=random,
        )

    def wait(self) -> float:
        """How many seconds until a request may be sent; 0: now."""
        now = self._clock()
        self._tokens = min(float(self._limits.burst), self._tokens + (now - self._counted) / self._limits.every)
        self._counted = now
        # Rounded up: a clock that stops a hair before the whole token would have the caller wait for nothing, often.
        missing = 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) * self._limits.every + 0.001
        return max(missing, self._resume - now, 0.0)

    def take(self) -> None:
        """A request is being sent."""
        self._tokens -= 1.0

    def succeeded(self) -> None:
        """The server answered, whatever the answer was."""
        self._backoff.healthy()

    def failed(self, retry_after: float | None) -> None:
        """It did not, or asked for a pause of ``retry_after`` seconds."""
        delay = self._backoff.next()
        if retry_after is not None:
            wanted = min(retry_after, self._limits.retry_after_longest)
            delay = max(delay, wanted + self._random.uniform(0.0, self._limits.backoff_first))
        self._resume = self._clock() + delay
