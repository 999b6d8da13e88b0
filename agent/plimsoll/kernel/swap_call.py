"""
swapon(2) and swapoff(2), on a device that is held open: the calls alone.

swapoff reads back all there is and may take minutes, and whoever calls it is the first the OOM killer takes. So it runs
in a process of its own, which can be ended: the kernel then leaves in memory what it has read, and the device in use.
"""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Callable

SwapCall = Callable[[int, int | None], int]
"""``swapon(descriptor, flags)``, or ``swapoff(descriptor)`` with no flags; gives an errno, 0 for success."""

# A tick waits ten seconds for its writes, and tries one that is busy four times.
SLICE_SECONDS = 2.0
# PR_SET_PDEATHSIG: were the agent killed, nobody would know that the device is going.
_SWAPOFF = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(1, 9)
sys.exit(ctypes.get_errno() if libc.swapoff(sys.argv[1].encode()) else 0)
"""


def swap_call(descriptor: int, flags: int | None) -> int:
    """The kernel's own. swapoff gives EINTR after two seconds, with some of it done."""
    # By descriptor: it names the device that was looked at, in whatever mount namespace that was.
    path = f"/proc/self/fd/{descriptor}"
    if flags is None:
        return in_child(_SWAPOFF, path, descriptor, SLICE_SECONDS)
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.swapon(path.encode("ascii"), ctypes.c_int(flags)) == 0 else ctypes.get_errno()


def in_child(program: str, argument: str, descriptor: int, seconds: float) -> int:
    """The exit code of a Python program that is given one argument and one descriptor; EINTR when its time is up."""
    try:
        done = subprocess.run(  # noqa: S603 - our own program, and no shell
            [sys.executable, "-I", "-S", "-c", program, argument],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return errno.EINTR
    except OSError as error:
        return error.errno or errno.EIO
    # Killed by somebody else, the OOM killer for one: it may be asked again.
    return errno.EINTR if done.returncode < 0 else done.returncode
