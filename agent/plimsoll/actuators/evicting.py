"""Hands evictions of a plan on to whoever can have pods evicted, and counts what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from plimsoll.model.eviction import Evict, Evicted
from plimsoll.model.outcome import Outcome


class Evictor(Protocol):
    """Who has pods evicted. Neither waits for anything."""

    def want(self, evictions: Iterable[Evict]) -> None: ...

    def take(self) -> tuple[Evicted, ...]: ...


class Evictions:
    """Of one agent. ``evictor`` is ``None`` where nobody can, or may."""

    def __init__(self, evictor: Evictor | None) -> None:
        self._evictor = evictor
        self._counts: Counter[tuple[str, Outcome]] = Counter()
        self._observed: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[tuple[str, Outcome], int]:
        """By policy and outcome, since start."""
        return dict(self._counts)

    @property
    def observed(self) -> Mapping[str, int]:
        """By policy: how many there would have been."""
        return dict(self._observed)

    def observe(self, evictions: Iterable[Evict]) -> None:
        """Count what nobody carries out."""
        self._observed.update(each.policy for each in evictions)

    def want(self, evictions: Iterable[Evict]) -> tuple[Evicted, ...]:
        """Have these pods evicted beside the tick; what has become of others meanwhile."""
        if self._evictor is None:
            return ()
        self._evictor.want(evictions)
        taken = self._evictor.take()
        self._counts.update((each.evict.policy, each.outcome) for each in taken)
        return taken
