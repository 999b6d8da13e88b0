"""
How a data access monitor is laid over the node's memory: which ranges, how fine, and how much it may look at.

Reads where memory is; everything else is arithmetic. Which figures are right was measured, and is told with each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.kdamonds import Range, Setting, Task

# Memory by blocks that can be taken off line: of all the places that tell where memory is, the one that needs no
# capability. What a block has besides memory has no pages, and is passed by.
MEMORY = "sys/devices/system/memory"
_BLOCK = re.compile(r"memory([0-9]{1,9})", re.ASCII)

# The kernel looks at one page of a region at a time. At its own five milliseconds it would see nothing of a page that
# is used every few seconds: at two seconds it does half of the time, and costs 400 times less. With five looks in an
# interval one is enough to make a region count as used; from ten on, none would begin its age anew.
SAMPLE_SECONDS, INTERVAL_SECONDS = 2, 10
# Before anything is taken all pages are marked, this much of them in an interval: a look at each that is the pod's.
MARK_QUOTA = 2 << 30
# What one used page keeps in memory. Finer costs more looks: 8192 are some hundredths of a core on slow processors.
REGION, MOST_REGIONS = 1 << 19, 8192
LEAST_REGIONS = 10


def memory_ranges(host: HostFs) -> tuple[Range, ...]:
    """Where the node has memory, by address; empty where that is not told."""
    try:
        size = int(host.read(f"{MEMORY}/block_size_bytes").text() or "", 16)
    except ValueError:
        return ()
    numbers = sorted(int(match[1]) for each in host.names(MEMORY).names if (match := _BLOCK.fullmatch(each)))
    found: list[Range] = []
    for number in numbers:
        if (host.read(f"{MEMORY}/memory{number}/state").text() or "").strip() != "online":
            continue
        start, end = number * size, (number + 1) * size
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, end))
    return tuple(found)


def total(ranges: Sequence[Range]) -> int:
    """Bytes."""
    return sum(end - start for start, end in ranges)


def regions(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The same, cut evenly. A kernel that begins with one takes ten intervals to have cut it by itself."""
    whole = total(ranges)
    size = max(REGION, -(-whole // MOST_REGIONS))
    size = min(size, max(1, whole // LEAST_REGIONS)) & ~0xFFFF or 1 << 16
    return tuple((at, min(at + size, end)) for start, end in ranges for at in range(start, end, size))


def quota(rate: int, size: int, whole: int) -> int:
    """
    Bytes to look at in an interval so that ``rate`` bytes per second go from a pod of ``size``, of ``whole`` memory.

    The kernel charges all that it looks at to act upon, whoever it belongs to and whatever comes of it. On the average
    a pod is everywhere alike; where it lies in one piece it gives so much more when its turn comes, and nothing then.
    """
    if rate <= 0:
        return 0
    return min(whole, max(REGION, int(rate * INTERVAL_SECONDS * (whole / max(1, min(size, whole))))))


def marking_seconds(whole: int) -> float:
    """How long it takes until every page of ``whole`` memory is marked, from the start of a monitor."""
    # It acts for the first time when an interval is over, and half of the next one is to be sure of it.
    return INTERVAL_SECONDS * (-(-whole // MARK_QUOTA) + 0.5)


def task(rate: int, size: int, whole: int, window: float) -> Task:
    """What pages out about ``rate`` bytes per second of a pod of ``size``, of what was idle for ``window`` seconds."""
    return Task(math.ceil(window / INTERVAL_SECONDS), quota(rate, size, whole))


def setting(cgroup: str, ranges: Sequence[Range]) -> Setting:
    """
    How one container's monitor begins; ``ranges`` as :func:`regions` gives them.

    It takes a page only if that was not used since it last passed by: the first time it may only look at all of them.
    """
    return Setting(cgroup, ranges, Task(0, MARK_QUOTA, marking=True), SAMPLE_SECONDS, INTERVAL_SECONDS)
