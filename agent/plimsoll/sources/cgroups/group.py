"""
One cgroup: which of its files every pass reads, and what they said in the last one.

This module knows what to read and what the figures mean. It must not know pods, nor look for cgroups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from plimsoll.kernel.batch import UNLIMITED, BatchReader, FileSpec, Format
from plimsoll.kernel.cgroup import Hierarchies, Location, limit_bytes
from plimsoll.model.outcome import Outcome
from plimsoll.model.pressure import Pressure, Source
from plimsoll.model.snapshot import EventCount
from plimsoll.sources.cgroups.throttle import Throttled

_PRESSURE_FILES = ("pressure.stat", "cpu.pressure", "memory.pressure", "io.pressure", "irq.pressure")
_PSI_SUFFIX = ".pressure"
# Time a group was kept off the CPU by its own quota: v2 in microseconds, v1 in nanoseconds.
_THROTTLE_KEYS = ("nr_throttled", "throttled_usec", "throttled_time")
_USAGE_KEY = "usage_usec"
_REFAULT_KEYS = ("workingset_refault_anon", "total_workingset_refault_anon", "pswpin")
_LIMIT_KEYS = ("high", "max")
# v2's names and then v1's for what is v1's own count; there the containers' pages count in `total_`.
_MEMORY_KEYS = (
    *("anon", "file", "shmem", "active_anon", "inactive_anon", "unevictable", "swapcached", "zswapped"),
    *("pgscan", "pgsteal", "pgrefill", "pgactivate", "pgdeactivate"),
    *("total_rss", "total_cache", "total_shmem", "total_active_anon", "total_inactive_anon", "total_unevictable"),
    "total_swap",
)
_KILL_KEY = "oom_kill"


class Scope(NamedTuple):
    """
    What is read beside what always is. ``containers``: their pressure; ``derived``: what pressure can be computed from
    where the kernel does not tell it; ``usage``: use of CPUs; ``cpus``: that, and which; ``memory``: what
    ``model/memory.py`` has.
    """

    containers: bool = False
    derived: bool = True
    cpus: bool = False
    memory: bool = False
    usage: bool = False

    @property
    def cpu_usage(self) -> bool:
        """Whether the use of CPUs is read."""
        return self.usage or self.cpus


# Outcomes that a capability explains for the whole node, or that are a cgroup's everyday life.
_EXPLAINED = frozenset({Outcome.OK, Outcome.GONE, Outcome.MISSING, Outcome.UNSUPPORTED})


class Group:
    """
    The files of one cgroup in the batch reader, by their names in the knob table.

    What a method says is of the last pass, and unknown before the first. ``path`` is below the hierarchies' roots.
    """

    def __init__(self, path: str, reader: BatchReader) -> None:
        self.path = path
        self._reader = reader
        self._slots: dict[str, int] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        self._psi: list[tuple[str, int]] = []

    def add(self, name: str, location: Location, keys: tuple[str, ...] = ()) -> None:
        """Have a file read from the next pass on."""
        spec = FileSpec(location.file, Format[location.format.name], keys)
        slot = self._reader.add(location.directory, f"{self.path}/{location.file}", spec)
        self._slots[name] = slot
        self._keys[name] = keys
        if name.endswith(_PSI_SUFFIX):
            self._psi.append((name.removesuffix(_PSI_SUFFIX), slot))

    def close(self) -> None:
        """Have none of its files read any more."""
        for slot in self._slots.values():
            self._reader.remove(slot)

    @property
    def vanished(self) -> bool:
        """Nothing of a cgroup that was found can be read any more: it was removed."""
        return bool(self._slots) and all(
            self._reader.outcome(slot) in (Outcome.GONE, Outcome.MISSING) for slot in self._slots.values()
        )

    @property
    def errors(self) -> dict[str, Outcome]:
        """What could not be read, other than what no one can help."""
        outcome = self._reader.outcome
        return {name: answer for name, slot in self._slots.items() if (answer := outcome(slot)) not in _EXPLAINED}

    def pressures(self) -> list[Pressure]:
        """Every cause that the kernel tells."""
        reader = self._reader
        found: list[Pressure] = []
        split = self._slots.get("pressure.stat")
        if split is not None:
            found.extend(reader.pressure_stat(split))
        for cause, slot in self._psi:
            some, full = reader.psi(slot)
            if some is not None or full is not None:
                found.append(Pressure(cause, Source.PSI, some, full))
        return found

    def memory_usage(self) -> int | None:
        """Bytes charged to the cgroup."""
        return self.value("memory.usage")

    def memory_limit(self) -> int | None:
        """Bytes; ``None`` also where there is no limit."""
        return limit_bytes(self.value("memory.limit"))

    def throttled(self) -> Throttled | None:
        """By the group's own quota; ``None`` when the kernel has no CFS bandwidth control."""
        keyed = self._keyed("cpu.stat")
        if not keyed:
            return None
        periods, microseconds, nanoseconds = keyed[:3]
        if microseconds is None and nanoseconds is not None:
            microseconds = nanoseconds // 1000
        if microseconds is None or periods is None:
            return None
        return microseconds, periods

    def cpu_usage(self) -> int | None:
        """Microseconds of CPU time since the cgroup was made; ``None`` where it is not read."""
        keyed = self._keyed("cpu.stat")
        if len(keyed) > len(_THROTTLE_KEYS) and keyed[-1] is not None:
            return keyed[-1]
        nanoseconds = self.value("cpu.usage")
        return None if nanoseconds is None else nanoseconds // 1000

    def statistics(self, name: str) -> Mapping[str, int]:
        """What a file of keys and values said, of the keys that are read and were there."""
        keyed = zip(self._keys.get(name, ()), self._keyed(name), strict=False)
        return {key: value for key, value in keyed if value is not None}

    def events(self) -> Iterator[EventCount]:
        """What the kernel counts about the causes, without the time it took."""
        refaults = self._keyed("memory.stat")
        if refaults:
            local, hierarchical, swapped_in = refaults[:3]
            # v1 prints both the cgroup's own count and the `total_` of its children; the containers hold the pages.
            anonymous = hierarchical if hierarchical is not None else local
            if anonymous is not None:
                yield EventCount("swap", "workingset_refault_anon", anonymous)
            if swapped_in is not None:
                yield EventCount("swap", "pswpin", swapped_in)
        for key, count in zip(_LIMIT_KEYS, self._keyed("memory.events"), strict=False):
            if count is not None:
                yield EventCount("cgroup_memory_reclaim", f"memory_{key}", count)

    def has(self, name: str) -> bool:
        """Whether this cgroup has such a file and it is read."""
        return name in self._slots

    def value(self, name: str) -> int | None:
        """A file of one value; ``None`` also for ``max``."""
        slot = self._slots.get(name)
        value = None if slot is None else self._reader.value(slot)
        return None if value == UNLIMITED else value

    def _keyed(self, name: str) -> tuple[int | None, ...]:
        slot = self._slots.get(name)
        return () if slot is None else self._reader.keyed(slot)


