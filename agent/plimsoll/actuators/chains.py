"""Writes that depend on each other: once one has failed, what was to come after it is not tried."""

from __future__ import annotations

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Result, Write

# The kernel may keep another value than it was given; of a cgroup that is gone nothing can depend, nor of what is slow
# or fast where nobody can run.
_FINE = frozenset({Outcome.OK, Outcome.UNCHANGED, Outcome.CLAMPED, Outcome.GONE, Outcome.OFFLINE})


class Chains:
    """The chains of one run, and how far each of them came."""

    __slots__ = ("_broken",)

    def __init__(self) -> None:
        self._broken: dict[str, int] = {}

    def saw(self, result: Result) -> None:
        """Take note of what became of a write."""
        write = result.write
        if write.chain and result.outcome not in _FINE:
            self._broken[write.chain] = min(write.phase, self._broken.get(write.chain, write.phase))

    def stops(self, write: Write) -> bool:
        """Whether something this write depends on has failed."""
        phase = self._broken.get(write.chain)
        return phase is not None and write.phase > phase
