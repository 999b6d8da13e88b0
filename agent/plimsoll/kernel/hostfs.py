"""
The host boundary: everything is read below one root, by directory descriptor, and errno becomes an outcome.

Two kinds of path are kept apart. Paths this program knows (``proc/meminfo``, ``sys/fs/cgroup``) are resolved *inside*
the root as if it were ``/``, so that a recorded tree with absolute symbolic links works. Paths built from what an API
server said are resolved strictly *beneath* an opened directory: no symbolic link, no mount crossing, no ``..``.

This module must not know any file's meaning, and never creates anything.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.fault import FaultHook, inject
from plimsoll.kernel.resolve import IN_ROOT, STRICT, encoded_path, has_openat2, openat2, walk
from plimsoll.model.outcome import Outcome, outcome_of

# memory.stat of a current kernel is about 1.5 KiB, pressure.stat 1 KiB, /proc/stat of 1,024 CPUs about 100 KiB.
READ_LIMIT = 1 << 20


class Reading(NamedTuple):
    """The text of one file, or why there is none. ``errno`` is kept for people and logs."""

    data: bytes | None
    outcome: Outcome
    errno: int = 0

    def text(self) -> str | None:
        """The content as text; kernel files are ASCII, so a stray byte is replaced rather than fatal."""
        return None if self.data is None else self.data.decode("ascii", "replace")


class Listing(NamedTuple):
    """The names in a directory, sorted, or why there are none."""

    names: tuple[str, ...]
    outcome: Outcome
    errno: int = 0


def _read_all(descriptor: int, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while size <= limit:
        chunk = os.read(descriptor, min(65536, limit + 1 - size))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    raise OSError(errno.EFBIG, "larger than any kernel file this program reads")


class Directory(Closing):
    """
    An open directory. Everything below it is reached strictly beneath it.

    Holding the descriptor pins the identity: after the cgroup is removed and another is made under the same name, reads
    here answer ``GONE``/``MISSING`` instead of another cgroup's numbers.
    """

    __slots__ = ("_fault", "_openat2", "descriptor", "path")

    def __init__(self, descriptor: int, path: str, *, fault: FaultHook | None, openat2: bool) -> None:
        self.descriptor = descriptor
        self.path = path
        self._fault = fault
        self._openat2 = openat2

    def close(self) -> None:
        """Close the descriptor; closing twice is allowed."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def fault(self) -> FaultHook | None:
        return self._fault

    def inject(self, operation: str, path: str) -> None:
        """Before a system call on a descriptor that :meth:`open` gave: the hook is asked. Raises OSError."""
        if self._fault is not None:
            inject(self._fault, operation, f"{self.path}/{path}")

    def inode(self) -> int:
        """The directory's inode number: a cgroup made again under the same name has another one."""
        return os.fstat(self.descriptor).st_ino

    def open(self, path: str, flags: int = os.O_RDONLY | os.O_NONBLOCK) -> int:
        """
        Open ``path`` strictly beneath this directory and return a descriptor.

        Without ``O_NONBLOCK`` a FIFO in the place of a kernel file would block for ever. Raises OSError: ENOENT; EXDEV
        or ELOOP for a path that leaves the tree (``..`` is refused even where it would not leave it); EINVAL for text
        no file can be called; and whatever the kernel answers.
        """
        self.inject("open", path)
        encoded = encoded_path(path, flags)
        # openat2 takes `a/../b`, which a descriptor's holder never means.
        if encoded.startswith(b"/") or b".." in encoded.split(b"/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        if self._openat2:
            return openat2(self.descriptor, encoded, flags, STRICT)
        return walk(self.descriptor, encoded, flags, cross_mounts=False)

    def directory(self, path: str) -> Directory:
        """Open a directory beneath this one. Raises OSError."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        return Directory(descriptor, f"{self.path}/{path.lstrip('/')}", fault=self._fault, openat2=self._openat2)

    def read(self, path: str, limit: int = READ_LIMIT) -> Reading:
        """Read a file beneath this directory. Never raises for what the kernel may answer."""
        try:
            descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                self.inject("read", path)
                return Reading(_read_all(descriptor, limit), Outcome.OK)
            finally:
                os.close(descriptor)
        except OSError as error:
            code = error.errno or errno.EIO
            return Reading(None, outcome_of(code), code)

    def write(self, path: str, data: bytes) -> tuple[Outcome, int]:
        """
        Give ``data`` to a file beneath this directory whole, by one system call: the outcome and its errno, or 0.

        OK says that the kernel took it, not that it keeps it; FAILED without an errno, that it took only a part. Never
        raises for what the kernel may answer, and follows no link in the place of the file.
        """
        try:
            # Never O_CREAT: nothing is made below a cgroup root. O_NONBLOCK: a FIFO in its place would hold us up.
            descriptor = self.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                self.inject("write", path)
                if os.write(descriptor, data) != len(data):
                    return Outcome.FAILED, 0
                # A kernel file has no size to speak of. A recorded one would keep the tail of a longer value.
                if os.fstat(descriptor).st_size > len(data):
                    self.inject("truncate", path)
                    os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            code = error.errno or errno.EIO
            return outcome_of(code), code
        return Outcome.OK, 0

    def names(self, path: str = ".") -> Listing:
        """List a directory beneath this one."""
        return self._scan(path, directories_only=False)

    def directories(self, path: str = ".") -> Listing:
        """List the sub-directories of a directory beneath this one; links are not followed."""
        return self._scan(path, directories_only=True)

    def _scan(self, path: str, *, directories_only: bool) -> Listing:
        try:
            descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.inject("list", path)
                with os.scandir(descriptor) as entries:
                    names = [
                        entry.name for entry in entries if not directories_only or entry.is_dir(follow_symlinks=False)
                    ]
                return Listing(tuple(sorted(names)), Outcome.OK)
            finally:
                os.close(descriptor)
        except OSError as error:
            code = error.errno or errno.EIO
            return Listing((), outcome_of(code), code)

    def exists(self, path: str) -> bool:
        """Whether something is there that can be opened as a path; a refused look-up counts as not there."""
        try:
            os.close(self.open(path, os.O_PATH))
        except OSError:
            return False
        return True


class HostFs(Directory):
    """
    The host's files below ``root``: ``/`` on the node itself, ``/host`` in a container, or a recorded tree.

    Paths given here are ones this program knows. Links are followed, but as if ``root`` were ``/``.
    """

    __slots__ = ("root",)

    def __init__(self, root: str = "/", *, fault: FaultHook | None = None, openat2: bool | None = None) -> None:
        """
        Open ``root``. Raises OSError when it is not a directory that can be read.

        ``openat2`` forces the resolver (tests); by default it is probed.
        """
        self.root = "/" + os.path.abspath(root).lstrip("/")
        super().__init__(
            os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
            "" if self.root == "/" else self.root,
            fault=fault,
            openat2=has_openat2() if openat2 is None else openat2,
        )

    def read_only(self, path: str) -> bool:
        """
        Whether what is mounted there is so for reading only, whoever asks; what cannot be known counts as not.

        Permissions are another question: an agent that only observes is not root, and one that writes will be.
        """
        try:
            descriptor = self.open(path, os.O_PATH)
            try:
                self.inject("statvfs", path)
                return bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
            finally:
                os.close(descriptor)
        except OSError:
            return False

    @property
    def live(self) -> bool:
        """Whether this is the running node's own root rather than a tree somewhere else."""
        return self.root == "/"

    def open(self, path: str, flags: int = os.O_RDONLY | os.O_NONBLOCK) -> int:
        """Open a path below the root and return a descriptor; mounts are crossed. Raises OSError."""
        relative = path.lstrip("/") or "."
        self.inject("open", relative)
        encoded = encoded_path(relative, flags)
        if self._openat2:
            return openat2(self.descriptor, encoded, flags, IN_ROOT)
        if self.live:
            return os.open(b"/" + encoded, flags | os.O_CLOEXEC)
        if b".." in encoded.split(b"/"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        # Without openat2 a link inside a foreign root cannot be resolved safely: follow none. Mounts are crossed: the
        # host's /sys/fs/cgroup is one.
        return walk(self.descriptor, encoded, flags, cross_mounts=True)
