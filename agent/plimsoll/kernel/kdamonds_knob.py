"""
The node's kdamonds in the shape of a knob: taking them all, and giving them back with whatever they were doing.

It must not know which value is wanted, nor what they are set to.
"""

from __future__ import annotations

import errno

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import HostFs, Reading
from plimsoll.kernel.reclaim.kdamonds import Kdamonds
from plimsoll.model.kdamonds import CLAIMED, NONE
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Target


class KdamondsKnob(Closing):
    """``identity`` is always 0: the tree is there as long as the kernel runs."""

    __slots__ = ("_kdamonds", "identity")

    def __init__(self, kdamonds: Kdamonds) -> None:
        self._kdamonds = kdamonds
        self.identity = 0

    @classmethod
    def of(cls, host: HostFs, target: Target) -> KdamondsKnob | Outcome:
        """The node's; MISSING for anything else, and in a kernel without them."""
        found = Kdamonds(host)
        outcome, _ = found.standing()
        if target != NODE:
            return Outcome.MISSING
        return cls(found) if outcome is Outcome.OK else outcome

    def close(self) -> None:
        """There is nothing to let go of."""

    def read(self) -> Reading:
        """How many there are, and whether they are ours."""
        outcome, text = self._kdamonds.standing()
        return Reading(text.encode("ascii") if outcome is Outcome.OK else None, outcome)

    def write(self, text: str) -> tuple[Outcome, int]:
        """
        Take or give back: the outcome and its errno, 0 where no system call failed.

        HELD where somebody else has them; any other value but these two is REJECTED.
        """
        if text == CLAIMED:
            return self._kdamonds.claim()
        return self._kdamonds.release() if text == NONE else (Outcome.REJECTED, errno.EINVAL)
