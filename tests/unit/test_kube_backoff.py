"""How long the source waits after a failure."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.sources.kube.backoff import Backoff


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Ceiling(Random):
    """Always the most that jitter may give."""

    def uniform(self, a: float, b: float) -> float:
        return b


def backoff(clock: Clock, random: Random) -> Backoff:
    return Backoff(first=0.8, longest=30.0, stable=120.0, clock=clock, random=random)


def test_delays_double_up_to_the_longest() -> None:
    """0.8 s, then twice as much each time, and never above 30 s."""
    delays = backoff(Clock(), Ceiling())

    assert [delays.next() for _ in range(8)] == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


@given(st.integers())
def test_jitter_is_full(seed: int) -> None:
    """Each delay is between nothing and its ceiling, and a fleet of agents does not come back at once."""
    delays = backoff(Clock(), Random(seed))
    found = [delays.next() for _ in range(40)]

    assert all(0.0 <= delay <= min(30.0, 0.8 * 2**number) for number, delay in enumerate(found))
    late = found[10:]
    assert max(late) - min(late) > 5.0


def test_a_connection_alone_does_not_reset() -> None:
    """A server that accepts and fails right after is asked ever more rarely."""
    clock = Clock()
    delays = backoff(clock, Ceiling())
    for _ in range(8):
        delays.healthy()
        clock.now += 119.9
        last = delays.next()

    assert last == 30.0


def test_a_stable_time_resets() -> None:
    """Two minutes of health, however often they are said, and the next failure is the first again."""
    clock = Clock()
    delays = backoff(clock, Ceiling())
    for _ in range(8):
        delays.next()
    for _ in range(13):
        delays.healthy()
        clock.now += 10.0

    assert [delays.next(), delays.next()] == [0.8, 1.6]
