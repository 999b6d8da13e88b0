"""A call that hangs occupies one thread, is reported, and hurts nothing else (F28)."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from plimsoll.sources.worker import Done, Stuck, Worker


@pytest.fixture
def worker():
    worker = Worker("test-worker", time.monotonic)
    yield worker
    worker.stop()
    # The next test counts them.
    for thread in threads():
        thread.join(60)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "test-worker"]


def test_a_value_comes_back(worker):
    """The ordinary case."""
    assert worker.call(lambda: 42, 10.0) == Done(42)


def test_an_exception_is_data(worker):
    """What the call raises is handed over, and the worker lives on."""
    result = worker.call(lambda: 1 // 0, 10.0)

    assert isinstance(result, Done)
    assert isinstance(result.error, ZeroDivisionError)
    assert worker.call(lambda: 1, 10.0) == Done(1)


def test_a_hung_call_is_stuck_on_one_thread_until_it_comes_back(worker):
    """F28: the deadline passes, the age grows, no second thread is started, and the source recovers."""
    release = threading.Event()

    first = worker.call(release.wait, 0.01)
    second = worker.call(lambda: "never run", 0.01)

    assert isinstance(first, Stuck)
    assert isinstance(second, Stuck)
    assert second.seconds > first.seconds
    assert len(threads()) == 1

    release.set()
    deadline = time.monotonic() + 60
    while isinstance(result := worker.call(lambda: "fresh", 10.0), Stuck):
        assert time.monotonic() < deadline

    assert result == Done("fresh")
    assert len(threads()) == 1


def test_stop_ends_the_thread(worker):
    """Nothing is left behind."""
    worker.call(lambda: 1, 10.0)
    (thread,) = threads()

    worker.stop()
    thread.join(60)

    assert not thread.is_alive()


def test_settling_waits_for_the_call_that_is_under_way(worker):
    """Whoever must not leave a call behind can wait for it, for so long."""
    release = threading.Event()
    assert worker.settle(0.0)
    assert isinstance(worker.call(release.wait, 0.0), Stuck)

    assert not worker.settle(0.01)
    release.set()
    assert worker.settle(60.0)
    assert worker.call(lambda: 1, 60.0) == Done(1)


def test_signals_are_left_to_the_main_thread(worker):
    """A write that a signal interrupts would be repeated whole."""
    done = worker.call(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()), 60.0)

    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= done.value
