"""
What agents leave in their state directory, removed when none is to come any more.

Removes files of known names and nothing else: what was put aside for a person (``journal.corrupt-1``) stays. It must
not know what the files mean, nor whether they are still needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from plimsoll.kernel.fault import inject
from plimsoll.kernel.hostfs import HostFs


def forget(host: HostFs, state_directory: str, names: Iterable[str]) -> tuple[str, ...]:
    """
    Unlink these files, in this order, and the directory if nothing else is in it; what stays, by name.

    ``state_directory`` is a path below the host's root, whose lock the caller holds; the lock's own file belongs at the
    end. The directory itself stays where it is a mount. Raises OSError.
    """
    path = state_directory.strip("/")
    directory = host.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            inject(host.fault, "unlink", f"{path}/{name}")
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        left = tuple(sorted(os.listdir(directory)))
    finally:
        os.close(directory)
    if not left:
        parent, _, name = path.rpartition("/")
        above = host.open(parent or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            # A mount point is busy, on a read-only file system nothing can be removed; empty it is all the same.
            with suppress(OSError):
                os.rmdir(name, dir_fd=above)
        finally:
            os.close(above)
    return left
