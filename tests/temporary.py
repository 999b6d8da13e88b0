"""
The folder in which the tests' temporary folders best lie, printed for the Makefile; nothing where any other will do.

Most of what the tests write is synced, as the agent's journal must be, and removed again a moment later. In memory that
costs nothing, on a disk that others use minutes. Nothing that they prove is about power cuts.
"""

from __future__ import annotations

import os

IN_MEMORY = "/dev/shm"
# Some times what is there at once; the default of Docker is too small.
ENOUGH_BYTES = 256 << 20


def fits(folder: str) -> bool:
    """Whether the tests can write there and run what they have written."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return (
        os.access(folder, os.W_OK | os.X_OK)
        and not found.f_flag & os.ST_NOEXEC
        and found.f_bavail * found.f_frsize >= ENOUGH_BYTES
    )


if __name__ == "__main__":
    print(IN_MEMORY if fits(IN_MEMORY) else "")
