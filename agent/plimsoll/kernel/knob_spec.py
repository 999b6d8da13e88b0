"""
What each knob is: its file in either version of cgroups or elsewhere on the host, and how its values are spelled.

A table and what can be said of a value by its text alone. It must not open a file, nor know which value is wanted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.kernel.cgroup import limit_bytes
from plimsoll.kernel.isst.mixture import mixed
from plimsoll.model.cpus import format_cpus, parse_cpus
from plimsoll.model.disk import IoRate
from plimsoll.model.kdamonds import CLAIMED, UNMARKED
from plimsoll.model.order import width
from plimsoll.model.plan import Knob, Target, TargetKind

CPUFREQ = "sys/devices/system/cpu/cpufreq"
INHERIT = "inherit"
"""How an empty ``cpuset.cpus`` is spelled here: the cgroup may run wherever the one above it may."""
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_POLICY = re.compile(r"policy[0-9]{1,4}", re.ASCII)


class Drift(StrEnum):
    """What is right when somebody else changed a knob we hold."""

    REASSERT = "reassert"  # ours again, ever more rarely; on exit the value from before us goes back
    ADOPT = "adopt"  # the same, but what they wrote is what goes back on exit: they know better
    YIELD = "yield"  # theirs stands for as long as we would only want the same as before


def integer(text: str) -> str:
    """One spelling for a value that is an integer; what is none stays as it is, without space around it."""
    line = text.partition("\n")[0].strip()
    return str(int(line)) if _INTEGER.fullmatch(line) else line


def byte_count(text: str) -> str:
    """The same for bytes: cgroup v1 spells ``max`` as the largest whole page."""
    value = integer(text)
    return "max" if _INTEGER.fullmatch(value) and limit_bytes(int(value)) is None else value


def cpu_list(text: str) -> str:
    """The same for a list of CPUs."""
    line = text.partition("\n")[0].strip()
    try:
        return format_cpus(parse_cpus(line))
    except ValueError:
        return line


class Carried(NamedTuple):
    """
    A file beside a knob that the kernel sets to ``reset`` when the knob goes back to 0.

    So it is part of what stood there: while the knob is 0 its value reads ``0 FILE=VALUE``, and this writes both.
    """

    file: str
    reset: str


class KnobSpec(NamedTuple):
    """
    Where a knob is: ``v1`` as (controller, file), ``v2`` as a file, ``node`` as a path below the host's root,
    ``cpufreq`` as a file of a cpufreq policy, ``register`` as one of Speed Select's (kernel/isst/registers.py),
    ``swap`` as the use of a swap device, or the file that is one.

    ``normalise`` gives the one spelling by which two values are compared. ``paged``: bytes the kernel rounds down to
    whole pages. ``drift_seconds``: the longest somebody else's value is let stand; ``None``: as long as any knob's.
    ``carried``: see there, one for each version of cgroups. ``excludes``: knobs that share a file with
    this one; of two such only one is held at a time, or neither would know its original. ``blank``: how the empty value
    is spelled here, where there is one. ``exact``: what reads back otherwise was not written at all. ``capped``: what
    reads back is less than what was asked for while something else in the kernel asks for less. ``unlimited``: the file
    has a line for each disk, and this is what stands for a line that is not there. ``at_least``: a protection: where
    somebody else gives more than is wanted, that stays. ``halfway``: what stands there between the writes that a value
    takes, by that value. ``outlives``: it is there after a reboot, when no journal knows any more that it is ours.
    """

    knob: Knob
    v1: tuple[str, str] | None = None
    v2: str | None = None
    node: str | None = None
    cpufreq: str | None = None
    register: str | None = None
    swap: bool = False
    drift: Drift = Drift.REASSERT
    drift_seconds: float | None = None
    normalise: Callable[[str], str] = integer
    paged: bool = False
    carried: tuple[Carried, ...] = ()
    excludes: frozenset[Knob] = frozenset()
    blank: str | None = None
    exact: bool = False
    capped: bool = False
    unlimited: str | None = None
    at_least: bool = False
    halfway: Mapping[str, str] = MappingProxyType({})
    outlives: bool = False

    def file_of(self, target: Target) -> str | None:
        """The path below the host's root of a target that is no cgroup; ``None`` where there is no such file."""
        if target.kind is TargetKind.NODE:
            return self.node
        if target.kind is TargetKind.UNIT and self.cpufreq is not None and _POLICY.fullmatch(target.path):
            return f"{CPUFREQ}/{target.path}/{self.cpufreq}"
        return None

    def begun(self, found: str, value: str) -> bool:
        """Whether ``found`` is what stands there between the two writes of ``value``."""
        return any(
            found == f"0 {each.file}={each.reset}" and value.startswith(f"0 {each.file}=") for each in self.carried
        )

    def mixed(self, found: str, values: Collection[str]) -> bool:
        """Whether ``found`` may be what is left where somebody was killed between the commands that write these."""
        if self.register is not None:
            return mixed(found, values)
        return any(self.halfway.get(each) == found for each in values)

    def enough(self, found: str, value: str) -> bool:
        """Whether ``found``, which is not ours, gives at least what ``value`` would."""
        kept, given = self.normalise(found), self.normalise(value)
        sizes = all(each == "max" or _INTEGER.fullmatch(each) for each in (kept, given))
        return self.at_least and sizes and width(self.knob, kept) >= width(self.knob, given)

    def same(self, one: str, other: str) -> bool:
        """Whether two texts stand for the same value."""
        return one == other or self.normalise(one) == self.normalise(other)

    def rounded(self, found: str, value: str) -> bool:
        """Whether ``found`` may be what the kernel made of ``value``."""
        if self.same(found, value):
            return True
        if not (self.paged or self.capped):
            return False
        given, kept = self.normalise(value), self.normalise(found)
        if not _INTEGER.fullmatch(given) or not _INTEGER.fullmatch(kept):
            return False
        if self.capped:
            # What is asked for is counted in whole MHz; a frequency of a driver's table may have some kHz more.
            return int(kept) < int(given) + 1000
        # memory.* are counted in pages, rounded down.
        return int(kept) == int(given) - int(given) % os.sysconf("SC_PAGE_SIZE")


