"""
One thread that may hang in the kernel so that the tick does not.

A thread in uninterruptible sleep cannot be stopped; starting another one each tick would pile them up. So a source has
exactly one worker: while a call has not come back, no second is started and the source is reported as stuck.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The call came back within its deadline, with a value or an exception."""

    value: T | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Stuck:
    """The call has not come back for this many seconds."""

    seconds: float


class Worker(Generic[T]):
    """Runs one call at a time on a thread of its own. ``clock`` gives monotonic seconds."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        self._calls: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Done[T]] = queue.SimpleQueue()
        self._since: float | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T], deadline: float) -> Done[T] | Stuck:
        """Run ``function`` and wait at most ``deadline`` seconds. While an earlier call hangs, wait for that one."""
        if self._thread is None:
            # A daemon thread: one that hangs in the kernel must not keep the process from exiting.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        if self._since is not None:
            # What an overdue call brings back is too old to be this tick's answer; it only frees the worker.
            try:
                self._results.get_nowait()
            except queue.Empty:
                return Stuck(self._clock() - self._since)
        self._since = self._clock()
        self._calls.put(function)
        try:
            result = self._results.get(timeout=deadline)
        except queue.Empty:
            return Stuck(self._clock() - self._since)
        self._since = None
        return result

    def settle(self, seconds: float) -> bool:
        """Wait for the call that is under way, if one is; whether it has come back."""
        if self._since is not None:
            try:
                self._results.get(timeout=seconds)
            except queue.Empty:
                return False
            self._since = None
        return True

    def stop(self) -> None:
        """Let the thread end after the call it is in."""
        if self._thread is not None:
            self._calls.put(None)

    def _run(self) -> None:
        # A signal that interrupted a write here would have it repeated whole by the interpreter (PEP 475): reclaiming
        # so much memory once more, say. The main thread takes them all.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (function := self._calls.get()) is not None:
            try:
                self._results.put(Done(function()))
            except Exception as error:  # noqa: BLE001 - handed to the caller, who reports it
                self._results.put(Done(None, error))
