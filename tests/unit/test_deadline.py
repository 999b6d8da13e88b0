"""A test's deadline and the lock of a coverage measurement."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import pytest
from coverage.collector import Collector

from tests.deadline import postponed


class Struck(Exception):  # noqa: N818 - what happens to the test is no error of its own
    pass


@pytest.fixture
def deadline() -> Iterator[None]:
    """This test's own."""
    handler, timer = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)

    def strike(*_: object) -> None:
        raise Struck

    signal.signal(signal.SIGALRM, postponed(strike))
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


@pytest.mark.parametrize(("function", "call"), [(Collector.lock_data, "acquire"), (Collector.unlock_data, "release")])
def test_it_does_not_strike_while_the_lock_is_held(deadline: None, function, call: str) -> None:
    """The signal comes in the middle of taking the lock or giving it back: both are done first, then it strikes."""
    lock = SimpleNamespace(**{call: partial(signal.raise_signal, signal.SIGALRM)})
    function(SimpleNamespace(data_lock=lock))
    with pytest.raises(Struck):
        signal.sigtimedwait((), 30)


def test_it_strikes_at_once_elsewhere(deadline: None) -> None:
    """As ever."""
    with pytest.raises(Struck):
        signal.raise_signal(signal.SIGALRM)
