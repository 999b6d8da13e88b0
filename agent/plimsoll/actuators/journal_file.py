"""
The journal's bytes on disk: appended whole or not at all, replaced whole, put aside when damaged.

This module must not know what the bytes mean. Everything raises OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from plimsoll.kernel.fault import FaultHook, inject

NAME = "journal"
_NEW = "journal.new"
FILES = (NAME, _NEW)
"""What there may be of it; a copy for a person has another name."""

# Compaction keeps the file below a few MiB; whatever is larger is not our doing.
READ_LIMIT = 16 << 20
_KEPT_ASIDE = 8
_FILE_MODE = 0o600
# A link or a FIFO planted here must not lead us to another file or hold us up.
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND


class JournalFile:
    """``journal`` in a directory, given as a descriptor that becomes this object's. ``size``: bytes in it."""

    def __init__(self, directory: int, fault: FaultHook | None, write: Callable[[int, bytes], int]) -> None:
        self._directory = directory
        self._fault = fault
        self._write = write
        self._descriptor = -1
        self.size = 0

    @property
    def ready(self) -> bool:
        """Whether it can be appended to. Somebody may have emptied the directory below us."""
        return self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink > 0

    def read(self) -> bytes:
        """All of it, as far as :data:`READ_LIMIT`. EINVAL when it is not a regular file."""
        inject(self._fault, "open", NAME)
        descriptor = os.open(NAME, os.O_RDONLY | _SAFE, dir_fd=self._directory)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", NAME)
            chunks: list[bytes] = []
            self.size = 0
            while self.size < READ_LIMIT:
                inject(self._fault, "read", NAME)
                chunk = os.read(descriptor, min(1 << 20, READ_LIMIT - self.size))
                if not chunk:
                    break
                chunks.append(chunk)
                self.size += len(chunk)
            return b"".join(chunks)
        finally:
            os.close(descriptor)

    def hold(self) -> None:
        """Open for appending what was read."""
        inject(self._fault, "open", NAME)
        self._descriptor = os.open(NAME, _APPEND | _SAFE, dir_fd=self._directory)

    def append(self, data: bytes) -> None:
        """One write(2), unless the file system takes less; what did not become whole is taken back."""
        try:
            self._write_all(self._descriptor, NAME, data)
        except OSError:
            try:
                inject(self._fault, "truncate", NAME)
                os.ftruncate(self._descriptor, self.size)
            except OSError:
                # A torn line in the middle costs the line after it: go on with a new file.
                self._let_go()
            raise
        self.size += len(data)

    def replace(self, data: bytes) -> None:
        """Put other bytes in its place, so that at every instant one or the other is there, whole."""
        with suppress(FileNotFoundError):
            inject(self._fault, "unlink", _NEW)
            os.unlink(_NEW, dir_fd=self._directory)
        inject(self._fault, "open", _NEW)
        flags = _APPEND | _SAFE | os.O_CREAT | os.O_EXCL
        descriptor = os.open(_NEW, flags, _FILE_MODE, dir_fd=self._directory)
        try:
            self._write_all(descriptor, _NEW, data)
            inject(self._fault, "fsync", _NEW)
            os.fsync(descriptor)
            inject(self._fault, "rename", _NEW)
            os.rename(_NEW, NAME, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            os.close(descriptor)
            raise
        # From here on the new file is the journal, whatever becomes of the next call.
        self._let_go()
        self._descriptor = descriptor
        self.size = len(data)
        inject(self._fault, "fsync", ".")
        os.fsync(self._directory)

    def keep_aside(self, why: str) -> None:
        """Give it a second name, ``journal.WHY-N``, for a person; :meth:`replace` then takes the first one from it."""
        names = [f"{NAME}.{why}-{number}" for number in range(1, _KEPT_ASIDE + 1)]
        taken = set(os.listdir(self._directory))
        free = next((name for name in names if name not in taken), None)
        if free is None:
            free = names[-1]
            os.unlink(free, dir_fd=self._directory)
        inject(self._fault, "link", free)
        try:
            os.link(NAME, free, src_dir_fd=self._directory, dst_dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            # A directory has one name, and some file systems know no second one.
            inject(self._fault, "rename", free)
            os.rename(NAME, free, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def close(self) -> None:
        """Let go of everything; closing twice is allowed."""
        self._let_go()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_all(self, descriptor: int, path: str, data: bytes) -> None:
        while data:
            inject(self._fault, "write", path)
            written = self._write(descriptor, data)
            if written == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            data = data[written:]
