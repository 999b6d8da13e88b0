"""
What one policy may do on this node now, and whether a decision of it keeps to that.

A decision is not believed to be what its types say. Pure. It must not know what any policy wants, nor what is done
about one that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Self

from plimsoll.model.eviction import Evict
from plimsoll.model.plan import Knob, Reclaim, Watch, Write
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.bounds import Territory, Violation
from plimsoll.policies.eviction_bounds import MAX_EVICTIONS, eviction_refusal
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.reclaim_bounds import Reclaimable, too_much
from plimsoll.policies.shape import has_figures, is_note, is_write

# 500 pods with nine cgroups each, two knobs in all of them: what a policy may want. How much of it is written in one
# tick is another question.
MAX_WRITES = 10_000
MAX_NOTES = 1000
MAX_PODS = 1000
_SHOWN = 200


class Flaw(StrEnum):
    """Why a policy was skipped, beside the violations of ``policies/bounds.py``: label values too."""

    EXCEPTION = "exception"
    MALFORMED = "malformed"
    TOO_MANY = "too-many"


class Skip(NamedTuple):
    """Why a policy's decision is not taken: a :class:`Flaw` or a violation, and a sentence."""

    reason: str
    detail: str

    @classmethod
    def raised(cls, error: Exception) -> Self:
        """There is no decision, as the policy failed."""
        return cls(Flaw.EXCEPTION, f"{type(error).__name__}: {error}"[:_SHOWN])


class Grant(NamedTuple):
    """
    ``liberties``: knobs the administrator lets the policy write where the rules do not by themselves; ``ground``,
    ``reclaimable`` and ``pods``: what is there to be acted upon.
    """

    policy: Policy[Any, Any]
    liberties: frozenset[Knob]
    ground: Territory
    reclaimable: Reclaimable
    pods: Sequence[PodSample]

    def refusal(self, write: Write) -> Violation | None:
        """Why this may not be written."""
        return self.ground.refusal(write, self.policy.name, self.policy.bounds, self.liberties)

    def watch_refusal(self, watch: Watch) -> Violation | None:
        """Why this may not be watched."""
        return self.reclaimable.watch_refusal(watch, self.policy.name)

    def checked(self, decision: object) -> Decision[Any] | Skip:
        """The decision, if all of it is one that this policy may take here."""
        if not isinstance(decision, Decision):
            return Skip(Flaw.MALFORMED, "It gave no decision.")
        # What was written down as a type is not yet so.
        writes: object = decision.writes
        notes: object = decision.notes
        lacking: object = decision.lacking
        if not (isinstance(writes, tuple) and isinstance(notes, tuple) and isinstance(lacking, tuple)):
            return Skip(Flaw.MALFORMED, "Its writes, notes or what it lacks are no tuple.")
        if len(writes) > MAX_WRITES or len(notes) > MAX_NOTES:
            return Skip(Flaw.TOO_MANY, f"It wanted {len(writes)} writes and {len(notes)} notes.")
        if not all(map(is_note, notes)):
            return Skip(Flaw.MALFORMED, "It noted what is no note.")
        if not (all(isinstance(each, str) for each in lacking) and has_figures(decision)):
            return Skip(Flaw.MALFORMED, "What it lacks are no names, or its figures are none.")
        for write in writes:
            if not isinstance(write, Write) or not isinstance(write.value, str):
                return Skip(Flaw.MALFORMED, f"It wanted what is no write: {write!r}"[:_SHOWN])
            violation = self.refusal(write)
            if violation is not None:
                where = write.target.path or "the node"
                return Skip(violation, f"It may not write {write.value!r} to {write.knob} of {where}."[:_SHOWN])
            if not is_write(write):
                return Skip(Flaw.MALFORMED, f"It wanted what is no write: {write!r}"[:_SHOWN])
        return self._reclaim_flaw(decision) or self._eviction_flaw(decision) or decision

    def _reclaim_flaw(self, decision: Decision[Any]) -> Skip | None:
        watches: object = decision.watches
        reclaims: object = decision.reclaims
        if not (isinstance(watches, tuple) and isinstance(reclaims, tuple)):
            return Skip(Flaw.MALFORMED, "Its watches or reclaims are no tuple.")
        if (watches or reclaims) and not self.policy.reclaims:
            return Skip(Violation.KNOB, "It may not watch or reclaim memory.")
        if len(watches) > MAX_PODS or len(reclaims) > MAX_PODS:
            return Skip(Flaw.TOO_MANY, f"It wanted {len(watches)} watches and {len(reclaims)} reclaims.")
        for each in (*watches, *reclaims):
            if isinstance(each, Watch):
                violation = self.watch_refusal(each)
            elif isinstance(each, Reclaim):
                violation = self.reclaimable.reclaim_refusal(each, self.policy.name)
            else:
                return Skip(Flaw.MALFORMED, f"It wanted what is no watch or reclaim: {each!r}"[:_SHOWN])
            if violation is not None:
                return Skip(violation, f"It may not have this: {each!r}"[:_SHOWN])
        if too_much(watches, reclaims):
            return Skip(Flaw.TOO_MANY, "It wanted to reclaim too much at once, or of a pod twice.")
        return None

    def _eviction_flaw(self, decision: Decision[Any]) -> Skip | None:
        evictions: object = decision.evictions
        if not isinstance(evictions, tuple) or not all(isinstance(each, Evict) for each in evictions):
            return Skip(Flaw.MALFORMED, "Its evictions are no tuple of such.")
        if evictions and not self.policy.evicts:
            return Skip(Violation.KNOB, "It may not have pods evicted.")
        if len(evictions) > MAX_EVICTIONS:
            return Skip(Flaw.TOO_MANY, f"It wanted {len(evictions)} pods evicted at once.")
        for each in evictions:
            violation = eviction_refusal(each, self.policy.name, self.pods)
            if violation is not None:
                return Skip(violation, f"It may not have this: {each!r}"[:_SHOWN])
        return None
