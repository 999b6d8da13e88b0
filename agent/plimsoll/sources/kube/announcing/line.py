"""Those who wait to be told, the one who waits longest first. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from plimsoll.sources.kube.announcing.notice import Key


class Waiting(NamedTuple):
    """One in the line. ``since``: monotonic seconds; ``attempts``: how often it was tried in vain."""

    key: Key
    since: float
    attempts: int = 0


class Line:
    """At most ``longest`` keys, each of them once. The first to come is the first to go, and nobody is pushed out."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiting: OrderedDict[Key, Waiting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    @property
    def first(self) -> Waiting | None:
        return next(iter(self._waiting.values()), None)

    def join(self, key: Key, now: float) -> bool:
        """Go to the end; whether there was room. Who is in the line already keeps the place."""
        if key not in self._waiting:
            if len(self._waiting) >= self._longest:
                return False
            self._waiting[key] = Waiting(key, now)
        return True

    def leave(self, key: Key) -> None:
        """No longer wait, or never have waited."""
        self._waiting.pop(key, None)

    def again(self, key: Key, now: float, *, failed: bool) -> int:
        """To the end after a try; how often it was tried in vain. One that left meanwhile stays away."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return 0
        # One that cannot succeed must not stand in the way of all the others.
        self._waiting[key] = Waiting(key, now, waiting.attempts + failed)
        return self._waiting[key].attempts
