"""
Which events are to be created or counted once more. Pure: no I/O, and the time is given.

An event is told when something becomes true, again once an hour while it stays true, and soon when the words change.
What ceases and comes back within the hour is not told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.sources.kube.announcing.limits import Limits
from plimsoll.sources.kube.announcing.line import Line
from plimsoll.sources.kube.announcing.notice import Key
from plimsoll.sources.kube.announcing.task import EventTask, Fate, Reply
from plimsoll.sources.kube.announcing.truth import Matter, Truth


@dataclass(slots=True)
class _Told:
    """The last event of a key. ``at``: when it was told, or given up. ``exists``: the API server has it."""

    at: float
    message: str
    exists: bool
    times: int | None = None


class Events:
    """The events of one node's pods. Times are monotonic seconds. ``suppressed`` counts what was not told."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._told: dict[Key, _Told] = {}
        self._turned_away: set[Key] = set()
        self.line = Line(limits.waiting)
        self.suppressed = 0

    def hear(self, matters: Mapping[Key, Matter], now: float) -> None:
        """Put in line what is to be told by now."""
        for key in self._told.keys() - matters.keys():
            del self._told[key]
        self._turned_away &= matters.keys()
        for key, matter in matters.items():
            if self._due(key, matter, now):
                self._join(key, now)
            elif matter.rose and key not in self.line:
                self.suppressed += 1

    def next(self, matters: Mapping[Key, Matter], now: float) -> EventTask | None:
        """The first in line whom it still concerns. It keeps its place until it is settled."""
        while (first := self.line.first) is not None:
            matter = matters.get(first.key)
            if matter is not None and self._due(first.key, matter, now):
                told = self._told.get(first.key)
                if told is None or not told.exists or told.message != matter.notice.message:
                    return EventTask(matter.notice, repeat=False, times=1)
                return EventTask(matter.notice, repeat=True, times=None if told.times is None else told.times + 1)
            self.line.leave(first.key)
            self.suppressed += 1
        return None

    def settle(self, task: EventTask, reply: Reply, now: float) -> None:
        """What became of a task."""
        key, message = task.notice.key, task.notice.message
        match reply.fate:
            case Fate.DONE:
                told = _Told(now, message, exists=True, times=reply.times if task.repeat else task.times)
            case Fate.EXISTS:
                self.suppressed += 1
                told = _Told(now, message, exists=True)
            case Fate.GONE | Fate.REFUSED:
                told = _Told(now, message, exists=False)
            case Fate.EXPIRED:
                if key in self._told:
                    self._told[key].exists = False
                self.line.again(key, now, failed=False)
                return
            case Fate.FORBIDDEN:
                return
            case Fate.FAILED | Fate.AWAY:
                if self.line.again(key, now, failed=reply.fate is Fate.FAILED) < self._limits.attempts:
                    return
                told = _Told(now, message, exists=False)
        self.line.leave(key)
        self._told[key] = told

    def _due(self, key: Key, matter: Matter, now: float) -> bool:
        if matter.truth is not Truth.TRUE or matter.unsaid is not None:
            return False
        told = self._told.get(key)
        if told is None:
            return True
        gap = self._limits.repeat if told.message == matter.notice.message else self._limits.changed
        return now - told.at >= gap

    def _join(self, key: Key, now: float) -> None:
        if self.line.join(key, now):
            self._turned_away.discard(key)
        elif key not in self._turned_away:
            # It comes again with every tick; it was turned away once.
            self._turned_away.add(key)
            self.suppressed += 1