_ALL = (
    # Going back from idle makes the weight the default one (sched_group_set_idle). Who else writes it, the kubelet or
    # systemd, means a new weight.
    KnobSpec(
        Knob.CPU_IDLE,
        v1=("cpu", "cpu.idle"),
        v2="cpu.idle",
        drift=Drift.ADOPT,
        carried=(Carried("cpu.weight", "100"), Carried("cpu.shares", "1024")),
        excludes=frozenset({Knob.CPU_WEIGHT, Knob.CPU_SHARES}),
    ),
    # A pod's weight is the kubelet's: a new one means new requests. systemctl daemon-reload sets it afresh too.
    KnobSpec(Knob.CPU_WEIGHT, v2="cpu.weight", drift=Drift.ADOPT, excludes=frozenset({Knob.CPU_IDLE})),
    KnobSpec(Knob.CPU_SHARES, v1=("cpu", "cpu.shares"), drift=Drift.ADOPT, excludes=frozenset({Knob.CPU_IDLE})),
    KnobSpec(Knob.CPU_QOS_LEVEL, v1=("cpu", "cpu.qos_level")),
    KnobSpec(Knob.MEMORY_QOS_LEVEL, v1=("memory", "memory.qos_level")),
    KnobSpec(Knob.MEMORY_LOW, v2="memory.low", drift=Drift.ADOPT, normalise=byte_count, paged=True, at_least=True),
    # Turning the node's switch off is an administrator's doing, and has reset every cgroup already.
    KnobSpec(Knob.MEMCG_QOS_ENABLE, node="proc/sys/vm/memcg_qos_enable", drift=Drift.YIELD),
    # The kubelet's CPU manager writes its containers' afresh every ten seconds: what it writes is what goes back.
    KnobSpec(
        Knob.CPUSET_CPUS,
        v1=("cpuset", "cpuset.cpus"),
        v2="cpuset.cpus",
        drift=Drift.ADOPT,
        normalise=cpu_list,
        blank=INHERIT,
    ),
    # systemctl daemon-reload makes 0 into max without a word: that is nobody's wish, and installing packages reloads a
    # dozen times. Until it is 0 again the pod may swap to the device of others.
    KnobSpec(Knob.MEMORY_SWAP_MAX, v2="memory.swap.max", drift_seconds=5.0, normalise=byte_count, paged=True),
    KnobSpec(Knob.MEMORY_SWAPFILE, v1=("memory", "memory.swapfile"), normalise=str.strip),
    # Whoever else wants the one tree there is for all users of DAMON has it.
    KnobSpec(
        Knob.DAMON_KDAMONDS,
        drift=Drift.YIELD,
        normalise=str.strip,
        halfway=MappingProxyType({CLAIMED: UNMARKED}),
    ),
    # A runtime sets its containers' once, systemd its units' on every daemon-reload: what they write is what goes back.
    KnobSpec(Knob.IO_MAX, v2="io.max", drift=Drift.ADOPT, normalise=str.strip, unlimited=str(IoRate())),
    *(
        KnobSpec(knob, v1=("blkio", knob.value), drift=Drift.ADOPT, unlimited="0")
        for knob in (Knob.BLKIO_READ_BPS, Knob.BLKIO_WRITE_BPS, Knob.BLKIO_READ_IOPS, Knob.BLKIO_WRITE_IOPS)
    ),
    # They read back what is in force, not what was asked for: thermal limits and other requests count in.
    KnobSpec(Knob.SCALING_MIN_FREQ, cpufreq="scaling_min_freq", drift=Drift.YIELD, capped=True),
    KnobSpec(Knob.SCALING_MAX_FREQ, cpufreq="scaling_max_freq", drift=Drift.YIELD, capped=True),
    KnobSpec(Knob.ENERGY_PREFERENCE, cpufreq="energy_performance_preference", drift=Drift.YIELD, normalise=str.strip),
    # Two managers of Speed Select would undo each other for ever: the other one wins.
    *(
        KnobSpec(knob, register=knob.partition(".")[2], drift=Drift.YIELD, normalise=str.strip, exact=True)
        for knob in (
            Knob.CLOS_ASSOCIATION,
            Knob.CLOS_PARAMETERS,
            Knob.CORE_POWER,
            Knob.TURBO_FREQUENCY,
            Knob.TURBO_LIMITS,
        )
    ),
    # Whoever turns it off, or on, beside us knows why.
    KnobSpec(Knob.SWAP, swap=True, drift=Drift.YIELD, normalise=str.strip, exact=True),
    KnobSpec(Knob.SWAP_FILE, swap=True, drift=Drift.YIELD, normalise=str.strip, exact=True, outlives=True),
)
KNOBS: Mapping[Knob, KnobSpec] = MappingProxyType({spec.knob: spec for spec in _ALL})
