"""Runs in the guest, and beside it: a child of this process that may be killed. It must not know what it does."""

from __future__ import annotations

import os
from collections.abc import Callable


def child(function: Callable[[], None]) -> int:
    """Run in a child, of which the process id is given. It ends with 0, or with 1 where the function raises."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return process


def ended(process: int) -> int:
    """How it ended: the exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
