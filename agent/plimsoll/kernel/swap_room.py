"""
Whether there is room in memory for what a swap device holds: on the node, and in every cgroup it would come back to.

swapoff charges what it reads to the cgroup that it was taken from. Where that has no room the kernel kills a process of
it, and where the node has none it kills somebody else's. Reads only. cgroup v2; on v1 it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.proc import read_meminfo

# The kubelet evicts pods at 100 MiB by itself; what is read back is not yet all of what is needed in that moment.
FLOOR = 256 << 20
FLOOR_SHARE = 0.05


def floor(host: HostFs) -> int:
    """Bytes of memory that must be left on this node when all has come back."""
    return max(FLOOR, int(FLOOR_SHARE * (read_meminfo(host).total or 0)))


def lacking(host: HostFs, hierarchies: Hierarchies, used: int, least: int) -> str:
    """
    Why ``used`` bytes must stay on a device, as a sentence; empty if they may come back and leave ``least`` free.

    What is not known counts as no room.
    """
    available = read_meminfo(host).available
    if available is None or available <= used + least:
        free = "unknown" if available is None else f"{available >> 20} MiB"
        return f"{used >> 20} MiB would come back and {least >> 20} MiB must stay free; available: {free}."
    unified = hierarchies.unified
    if unified is None or hierarchies.directory("memory") is not unified:
        return "Whether cgroups have room for what would come back is only known with cgroup v2."
    return next(_without_room(unified), "")


def _without_room(unified: Directory) -> Iterator[str]:
    """A sentence for each cgroup whose limit stands in the way."""
    waiting = [f"{name}" for name in unified.directories(".").names]
    while waiting:
        path = waiting.pop()
        swapped = _number(unified, path, "memory.swap.current")
        if not swapped:
            # Gone, without the controller, or with nothing in swap: so is all below it.
            continue
        limit, current = _number(unified, path, "memory.max"), _number(unified, path, "memory.current")
        if limit is not None and (current is None or current + swapped > limit):
            yield f"{path} may have {limit >> 20} MiB; {swapped >> 20} MiB more would come back to it."
        waiting.extend(f"{path}/{name}" for name in unified.directories(path).names)


def _number(unified: Directory, path: str, name: str) -> int | None:
    """``None``: no limit, or not to be had."""
    text = (unified.read(f"{path}/{name}").text() or "").strip()
    return int(text) if text.isdecimal() else None
