"""
How fast each CPU really ran while it was not idle: APERF over MPERF (Intel SDM volume 3, 15.2; AMD has the same two).

Both count only outside idle states, MPERF at the base frequency, APERF at the one the CPU had. Reads registers; a write
to any is nobody's business here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs

MPERF = 0xE7
APERF = 0xE8
_WORD = struct.Struct("<Q")
_WRAP = 1 << 64


class Cycles(NamedTuple):
    """The two counters of one CPU."""

    base: int
    real: int


def read_cycles(host: HostFs, cpus: Iterable[int]) -> dict[int, Cycles]:
    """
    The counters of those CPUs whose registers may be read: that takes the ``msr`` module, CAP_SYS_RAWIO and a kernel
    that is not locked down. The device is opened for each reading, as a CPU may go offline.
    """
    found: dict[int, Cycles] = {}
    for cpu in cpus:
        try:
            descriptor = host.open(f"dev/cpu/{cpu}/msr", os.O_RDONLY)
            try:
                words = [os.pread(descriptor, _WORD.size, register) for register in (MPERF, APERF)]
            finally:
                os.close(descriptor)
        except OSError:
            # Which of the reasons it is, is a capability's to say.
            continue
        if all(len(word) == _WORD.size for word in words):
            found[cpu] = Cycles(*(int(_WORD.unpack(word)[0]) for word in words))
    return found


def megahertz(before: Cycles, now: Cycles, base: int) -> float | None:
    """What it ran at between two readings, ``base`` in MHz; ``None`` for a CPU that was idle all the time."""
    counted = (now.base - before.base) % _WRAP
    return None if counted == 0 else base * ((now.real - before.real) % _WRAP) / counted
