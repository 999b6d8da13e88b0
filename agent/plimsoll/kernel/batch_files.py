"""
The files of the batch reader and their descriptors: held open, a bounded number, opened again when the cgroup was made
again.

Everything that is not everyday happens here, for both readers: opening, scripted faults, a cgroup that vanished. This
module must not know formats. It is not safe for two threads at once; ``kernel/batch.py`` lets only one in.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from plimsoll.kernel.batch_format import NOTHING, FileSpec, Parsed
from plimsoll.kernel.hostfs import READ_LIMIT, Directory
from plimsoll.model.outcome import Outcome

# Descriptors left for sockets, logs and the other readers when the process may not have many.
_RESERVE = 128
# kernfs gives at most a page or a buffer at a time: a read that ends elsewhere was the last one.
_CHUNK = 4096
_READ_SIZE = 65536


@dataclass(slots=True, eq=False)
class File:
    """One file to read in every pass, and how its last reading went where Python read it."""

    directory: Directory
    path: str
    spec: FileSpec
    wanted: dict[bytes, int]
    row: int | None = None  # in the C reader's table, if it reads this one
    inode: int = 0
    generation: int = 0
    outcome: Outcome = Outcome.MISSING
    parsed: Parsed = NOTHING
    forgotten: bool = False


def descriptor_bound(wanted: int) -> int:
    """``wanted``, or less where the process's own limit leaves less. Raises ValueError for a bound below one."""
    if wanted < 1:
        raise ValueError("at least one descriptor must be allowed")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _RESERVE))


class OpenFiles:
    """
    The descriptors that are held. ``changed`` is told each new descriptor of a file, -1 when it was closed.

    The least recently used is closed first, but never one that the present pass reads as well: a pass over more files
    than may be open would otherwise open every one of them anew. Such a surplus file is open for one reading only.
    """

    def __init__(self, bound: int, changed: Callable[[File, int], None]) -> None:
        self._bound = bound
        self._changed = changed
        self._held: OrderedDict[File, int] = OrderedDict()
        self._passing: Container[File] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, files: Iterable[File] | None) -> None:
        """A pass begins that reads these files, or all."""
        if files is None:
            self._passing = None
            return
        passing = set(files)
        for file in passing:
            if file in self._held:
                self._held.move_to_end(file)
        self._passing = passing

    def read(self, file: File) -> bytes:
        """
        The whole content, opening the file if need be, once more if its cgroup is gone.

        Raises OSError: ENODEV when the cgroup is gone and nothing stands in its place.
        """
        try:
            return self._read(file)
        except OSError as error:
            # A feature that is off stays off, and the file may stay open; any other refusal may be the descriptor's.
            if error.errno == errno.EOPNOTSUPP:
                raise
            # The cgroup behind the descriptor is gone; another may stand under its name by now.
            self.shut(file)
            if error.errno != errno.ENODEV:
                raise
        try:
            return self._read(file)
        except OSError as error:
            self.shut(file)
            if error.errno == errno.ENOENT:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), file.path) from error
            raise

    def shut(self, file: File) -> None:
        """Close what is held of a file, if anything is."""
        descriptor = self._held.pop(file, None)
        if descriptor is not None:
            self._changed(file, -1)
            os.close(descriptor)

    def close(self) -> None:
        """Close everything."""
        for file in list(self._held):
            self.shut(file)

    def _read(self, file: File) -> bytes:
        descriptor = self._held.get(file, -1)
        if descriptor >= 0:
            return _content(file, descriptor)
        # Kernel files never block on open; a FIFO in a recorded tree would.
        descriptor = file.directory.open(file.path, os.O_RDONLY | os.O_NONBLOCK)
        kept = False
        try:
            inode = os.fstat(descriptor).st_ino
            if inode != file.inode:
                file.inode = inode
                file.generation += 1
            kept = self._keep(file, descriptor)
            return _content(file, descriptor)
        finally:
            if not kept:
                os.close(descriptor)

    def _keep(self, file: File, descriptor: int) -> bool:
        if len(self._held) >= self._bound:
            oldest = next(iter(self._held))
            if self._passing is None or oldest in self._passing:
                return False
            self.shut(oldest)
        self._held[file] = descriptor
        self._changed(file, descriptor)
        return True


def _content(file: File, descriptor: int) -> bytes:
    file.directory.inject("read", file.path)
    data = os.pread(descriptor, _READ_SIZE, 0)
    size = len(data)
    while size and size % _CHUNK == 0:
        more = os.pread(descriptor, _READ_SIZE, size)
        if not more:
            break
        data += more
        size = len(data)
        if size > READ_LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), file.path)
    return data
