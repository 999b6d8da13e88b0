"""
What the applier knows between two ticks: the knobs it holds, what it waits for, what it has given up on.

Memory only: what must survive a crash is in the journal, and all of this can be found again by looking.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import NamedTuple

from plimsoll.actuators.backoff import Backoff
from plimsoll.actuators.breaker import Breaker
from plimsoll.actuators.holding import Holding
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Result, Target, Write

Place = tuple[Target, Knob]


class Settings(NamedTuple):
    """
    ``writes_per_tick``: system calls that change something. ``backoff_*``: seconds until a knob somebody else changed,
    or that failed, is tried again. ``breaker_*``: on how many cgroups the same errno makes us give up on a knob, and
    for how many seconds. ``verify_seconds``: in what time every knob we hold is read once, a few in each tick.
    """

    writes_per_tick: int = 2000
    backoff_first: float = 1.0
    backoff_cap: float = 300.0
    breaker_cgroups: int = 5
    breaker_seconds: float = 300.0
    verify_seconds: float = 10.0


class Failure(NamedTuple):
    """What trying to write ``value`` came to."""

    value: str
    outcome: Outcome
    errno: int


class Standing:
    """``holdings`` are in the order in which they are to be looked at again."""

    def __init__(self, settings: Settings, random: Callable[[], float]) -> None:
        self.holdings: OrderedDict[Place, Holding] = OrderedDict()
        self.drift: Backoff[Place] = Backoff(settings.backoff_first, settings.backoff_cap, random)
        self.drifts: Counter[Knob] = Counter()
        self.breaker = Breaker(settings.breaker_cgroups, settings.breaker_seconds)
        self._retry: Backoff[Place] = Backoff(settings.backoff_first, settings.backoff_cap, random)
        self._failures: dict[Place, Failure] = {}
        self._verify_seconds = settings.verify_seconds
        self._rotated: float | None = None

    def rotate(self, now: float) -> frozenset[Place]:
        """The share of the holdings to be looked at in this tick, however long ago the last one was."""
        elapsed = 0.0 if self._rotated is None else now - self._rotated
        self._rotated = now
        share = math.ceil(len(self.holdings) * min(1.0, elapsed / self._verify_seconds))
        turn = list(islice(self.holdings, share))
        for place in turn:
            self.holdings.move_to_end(place)
        return frozenset(turn)

    def failed(self, write: Write, outcome: Outcome, code: int, now: float) -> None:
        """A write, or the look before it, came to nothing."""
        if outcome in (Outcome.BUSY, Outcome.OFFLINE):
            # May have passed by the next tick; a CPU that comes back is not to stay slow for longer than that.
            return
        self._failures[write.key] = Failure(write.value, outcome, code)
        self._retry.again(write.key, now)
        if not _of_hardware(write.knob):
            self.breaker.refused(write.target, write.knob, outcome, code, now)

    def succeeded(self, place: Place) -> None:
        """The kernel took a write. If it had not for long, what it refused before may be tried again."""
        self._failures.pop(place, None)
        self._retry.clear(place)
        if place[1] in self.breaker.disabled:
            for other in [other for other in self._failures if other[1] is place[1]]:
                del self._failures[other]
        self.breaker.taken(place[1])

    def held_back(self, write: Write, now: float, *, returning: bool = False) -> Result | None:
        """HELD, when this write is not to be tried now. An original goes back even where a knob is given up on."""
        failure = self._failures.get(write.key)
        if failure is not None:
            if failure.outcome is Outcome.REJECTED and not _of_hardware(write.knob):
                # The same value would be refused again, another one need not be.
                waits = failure.value == write.value
            else:
                waits = self._retry.waiting(write.key, now)
            if waits:
                return Result(write, Outcome.HELD, errno=failure.errno)
        code = None if returning else self.breaker.holds(write.knob, now)
        return None if code is None else Result(write, Outcome.HELD, errno=code)

    def unwanted(self, wanted: AbstractSet[Place]) -> Iterable[tuple[Place, Holding]]:
        """The holdings no plan wants (any more)."""
        return [each for each in self.holdings.items() if each[0] not in wanted]

    def prune(self, wanted: AbstractSet[Place]) -> None:
        """Forget the troubles of knobs that are neither wanted nor held."""
        if not (self.drift or self._retry or self._failures):
            return
        live = wanted | self.holdings.keys()
        self.drift.prune(live)
        self._retry.prune(live)
        for place in self._failures.keys() - live:
            del self._failures[place]


def _of_hardware(knob: Knob) -> bool:
    """
    Whether it is a register behind firmware: how that answers says nothing of the value, nor of the next second.

    A firmware that is at a loss for a moment answers as for a value it will never take, and so for all cores at once.
    """
    return KNOBS[knob].register is not None
