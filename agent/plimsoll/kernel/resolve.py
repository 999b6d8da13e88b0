"""
Opening a path below a directory: openat2(2) where the kernel has it, the same one component at a time where not.

Only resolution is here: no file is read, and nothing is ever created or truncated.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

# openat2(2), Linux 5.6; the number is the same on every architecture.
_SYS_OPENAT2 = 437
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
IN_ROOT = 0x10
STRICT = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV

_AT_FDCWD = -100
# openat2(2) asks callers to retry EAGAIN; it also stands for a leased file, where no number of retries helps.
_AGAIN_LIMIT = 32
_PATH_MAX = 4096


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


def encoded_path(path: str, flags: int) -> bytes:
    """
    The path's bytes. Raises OSError for what no file can be called, instead of the ValueError of the standard library.

    A NUL would end the path early inside the kernel and name another file, so it must never reach a system call.
    """
    if flags & (os.O_CREAT | os.O_TRUNC):
        raise ValueError("nothing is ever created or truncated here")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise OSError(errno.EINVAL, "not a file name", path) from None
    if b"\0" in encoded:
        raise OSError(errno.EINVAL, "not a file name", path)
    if not encoded:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if len(encoded) >= _PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return encoded


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open as the kernel resolves, :data:`STRICT` or :data:`IN_ROOT`, and return a descriptor. Raises OSError."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    again = 0
    while True:
        descriptor = _libc.syscall(_SYS_OPENAT2, directory, path, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        # A rename elsewhere in the tree during the walk makes the kernel give up with EAGAIN (openat2(2)).
        again += code == errno.EAGAIN
        if code not in (errno.EINTR, errno.EAGAIN) or again > _AGAIN_LIMIT:
            raise OSError(code, os.strerror(code), os.fsdecode(path))


def walk(directory: int, path: bytes, flags: int, *, cross_mounts: bool) -> int:
    """
    The same as a strict openat2 on a kernel or under a seccomp filter without it: one component at a time.

    A mount is told by its device number: a bind mount of the same file system, which only root can make, passes.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if path.endswith(b"/"):
        flags |= os.O_DIRECTORY
    current = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        device = os.fstat(current).st_dev
        for part in parts:
            # O_PATH|O_NOFOLLOW opens a link itself instead of failing, so that it can be told from a missing file.
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = following
            found = os.fstat(current)
            if stat.S_ISLNK(found.st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
            if not cross_mounts and found.st_dev != device:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
        return _reopen(current, flags)
    finally:
        os.close(current)


def _reopen(descriptor: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for: the very file that was checked, not its name once more."""
    if flags & os.O_DIRECTORY or stat.S_ISDIR(os.fstat(descriptor).st_mode):
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=descriptor)
    if flags & os.O_PATH:
        return os.dup(descriptor)
    # The magic link stands for the file itself; O_NOFOLLOW would refuse it.
    return os.open(f"/proc/self/fd/{descriptor}", (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC)


def has_openat2() -> bool:
    """
    Whether openat2 can be used. ENOSYS: before Linux 5.6. EPERM: seccomp filters that predate the call answer so.

    Whatever else refuses it, the walk does the same work.
    """
    try:
        os.close(openat2(_AT_FDCWD, b"/", os.O_PATH, 0))
    except OSError:
        return False
    return True
