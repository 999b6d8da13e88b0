"""What a pod's files say of its memory, in the words of ``model/memory.py``. Both versions of cgroups."""

from __future__ import annotations

import os
from collections.abc import Mapping

from plimsoll.model.memory import PodMemory
from plimsoll.sources.cgroups.group import Group

# Read as `max`: it asks for all it has to be kept.
_ALL = (1 << 63) - 1


def pod_memory(group: Group) -> PodMemory:
    """Of the last pass. What the kernel does not say is ``None``."""
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
        protected=max(_kept(group, "memory.min"), _kept(group, "memory.low")),
        refaulted=None if refaults is None else refaults * os.sysconf("SC_PAGE_SIZE"),
        scanned=found.get("pgscan_direct"),
        stolen=found.get("pgsteal_direct"),
        oom_kills=events.get("oom_kill"),
        limit_hits=events.get("max"),
    )


def _listed(found: Mapping[str, int]) -> int | None:
    for prefix in ("total_", ""):
        lists = [found.get(f"{prefix}{each}_anon") for each in ("active", "inactive")]
        if None not in lists:
            return sum(each for each in lists if each is not None)
    return None


def _kept(group: Group, name: str) -> int:
    if not group.has(name):
        return 0
    value = group.value(name)
    return _ALL if value is None else value