class GroupFiles:
    """Opens cgroups: the choice of files."""

    def __init__(self, hierarchies: Hierarchies, reader: BatchReader, scope: Scope) -> None:
        self._hierarchies = hierarchies
        self._reader = reader
        self._scope = scope

    def of_pod(self, path: str, roots: Sequence[str], known: Group | None = None) -> Group:
        """
        A pod's cgroup. ``roots``: the kubelet's, which tell which hierarchy serves the pods.

        ``known``: the same one, opened before; it is given what it lacked then. Files come with controllers, and with
        ``cgroup.pressure``, when somebody turns them on.
        """
        group = Group(path, self._reader) if known is None else known
        self._add_pressure(group, roots)
        self._add_cpu(group, roots, usage=self._scope.cpu_usage)
        self._add(group, roots, "memory.usage")
        self._add(group, roots, "memory.limit")
        memory = self._scope.memory
        self._add(group, roots, "memory.stat", (*_REFAULT_KEYS, *_MEMORY_KEYS) if memory else _REFAULT_KEYS)
        self._add(group, roots, "memory.events", (*_LIMIT_KEYS, _KILL_KEY) if memory else _LIMIT_KEYS)
        if memory:
            for name in ("memory.min", "memory.low", "memory.swap.usage", "memory.swap.limit"):
                self._add(group, roots, name)
        return group

    def of_container(self, path: str, roots: Sequence[str], known: Group | None = None) -> Group:
        """A container's, likewise."""
        group = Group(path, self._reader) if known is None else known
        self._add_pressure(group, roots, psi=self._scope.containers)
        # A container's quota throttles its pod: the sum needs it even where containers are not shown.
        self._add_cpu(group, roots, usage=False)
        return group

    def _add_pressure(self, group: Group, roots: Sequence[str], *, psi: bool = True) -> None:
        if psi:
            for name in _PRESSURE_FILES:
                self._add(group, roots, name)

    def _add_cpu(self, group: Group, roots: Sequence[str], *, usage: bool) -> None:
        if self._scope.derived or usage:
            self._add(group, roots, "cpu.stat", (*_THROTTLE_KEYS, _USAGE_KEY) if usage else _THROTTLE_KEYS)
        if usage:
            self._add(group, roots, "cpu.usage")

    def _add(self, group: Group, roots: Sequence[str], name: str, keys: tuple[str, ...] = ()) -> None:
        if group.has(name):
            return
        location = self._hierarchies.locate(name, (*roots, group.path))
        if location is None or not location.directory.exists(f"{group.path}/{location.file}"):
            # Not on this kernel; a look in vain on every tick would cost more than reading the others.
            return
        group.add(name, location, keys)
