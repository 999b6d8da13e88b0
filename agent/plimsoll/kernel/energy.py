"""
What each package has used, in joules, from the powercap tree (Intel RAPL, and AMD by the same driver).

The counters run over at a bound of their own. Limits are never read nor set here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.topology import read_integer

ROOT = "sys/class/powercap"
_ZONE = re.compile(r"intel-rapl:[0-9]{1,3}", re.ASCII)
_PACKAGE = re.compile(r"package-([0-9]{1,3})(?:-die-[0-9]{1,3})?", re.ASCII)


class Energy(NamedTuple):
    """``used`` and the ``bound`` at which it begins at 0 again, in microjoules."""

    zone: str
    package: int
    used: int
    bound: int


def read_energy(host: HostFs) -> tuple[Energy, ...]:
    """One reading for each package, or die; none where there is no such counter, or root's only."""
    found: list[Energy] = []
    for zone in host.names(ROOT).names:
        if not _ZONE.fullmatch(zone):
            continue
        match = _PACKAGE.fullmatch((host.read(f"{ROOT}/{zone}/name").text() or "").strip())
        used = read_integer(host, f"{ROOT}/{zone}/energy_uj")
        bound = read_integer(host, f"{ROOT}/{zone}/max_energy_range_uj")
        if match is not None and used is not None and bound is not None:
            found.append(Energy(zone, int(match[1]), used, bound))
    return tuple(found)


def spent(before: Energy, now: Energy) -> int:
    """Microjoules between two readings of a zone, over at most one run over its bound."""
    return now.used - before.used if now.used >= before.used else now.used + now.bound - before.used
