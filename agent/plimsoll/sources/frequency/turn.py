"""Taking turns within a bounded time: what was not come to this time is first the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """``clock`` gives monotonic seconds; ``seconds`` is how long one round may go on before it gives nothing more."""

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._next = 0

    def take(self, items: Sequence[T]) -> Iterator[T]:
        """Each at most once, one in any case; the sequence may be another one each time."""
        deadline = self._clock() + self._seconds
        begin = self._next % len(items) if items else 0
        for offset in range(len(items)):
            if offset and self._clock() >= deadline:
                return
            self._next = begin + offset + 1
            yield items[(begin + offset) % len(items)]
