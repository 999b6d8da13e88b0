"""
When a test's deadline may strike: not while coverage holds the lock over what it has counted.

pytest-timeout raises in its signal handler, in whatever the main thread is at. In coverage's own functions the lock
would stay taken, and the next line to be counted wait for ever, with nothing left to end it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from coverage.collector import Collector

Handler = Callable[[int, FrameType | None], object]

_HELD = {Collector.lock_data.__code__, Collector.unlock_data.__code__}
_AGAIN_SECONDS = 0.01


def postponed(handler: Handler) -> Handler:
    """The handler of SIGALRM, tried again a moment later where it would come at the wrong time."""

    def postpone(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code in _HELD:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            handler(number, frame)

    return postpone
