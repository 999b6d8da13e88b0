"""Runs in the guest: a cgroup's figures as the laws and the watch need them."""

from __future__ import annotations

import time

from laws import Reading


def keyed(path: str) -> dict[str, int]:
    """A file of ``key value`` lines."""
    with open(path) as file:
        return {key: int(value) for key, value in (line.split() for line in file)}


def number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def some(path: str) -> tuple[float, float, float]:
    """avg10 and avg60 in percent and the total in seconds, of the line ``some``."""
    with open(path) as file:
        fields = dict(each.split("=") for each in file.readline().split()[1:])
    return float(fields["avg10"]), float(fields["avg60"]), int(fields["total"]) / 1e6


def read(cgroup: str) -> Reading:
    """Now."""
    stat = keyed(f"{cgroup}/memory.stat")
    memory, io = some(f"{cgroup}/memory.pressure"), some(f"{cgroup}/io.pressure")
    current = number(f"{cgroup}/memory.current")
    return Reading(
        time.monotonic(),
        current,
        stat["file"],
        stat["file_mapped"],
        memory[0],
        memory[1],
        io[0],
        io[1],
        memory[2],
        io[2],
    )
