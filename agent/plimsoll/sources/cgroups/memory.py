"""What a pod's files say of its memory, in the words of ``model/memory.py``. Both versions of cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.model.memory import PodMemory
from plimsoll.model.outcome import Outcome
from plimsoll.sources.cgroups.group import Group

# Read as `max`: it asks for all it has to be kept.
_ALL = (1 << 63) - 1
_PROTECTIONS = ("memory.min", "memory.low")
_NONE = frozenset({Outcome.GONE, Outcome.MISSING, Outcome.UNSUPPORTED})


class ContainerProtections:
    """What containers ask to be kept. It changes when one starts or is resized, so not every tick reads it."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        # v1 protects nothing.
        self._directory = hierarchies.unified

    def kept(self, paths: Iterable[str]) -> int:
        """Bytes that these containers together ask to be kept, by ``memory.min`` or ``memory.low``."""
        return min(_ALL, sum(max(self._read(f"{path}/{name}") for name in _PROTECTIONS) for path in paths))

    def _read(self, file: str) -> int:
        if self._directory is None:
            return 0
        reading = self._directory.read(file)
        if reading.outcome in _NONE:
            return 0
        text = (reading.text() or "").strip()
        return int(text) if text.isdecimal() else _ALL


def pod_memory(group: Group, containers: int = 0) -> PodMemory:
    """Of the last pass. What the kernel does not say is ``None``. ``containers``: what they ask to be kept."""
    found = group.statistics("memory.stat")
    events = group.statistics("memory.events")
    refaults = found.get("total_workingset_refault_anon", found.get("workingset_refault_anon"))
    limited = group.has("memory.swap.limit")
    return PodMemory(
        current=group.memory_usage(),
        anon=found.get("anon", found.get("total_rss")),
        file=found.get("file", found.get("total_cache")),
        shmem=found.get("total_shmem", found.get("shmem")),
        listed=_listed(found),
        unevictable=found.get("total_unevictable", found.get("unevictable")),
        swapped=group.value("memory.swap.usage") if group.has("memory.swap.usage") else found.get("total_swap"),
        swap_cached=found.get("swapcached"),
        swap_limit=group.value("memory.swap.limit"),
        swap_limited=limited,
        zswapped=found.get("zswapped"),
        protected=max(containers, *(_kept(group, each) for each in _PROTECTIONS)),
        refaulted=None if refaults is None else refaults * os.sysconf("SC_PAGE_SIZE"),
        passed_by=_passed_by(found),
        oom_kills=events.get("oom_kill"),
        limit_hits=events.get("max"),
    )


def _listed(found: Mapping[str, int]) -> int | None:
    for prefix in ("total_", ""):
        lists = [found.get(f"{prefix}{each}_anon") for each in ("active", "inactive")]
        if None not in lists:
            return sum(each for each in lists if each is not None)
    return None


def _passed_by(found: Mapping[str, int]) -> int | None:
    """
    What reclaim has found in use. The two lists of old count it; of the generations it is what is left.

    A page that goes to a disk is looked at twice, to be written and to be freed; with one that is in memory (zram) it
    is once, and this comes out too small. What had moved to a younger generation by itself is counted as refilled.
    """
    keys = ("pgscan", "pgsteal", "pgrefill", "pgactivate", "pgdeactivate")
    if any(each not in found for each in keys):
        return None
    looked, taken, moved, activated, deactivated = (found[each] for each in keys)
    pages = activated if activated or deactivated else max(0, looked - 2 * taken + moved)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _kept(group: Group, name: str) -> int:
    if not group.has(name):
        return 0
    value = group.value(name)
    return _ALL if value is None else value
