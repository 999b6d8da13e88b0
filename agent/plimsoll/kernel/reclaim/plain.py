"""
Asking the kernel to reclaim memory of a cgroup: one write(2) to ``memory.reclaim``.

The write blocks until the kernel has done or given up, so the caller is a thread that may wait. The kernel does not
heed the target's own ``memory.min`` and ``memory.low`` (include/linux/memcontrol.h: no protection in a targeted
reclaim): how much may be asked for is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plimsoll.kernel.hostfs import Directory
from plimsoll.model.outcome import Outcome

FILE = "memory.reclaim"
# cgroup v2's, and openEuler's cgroup v1.
_USAGE = ("memory.current", "memory.usage_in_bytes")
_SWAP = ("memory.swap.current",)


class Answer(NamedTuple):
    """
    What one request came to.

    OK: at least as much as asked; BUSY: less (EAGAIN, EINTR), which is no failure. ``freed``: by how much the cgroup's
    usage went down meanwhile, ``None`` if that is not known; the pod may have allocated beside it, so it can be less
    than was reclaimed, never below 0. ``moved``: by how much what it has in swap went up.
    """

    outcome: Outcome
    errno: int
    freed: int | None
    seconds: float
    moved: int | None = None


def reclaim(directory: Directory, size: int, words: str = "", *, clock: Callable[[], float] = time.monotonic) -> Answer:
    """
    Reclaim ``size`` bytes of the cgroup and everything below it; never raises for what the kernel may answer.

    ``words``: what else this kernel is told (``kernel/reclaim/wording.py``); REJECTED where it does not know them.
    """
    text = f"{size} {words}" if words else str(size)
    begun = clock()
    before, swapped = _bytes(directory, _USAGE), _bytes(directory, _SWAP)
    outcome, code = directory.write(FILE, text.encode("ascii"))
    gone = outcome is Outcome.GONE
    after, now = (None, None) if gone else (_bytes(directory, _USAGE), _bytes(directory, _SWAP))
    return Answer(outcome, code, _grown(after, before), clock() - begun, _grown(swapped, now))


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _bytes(directory: Directory, names: Sequence[str]) -> int | None:
    for name in names:
        text = directory.read(name).text()
        if text is not None:
            return int(text) if text.strip().isdecimal() else None
    return None
