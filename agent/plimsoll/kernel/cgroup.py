"""
The cgroup hierarchies of a host: which there are, where each controller lives, and what its files are called.

Everything is recognised by the files found, never by mount magic or a version, so that a recorded tree answers like the
host it came from. This module must not know pods (``kernel/kubepods.py``) nor read values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.model.outcome import Outcome, outcome_of

CGROUP_ROOT = "sys/fs/cgroup"
UNIFIED = "unified"

# A v1 mount may be called `cpu,cpuacct`, `cpuacct,cpu` or `cpu`, and the short names are then often only links; a file
# says which controller a hierarchy really has. Each of these stands in the root cgroup of its controller too.
_V1_WITNESS = {
    "cpu": "cpu.shares",
    "cpuacct": "cpuacct.usage",
    "cpuset": "cpuset.cpus",
    "memory": "memory.usage_in_bytes",
    "blkio": "blkio.reset_stats",
}


class Mode(StrEnum):
    """How the host mounts its cgroups."""

    V2 = "v2"
    V1 = "v1"
    HYBRID = "hybrid"  # v1 controllers, and a v2 hierarchy below `unified` for process tracking
    NONE = "none"


class Format(StrEnum):
    """How the text of a cgroup file is laid out."""

    VALUE = "value"  # one integer, or `max`
    KEYED = "keyed"  # lines of `key integer`
    PSI = "psi"
    PRESSURE_STAT = "pressure.stat"


class CgroupFile(NamedTuple):
    """One quantity and the file each version of cgroups keeps it in; ``v1`` is (controller, file)."""

    format: Format
    v1: tuple[str, str] | None
    v2: str | None


def _pressure(name: str, layout: Format = Format.PSI) -> CgroupFile:
    # openEuler adds these to the cpuacct hierarchy only, without that controller's prefix.
    return CgroupFile(layout, ("cpuacct", name), name)


FILES: Mapping[str, CgroupFile] = MappingProxyType(
    {
        "pressure.stat": _pressure("pressure.stat", Format.PRESSURE_STAT),
        "cpu.pressure": _pressure("cpu.pressure"),
        "memory.pressure": _pressure("memory.pressure"),
        "io.pressure": _pressure("io.pressure"),
        "irq.pressure": _pressure("irq.pressure"),
        "memory.usage": CgroupFile(Format.VALUE, ("memory", "memory.usage_in_bytes"), "memory.current"),
        "memory.limit": CgroupFile(Format.VALUE, ("memory", "memory.limit_in_bytes"), "memory.max"),
        "memory.stat": CgroupFile(Format.KEYED, ("memory", "memory.stat"), "memory.stat"),
        "memory.min": CgroupFile(Format.VALUE, None, "memory.min"),
        "memory.low": CgroupFile(Format.VALUE, None, "memory.low"),
        # On v1 the keys `swap` and `total_swap` of memory.stat say it.
        "memory.swap.usage": CgroupFile(Format.VALUE, None, "memory.swap.current"),
        "memory.swap.limit": CgroupFile(Format.VALUE, None, "memory.swap.max"),
        # v1 only on openEuler, with the keys low, high, limit_in_bytes, oom.
        "memory.events": CgroupFile(Format.KEYED, ("memory", "memory.events"), "memory.events"),
        # What a stock v1 kernel has in place of memory.events: how often the limit was hit, and the key oom_kill.
        "memory.failcnt": CgroupFile(Format.VALUE, ("memory", "memory.failcnt"), None),
        "memory.oom_control": CgroupFile(Format.KEYED, ("memory", "memory.oom_control"), None),
        # Throttled time is `throttled_time` in nanoseconds on v1 and `throttled_usec` in microseconds on v2.
        "cpu.stat": CgroupFile(Format.KEYED, ("cpu", "cpu.stat"), "cpu.stat"),
        # Nanoseconds. On v2 the key `usage_usec` of cpu.stat says it.
        "cpu.usage": CgroupFile(Format.VALUE, ("cpuacct", "cpuacct.usage"), None),
    }
)
"""The files this program reads of a pod's or container's cgroup, by a name of its own."""

PRESSURE_FILES = tuple(name for name, file in FILES.items() if file.format in (Format.PSI, Format.PRESSURE_STAT))

# The default limit of v1 is LONG_MAX rounded down to a page; 64 KiB is the largest page an arm64 kernel is built with.
_V1_NO_LIMIT = (1 << 63) - (1 << 16)


def limit_bytes(value: int | None) -> int | None:
    """A memory limit in bytes, ``None`` when there is none: ``max`` (already ``None``) or v1's enormous default."""
    return None if value is None or value >= _V1_NO_LIMIT else value


class Location(NamedTuple):
    """Where a file of :data:`FILES` is on this host: a path below ``directory`` is the cgroup's, plus ``file``."""

    directory: Directory
    file: str
    format: Format
    version: int  # of cgroups: 1 or 2


