"""How long to leave something alone that keeps going wrong: twice as long each time, up to a cap, with jitter."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

# Spread over a quarter, so that knobs upset together do not come back together.
_JITTER = 0.25


class _Wait(NamedTuple):
    times: int
    until: float


class Backoff(Generic[K]):
    """Waiting times by key. ``first`` and ``cap`` are seconds; ``random`` gives numbers from 0 to 1."""

    def __init__(self, first: float, cap: float, random: Callable[[], float]) -> None:
        self._first = first
        self._cap = cap
        self._random = random
        self._waits: dict[K, _Wait] = {}

    def again(self, key: K, now: float, cap: float | None = None) -> float:
        """
        It went wrong at ``now``: until when to leave it alone. After twice the cap of quiet it begins anew.

        ``cap``: seconds, where this key's is less than everybody's.
        """
        most = self._cap if cap is None else min(cap, self._cap)
        wait = self._waits.get(key)
        times = 0 if wait is None or now - wait.until > 2 * most else wait.times + 1
        # The exponent is bounded: what goes wrong for days must not overflow.
        seconds = min(most, self._first * (1 << min(times, 32))) * (1 + _JITTER * self._random())
        self._waits[key] = _Wait(times, now + seconds)
        return now + seconds

    def waiting(self, key: K, now: float) -> bool:
        """Whether it is still to be left alone."""
        wait = self._waits.get(key)
        return wait is not None and now < wait.until

    def clear(self, key: K) -> None:
        """It went well."""
        self._waits.pop(key, None)

    def __len__(self) -> int:
        return len(self._waits)

    def prune(self, wanted: Container[K]) -> None:
        """Forget all keys that are not wanted any more."""
        for key in [key for key in self._waits if key not in wanted]:
            del self._waits[key]
