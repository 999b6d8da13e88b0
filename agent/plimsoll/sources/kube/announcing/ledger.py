"""
What is to be told, what was, and when the next request is due: the state machine of all notices of one node.

It must not wait, send or log; whoever does hands back what came of it. All of it is one thread's at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from plimsoll.model.announcing import Announcing, Channel
from plimsoll.sources.kube.announcing.conditions import Conditions
from plimsoll.sources.kube.announcing.events import Events
from plimsoll.sources.kube.announcing.limits import Limits
from plimsoll.sources.kube.announcing.notice import Said
from plimsoll.sources.kube.announcing.task import TROUBLE, ConditionTask, EventTask, Fate, ListTask, Reply, Task
from plimsoll.sources.kube.announcing.truth import Matters
from plimsoll.sources.kube.pace import Pace


class Ledger:
    """``clock``: monotonic seconds. Nothing is told before :meth:`configure` names a channel."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float], random: Random) -> None:
        self._limits = limits
        self._clock = clock
        self._channels: frozenset[Channel] = frozenset()
        self._matters = Matters(limits.settle)
        self._events = Events(limits)
        self._conditions = Conditions(limits)
        self._pace = Pace(limits, clock=clock, random=random)
        self._closed: dict[Channel, float] = {}
        self._listed = float("-inf")
        self._sent: Counter[Channel] = Counter()
        self._failed: Counter[tuple[Channel, str]] = Counter()
        self._troubles: dict[Channel, tuple[str, str]] = {}

    @property
    def state(self) -> Announcing:
        return Announcing(
            channels=self._channels,
            unavailable="" if self._channels else "off",
            sent={channel: self._sent[channel] for channel in self._channels | self._sent.keys()},
            failed=dict(self._failed),
            suppressed=self._events.suppressed,
            waiting=len(self._events.line) + len(self._conditions.line),
            troubles=dict(self._troubles),
        )

    def configure(self, channels: frozenset[Channel]) -> None:
        """The channels to use from now on. One that is turned on again begins afresh."""
        for channel in self._channels - channels:
            self._troubles.pop(channel, None)
            self._closed.pop(channel, None)
            if channel is Channel.EVENT:
                suppressed = self._events.suppressed
                self._events = Events(self._limits)
                self._events.suppressed = suppressed
            else:
                self._conditions = Conditions(self._limits)
        self._channels = channels

    def hear(self, said: Said) -> None:
        """Take in what one tick says."""
        now = self._clock()
        self._matters.hear(said, now)
        if Channel.EVENT in self._channels:
            self._events.hear(self._matters.all, now)
        if Channel.CONDITION in self._channels:
            self._conditions.hear(self._matters.all, now)

    def next(self) -> Task | float | None:
        """
        What to ask of the API server now; or how many seconds to wait; ``None``: nothing is to be told.

        A task is handed out once and must be settled before the next.
        """
        tasks = list(filter(None, (self._event(), self._condition())))
        if not tasks:
            return None
        now = self._clock()
        wait = min(max(self._closed.get(task.channel, now) - now, self._pace.wait()) for _, task in tasks)
        if wait > 0:
            return wait
        may = [each for each in tasks if self._closed.get(each[1].channel, now) <= now]
        _, task = min(may, key=lambda each: each[0])  # who waits longest
        self._pace.take()
        return task

    def settle(self, task: Task, reply: Reply) -> None:
        """What became of a task."""
        now = self._clock()
        channel = task.channel
        if channel not in self._channels:
            return  # turned off meanwhile
        if reply.fate in (Fate.FAILED, Fate.AWAY):
            self._pace.failed(reply.retry_after)
        else:
            self._pace.succeeded()
        if reply.fate is Fate.FORBIDDEN:
            self._closed[channel] = now + self._limits.forbidden
        if reply.fate not in (Fate.DONE, Fate.EXISTS, Fate.EXPIRED):
            self._failed[channel, reply.reason] += 1
        if reply.fate in TROUBLE:
            self._troubles[channel] = (reply.reason, reply.message)
        else:
            self._troubles.pop(channel, None)
        match task:
            case EventTask():
                self._sent[channel] += reply.fate is Fate.DONE
                self._events.settle(task, reply, now)
            case ConditionTask():
                self._sent[channel] += reply.fate is Fate.DONE
                self._conditions.settle(task, reply, now)
            case ListTask():
                self._adopt(reply, now)

    def _event(self) -> tuple[float, EventTask] | None:
        if Channel.EVENT not in self._channels:
            return None
        task = self._events.next(self._matters.all, self._clock())
        first = self._events.line.first
        return None if task is None or first is None else (first.since, task)

    def _condition(self) -> tuple[float, ConditionTask | ListTask] | None:
        if Channel.CONDITION not in self._channels:
            return None
        if not self._conditions.adopted:
            return self._listed, ListTask()
        task = self._conditions.next(self._matters.all, self._clock())
        first = self._conditions.line.first
        return None if task is None or first is None else (first.since, task)

    def _adopt(self, reply: Reply, now: float) -> None:
        if reply.fate is not Fate.DONE:
            # Behind those who wait by now: a list that does not come must not keep events from being told.
            self._listed = now
            if reply.fate not in (Fate.FAILED, Fate.AWAY):
                self._closed[Channel.CONDITION] = now + self._limits.forbidden
            return
        self._conditions.adopted = True
        for found in reply.found:
            self._matters.adopt(found.notice, found.truth, now)
            self._conditions.adopt(found)
