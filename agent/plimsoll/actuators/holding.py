"""
What the applier knows of one knob between two ticks, and what follows from what stands there now.

Pure: no file, no journal, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from plimsoll.actuators.record import Record
from plimsoll.kernel.knob_spec import KnobSpec
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import OnExit, Write


@dataclass(slots=True)
class Holding:
    """
    ``stands``: what stood there when we looked last, ``None`` if that is not known. ``asked``: the plan's value that is
    settled, ``""`` if none is; ``phase`` and ``chain`` are those it was asked with. ``journaled``: there is something
    of ours to put back; otherwise what the plan wants stood there by itself, or we gave way. ``foreign``: somebody
    else's value stands. ``kept``: no plan wants it any more, and it stays.
    """

    identity: int
    policy: str
    on_exit: OnExit
    stands: str | None = None
    asked: str = ""
    journaled: bool = False
    foreign: bool = False
    kept: bool = False
    phase: int = 0
    chain: str = ""

    def take(self, write: Write) -> None:
        """Whose wish it is from now on, and what goes with it."""
        self.policy, self.on_exit, self.phase, self.chain = write.policy, write.on_exit, write.phase, write.chain

    def settled(self, write: Write) -> bool:
        """Whether there is nothing to do for this write, as far as is known without looking."""
        return (
            self.asked == write.value
            and self.stands is not None
            and not self.foreign
            and not self.kept
            and self.policy == write.policy
            and self.on_exit is write.on_exit
            # The journal is to know them too: what is put back is put back in their order.
            and self.phase == write.phase
            and self.chain == write.chain
        )


class Verdict(Enum):
    """What is to be done about a knob a plan wants."""

    STANDS = auto()
    TAKE = auto()  # for the first time: what stands there is the original
    SET = auto()
    FOREIGN = auto()  # somebody else changed it since we looked last


def judge(spec: KnobSpec, holding: Holding | None, record: Record | None, current: str, wanted: str) -> Verdict:
    """``record`` is the journal's for this very cgroup, ``current`` what stands there now."""
    # A ceiling that shows what is wanted only because of another one was not asked for.
    unasked = spec.capped and record is not None and not spec.same(record.last[-1], wanted)
    if spec.same(current, wanted) and not unasked:
        return Verdict.STANDS
    if record is None:
        return Verdict.STANDS if spec.enough(current, wanted) else Verdict.TAKE
    if holding is None or holding.stands is None:
        ours = is_ours(spec, record, current) or is_original(spec, record, current)
        return Verdict.SET if ours else Verdict.FOREIGN
    if holding.foreign:
        return Verdict.SET
    passing = spec.capped and holding.asked != "" and spec.rounded(current, holding.asked)
    if not spec.same(current, holding.stands) and not passing:
        return Verdict.FOREIGN
    # The kernel took this value and kept another: asking again would change nothing.
    return Verdict.STANDS if holding.asked == wanted else Verdict.SET


def is_ours(spec: KnobSpec, record: Record, current: str) -> bool:
    """Whether one of our last values stands there, or what the kernel makes of it."""
    return any(spec.rounded(current, each) for each in record.last)


def asked_of(spec: KnobSpec, record: Record, current: str) -> str:
    """Which of our last values it is that stands there; ``""`` where it may be more than one of them."""
    for each in reversed(record.last):
        if spec.same(current, each) or (spec.rounded(current, each) and not spec.capped):
            return each
    return ""


def is_original(spec: KnobSpec, record: Record, current: str) -> bool:
    """Whether the original stands there, be it only as far as it was written when somebody was killed."""
    return spec.same(current, record.original) or spec.begun(current, record.original) or is_torn(spec, record, current)


def is_torn(spec: KnobSpec, record: Record, current: str) -> bool:
    """Whether what stands there was left by somebody who was killed while going from one of these values to another."""
    return spec.mixed(current, (record.original, *record.last)) and not is_back(spec, record, current)


def is_back(spec: KnobSpec, record: Record, current: str) -> bool:
    """
    Whether the original stands there.

    A recorded file is cut to length after it was written, so one that still has a tail is not yet as it was.
    """
    return "\n" not in current and spec.same(current, record.original)


def judge_return(spec: KnobSpec, record: Record, current: str) -> Outcome:
    """
    What is to be done to put a knob back: OK, write the original; UNCHANGED, it stands there; DRIFTED, a value that
    nobody knows but its writer stands there, and stays.
    """
    if is_back(spec, record, current):
        return Outcome.UNCHANGED
    ours = is_ours(spec, record, current) or is_original(spec, record, current)
    return Outcome.OK if ours else Outcome.DRIFTED
