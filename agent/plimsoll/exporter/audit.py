"""
The audit log: one JSON line for each change of a knob and each eviction, and for each that would be, in bounded files.

It lies beside the journal and is for people; nothing is ever read back from it but the end of its last line. A line
that cannot be written is lost and counted: it never stops or delays what it tells of.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from types import TracebackType
from typing import Self

from plimsoll.exporter.changes import Change, News, Owners, adoption, change, departures, would_leave
from plimsoll.model.acting import Acting

NAME = "audit.jsonl"
MAX_BYTES = 10 << 20
KEEP = 3
FILES = (NAME, *(f"{NAME}.{number}" for number in range(1, KEEP)))
"""What there may be of it."""

_FILE_MODE = 0o600
# A link or a FIFO planted here must not lead us to another file or hold us up.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class AuditLog:
    """
    ``audit.jsonl`` in a directory, and its predecessors ``audit.jsonl.1`` and so on: ``keep`` files in all, each of
    ``max_bytes`` at most. ``lost`` counts the lines that could not be written. One thread.
    """

    def __init__(self, directory: int, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        """``directory`` is an open descriptor, which becomes this object's."""
        self._directory = directory
        self._max_bytes = max_bytes
        self._keep = keep
        self._news = News()
        self._descriptor = -1
        self._size = 0
        self.lost = 0

    def record(self, sequence: int, unix: float, acting: Acting, names: Owners) -> None:
        """
        Write down what is new in a tick, in its order. Raises nothing.

        ``unix``: seconds; ``names``: pods by the path of their cgroup below the hierarchy's root.
        """
        start = adoption(acting, sequence, unix)
        lines = [] if start is None else [_line(start, observed=False)]
        done = (*self._news.adopted(acting), *self._news.results(acting))
        lines += [_line(change(each, sequence, unix, names), observed=False) for each in done]
        lines += [_line(each, observed=False) for each in departures(acting, sequence, unix)]
        lines += [_line(change(each, sequence, unix, names), observed=True) for each in self._news.observed(acting)]
        lines += [_line(each, observed=True) for each in would_leave(acting, sequence, unix)]
        batch: list[bytes] = []
        room = -1
        for line in lines:
            if batch and len(line) > room:
                self._append(batch)
                batch, room = [], -1
            if room < 0:
                room = self._room(len(line))
                if room < 0:
                    self.lost += 1
                    continue
            batch.append(line)
            room -= len(line)
        if batch:
            self._append(batch)

    def close(self) -> None:
        """Let go of everything; closing twice is allowed."""
        self._let_go()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _room(self, wanted: int) -> int:
        """How many bytes the file takes, another one being begun for ``wanted`` if need be; -1 when there is none."""
        if wanted > self._max_bytes:
            return -1
        try:
            self._open()
            if self._size + wanted > self._max_bytes:
                self._rotate()
                self._open()
        except OSError:
            self._let_go()
            return -1
        return self._max_bytes - self._size

    def _open(self) -> None:
        # Somebody may have removed the file below us.
        if self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink > 0:
            return
        self._let_go()
        self._descriptor = os.open(NAME, _FLAGS, _FILE_MODE, dir_fd=self._directory)
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(errno.EINVAL, "not a file of our own", NAME)
        self._size = found.st_size
        # A killed agent may have left half a line.
        if 0 < self._size < self._max_bytes and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
            self._size += os.write(self._descriptor, b"\n")

    def _rotate(self) -> None:
        names = [NAME, *(f"{NAME}.{number}" for number in range(1, self._keep))]
        for older, newer in pairwise(reversed(names)):
            with suppress(FileNotFoundError):
                os.rename(newer, older, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        if self._keep == 1:
            os.unlink(NAME, dir_fd=self._directory)
        self._let_go()

    def _append(self, lines: Iterable[bytes]) -> None:
        data = b"".join(lines)
        written = 0
        try:
            while written < len(data):
                count = os.write(self._descriptor, data[written:])
                if count == 0:
                    break
                written += count
        except OSError:
            # The disk is full, or worse: the next tick tries again.
            pass
        whole = data.rfind(b"\n", 0, written) + 1
        self.lost += data.count(b"\n", whole)
        self._size += whole
        if whole < written:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                # Opened again, the half line gets its end.
                self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _line(change_: Change, *, observed: bool) -> bytes:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(change_.unix))
    when = f"{moment}.{int(change_.unix * 1000) % 1000:03d}Z"
    # ASCII only: control characters, marks that turn text around and lone surrogates are all escaped.
    return json.dumps({**change_.facts(), "time": when, "observed": observed}, separators=(",", ":")).encode() + b"\n"
