"""Everything observed in one tick, immutable. Policies and the exporter see the node only through this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet
from plimsoll.model.disk import Disk
from plimsoll.model.eviction import Attempt
from plimsoll.model.frequency import FrequencySample
from plimsoll.model.memory import NodeSwap, PodMemory
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Container, Pod
from plimsoll.model.pressure import Pressure


class Capability(NamedTuple):
    """
    A probed fact: this node can do ``name``, or cannot because ``reason``.

    ``reason`` is a short identifier (a metric label, from a closed set in ``kernel/reason.py``; empty when available);
    ``detail`` and ``cure`` are sentences for a person.
    """

    name: str
    available: bool
    reason: str = ""
    detail: str = ""
    cure: str = ""


class CgroupState(StrEnum):
    """Whether a pod's cgroup was found in this tick."""

    FOUND = "found"
    PENDING = "pending"  # not there (yet): a pod that is starting, or one whose node uses a layout we do not know
    GONE = "gone"  # was there, vanished
    DENIED = "denied"  # may not be looked at: permissions or a security module
    ILLEGAL = "illegal"  # the UID is not one from which a path may be built


class EventCount(NamedTuple):
    """
    An exact kernel event counter that witnesses a cause without measuring its duration.

    Stock kernels count swap-ins and limit hits but do not time them; ``docs/metrics.md`` lists the events.
    """

    cause: str
    event: str
    total: int


@dataclass(frozen=True, slots=True)
class ContainerSample:
    """One container's readings. ``pressures`` is empty unless the container level is configured."""

    container: Container
    pressures: tuple[Pressure, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSample:
    """
    One pod's readings in one tick.

    ``stall_rates`` maps a cause to the share of time (0..1) that was lost to it since the previous tick: ``(some,
    full)``, each ``None`` on the first tick, after a counter went backwards, or where the source has no such line.
    ``memory_bytes``/``memory_limit_bytes`` are ``None`` when unknown; an unlimited pod has no limit (``None``).
    ``errors`` maps a file's name to the outcome of reading it, only where that was not OK and is not explained by a
    capability this node lacks.
    ``kubelet_root`` is the kubelet's own cgroup this pod is below, ``container_cgroups`` the cgroups directly below the
    pod's own (containers and the sandbox), all as paths below the hierarchy's root. ``knobs`` are control files as they
    were when the pod's cgroup was last looked up, only where a policy cannot do without.
    ``cpu_usage`` is CPUs' worth of time used since the previous tick. ``cpus`` are those it may run on; ``pinned`` are
    those the kubelet's CPU manager gave to its containers alone. ``memory`` is there where a policy needs it.
    ``io_rate``: bytes per second read from and written to disks since the previous tick, of low-priority pods only.
    """

    pod: Pod
    state: CgroupState
    cgroup: str | None = None  # path below the hierarchy's root
    pressures: tuple[Pressure, ...] = ()
    events: tuple[EventCount, ...] = ()
    stall_rates: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    containers: tuple[ContainerSample, ...] = ()
    errors: Mapping[str, Outcome] = field(default_factory=dict)
    kubelet_root: str | None = None
    container_cgroups: tuple[str, ...] = ()
    knobs: Mapping[Knob, str] = field(default_factory=dict)
    cpu_usage: float | None = None
    cpus: CpuSet | None = None
    pinned: CpuSet = frozenset()
    memory: PodMemory | None = None
    io_rate: float | None = None


@dataclass(frozen=True, slots=True)
class NodeSample:
    """The node's own pressure and memory; ``frequency``, ``swap`` and ``disks`` where a policy needs them."""

    pressures: tuple[Pressure, ...] = ()
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    cpus: int | None = None
    frequency: FrequencySample | None = None
    swap: NodeSwap | None = None
    disks: tuple[Disk, ...] | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """
    How well one source of observations does.

    ``age_seconds``: since the last confirmed good state (``None``: never yet). ``complete``: a full set was seen at
    least once, so absence may be read as deletion. ``stuck_seconds``: how long a read has not come back (0: none).
    ``detail`` is the last error for a person.
    """

    name: str
    ok: bool
    complete: bool
    age_seconds: float | None
    detail: str = ""
    stuck_seconds: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)  # reason -> count since start


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One tick. ``monotonic`` and ``unix`` are seconds; ``interval`` is the time since the previous tick, ``None`` on the
    first. ``sequence`` counts ticks from 1. ``evictions``: those of the last hour, in the order they were wished for.
    """

    sequence: int
    monotonic: float
    unix: float
    interval: float | None
    node_name: str
    pods: tuple[PodSample, ...] = ()
    node: NodeSample = NodeSample()
    capabilities: tuple[Capability, ...] = ()
    sources: tuple[SourceState, ...] = ()
    poison: tuple[tuple[str, str, str], ...] = ()  # as in PodSet
    evictions: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSet:
    """What a pod source knows now: the last good set of this node's pods, and how good it is."""

    pods: tuple[Pod, ...]
    state: SourceState
    # Objects that could not be decoded: a bounded list of ("namespace/name" as far as known, reason, message).
    poison: tuple[tuple[str, str, str], ...] = ()
