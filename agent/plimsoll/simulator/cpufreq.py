"""
What the kernel's cpufreq makes of the limits that are written to its policies, on a folder that has their files.

A policy keeps what was asked for, and its files show what is in force: the lowest of all ceilings, heat among them, and
the highest of all floors, both within what the hardware can do. It knows no driver and sets no frequency. A guest with
the real one says the same of every value that is tried (tests/vm/test_cpufreq.py).
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, field
from typing import Final

_FILE: Final = re.compile(r"(.*/cpufreq/policy[0-9]+)/[^/]+", re.ASCII)
_LIMIT: Final = re.compile(r"(.*/cpufreq/policy[0-9]+)/scaling_(min|max)_freq", re.ASCII)


@dataclass(slots=True)
class _Policy:
    """kHz: the hardware's range, what was asked for, and what the files show. ``written``: files about to be."""

    lowest: int
    highest: int
    floor: int
    ceiling: int
    shown: tuple[int, int]
    written: set[str] = field(default_factory=set)


class Cpufreq:
    """
    A fault hook for :class:`plimsoll.kernel.hostfs.HostFs`: call it before each system call.

    ``cap``: a ceiling (kHz) from elsewhere in the kernel, ``None`` for none; it may be changed at any time. ``table``:
    the frequencies the driver knows, where it knows no others. ``refuses``: every write is answered EPERM.
    ``inactive``: folders of policies without an online CPU: their files stay, what was asked for stays, and all that
    can be had of them is EBUSY (show() and store() of drivers/cpufreq/cpufreq.c).
    """

    def __init__(self, *, table: tuple[int, ...] = (), cap: int | None = None, refuses: bool = False) -> None:
        self.cap = cap
        self.refuses = refuses
        self.inactive: set[str] = set()
        self._table = tuple(sorted(table))
        self._policies: dict[str, _Policy] = {}

    def __call__(self, operation: str, path: str) -> int:
        folder = _FILE.fullmatch(path)
        if folder is not None and folder[1] in self.inactive and operation in ("read", "write"):
            return errno.EBUSY
        match = _LIMIT.fullmatch(path)
        if match is None or operation == "truncate":
            # Between a write and the cut of what is left of a longer value: one write for the kernel.
            return 0
        policy = self._follow(match[1])
        if operation == "write":
            if self.refuses:
                return errno.EPERM
            policy.written.add(match[2])
        return 0

    def asked(self, folder: str) -> tuple[int, int]:
        """The floor and the ceiling somebody last asked a policy for, whatever its files show."""
        policy = self._follow(folder)
        return policy.floor, policy.ceiling

    def _follow(self, folder: str) -> _Policy:
        """What was written to the files since the last time is a request; then they show what is in force."""
        floor, ceiling = (_read(f"{folder}/scaling_{each}_freq") for each in ("min", "max"))
        policy = self._policies.get(folder)
        if policy is None:
            lowest, highest = (_read(f"{folder}/cpuinfo_{each}_freq") for each in ("min", "max"))
            policy = self._policies[folder] = _Policy(lowest, highest, floor, ceiling, (floor, ceiling))
        if floor != policy.shown[0] or "min" in policy.written:
            policy.floor = floor
        if ceiling != policy.shown[1] or "max" in policy.written:
            policy.ceiling = ceiling
        policy.written.clear()
        shown = self._effective(policy)
        if shown != (floor, ceiling):
            for each, value in zip(("min", "max"), shown, strict=True):
                _write(f"{folder}/scaling_{each}_freq", value)
        policy.shown = shown
        return policy

    def _effective(self, policy: _Policy) -> tuple[int, int]:
        ceiling = min(policy.ceiling, policy.highest if self.cap is None else self.cap, policy.highest)
        ceiling = max(ceiling, policy.lowest)
        # A floor above the ceiling does not lift it (cpufreq_verify_within_limits).
        floor = min(max(policy.floor, policy.lowest), ceiling)
        if self._table:
            # cpufreq_set_policy, since Linux 5.16: neither limit is shown between two frequencies of the table.
            ceiling = max((each for each in self._table if each <= ceiling), default=ceiling)
            floor = min(next((each for each in self._table if each >= floor), ceiling), ceiling)
        return floor, ceiling


def _read(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.readline())


def _write(path: str, value: int) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{value}\n")
