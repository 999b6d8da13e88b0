"""
What policies want: desired values of owned knobs, merged to one owner each.

A plan is desired state, recomputed every tick. Nothing here knows files, the kernel's answers (``actuators/``) or why a
value is wanted (``policies/``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.eviction import Evict
from plimsoll.model.outcome import Outcome


class Knob(StrEnum):
    """A kernel control file. The value is its name on the version of cgroups that has it."""

    CPU_IDLE = "cpu.idle"
    CPU_WEIGHT = "cpu.weight"  # v2
    CPU_SHARES = "cpu.shares"  # v1
    CPU_QOS_LEVEL = "cpu.qos_level"  # openEuler, v1
    MEMORY_QOS_LEVEL = "memory.qos_level"  # openEuler, v1
    MEMORY_LOW = "memory.low"  # v2
    MEMCG_QOS_ENABLE = "vm.memcg_qos_enable"  # openEuler, the node's
    CPUSET_CPUS = "cpuset.cpus"
    MEMORY_SWAP_MAX = "memory.swap.max"  # v2
    MEMORY_SWAPFILE = "memory.swapfile"  # openEuler, v1
    DAMON_KDAMONDS = "damon.kdamonds"  # the node's, spelled as in model/kdamonds.py
    IO_MAX = "io.max"  # v2, of one disk
    BLKIO_READ_BPS = "blkio.throttle.read_bps_device"  # v1, of one disk
    BLKIO_WRITE_BPS = "blkio.throttle.write_bps_device"
    BLKIO_READ_IOPS = "blkio.throttle.read_iops_device"
    BLKIO_WRITE_IOPS = "blkio.throttle.write_iops_device"
    SCALING_MIN_FREQ = "scaling_min_freq"  # cpufreq, kHz
    SCALING_MAX_FREQ = "scaling_max_freq"
    ENERGY_PREFERENCE = "energy_performance_preference"
    CLOS_ASSOCIATION = "isst.clos-association"  # registers of Speed Select, spelled as in kernel/isst/registers.py
    CLOS_PARAMETERS = "isst.clos-parameters"
    CORE_POWER = "isst.core-power"
    TURBO_FREQUENCY = "isst.turbo-frequency"
    TURBO_LIMITS = "isst.turbo-limits"
    SWAP = "swap"  # whether a device is in use as swap: SWAP_OFF, or its priority
    SWAP_FILE = "swap.file"  # whether there is a file for it: SWAP_ABSENT, or its size in bytes


class TargetKind(StrEnum):
    """What a knob belongs to."""

    CGROUP = "cgroup"
    NODE = "node"
    UNIT = "unit"  # PACKAGE/DOMAIN/CORE of Speed Select, or a cpufreq policy
    CLASS = "class"  # PACKAGE/DOMAIN/CLASS of service of Speed Select
    PACKAGE = "package"
    DISK = "disk"  # CGROUP@MAJOR:MINOR: a disk as one cgroup may use it
    SWAP = "swap"  # a device or file, by its path


class Target(NamedTuple):
    """A cgroup by its path below the root of every hierarchy, a part of the CPUs, a device, or the node (no path)."""

    kind: TargetKind
    path: str = ""

    @property
    def depth(self) -> int:
        """How many levels below the root; the node is 0."""
        return self.path.count("/") + 1 if self.path else 0

    @property
    def cgroup(self) -> str | None:
        """The path of the cgroup it is, or belongs to."""
        if self.kind is TargetKind.DISK:
            return self.path.rpartition("@")[0]
        return self.path if self.kind is TargetKind.CGROUP else None

    @property
    def disk(self) -> str:
        """The ``MAJOR:MINOR`` it is of; empty for what is of no disk."""
        return self.path.rpartition("@")[2] if self.kind is TargetKind.DISK else ""


NODE = Target(TargetKind.NODE)
SWAP_OFF, SWAP_AUTO = "off", "auto"
"""Of the knob :attr:`Knob.SWAP`, beside priorities from 0 on: not in use, and in use with the kernel's own priority."""
SWAP_ABSENT = "absent"
"""Of the knob :attr:`Knob.SWAP_FILE`, beside sizes: nothing is there."""


def cgroup(path: str) -> Target:
    """The cgroup at ``path`` below the hierarchy's root."""
    return Target(TargetKind.CGROUP, path.strip("/"))


def disk(path: str, number: str) -> Target:
    """The disk ``MAJOR:MINOR`` as the cgroup at ``path`` may use it."""
    return Target(TargetKind.DISK, f"{path.strip('/')}@{number}")


