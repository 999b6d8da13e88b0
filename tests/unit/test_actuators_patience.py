"""Back-off and breaker: how long things are left alone, and when a knob is given up on."""

from __future__ import annotations

import errno
import random

import pytest

from plimsoll.actuators.backoff import Backoff
from plimsoll.actuators.breaker import Breaker
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, cgroup


def test_each_time_twice_as_long_up_to_the_cap() -> None:
    """1, 2, 4 ... seconds and never more than the cap, each with up to a quarter on top."""
    backoff: Backoff[str] = Backoff(1.0, 300.0, random.Random(5).random)
    now, waits = 0.0, []
    for _ in range(40):
        until = backoff.again("key", now)
        assert backoff.waiting("key", until - 0.001)
        assert not backoff.waiting("key", until)
        waits.append(until - now)
        now = until
    for number, wait in enumerate(waits):
        plain = min(300.0, 2.0**number)
        assert plain <= wait <= plain * 1.25 + 1e-6
    assert len({round(wait, 6) for wait in waits[20:]}) > 1


def test_after_long_quiet_it_begins_anew() -> None:
    """Twice the cap without trouble: the next wait is the first again."""
    backoff: Backoff[str] = Backoff(1.0, 10.0, lambda: 0.0)
    now = 0.0
    for _ in range(6):
        now = backoff.again("key", now)
    assert backoff.again("key", now + 20) == now + 30
    assert backoff.again("key", now + 30 + 20.5) == now + 50.5 + 1


def test_keys_are_apart_and_can_be_forgotten() -> None:
    """One key's trouble is not another's; what is cleared or pruned takes no room."""
    backoff: Backoff[str] = Backoff(1.0, 10.0, lambda: 0.0)
    backoff.again("a", 0.0)
    backoff.again("b", 0.0)
    assert backoff.waiting("a", 0.5)
    assert not backoff.waiting("c", 0.5)
    backoff.clear("a")
    assert not backoff.waiting("a", 0.5)
    backoff.again("c", 0.0)
    backoff.prune({"c"})
    assert len(backoff) == 1


def refuse(breaker: Breaker, number: int, outcome: Outcome = Outcome.REJECTED, code: int = errno.EINVAL) -> None:
    breaker.refused(cgroup(f"pod{number}"), Knob.CPU_IDLE, outcome, code, 100.0)


def test_different_cgroups_count_and_the_same_does_not() -> None:
    """One cgroup that refuses for ever is its own affair; three with the same errno are the knob's."""
    breaker = Breaker(3, 60.0)
    for _ in range(10):
        refuse(breaker, 0)
    refuse(breaker, 1)
    refuse(breaker, 2, code=errno.ERANGE)
    assert breaker.holds(Knob.CPU_IDLE, 100.0) is None
    refuse(breaker, 2)
    assert breaker.holds(Knob.CPU_IDLE, 100.0) == errno.EINVAL
    assert breaker.holds(Knob.CPU_WEIGHT, 100.0) is None
    assert breaker.disabled == {Knob.CPU_IDLE: errno.EINVAL}


def test_after_a_while_one_is_let_through() -> None:
    """One trial per interval; a success opens the way for all, and what was counted is forgotten."""
    breaker = Breaker(2, 60.0)
    refuse(breaker, 0)
    refuse(breaker, 1)
    assert breaker.holds(Knob.CPU_IDLE, 159.9) == errno.EINVAL
    assert breaker.holds(Knob.CPU_IDLE, 160.0) is None
    breaker.attempt(Knob.CPU_IDLE, 160.0)
    assert breaker.holds(Knob.CPU_IDLE, 160.0) == errno.EINVAL
    breaker.taken(Knob.CPU_IDLE)
    assert breaker.holds(Knob.CPU_IDLE, 160.0) is None
    refuse(breaker, 3)
    assert not breaker.disabled


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.BUSY, errno.EBUSY),
        (Outcome.GONE, errno.ENODEV),
        (Outcome.MISSING, errno.ENOENT),
        (Outcome.FAILED, errno.EMFILE),
        (Outcome.FAILED, errno.ENOMEM),
    ],
)
def test_what_says_nothing_of_the_knob_does_not_count(outcome: Outcome, code: int) -> None:
    """A busy moment, a vanished pod, or a process out of descriptors is no reason to give up on a knob."""
    breaker = Breaker(2, 60.0)
    for number in range(10):
        refuse(breaker, number, outcome, code)
    assert not breaker.disabled