class Hierarchies(Closing):
    """
    The mounted hierarchies, each held open at its root.

    ``outcome`` says why there are none (``MISSING``: nothing mounted here; ``DENIED``) and is OK otherwise.
    ``controllers`` are those that can be used, sorted. ``refused`` are the paths that could not be opened and why.
    """

    def __init__(
        self,
        *,
        unified: Directory | None = None,
        unified_controllers: tuple[str, ...] = (),
        v1: Mapping[str, Directory] | None = None,
        outcome: Outcome = Outcome.OK,
        refused: tuple[tuple[str, Outcome], ...] = (),
    ) -> None:
        self.unified = unified
        self.unified_controllers = unified_controllers
        self.v1 = MappingProxyType(dict(v1 or {}))
        self.outcome = outcome
        self.refused = refused

    @classmethod
    def detect(cls, host: HostFs) -> Hierarchies:
        """Look at ``sys/fs/cgroup`` below the host's root. A host without cgroups is an answer, not an error."""
        listing = host.directories(CGROUP_ROOT)
        if listing.outcome is not Outcome.OK:
            return cls(outcome=listing.outcome)
        refused: list[tuple[str, Outcome]] = []
        opened = _open(host, CGROUP_ROOT, refused)
        if opened is None:
            return cls(outcome=refused[0][1], refused=tuple(refused))
        controllers = _unified_controllers(opened, refused)
        if controllers is not None:
            return cls(unified=opened, unified_controllers=controllers)
        opened.close()

        unified: Directory | None = None
        v1: dict[str, Directory] = {}
        for name in listing.names:
            directory = _open(host, f"{CGROUP_ROOT}/{name}", refused)
            if directory is None:
                continue
            if name == UNIFIED:
                controllers = _unified_controllers(directory, refused)
                if controllers is not None:
                    unified = directory
                    continue
            here = [each for each, witness in _V1_WITNESS.items() if each not in v1 and directory.exists(witness)]
            v1.update(dict.fromkeys(here, directory))
            if not here:
                directory.close()
        found = unified is not None or bool(v1)
        return cls(
            unified=unified,
            unified_controllers=controllers or () if unified is not None else (),
            v1=v1,
            outcome=Outcome.OK if found else refused[0][1] if refused else Outcome.MISSING,
            refused=tuple(refused),
        )

    @property
    def mode(self) -> Mode:
        """v2 also where only ``unified`` is left of a hybrid layout."""
        if self.v1:
            return Mode.V1 if self.unified is None else Mode.HYBRID
        return Mode.NONE if self.unified is None else Mode.V2

    @property
    def controllers(self) -> tuple[str, ...]:
        return tuple(sorted({*self.v1, *self.unified_controllers}))

    def directory(self, controller: str) -> Directory | None:
        """
        The root of the hierarchy ``controller`` lives in; on v2 the one hierarchy, whatever its controllers.

        On a hybrid host a controller is either v1's or, when the kernel left it there, the unified hierarchy's.
        """
        if self.mode is Mode.V2:
            return self.unified
        if controller in self.v1:
            return self.v1[controller]
        return self.unified if controller in self.unified_controllers else None

    def roots(self) -> tuple[Directory, ...]:
        """Each hierarchy once, the ones every kubelet needs first."""
        first = [self.v1[name] for name in ("memory", "cpu", "cpuacct") if name in self.v1]
        rest = [*self.v1.values(), *([self.unified] if self.unified is not None else [])]
        return tuple({id(directory): directory for directory in (*first, *rest)}.values())

    def pressure(self, cgroups: Sequence[str] = ()) -> tuple[Directory, int] | None:
        """
        The hierarchy that serves pressure and its cgroup version, ``None`` when none does.

        ``cgroups`` are paths to look at beside the root: the kubelet's roots and, better, some pods. On v1 only an
        openEuler kernel has pressure files; on a hybrid host the unified hierarchy serves when the pods are in it.
        """
        if self.mode is Mode.V2 and self.unified is not None:
            return self.unified, 2
        cpuacct = self.v1.get("cpuacct")
        if cpuacct is not None and any(
            cpuacct.exists(f"{cgroup}/{name}") for cgroup in (".", *cgroups) for name in PRESSURE_FILES
        ):
            return cpuacct, 1
        if self.unified is not None and any(self.unified.exists(cgroup) for cgroup in cgroups):
            return self.unified, 2
        return None

    def locate(self, name: str, cgroups: Sequence[str] = ()) -> Location | None:
        """
        Where the file :data:`FILES` calls ``name`` is to be read, ``None`` when this host cannot have it.

        That the file really stands in a cgroup is only known by reading it. ``cgroups``: see :meth:`pressure`.
        """
        file = FILES[name]
        if name in PRESSURE_FILES:
            serving = self.pressure(cgroups)
            return None if serving is None else Location(serving[0], name, file.format, serving[1])
        if file.v1 is not None and file.v1[0] in self.v1:
            return Location(self.v1[file.v1[0]], file.v1[1], file.format, 1)
        if file.v2 is None or self.unified is None:
            return None
        if self.mode is Mode.HYBRID and file.v2.partition(".")[0] not in self.unified_controllers:
            return None
        return Location(self.unified, file.v2, file.format, 2)

    def close(self) -> None:
        """Close every hierarchy; closing twice is allowed."""
        for directory in self.roots():
            directory.close()


def _open(host: HostFs, path: str, refused: list[tuple[str, Outcome]]) -> Directory | None:
    try:
        return host.directory(path)
    except OSError as error:
        refused.append((path, outcome_of(error.errno or 0)))
        return None


def _unified_controllers(directory: Directory, refused: list[tuple[str, Outcome]]) -> tuple[str, ...] | None:
    """The controllers of a v2 root; ``None`` when this is not one, or one that may not be read."""
    reading = directory.read("cgroup.controllers")
    if reading.outcome not in (Outcome.OK, Outcome.MISSING):
        refused.append((f"{directory.path}/cgroup.controllers", reading.outcome))
    text = reading.text()
    return None if text is None else tuple(sorted(text.split()))