class OnExit(StrEnum):
    """What becomes of a value when the agent ends or its policy is turned off."""

    RESTORE = "restore"  # put the original back
    KEEP = "keep"  # cannot, or must not, be taken back on a live cgroup


class Write(NamedTuple):
    """
    One knob of one target shall have ``value``, spelled as the kernel prints it.

    ``reason`` is a sentence for a person. A lower ``phase`` is written before a higher one, whatever the levels. Writes
    of one ``chain`` depend on each other: once one of them has failed, none of a higher phase is tried in this tick.
    """

    target: Target
    knob: Knob
    value: str
    policy: str
    reason: str
    on_exit: OnExit = OnExit.RESTORE
    phase: int = 0
    chain: str = ""

    @property
    def key(self) -> tuple[Target, Knob]:
        return self.target, self.knob


class Selector(StrEnum):
    """How the memory to be reclaimed is chosen. The values are label values."""

    DAMON = "damon"  # the kernel's data access monitor pages out what it saw idle
    MGLRU = "mglru"  # generations of the multi-generational LRU, aged by us
    PLAIN = "plain"  # whatever the kernel's reclaim takes first


class Watch(NamedTuple):
    """
    What is cold in one pod shall be known, by ``selector``; as long as every decision repeats it.

    ``targets``: the pod's cgroup and those directly below it. ``rate``: how much the selector may page out by itself,
    in bytes per second; 0 is nothing. ``halt``: it shall page out nothing from this moment on, at the price of what it
    knows of the pod's memory. Cold is what was not used for ``window`` seconds.
    """

    pod: str
    targets: tuple[Target, ...]
    selector: Selector
    policy: str
    window: float
    rate: int = 0
    halt: bool = False


class Reclaim(NamedTuple):
    """
    ``size`` bytes of one pod's memory shall be reclaimed now, once. ``reason`` is a sentence for a person.

    ``swappiness`` as in ``memory.reclaim``, as far as the kernel takes any; ``None``: its own. ``written``: all of it
    is on the swap device already, so if any more goes there, it is not what was meant.
    """

    pod: str
    target: Target
    size: int
    policy: str
    reason: str
    swappiness: int | None = None
    written: bool = False


class Conflict(NamedTuple):
    """Two writes wanted different values of one knob: ``kept`` stands in the plan, ``dropped`` does not."""

    kept: Write
    dropped: Write


class Plan(NamedTuple):
    """At most one write for each knob of a target, and one watch, one reclaim and one eviction for each pod."""

    writes: tuple[Write, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    watches: tuple[Watch, ...] = ()
    reclaims: tuple[Reclaim, ...] = ()
    evictions: tuple[Evict, ...] = ()


class Result(NamedTuple):
    """
    What became of one write.

    ``before``/``after``: what was read there before and after, ``None`` where it was not or could not be read.
    ``errno`` is 0 where no system call failed.
    """

    write: Write
    outcome: Outcome
    before: str | None = None
    after: str | None = None
    errno: int = 0


class Reclaimed(NamedTuple):
    """
    What became of a reclaim: ``freed`` bytes in ``seconds`` spent in the kernel.

    OK: all of it; BUSY: the kernel found less; HELD: stopped between two slices, because it was not wanted any more or
    time was up.
    """

    reclaim: Reclaim
    outcome: Outcome
    freed: int
    seconds: float
    errno: int = 0


def merge(writes: Iterable[Write], precedence: Sequence[str]) -> Plan:
    """
    One owner for each knob: the policy that comes first in ``precedence``, whatever the order of ``writes``.

    Between two writes of the same policy the smaller value, then the smaller reason, counts: any rule would do that
    does not depend on order. Equal values are no conflict.
    """
    ranks = {policy: rank for rank, policy in enumerate(precedence)}

    def rank(write: Write) -> tuple[int, str, float, str, str]:
        return (
            ranks.get(write.policy, len(ranks)),
            write.policy,
            number(write.value),
            write.value,
            write.reason,
        )

    kept: dict[tuple[Target, Knob], Write] = {}
    conflicts: list[Conflict] = []
    for each in sorted(writes, key=rank):
        owner = kept.setdefault(each.key, each)
        if owner.value != each.value:
            conflicts.append(Conflict(owner, each))
    return Plan(tuple(kept[key] for key in sorted(kept)), tuple(conflicts))


def number(value: str) -> float:
    """A value as a width: ``max`` is wider than any number, and what is no number has none."""
    if value == "max":
        return float("inf")
    try:
        return float(int(value))
    except (ValueError, OverflowError):
        return 0.0
