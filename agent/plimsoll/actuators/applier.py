"""
Carrying plans out: remember, write in a safe order, read back; and put everything back in the end.

A plan is the whole of what is wanted, so nothing is lost when a tick is missed. Every failure is an outcome, never an
exception. This module must not know files or why a value is wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from types import MappingProxyType

from plimsoll.actuators.chains import Chains
from plimsoll.actuators.exchange import Exchange, Put
from plimsoll.actuators.holding import Holding, is_back, is_ours
from plimsoll.actuators.intake import Due, Intake, Tick
from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Entry, Key
from plimsoll.actuators.restoration import Restoration
from plimsoll.actuators.standing import Place, Settings, Standing
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.order import order
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Plan, Result, Write

_TAKEN = (Outcome.OK, Outcome.CLAMPED)
_RESTORE_TRIES, _RESTORE_PAUSE_SECONDS = 3, 0.1
_DEFAULTS = Settings()


class Applier:
    """
    Owns the knobs of one host, with one journal. Call :meth:`adopt` once before the first plan.

    ``clock`` gives monotonic seconds, ``random`` numbers from 0 to 1, ``pause`` waits a few milliseconds. One thread.
    """

    def __init__(
        self,
        knobs: Knobs,
        journal: Journal,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        pause: Callable[[float], None],
        settings: Settings = _DEFAULTS,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._pause = pause
        self._budget = settings.writes_per_tick
        self._exchange = Exchange(knobs, random=random, pause=pause)
        self._standing = Standing(settings, random)
        self._intake = Intake(self._exchange, journal, self._standing)
        self._writes: Counter[tuple[str, Knob, Outcome]] = Counter()

    @property
    def writes(self) -> Mapping[tuple[str, Knob, Outcome], int]:
        """Results since the start by policy, knob and outcome, all but UNCHANGED."""
        return MappingProxyType(self._writes)

    @property
    def drifts(self) -> Mapping[Knob, int]:
        """How often somebody else was found to have changed a knob we held."""
        return MappingProxyType(self._standing.drifts)

    @property
    def disabled(self) -> Mapping[Knob, int]:
        """The knobs given up on for now, and the errno why."""
        return self._standing.breaker.disabled

    @property
    def held(self) -> int:
        """How many knobs there are to put back."""
        return len(self._journal.originals)

    @property
    def staying(self) -> int:
        """How many of them cannot be taken back, or shall not."""
        return sum(each.on_exit is OnExit.KEEP for each in tuple(self._journal.originals.values()))

    def adopt(self) -> tuple[Result, ...]:
        """
        After a start: find out which knobs in the journal are still ours. Writes to no knob.

        UNCHANGED: ours, or back at the original; GONE: with its cgroup; DRIFTED: somebody else's now.
        """
        tick = Tick(self._clock())
        for key, record in tuple(self._journal.originals.items()):
            self._intake.adopt(key, record, tick)
        return self._finish(tick)

    def execute(
        self, plan: Plan, *, doubted: AbstractSet[Place] = frozenset(), releases: bool = True
    ) -> tuple[Result, ...]:
        """
        Make the node as the plan says, and put back what an earlier one wanted and this one does not.

        One result for each write of the plan, and one for each knob let go of. ``doubted``: to be looked at, whosever
        turn it is. ``releases``: not so for a plan that comes beside the one carried out last.
        """
        tick = self._survey(plan, self._intake, self._standing, doubted=doubted, releases=releases)
        self._carry_out(tick)
        self._standing.prune(tick.wanted)
        return self._finish(tick)

    def preview(self, plan: Plan, *, releases: bool = True) -> tuple[Result, ...]:
        """
        What :meth:`execute` would do: OK stands for a write. Nothing is written, and nothing remembered.

        ``releases``: also what would be let go of; not so for a plan that would come beside the one carried out.
        """
        standing = deepcopy(self._standing)
        tick = self._survey(
            plan, Intake(self._exchange, self._journal, standing), standing, look=True, releases=releases
        )
        for due in self._in_order(tick):
            if due.passing:
                continue
            refused = due.first and self._journal.writable is not Outcome.OK
            tick.results.append(Result(due.write, Outcome.HELD if refused else Outcome.OK, due.current))
        return tuple(tick.results)

    def restore(self, deadline: float, *, kept: bool = False) -> tuple[Result, ...]:
        """
        Put everything back that still is as we left it, until ``deadline`` (of the clock).

        ``kept``: also what was to stay. What failed is tried twice more, in case it was a moment's matter: nobody may
        be there to try again. What could not be put back then stays in the journal for the next start.
        """
        found: dict[Place, Result] = {}
        for attempt in range(_RESTORE_TRIES):
            if attempt:
                self._pause(_RESTORE_PAUSE_SECONDS)
            results = Restoration(self._exchange, self._journal, self._clock, self._pause).run(deadline, kept=kept)
            found |= {each.write.key: each for each in results}
            if not any(each.outcome is Outcome.FAILED for each in results) or self._clock() >= deadline:
                break
        self._standing.holdings.clear()
        return self._counted(found.values())

    def _survey(
        self,
        plan: Plan,
        intake: Intake,
        standing: Standing,
        *,
        doubted: AbstractSet[Place] = frozenset(),
        look: bool = False,
        releases: bool = True,
    ) -> Tick:
        tick = Tick(self._clock())
        turn = standing.rotate(tick.now)
        for write in plan.writes:
            tick.wanted.add(write.key)
            intake.consider(write, tick, look=look or write.key in turn or write.key in doubted)
        for place, holding in standing.unwanted(tick.wanted) if releases else ():
            intake.release(place, holding, tick, look=look or place in turn)
        return tick

    def _in_order(self, tick: Tick) -> tuple[Due, ...]:
        standing = {place: due.current for place, due in tick.due.items()}
        return tuple(self._step(write, tick) for write in order((due.write for due in tick.due.values()), standing))

    def _step(self, write: Write, tick: Tick) -> Due:
        due = tick.due[write.key]
        if write.value == due.write.value:
            return due
        # Killed here, it is still known for ours.
        key = Key(*write.key, due.identity)
        record = self._journal.originals[key] if due.entry is None else due.entry.record
        tick.due[write.key] = due = due._replace(entry=Entry(key, record.by_way_of(write.value)))
        return due._replace(write=write, passing=True)

    def _carry_out(self, tick: Tick) -> None:
        ordered = self._in_order(tick)
        # Whatever is cut off at the end leaves an order that is safe so far.
        admitted, late = ordered[: self._budget], ordered[self._budget :]
        noted = self._journal.remember([*tick.notes, *(due.entry for due in admitted if due.entry is not None)])
        tick.notes.clear()
        chains = Chains()
        for result in tick.results:
            chains.saw(result)
        for due in admitted:
            # What is not in the journal could not be put back.
            held = (due.first and noted is not Outcome.OK) or chains.stops(due.write)
            if due.passing:
                if not held:
                    self._pass(due)
                continue
            result = Result(due.write, Outcome.HELD, due.current, due.current) if held else self._try(due, tick)
            chains.saw(result)
            tick.results.append(result)
        tick.results.extend(
            Result(due.write, Outcome.HELD, due.current, due.current) for due in late if not due.passing
        )

    def _pass(self, due: Due) -> None:
        """One that fails is not told: neither will the one pass that it is for."""
        put = self._exchange.put(*due.write.key, due.identity, due.write.value)
        holding = self._standing.holdings.get(due.write.key)
        if holding is not None:
            holding.stands = put.after

    def _try(self, due: Due, tick: Tick) -> Result:
        put = self._exchange.put(*due.write.key, due.identity, due.write.value)
        if due.returning:
            self._returned(due, put, tick)
        else:
            self._written(due, put, tick)
        return Result(due.write, put.outcome, due.current, put.after, put.errno)

    def _written(self, due: Due, put: Put, tick: Tick) -> None:
        place = due.write.key
        if put.outcome is Outcome.GONE:
            self._forget(due, tick)
            return
        spec = KNOBS[due.write.knob]
        if put.outcome in _TAKEN:
            self._standing.succeeded(place)
        else:
            self._standing.failed(due.write, put.outcome, put.errno, tick.now)
            untouched = put.after is not None and spec.same(put.after, due.current)
            if due.first and untouched and put.outcome is not Outcome.BUSY:
                # Refused: there is nothing of ours to put back, and the original may change before the next try.
                self._forget(due, tick)
                return
        holding = self._standing.holdings.get(place)
        if holding is None:
            holding = Holding(due.identity, due.write.policy, due.write.on_exit)
            self._standing.holdings[place] = holding
        holding.take(due.write)
        holding.journaled, holding.kept = True, False
        holding.stands = put.after
        if put.outcome in _TAKEN:
            holding.asked, holding.foreign = due.write.value, False
        key = Key(*place, due.identity)
        record = self._journal.originals[key]
        if put.after is not None and not (is_ours(spec, record, put.after) or is_back(spec, record, put.after)):
            # What the kernel made of the value is what stands there, and what is to be known as ours.
            tick.notes.append(Entry(key, record._replace(last=(*record.last[-1:], put.after))))

    def _returned(self, due: Due, put: Put, tick: Tick) -> None:
        if put.outcome in _TAKEN or put.outcome is Outcome.GONE:
            self._forget(due, tick)
            return
        self._standing.failed(due.write, put.outcome, put.errno, tick.now)
        self._standing.holdings[due.write.key].stands = put.after

    def _forget(self, due: Due, tick: Tick) -> None:
        self._standing.holdings.pop(due.write.key, None)
        tick.gone.append(Key(*due.write.key, due.identity))

    def _finish(self, tick: Tick) -> tuple[Result, ...]:
        self._journal.remember(tick.notes)
        self._journal.forget(tick.gone)
        self._journal.tidy()
        return self._counted(tick.results)

    def _counted(self, results: Iterable[Result]) -> tuple[Result, ...]:
        counted = tuple(results)
        self._writes.update(
            (each.write.policy, each.write.knob, each.outcome)
            for each in counted
            if each.outcome is not Outcome.UNCHANGED
        )
        return counted
