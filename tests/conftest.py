"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Generator

import pytest

from tests.deadline import postponed


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """Of pytest-timeout."""
    done = yield
    handler = signal.getsignal(signal.SIGALRM)
    if callable(handler):
        signal.signal(signal.SIGALRM, postponed(handler))
    return done
