"""
A swap file of the agent's own: whether one could be made, making it, knowing it again, and removing it.

It is there whole or not at all: it gets its name last, and only if nothing has that name. So whoever is killed leaves
nothing behind, and nothing that exists is ever touched. What is in use as swap the kernel itself does not let go.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid5

from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_os_release, read_swaps
from plimsoll.kernel.swap_device import HEADER, HEADER_OFFSET, MAGIC, active_swap, identity_of, read_header
from plimsoll.model.outcome import Outcome, outcome_of

LABEL = "plimsoll"
_NAMESPACE = UUID("c1f5a0de-2f0b-5d0c-9a66-3f3a6c4b7e11")
# By statfs(2), those on which swapon takes a file that was only allocated, and since which Linux: before, it says
# EINVAL to what it takes for holes. Btrfs wants it outside of copy-on-write, and memory, networks and layers hold none.
_FILE_SYSTEMS = {0xEF53: ("ext4", (5, 10)), 0x58465342: ("XFS", (4, 18))}
_SPARE = 10
"""One part in so many of the file system stays free."""


def file_system(descriptor: int) -> int:
    """The magic number of the file system an open file is on. Raises OSError."""
    # struct statfs is at most 120 bytes anywhere, and begins with the number.
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, buffer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ctypes.c_long.from_buffer(buffer).value


def length(host: HostFs, path: str) -> int | None:
    """Bytes of a file; ``None``: not known."""
    try:
        descriptor = host.open(path, os.O_PATH)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def vacant(host: HostFs, path: str) -> bool:
    """Whether nothing has this name, not even a link that leads nowhere. Raises OSError where that cannot be known."""
    with _folder(host, path) as (folder, name):
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
    return False


def hindrance(host: HostFs, path: str, size: int) -> str:
    """Why no file of ``size`` bytes can be made at ``path``, as a sentence with its cure; empty if it can."""
    try:
        if not vacant(host, path):
            return f"{path} is there, and is no file that could be swap: it is never touched. Name another one."
        with _folder(host, path) as (folder, _):
            return _refusal(host, folder, path, size)[1]
    except OSError as error:
        parent = os.path.dirname(path)
        return f"{parent} is no folder a file can be made in ({os.strerror(error.errno or errno.EIO)}): make one."


def make(host: HostFs, path: str, size: int, step: Callable[[str], None] = lambda _: None) -> tuple[Outcome, int]:
    """
    A swap file of ``size`` bytes, whole pages of them, for root alone. HELD with EEXIST: something is there.

    May take as long as the disk takes for a few blocks. ``step`` is for tests.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        with _folder(host, path) as (folder, name):
            code, _ = _refusal(host, folder, path, size)
            if code:
                return Outcome.HELD, code
            host.inject("write", path)
            # Without a name nobody finds it, and it is gone with its descriptor.
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
            try:
                step("opened")
                os.posix_fallocate(descriptor, 0, size)
                step("allocated")
                _write(descriptor, _header(os.fstat(descriptor).st_ino, size, page))
                os.fsync(descriptor)
                step("written")
                # link(2) takes no name that is taken.
                os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=folder, follow_symlinks=True)
                step("named")
                os.fsync(folder)
            finally:
                os.close(descriptor)
    except FileExistsError:
        return Outcome.HELD, errno.EEXIST
    except OSError as error:
        return outcome_of(error.errno or errno.EIO), error.errno or errno.EIO
    return Outcome.OK, 0


def is_own(host: HostFs, path: str) -> bool:
    """
    Whether the file there is one the agent made: by its label, and by a UUID that no copy of it bears out.

    A file that cannot be read is nobody's.
    """
    found = identity_of(host, path)
    header = None if found is None or not found.inode else read_header(host, path)
    if header is None or isinstance(header, Outcome) or header.label != LABEL or found is None:
        return False
    size = length(host, path)
    return size is not None and header.uuid == str(_uuid(found.inode, size))


def remove(host: HostFs, path: str) -> tuple[Outcome, int]:
    """The file is gone, if the agent made it. HELD, EBUSY: it is in use; GONE: what is there is somebody else's."""
    try:
        if vacant(host, path):
            return Outcome.OK, 0
        if not is_own(host, path):
            return Outcome.GONE, errno.ENODEV
        swaps = read_swaps(host)
        if swaps is None or identity_of(host, path) in {active_swap(host, each) for each in swaps}:
            return Outcome.HELD, errno.EBUSY
        host.inject("write", path)
        with _folder(host, path) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
    except PermissionError as error:
        # vfs_unlink() of a file that is swap: that it is, a container may not see in /proc/swaps.
        return Outcome.HELD, error.errno or errno.EPERM
    except OSError as error:
        return outcome_of(error.errno or errno.EIO), error.errno or errno.EIO
    return Outcome.OK, 0


@contextmanager
def _folder(host: HostFs, path: str) -> Iterator[tuple[int, str]]:
    parent, name = os.path.split(path)
    descriptor = host.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def _refusal(host: HostFs, folder: int, path: str, size: int) -> tuple[int, str]:
    """Why no file may be made there: an errno and a sentence."""
    known = _FILE_SYSTEMS.get(file_system(folder))
    if known is None:
        return errno.EINVAL, f"{path} would be on a file system that holds no swap file: use one on ext4 or XFS."
    name, since = known
    if KernelBuild(read_os_release(host)).older_than(*since):
        return errno.EINVAL, (
            f"swapon of this kernel would refuse {path}: on {name} it takes a file without holes only if all of it was "
            f"written, before Linux {since[0]}.{since[1]}. Make it with dd and mkswap, and leave out swapFileSize."
        )
    found = os.fstatvfs(folder)
    spare, free = found.f_blocks * found.f_frsize // _SPARE, found.f_bavail * found.f_frsize
    if free - size < spare:
        return errno.ENOSPC, (
            f"{path} needs {size >> 20} MiB, and a tenth of its file system stays free: {free >> 20} MiB are free, "
            f"{spare >> 20} MiB stay. Make overcommit.swapFileSize smaller, or use another file system."
        )
    return 0, ""


def _uuid(inode: int, size: int) -> UUID:
    return uuid5(_NAMESPACE, f"{inode} {size}")


def _header(inode: int, size: int, page: int) -> bytes:
    """What mkswap writes."""
    data = bytearray(page)
    HEADER.pack_into(data, HEADER_OFFSET, 1, size // page - 1, 0, _uuid(inode, size).bytes, LABEL.encode("ascii"))
    data[-len(MAGIC) :] = MAGIC
    return bytes(data)


def _write(descriptor: int, data: bytes) -> None:
    if os.pwrite(descriptor, data, 0) != len(data):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
