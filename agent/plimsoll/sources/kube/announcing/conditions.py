"""
Which conditions are to be written on which pods. Pure: no I/O, and the time is given.

A condition is written when something first becomes true of a pod, and follows it from then on. Pods that are never
acted upon get none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.sources.kube.announcing.limits import Limits
from plimsoll.sources.kube.announcing.line import Line
from plimsoll.sources.kube.announcing.notice import Key
from plimsoll.sources.kube.announcing.task import ConditionTask, Fate, Found, Reply
from plimsoll.sources.kube.announcing.truth import Matter, Truth


@dataclass(slots=True)
class _Standing:
    """What a pod's condition says, as far as we know; ``not_before``: when it may be written again."""

    truth: Truth | None
    message: str
    not_before: float


class Conditions:
    """
    The conditions of one node's pods. Times are monotonic seconds.

    While not ``adopted`` nothing is written: what stands there says since when it is true.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._standing: dict[Key, _Standing] = {}
        self.line = Line(limits.waiting)
        self.adopted = False

    def adopt(self, found: Found) -> None:
        """A condition that an agent before this one wrote."""
        self._standing[found.notice.key] = _Standing(found.truth, found.notice.message, float("-inf"))

    def hear(self, matters: Mapping[Key, Matter], now: float) -> None:
        """Put in line what is to be written by now."""
        for key in self._standing.keys() - matters.keys():
            del self._standing[key]
        for key, matter in matters.items():
            if self._due(key, matter, now):
                # Turned away, it comes again with the next tick: a condition is a state, and none is left out.
                self.line.join(key, now)

    def next(self, matters: Mapping[Key, Matter], now: float) -> ConditionTask | None:
        """The first in line whom it still concerns. It keeps its place until it is settled."""
        while (first := self.line.first) is not None:
            matter = matters.get(first.key)
            if matter is not None and self._due(first.key, matter, now):
                standing = self._standing.get(first.key)
                transition = standing is None or standing.truth is not matter.truth
                return ConditionTask(matter.notice, matter.truth, transition)
            self.line.leave(first.key)
        return None

    def settle(self, task: ConditionTask, reply: Reply, now: float) -> None:
        """What became of a task."""
        key, message = task.notice.key, task.notice.message
        match reply.fate:
            case Fate.FORBIDDEN:
                return
            case Fate.FAILED | Fate.AWAY:
                if self.line.again(key, now, failed=reply.fate is Fate.FAILED) < self._limits.attempts:
                    return
                before = self._standing.get(key)
                not_before = now + self._limits.repeat
                truth, message = (None, "") if before is None else (before.truth, before.message)
                self._standing[key] = _Standing(truth, message, not_before)
            case Fate.DONE:
                self._standing[key] = _Standing(task.truth, message, now + self._limits.settle)
            case _:
                # The pod is another one by now, or the server never takes it: not again unless there is news.
                self._standing[key] = _Standing(task.truth, message, now + self._limits.repeat)
        self.line.leave(key)

    def _due(self, key: Key, matter: Matter, now: float) -> bool:
        standing = self._standing.get(key)
        if standing is None:
            return matter.truth is Truth.TRUE and matter.notice.pod.managed
        stands = (standing.truth, standing.message) == (matter.truth, matter.notice.message)
        return not stands and now >= standing.not_before
