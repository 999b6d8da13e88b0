"""
What is written to a swap file and read from it: as long as it is the only swap in use, that is all that is swapped.

The kernel counts for disks, and the one a file is on holds more. With other swap beside it nobody tells them apart, and
nothing is said. Reads only.
"""

from __future__ import annotations

import os

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_swapped
from plimsoll.kernel.swap_device import Traffic


class FileTraffic:
    """Bytes since the first look. One file; one thread calls it."""

    def __init__(self, host: HostFs) -> None:
        self._host = host
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._before: tuple[int, int] | None = None
        self._total = Traffic(0, 0)

    def look(self, *, alone: bool) -> Traffic | None:
        """``alone``: the file is in use, and no other swap is. ``None``: not known."""
        now = read_swapped(self._host) if alone else None
        before, self._before = self._before, now
        if now is None:
            return None
        if before is not None:
            self._total = Traffic(
                self._total.read + (now[0] - before[0]) * self._page,
                self._total.written + (now[1] - before[1]) * self._page,
            )
        return self._total
