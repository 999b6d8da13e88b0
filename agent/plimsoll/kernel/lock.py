"""
One agent per node: an advisory lock on a file of the state directory.

``flock`` follows the inode, so it works across containers that share the directory, and the kernel frees it when the
holder dies, however it dies. Only its holder may unlink the file, when the agent is gone for good: whoever had it open
meanwhile would hold a lock on nothing, and takes the file that has its name instead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from plimsoll.kernel.fault import inject
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome, outcome_of

LOCK_NAME = "lock"
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_PID_LIMIT = 1 << 22  # PID_MAX_LIMIT of a 64-bit kernel
_PID_TEXT = 32
# Between two tries: soon enough for who waits for milliseconds, seldom enough for who waits for half a minute.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Held:
    """
    The lock, held until :meth:`release` or the end of the process.

    ``recorded`` is the outcome of writing our PID into the file: on a full disk the lock holds without it.
    """

    def __init__(self, descriptor: int, recorded: Outcome) -> None:
        self._descriptor = descriptor
        self.recorded = recorded

    def release(self) -> None:
        """Let the next one have it; releasing twice is allowed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Taken(NamedTuple):
    """
    Another process holds the lock.

    ``holder_pid`` is the PID it had written when we looked, as numbered in its own PID namespace; ``None`` if unknown.
    """

    holder_pid: int | None


class Unusable(NamedTuple):
    """The state directory or its lock file cannot be used; ``path`` is the one that was refused."""

    outcome: Outcome
    path: str


class InstanceLock:
    """The lock of one state directory, given as a path below the host's root."""

    def __init__(self, host: HostFs, state_directory: str) -> None:
        self._host = host
        self._directory = "/" + state_directory.strip("/")
        self._path = f"{self._directory}/{LOCK_NAME}"

    def acquire(self) -> Held | Taken | Unusable:
        """Try once, without waiting. The state directory (not its parents) is made when missing, mode 0700."""
        try:
            directory = self._open_directory()
        except OSError as error:
            return Unusable(outcome_of(error.errno or errno.EIO), self._directory)
        try:
            return self._lock(directory)
        except OSError as error:
            return Unusable(outcome_of(error.errno or errno.EIO), self._path)
        finally:
            os.close(directory)

    def wait(
        self, seconds: float, pause: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
    ) -> Held | Taken | Unusable:
        """
        Try for ``seconds``, as for a predecessor that is still putting things back; 0: once.

        ``pause`` waits for so many seconds, or returns true at once when there is no use in waiting on. A holder says
        nothing when it lets go: flock(2) itself could be waited in, but not for a limited time.
        """
        end = clock() + seconds
        delay = _FIRST_PAUSE
        while True:
            taken = self.acquire()
            left = end - clock()
            if not isinstance(taken, Taken) or left <= 0 or pause(min(delay, left)):
                return taken
            delay = min(2 * delay, _LONGEST_PAUSE)

    def _open_directory(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY
        try:
            return self._host.open(self._directory, flags)
        except FileNotFoundError:
            parent, _, name = self._directory.rpartition("/")
            inject(self._host.fault, "mkdir", self._directory)
            above = self._host.open(parent or ".", os.O_PATH | os.O_DIRECTORY)
            try:
                os.mkdir(name, _DIRECTORY_MODE, dir_fd=above)
            except FileExistsError:
                # Another instance was quicker, which is what the lock is for.
                pass
            finally:
                os.close(above)
            return self._host.open(self._directory, flags)

    def _lock(self, directory: int) -> Held | Taken | Unusable:
        inject(self._host.fault, "lock", self._path)
        # A link or a FIFO planted here must not lead us to another file or hold us up.
        descriptor = os.open(
            LOCK_NAME,
            os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            _FILE_MODE,
            dir_fd=directory,
        )
        keep = False
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Unusable(Outcome.MALFORMED, self._path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Taken(_holder(descriptor))
            if os.fstat(descriptor).st_nlink == 0:
                # Its holder has just unlinked it: whoever comes next asks for the name and would not meet us.
                return self._lock(directory)
            keep = True
            return Held(descriptor, self._record(descriptor))
        finally:
            if not keep:
                os.close(descriptor)

    def _record(self, descriptor: int) -> Outcome:
        try:
            # First of all a predecessor's PID goes: no PID is better than a wrong one.
            os.ftruncate(descriptor, 0)
            inject(self._host.fault, "write", self._path)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            return outcome_of(error.errno or errno.EIO)
        return Outcome.OK


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, _PID_TEXT, 0).strip()
    return int(text) if text.isdigit() and 0 < int(text) <= _PID_LIMIT else None
