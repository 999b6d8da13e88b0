"""
One look at a knob, and one write to it with what the kernel makes of it. Never raises for what the kernel may answer.

This module must not know the journal or plans: whether a value may be written was decided before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plimsoll.kernel.disk_knob import DiskKnob
from plimsoll.kernel.hostfs import Reading
from plimsoll.kernel.kdamonds_knob import KdamondsKnob
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.knob_file import KnobFile
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.kernel.register_knob import RegisterKnob
from plimsoll.kernel.swap_file_knob import SwapFileKnob
from plimsoll.kernel.swap_knob import SwapKnob
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Target

# EBUSY is over in microseconds or not for long: three more tries within the tick, then in the next one.
_RETRIES = 3
_PAUSE_SECONDS = 0.001


class Look(NamedTuple):
    """What stands there, as the kernel spells it, and in which life of the cgroup. ``text`` only when OK."""

    outcome: Outcome
    errno: int
    identity: int
    text: str


class Put(NamedTuple):
    """What a write came to: OK, CLAMPED, or why it failed. ``after`` is what was read back, ``None`` if it was not."""

    outcome: Outcome
    errno: int
    after: str | None


class Exchange:
    """``pause`` waits a number of seconds; ``random`` gives numbers from 0 to 1 for its jitter."""

    def __init__(self, knobs: Knobs, *, random: Callable[[], float], pause: Callable[[float], None]) -> None:
        self._knobs = knobs
        self._random = random
        self._pause = pause

    def look(self, target: Target, knob: Knob) -> Look:
        """Read the knob."""
        file = self._knobs.open(target, knob)
        if isinstance(file, Outcome):
            return Look(file, 0, 0, "")
        with file:
            value = _value(reading := file.read())
            return Look(_outcome(reading, value), reading.errno, file.identity, value or "")

    def original(self, target: Target, knob: Knob, text: str) -> str:
        """What is to be put back some day where ``text`` stands now, before our first write."""
        return self._knobs.original(target, knob, text)

    def put(self, target: Target, knob: Knob, identity: int, value: str) -> Put:
        """Write ``value``, if this is still the cgroup that was looked at, and read it back."""
        file = self._knobs.open(target, knob)
        if isinstance(file, Outcome):
            return Put(file, 0, None)
        with file:
            if file.identity != identity:
                return Put(Outcome.GONE, 0, None)
            outcome, code = self._write(file, value)
            if outcome is Outcome.GONE:
                return Put(outcome, code, None)
            # Also after a failure: a write that failed may have changed something all the same.
            reading = file.read()
            after = _value(reading)
            if outcome is not Outcome.OK:
                return Put(outcome, code, after)
            if after is None:
                return Put(_outcome(reading, after), reading.errno, None)
            spec = KNOBS[knob]
            if spec.same(after, value):
                return Put(Outcome.OK, 0, after)
            return Put(Outcome.FAILED if spec.exact else Outcome.CLAMPED, 0, after)

    def _write(
        self, file: KnobFile | DiskKnob | RegisterKnob | SwapKnob | SwapFileKnob | KdamondsKnob, value: str
    ) -> tuple[Outcome, int]:
        answer = file.write(value)
        for attempt in range(_RETRIES):
            if answer[0] is not Outcome.BUSY:
                break
            self._pause(_PAUSE_SECONDS * (1 << attempt) * (0.5 + self._random()))
            answer = file.write(value)
        return answer


def _value(reading: Reading) -> str | None:
    """The text without the end of its line. ``None`` for an empty one, which nothing could put back."""
    return (reading.text() or "").removesuffix("\n") or None


def _outcome(reading: Reading, value: str | None) -> Outcome:
    return Outcome.MALFORMED if value is None and reading.outcome is Outcome.OK else reading.outcome
