"""
What is to be done in a tick: every knob a plan wants, or no longer wants, is settled without a look, or looked at.

Nothing is written here, neither to a knob nor to the journal: that is ``actuators/applier.py``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from plimsoll.actuators.exchange import Exchange, Look
from plimsoll.actuators.holding import (
    Holding,
    Verdict,
    asked_of,
    is_back,
    is_original,
    is_ours,
    is_torn,
    judge,
    judge_return,
)
from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Entry, Key, Record
from plimsoll.actuators.restoration import KEPT, RELEASED, putting_back
from plimsoll.actuators.standing import Place, Standing
from plimsoll.kernel.knob_spec import KNOBS, Drift
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import OnExit, Result, Write


class Due(NamedTuple):
    """
    A write to be tried in this tick. ``entry`` is what the journal is to know before.

    ``passing``: ``write`` has a value on the way to the one that is wanted, which comes later in the same tick.
    """

    write: Write
    identity: int
    current: str
    entry: Entry | None = None
    first: bool = False
    returning: bool = False  # the original goes back
    passing: bool = False


@dataclass
class Tick:
    """
    What one tick comes to: what the plan has ``wanted``, the ``results`` so far, what is ``due``, and what the journal
    is to know: ``notes`` of knobs that need no write, and the keys that are ``gone``.
    """

    now: float
    wanted: set[Place] = field(default_factory=set)
    results: list[Result] = field(default_factory=list)
    due: dict[Place, Due] = field(default_factory=dict)
    notes: list[Entry] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)


class Intake:
    """``standing`` is kept up with what is found."""

    def __init__(self, exchange: Exchange, journal: Journal, standing: Standing) -> None:
        self._exchange = exchange
        self._journal = journal
        self._standing = standing

    def consider(self, write: Write, tick: Tick, *, look: bool) -> None:
        """A write of the plan. ``look``: do so even when nothing seems to be needed."""
        holding = self._standing.holdings.get(write.key)
        if not look:
            waiting = self._without_looking(write, holding, tick.now)
            if waiting is not None:
                tick.results.append(waiting)
                return
        found = self._look(write, holding, tick, settled=holding is not None and holding.settled(write))
        if found is None:
            return
        spec = KNOBS[write.knob]
        holding = self._standing.holdings.get(write.key)
        record = self._journal.originals.get(Key(*write.key, found.identity))
        if holding is not None and record is not None and spec.enough(record.original, write.value):
            # What stood there before us gives as much: nothing more is wanted of us.
            self.release(write.key, holding, tick, look=look)
            return
        verdict = judge(spec, holding, record, found.text, write.value)
        if verdict is Verdict.STANDS and self._forgotten(write, record, found.text):
            verdict = Verdict.TAKE
        if verdict is Verdict.STANDS:
            self._settle(write, found, holding, record, tick)
        elif verdict is Verdict.FOREIGN:
            self._drifted(write, found, record, tick)
        elif holding is not None and holding.foreign and not self._retakes(write, holding, tick.now):
            tick.results.append(Result(write, Outcome.DRIFTED, found.text, found.text))
        elif verdict is Verdict.TAKE and self._excluded(write, tick):
            tick.results.append(Result(write, Outcome.HELD, found.text, found.text))
        elif (held := self._standing.held_back(write, tick.now)) is not None:
            tick.results.append(held._replace(before=found.text, after=found.text))
        else:
            self._standing.breaker.attempt(write.knob, tick.now)
            tick.due[write.key] = self._due(write, found, record)

    def _forgotten(self, write: Write, record: Record | None, current: str) -> bool:
        """Whether what is wanted stands there by our own hand, from before a reboot, which took the journal."""
        if record is not None or not KNOBS[write.knob].outlives:
            return False
        return self._exchange.original(*write.key, current) != current

    def _excluded(self, write: Write, tick: Tick) -> bool:
        """Whether a knob that shares a file with this one is held, or is due: what stands there is no original."""
        places = [(write.target, each) for each in KNOBS[write.knob].excludes]
        held = (self._standing.holdings.get(place) for place in places)
        return any(each is not None and each.journaled for each in held) or any(each in tick.due for each in places)

    def release(self, place: Place, holding: Holding, tick: Tick, *, look: bool) -> None:
        """A knob no plan wants any more. ``look``: whether it is this one's turn, if it is only kept."""
        if not holding.journaled:
            del self._standing.holdings[place]
            return
        key = Key(*place, holding.identity)
        record = self._journal.originals[key]
        if record.on_exit is OnExit.KEEP:
            self._keep(key, record, holding, tick, look=look)
            return
        write = putting_back(key, record, RELEASED)
        held = self._standing.held_back(write, tick.now, returning=True)
        if held is not None:
            tick.results.append(held)
            return
        found = self._look_again(write, holding, tick)
        if found is None:
            return
        outcome = judge_return(KNOBS[key.knob], record, found.text)
        if outcome is Outcome.OK:
            tick.due[place] = Due(write, found.identity, found.text, returning=True)
            return
        self.drop(place, tick)
        tick.results.append(Result(write, outcome, found.text, found.text))

    def _keep(self, key: Key, record: Record, holding: Holding, tick: Tick, *, look: bool) -> None:
        """It stays, and is looked at only to notice the end of its cgroup."""
        if holding.kept and not look:
            return
        write = putting_back(key, record, KEPT)
        found = self._look_again(write, holding, tick)
        if found is not None and not holding.kept:
            tick.results.append(Result(write, Outcome.UNCHANGED, found.text, found.text))
        holding.kept = True

    def adopt(self, key: Key, record: Record, tick: Tick) -> None:
        """A record of the journal, after a start: is the knob still ours?"""
        place = key.target, key.knob
        spec = KNOBS[key.knob]
        holding = Holding(key.identity, record.policy, record.on_exit, journaled=True)
        write = putting_back(key, record, "after a start: as an earlier run left it")
        found = self._exchange.look(*place)
        outcome = found.outcome
        if outcome is Outcome.OK and found.identity != key.identity:
            outcome = Outcome.GONE
        if outcome is Outcome.GONE:
            tick.gone.append(key)
        elif outcome is not Outcome.OK:
            # Whose it is shows when it can be read again.
            self._standing.holdings[place] = holding
        elif is_ours(spec, record, found.text):
            outcome = Outcome.UNCHANGED
            holding.stands = found.text
            holding.asked = asked_of(spec, record, found.text)
            holding.phase, holding.chain = record.phase, record.chain
            self._standing.holdings[place] = holding
        elif is_back(spec, record, found.text):
            outcome = Outcome.UNCHANGED
            tick.gone.append(key)
        elif is_original(spec, record, found.text):
            outcome = Outcome.UNCHANGED
            holding.stands = found.text
            self._standing.holdings[place] = holding
        else:
            outcome = Outcome.DRIFTED
            self._standing.holdings[place] = holding
            self._foreign(place, holding, found.text, record.last[-1], tick)
        tick.results.append(Result(write, outcome, found.text or None, found.text or None, found.errno))

    def drop(self, place: Place, tick: Tick) -> None:
        """Let go of a knob, in this life of its cgroup."""
        holding = self._standing.holdings.pop(place, None)
        if holding is not None and holding.journaled:
            tick.gone.append(Key(*place, holding.identity))

    def _without_looking(self, write: Write, holding: Holding | None, now: float) -> Result | None:
        if holding is not None:
            if holding.settled(write):
                return Result(write, Outcome.UNCHANGED, holding.stands, holding.stands)
            if holding.foreign and not self._retakes(write, holding, now):
                return Result(write, Outcome.DRIFTED, holding.stands, holding.stands)
        return self._standing.held_back(write, now)

    def _look(self, write: Write, holding: Holding | None, tick: Tick, *, settled: bool = False) -> Look | None:
        """
        What stands there; ``None`` when nothing can be done, which is then in the results.

        ``settled``: it is looked at in its turn, and there is nothing to be done as far as is known.
        """
        found = self._exchange.look(*write.key)
        if found.outcome is Outcome.BUSY and settled and holding is not None:
            # The kernel does not show it for now. That is no trouble of a write that is not needed.
            tick.results.append(Result(write, Outcome.UNCHANGED, holding.stands, holding.stands))
            return None
        if found.outcome is Outcome.OK:
            if holding is not None and holding.identity != found.identity:
                # Removed and made again under the same name: nothing is carried over.
                self.drop(write.key, tick)
            return found
        if found.outcome is Outcome.GONE:
            self.drop(write.key, tick)
        else:
            self._standing.failed(write, found.outcome, found.errno, tick.now)
        tick.results.append(Result(write, found.outcome, errno=found.errno))
        return None

    def _look_again(self, write: Write, holding: Holding, tick: Tick) -> Look | None:
        """The same for a knob that is only of interest in the life of the cgroup in which we wrote it."""
        found = self._look(write, holding, tick)
        if found is not None and found.identity != holding.identity:
            tick.results.append(Result(write, Outcome.GONE))
            return None
        return found

    def _settle(self, write: Write, found: Look, holding: Holding | None, record: Record | None, tick: Tick) -> None:
        """What is wanted stands there, or what the kernel makes of it."""
        if record is not None:
            now = record._replace(
                last=record.last if is_ours(KNOBS[write.knob], record, found.text) else (found.text,),
                policy=write.policy,
                on_exit=write.on_exit,
                phase=max(record.phase, write.phase),
                chain=record.chain or write.chain,
            )
            if now != record:
                tick.notes.append(Entry(Key(*write.key, found.identity), now))
        if holding is None:
            holding = self._standing.holdings[write.key] = Holding(found.identity, write.policy, write.on_exit)
        holding.take(write)
        holding.stands, holding.asked = found.text, write.value
        holding.journaled = record is not None
        holding.foreign = holding.kept = False
        tick.results.append(Result(write, Outcome.UNCHANGED, found.text, found.text))

    def _drifted(self, write: Write, found: Look, record: Record | None, tick: Tick) -> None:
        holding = self._standing.holdings.get(write.key)
        if holding is None:
            holding = self._standing.holdings[write.key] = Holding(found.identity, write.policy, write.on_exit)
        holding.journaled = record is not None
        self._foreign(write.key, holding, found.text, write.value, tick)
        tick.results.append(Result(write, Outcome.DRIFTED, found.text, found.text))

    def _foreign(self, place: Place, holding: Holding, current: str, asked: str, tick: Tick) -> None:
        """Somebody else's value stands: from now on it is left alone for a while, or for good."""
        self._standing.drifts[place[1]] += 1
        self._standing.drift.again(place, tick.now, KNOBS[place[1]].drift_seconds)
        holding.foreign, holding.kept = True, False
        holding.stands, holding.asked = current, asked
        if KNOBS[place[1]].drift is Drift.REASSERT or not holding.journaled:
            return
        key = Key(*place, holding.identity)
        spec, record = KNOBS[place[1]], self._journal.originals[key]
        if is_back(spec, record, current) or not spec.begun(current, record.original):
            # Nothing of ours stands there any more; should it be taken again, theirs is the original. Not so what the
            # kernel put there by itself when they turned the knob off.
            holding.journaled = False
            tick.gone.append(key)

    def _retakes(self, write: Write, holding: Holding, now: float) -> bool:
        """Whether a knob somebody else changed may be written again."""
        if self._standing.drift.waiting(write.key, now):
            return False
        return KNOBS[write.knob].drift is not Drift.YIELD or holding.asked != write.value

    def _due(self, write: Write, found: Look, record: Record | None) -> Due:
        key = Key(*write.key, found.identity)
        if record is None:
            original = self._exchange.original(*write.key, found.text)
            now = Record(original, (write.value,), write.on_exit, write.policy, write.phase, write.chain)
            return Due(write, found.identity, found.text, Entry(key, now), first=True)
        # Until it is tried, what stands there is ours too; somebody else's is not, and the original is known.
        spec = KNOBS[write.knob]
        known = is_ours(spec, record, found.text) or is_torn(spec, record, found.text)
        before = known and not spec.same(found.text, write.value)
        # Of a ceiling only what was asked for is known for sure: what shows may be lower for a while.
        stood = record.last[-1] if spec.capped else found.text
        last = (stood, write.value) if before else (write.value,)
        now = record._replace(
            last=last,
            policy=write.policy,
            on_exit=write.on_exit,
            phase=max(record.phase, write.phase),
            chain=record.chain or write.chain,
        )
        entry = None if now == record else Entry(key, now)
        return Due(write, found.identity, found.text, entry)
