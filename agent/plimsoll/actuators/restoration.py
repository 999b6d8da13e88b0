"""
Putting everything back, from the journal alone: when the agent ends, and for ``plimsoll restore``.

This module must not know plans: what a policy wants does not matter any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from plimsoll.actuators.chains import Chains
from plimsoll.actuators.exchange import Exchange
from plimsoll.actuators.holding import judge_return
from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Entry, Key, Record
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.order import order
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Result, Target, Write

RELEASED = "no policy wants this any more: the original value goes back"
ENDED = "the agent ends: the original value goes back"
KEPT = "stays as it is: it cannot be taken back, or shall not"
# How long to wait before asking the busy ones again.
_PAUSE_SECONDS = 0.02


def putting_back(key: Key, record: Record, reason: str) -> Write:
    """The write that undoes ours. What was to be written first is to be taken back last."""
    return Write(
        key.target, key.knob, record.original, record.policy, reason, record.on_exit, -record.phase, record.chain
    )


class Restoration:
    """One run over one journal. ``clock`` gives monotonic seconds, ``pause`` waits for some."""

    def __init__(
        self, exchange: Exchange, journal: Journal, clock: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._exchange = exchange
        self._journal = journal
        self._clock = clock
        self._pause = pause
        self._done: list[Key] = []

    def run(self, deadline: float, *, kept: bool) -> tuple[Result, ...]:
        """
        Put back what still is as we left it. Ends at ``deadline`` (of the clock) or soon after one system call.

        ``kept``: also try what was to be kept. What could not be put back stays in the journal.
        """
        finished: list[Result] = []
        due: dict[tuple[Target, Knob], tuple[int, Result]] = {}
        unseen: Mapping[Key, Record] = self._journal.originals
        failed = Chains()
        while due or unseen:
            busy: dict[tuple[Target, Knob], tuple[int, Result]] = {}
            # What depends on a busy one may pass with it in the next round, what depends on a failed one never does.
            waiting = Chains()
            hidden: dict[Key, Record] = {}
            for identity, result in self._look(unseen, kept=kept):
                if result.outcome is Outcome.OK:
                    due[result.write.key] = identity, result
                elif result.outcome is Outcome.BUSY and self._clock() < deadline:
                    # The kernel is at work on it, and shows it later; the others do not wait for that.
                    key = Key(*result.write.key, identity)
                    hidden[key] = unseen[key]
                    waiting.saw(result)
                else:
                    finished.append(result)
                    failed.saw(result)
            for write in self._steps(due):
                identity, result = due[write.key]
                if write.value != result.write.value:
                    if self._clock() < deadline and not failed.stops(write) and not waiting.stops(write):
                        # One that fails is not told: neither will the one pass that it is for.
                        self._exchange.put(*write.key, identity, write.value)
                    continue
                if self._clock() >= deadline:
                    finished.append(result._replace(outcome=Outcome.HELD))
                    continue
                if failed.stops(write):
                    result = result._replace(outcome=Outcome.HELD)
                elif waiting.stops(write):
                    result = result._replace(outcome=Outcome.BUSY)
                else:
                    result = self._put(identity, result)
                if result.outcome is Outcome.BUSY:
                    busy[write.key] = identity, result
                    waiting.saw(result)
                else:
                    finished.append(result)
                    failed.saw(result)
            if busy or hidden:
                self._pause(_PAUSE_SECONDS)
            due, unseen = busy, hidden
        self._journal.forget(self._done)
        self._journal.compact()
        return tuple(finished)

    def _steps(self, due: Mapping[tuple[Target, Knob], tuple[int, Result]]) -> tuple[Write, ...]:
        """The writes in order, without those on the way that could not be written down before."""
        standing = {key: result.before or "" for key, (_, result) in due.items()}
        ordered = order((result.write for _, result in due.values()), standing)
        passing = [each for each in ordered if each.value != due[each.key][1].write.value]
        keys = [(Key(*each.key, due[each.key][0]), each.value) for each in passing]
        entries = [Entry(key, self._journal.originals[key].by_way_of(value)) for key, value in keys]
        if self._journal.remember(entries) is Outcome.OK:
            return ordered
        return tuple(each for each in ordered if each not in passing)

    def _look(self, originals: Mapping[Key, Record], *, kept: bool) -> Iterator[tuple[int, Result]]:
        """For every knob, with its identity: OK where the original is to be written, else what is to be said of it."""
        for key, record in tuple(originals.items()):
            stays = record.on_exit is OnExit.KEEP and not kept
            write = putting_back(key, record, KEPT if stays else ENDED)
            look = self._exchange.look(key.target, key.knob)
            if look.outcome is Outcome.GONE or (look.outcome is Outcome.OK and look.identity != key.identity):
                self._done.append(key)
                yield key.identity, Result(write, Outcome.GONE, errno=look.errno)
            elif look.outcome is not Outcome.OK:
                yield key.identity, Result(write, look.outcome, errno=look.errno)
            elif stays:
                yield key.identity, Result(write, Outcome.UNCHANGED, look.text, look.text)
            else:
                outcome = judge_return(KNOBS[key.knob], record, look.text)
                if outcome is not Outcome.OK:
                    # Back already, or somebody else's from now on.
                    self._done.append(key)
                after = None if outcome is Outcome.OK else look.text
                yield key.identity, Result(write, outcome, look.text, after)

    def _put(self, identity: int, due: Result) -> Result:
        target, knob = due.write.key
        put = self._exchange.put(target, knob, identity, due.write.value)
        if put.outcome in (Outcome.OK, Outcome.CLAMPED, Outcome.GONE):
            self._done.append(Key(target, knob, identity))
        return due._replace(outcome=put.outcome, after=put.after, errno=put.errno)
