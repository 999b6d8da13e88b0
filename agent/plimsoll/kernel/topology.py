"""
The online CPUs and what they share, from sysfs.

Read afresh on each call, since CPUs come and go. Frequencies are ``kernel/cpufreq.py``'s.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.model.cpus import CpuSet, parse_cpus

CPU_ROOT = "sys/devices/system/cpu"
POSSIBLE = f"{CPU_ROOT}/possible"
PRESENT = f"{CPU_ROOT}/present"
NODE_ROOT = "sys/devices/system/node"
_NODE = re.compile(r"node([0-9]{1,5})", re.ASCII)
_INDEX = re.compile(r"index[0-9]{1,2}", re.ASCII)


class Cpu(NamedTuple):
    """
    ``core`` are the online CPUs of the same core, itself included. ``numa`` and ``cache`` (the id of the largest cache
    it shares) are ``None`` where the kernel does not say.
    """

    number: int
    package: int
    core: CpuSet
    numa: int | None = None
    cache: int | None = None


def read_online(host: HostFs) -> CpuSet | None:
    """The CPUs that are online; ``None`` when that cannot be read."""
    return read_cpus(host, f"{CPU_ROOT}/online")


def read_topology(host: HostFs) -> tuple[Cpu, ...]:
    """Every online CPU by number; none where sysfs has no topology. A CPU that goes meanwhile is left out."""
    online = read_online(host) or frozenset()
    numa = _numa(host)
    found: list[Cpu] = []
    for number in sorted(online):
        folder = f"{CPU_ROOT}/cpu{number}"
        package = read_integer(host, f"{folder}/topology/physical_package_id")
        siblings = read_cpus(host, f"{folder}/topology/thread_siblings_list")
        if siblings is None:
            continue
        # Some ARM boards and hypervisors number no package: -1.
        found.append(
            Cpu(
                number=number,
                package=0 if package is None or package < 0 else package,
                core=siblings & online,
                numa=numa.get(number),
                cache=_cache(host, folder),
            )
        )
    return tuple(found)


def read_cpus(directory: Directory, path: str) -> CpuSet | None:
    """A file with a list of CPUs, of the host's or of a cgroup's; ``None`` when it is not to be had."""
    text = directory.read(path).text()
    if text is None:
        return None
    try:
        return parse_cpus(text)
    except ValueError:
        return None


def read_integer(host: HostFs, path: str) -> int | None:
    """A file with one integer; ``None`` when it is not to be had."""
    text = host.read(path).text()
    if text is None:
        return None
    try:
        return int(text.strip())
    except ValueError:
        return None


def _numa(host: HostFs) -> dict[int, int]:
    found: dict[int, int] = {}
    for name in host.directories(NODE_ROOT).names:
        match = _NODE.fullmatch(name)
        if match is not None:
            found.update(dict.fromkeys(read_cpus(host, f"{NODE_ROOT}/{name}/cpulist") or (), int(match[1])))
    return found


def _cache(host: HostFs, folder: str) -> int | None:
    best: tuple[int, int] | None = None
    for name in host.directories(f"{folder}/cache").names:
        if not _INDEX.fullmatch(name):
            continue
        level = read_integer(host, f"{folder}/cache/{name}/level")
        identity = read_integer(host, f"{folder}/cache/{name}/id")
        if level is not None and identity is not None:
            best = max(best or (0, 0), (level, identity))
    return None if best is None else best[1]
