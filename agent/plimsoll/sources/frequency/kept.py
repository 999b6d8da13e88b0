"""
What stands in for one read that failed: the last value that was read, with its age. A second failure in a row ends it.

It must not know what the values are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by name, each as it was read last."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._read: dict[K, float] = {}
        self._missed: set[K] = set()

    @property
    def values(self) -> Mapping[K, V]:
        """Those read, and those that stand in."""
        return dict(self._values)

    def take(self, found: Mapping[K, V], due: Iterable[K], now: float) -> None:
        """
        ``due`` were read at ``now`` (seconds), of which ``found`` answered.

        One that did not answer the first time keeps its last value, where there is one.
        """
        for name in due:
            if name in found:
                self._values[name], self._read[name] = found[name], now
                self._missed.discard(name)
            elif name in self._values and name not in self._missed:
                self._missed.add(name)
            else:
                self._drop(name)

    def only(self, names: Iterable[K]) -> None:
        """Forget all but these: the others are no more."""
        for name in self._values.keys() - set(names):
            self._drop(name)

    def age(self, now: float) -> float | None:
        """Seconds since the oldest value that stands in was read; ``None`` while none does."""
        return max((now - self._read[name] for name in self._missed), default=None)

    def _drop(self, name: K) -> None:
        self._values.pop(name, None)
        self._read.pop(name, None)
        self._missed.discard(name)
