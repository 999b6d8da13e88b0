"""
Every write to a ``cpuset.cpus`` of a guest, as the kernel itself sees it: a probe on the function that takes them.

It does not depend on who writes, and its times are CLOCK_MONOTONIC, as those of the simulated registers are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.vm.machine import Machine

TRACING = "/sys/kernel/tracing"
EVENT = "plimsoll_cpuset"
# struct kernfs_open_file and struct kernfs_node of 6.12 without CONFIG_DEBUG_LOCK_ALLOC: the open file begins with its
# node; a node's name is at 16, and its parent, the cgroup's folder, at 8.
_PROBE = (
    f"p:{EVENT} cpuset_write_resmask file=+0(+16(+0($arg1))):string folder=+0(+16(+8(+0($arg1)))):string "
    "value=+0($arg2):string"
)
_LINE = re.compile(
    rf"\s(?P<seconds>\d+)\.(?P<micros>\d{{6}}): {EVENT}: [^\n]*"
    r'file="(?P<file>[^"]*)" folder="(?P<folder>[^"]*)" value="(?P<value>[^"]*)"'
)


class Write(NamedTuple):
    """A cgroup's own name, what was written, and when, in nanoseconds, just before it took effect."""

    time_ns: int
    cgroup: str
    value: str


class Witness:
    """Sees the writes of one guest from now on."""

    def __init__(self, guest: Machine) -> None:
        self._guest = guest
        guest.sh(
            f"mountpoint -q {TRACING} || mount -t tracefs none {TRACING}\n"
            f"echo mono > {TRACING}/trace_clock\n"
            f"echo '{_PROBE}' > {TRACING}/kprobe_events\n"
            f"echo 1 > {TRACING}/events/kprobes/{EVENT}/enable"
        )

    def writes(self) -> list[Write]:
        """All so far, in order. Raises ValueError for what it cannot read: none may be missed."""
        text = self._guest.pull(f"{TRACING}/trace").decode()
        # What is written ends with a line's end, which the trace prints as it is.
        matches = list(_LINE.finditer(text))
        if len(matches) != text.count(f" {EVENT}: "):
            raise ValueError(f"not all of these are writes to a cpuset:\n{text}")
        found = (
            Write(int(each["seconds"]) * 10**9 + int(each["micros"]) * 1000, each["folder"], each["value"].strip())
            for each in matches
            if each["file"] == "cpuset.cpus"
        )
        return sorted(found)
