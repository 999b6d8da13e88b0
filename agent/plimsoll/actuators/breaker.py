"""
Giving up on a knob this node does not let us write: the same errno on several cgroups is not the cgroups' fault.

After a while one write is let through to see whether things have changed. This module must not know files or values.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Target

# These say something of the cgroup or of this process, not of the knob.
_NOT_THE_KNOB = frozenset({Outcome.OK, Outcome.CLAMPED, Outcome.BUSY, Outcome.OFFLINE, Outcome.GONE, Outcome.MISSING})
_NOT_ITS_ERRNO = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Breaker:
    """Counts refusals by (knob, errno). ``cgroups``: how many different ones it takes; ``seconds``: between trials."""

    def __init__(self, cgroups: int, seconds: float) -> None:
        self._cgroups = cgroups
        self._seconds = seconds
        self._refused: dict[tuple[Knob, int], set[Target]] = {}
        self._open: dict[Knob, tuple[int, float]] = {}

    @property
    def disabled(self) -> Mapping[Knob, int]:
        """The knobs given up on, and the errno why."""
        return MappingProxyType({knob: code for knob, (code, _) in self._open.items()})

    def refused(self, target: Target, knob: Knob, outcome: Outcome, code: int, now: float) -> None:
        """A write, or the read before it, failed."""
        if outcome in _NOT_THE_KNOB or code in _NOT_ITS_ERRNO:
            return
        targets = self._refused.setdefault((knob, code), set())
        # No more than are needed: this must not grow with the pods that come and go.
        if len(targets) < self._cgroups:
            targets.add(target)
        if len(targets) >= self._cgroups or knob in self._open:
            self._open[knob] = code, now + self._seconds

    def taken(self, knob: Knob) -> None:
        """The kernel took a write: whatever stood in the way is gone."""
        self._open.pop(knob, None)
        for known in [known for known in self._refused if known[0] is knob]:
            del self._refused[known]

    def holds(self, knob: Knob, now: float) -> int | None:
        """The errno why not to try this knob now; ``None`` when it may be tried."""
        code, until = self._open.get(knob, (0, now))
        return code if now < until else None

    def attempt(self, knob: Knob, now: float) -> None:
        """A write is about to be tried: while the knob is given up on, it is the only one for a while."""
        if knob in self._open:
            self._open[knob] = self._open[knob][0], now + self._seconds
