"""
What may be written to whom, whatever a policy wants: the one place that keeps online pods from harm.

A policy's writes pass here before they are a plan. Each knob has one rule; a knob without a rule is never written.
This module must not know any policy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.model.cpus import format_cpus, parse_cpus
from plimsoll.model.disk import MOST, Disk, IoRate
from plimsoll.model.kdamonds import CLAIMED
from plimsoll.model.memory import SwapDevice
from plimsoll.model.plan import NODE, SWAP_AUTO, Knob, TargetKind, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample, Snapshot
from plimsoll.policies.hardware import Hardware


class Violation(StrEnum):
    """Why a write is refused: label values, keep them stable."""

    OWNER = "owner"  # in another policy's name
    KNOB = "knob"  # not among those the policy declared, or without a rule
    TARGET = "target"  # no cgroup of a pod of this node, no part of its CPUs, or one the rule does not reach
    UNMANAGED = "unmanaged"  # a pod that is never acted upon
    PRIORITY = "priority"  # a pod whose priority forbids it
    VALUE = "value"  # no value of this knob


class Place(StrEnum):
    """What kinds of cgroup, or of parts of the CPUs, a rule reaches."""

    POD = "pod"
    CONTAINER = "container"
    ANCESTOR = "ancestor"  # the kubelet's root and QoS class cgroups above such a pod
    NODE = "node"
    UNIT = "unit"
    CLASS = "class"
    PACKAGE = "package"
    SWAP = "swap"  # the swap device of low-priority pods


class Rule(NamedTuple):
    """
    ``priorities``: of the pods it may be written to; unused for what belongs to no pod. ``optional``: of those it may
    be written to as well where the administrator says so. ``otherwise``: what may be written where this rule does not
    allow it. ``of_disk``: it is of one disk as such a cgroup may use it; of one the node itself lives on only where the
    administrator says so.
    """

    places: frozenset[Place]
    priorities: frozenset[Priority]
    legal: Callable[[str], bool]
    optional: frozenset[Priority] = frozenset()
    otherwise: Rule | None = None
    of_disk: bool = False


def _one_of(*values: str) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _between(low: int, high: int) -> Callable[[str], bool]:
    digits = len(str(high))

    def legal(value: str) -> bool:
        # str.isdigit takes superscripts, and int() takes blanks and underscores: the kernel takes neither.
        return 0 < len(value) <= digits and value.isascii() and value.isdigit() and low <= int(value) <= high

    return legal


_CLASS = re.compile(
    r"prio=([0-9]|1[0-5]) min=[0-9]{1,5} max=([0-9]{1,5}|none)( epp=([0-9]|1[0-5]) desired=0)?", re.ASCII
)

# openEuler takes a path, "all" or "none"; a path that names another by ".." is nobody's wish.
_DEVICE = re.compile(r"/(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9._/@:+-]{1,255}", re.ASCII)


def _cpu_list(value: str) -> bool:
    try:
        cpus = parse_cpus(value)
    except ValueError:
        return False
    # A cgroup with no CPU has them all, or can have no task. One spelling, so that two of a set are one value.
    return bool(cpus) and format_cpus(cpus) == value


def _class(value: str) -> bool:
    match = _CLASS.fullmatch(value)
    return match is not None and (match[2] == "none" or int(value.split()[1].removeprefix("min=")) <= int(match[2]))


def _io_rate(value: str) -> bool:
    try:
        rate = IoRate.parse(value)
    except ValueError:
        return False
    # In one spelling, so that two of a rate are one value; and none that stops a pod's I/O for good.
    return str(rate) == value and all(each is None or 1 <= each <= MOST for each in rate)


def _swap_on(value: str) -> bool:
    return value == SWAP_AUTO or _PRIORITY(value)


def _device_path(value: str) -> bool:
    return _DEVICE.fullmatch(value) is not None


_PRIORITY = _between(0, 32_767)

_LOW = frozenset({Priority.LOW})
_OTHERS = frozenset(Priority) - _LOW
_HIGH = frozenset({Priority.HIGH})
_POD = frozenset({Place.POD})
_POD_AND_BELOW = frozenset({Place.POD, Place.CONTAINER})
_UNIT = frozenset({Place.UNIT})
_PACKAGE = frozenset({Place.PACKAGE})

RULES: Mapping[Knob, Rule] = MappingProxyType(
    {
        # What takes from a pod is for low-priority pods only. The QoS class cgroups are the kubelet's to weigh: it
        # writes them every minute, and an idle one would answer it EINVAL.
        Knob.CPU_IDLE: Rule(_POD, _LOW, _one_of("1")),
        Knob.CPU_WEIGHT: Rule(_POD, _LOW, _between(1, 10_000)),
        Knob.CPU_SHARES: Rule(_POD, _LOW, _between(2, 262_144)),
        Knob.CPU_QOS_LEVEL: Rule(_POD_AND_BELOW, _LOW, _one_of("-1")),
        Knob.MEMORY_QOS_LEVEL: Rule(_POD_AND_BELOW, _LOW, _one_of("-1")),
        # What gives to a pod is for high-priority pods, and for the path down to them.
        Knob.MEMORY_LOW: Rule(frozenset({Place.POD, Place.ANCESTOR}), _HIGH, _between(0, (1 << 63) - 1)),
        # Who may swap, and how much: others than low-priority pods can only be told not to.
        Knob.MEMORY_SWAP_MAX: Rule(
            _POD_AND_BELOW, _LOW, _between(0, 1 << 62), otherwise=Rule(_POD, _OTHERS, _one_of("0"))
        ),
        Knob.MEMORY_SWAPFILE: Rule(
            _POD_AND_BELOW, _LOW, _device_path, otherwise=Rule(_POD_AND_BELOW, frozenset(Priority), _one_of("none"))
        ),
        # What a pod's owner takes from the pod: those of every priority may.
        Knob.IO_MAX: Rule(_POD, frozenset(Priority), _io_rate, of_disk=True),
        **dict.fromkeys(
            (Knob.BLKIO_READ_BPS, Knob.BLKIO_WRITE_BPS, Knob.BLKIO_READ_IOPS, Knob.BLKIO_WRITE_IOPS),
            Rule(frozenset({Place.CONTAINER}), frozenset(Priority), _between(1, MOST), of_disk=True),
        ),
        Knob.MEMCG_QOS_ENABLE: Rule(frozenset({Place.NODE}), frozenset(), _one_of("1")),
        # What they do is in the watches, which are for low-priority pods only.
        Knob.DAMON_KDAMONDS: Rule(frozenset({Place.NODE}), frozenset(), _one_of(CLAIMED)),
        # Where a pod may run: what one is given another is not.
        Knob.CPUSET_CPUS: Rule(_POD_AND_BELOW, _LOW | _HIGH, _cpu_list, optional=frozenset({Priority.NORMAL})),
        # How fast a CPU may be. Nothing is ever turned off that was found on.
        Knob.SCALING_MIN_FREQ: Rule(_UNIT, frozenset(), _between(1, 99_999_999)),
        Knob.SCALING_MAX_FREQ: Rule(_UNIT, frozenset(), _between(1, 99_999_999)),
        Knob.ENERGY_PREFERENCE: Rule(_UNIT, frozenset(), _one_of("power")),
        Knob.CLOS_ASSOCIATION: Rule(_UNIT, frozenset(), _one_of("0", "3")),
        Knob.CLOS_PARAMETERS: Rule(frozenset({Place.CLASS}), frozenset(), _class),
        Knob.CORE_POWER: Rule(_PACKAGE, frozenset(), _one_of("ordered")),
        Knob.TURBO_FREQUENCY: Rule(_PACKAGE, frozenset(), _one_of("on")),
        Knob.TURBO_LIMITS: Rule(_PACKAGE, frozenset(), _one_of("f" * 16)),
        # No policy turns it off: all that is there would come back at once.
        Knob.SWAP: Rule(frozenset({Place.SWAP}), frozenset(), _swap_on),
        # Nor does one remove what it is on.
        Knob.SWAP_FILE: Rule(frozenset({Place.SWAP}), frozenset(), _between(1, 1 << 62)),
    }
)


class Territory:
    """Whose each cgroup of one snapshot is, what parts of the CPUs and what disks there are; ``swap``: the device."""

    __slots__ = ("_ancestors", "_disks", "_hardware", "_owners", "_swap")

    def __init__(
        self,
        samples: Iterable[PodSample],
        hardware: Hardware,
        disks: Iterable[Disk] = (),
        swap: SwapDevice | None = None,
    ) -> None:
        self._swap: frozenset[str | None] = frozenset() if swap is None else frozenset({swap.path, swap.device_path})
        self._hardware = hardware
        self._disks = {each.number: each for each in disks}
        self._owners: dict[str, tuple[PodSample, Place]] = {}
        self._ancestors: dict[str, set[Priority]] = {}
        for sample in samples:
            if sample.cgroup is None:
                continue
            self._owners[sample.cgroup] = (sample, Place.POD)
            for path in sample.container_cgroups:
                self._owners[path] = (sample, Place.CONTAINER)
            if sample.pod.intent.managed:
                for path in ancestors(sample):
                    self._ancestors.setdefault(path, set()).add(sample.pod.priority)

    def refusal(
        self, write: Write, policy: str, bounds: frozenset[Knob], liberties: frozenset[Knob] = frozenset()
    ) -> Violation | None:
        """
        Why ``policy``, which may write ``bounds``, may not have this write; ``None`` when it may.

        ``liberties``: the knobs whose optional priorities, or the node's own disks, the administrator has added.
        """
        if write.policy != policy:
            return Violation.OWNER
        rule = RULES.get(write.knob)
        if rule is None or write.knob not in bounds:
            return Violation.KNOB
        refusal = self._by(rule, write, liberties)
        if refusal is None or rule.otherwise is None or self._by(rule.otherwise, write, liberties) is not None:
            return refusal
        return None

    def _by(self, rule: Rule, write: Write, liberties: frozenset[Knob]) -> Violation | None:
        if not rule.legal(write.value):
            return Violation.VALUE
        if write.target.kind is TargetKind.NODE:
            return None if write.target == NODE and Place.NODE in rule.places else Violation.TARGET
        if write.target.kind is TargetKind.SWAP:
            ours = Place.SWAP in rule.places and write.target.path in self._swap
            return None if ours else Violation.TARGET
        if write.target.cgroup is None:
            return self._of_hardware(rule, write)
        if not self._on_disk(rule, write, liberties):
            return Violation.TARGET
        if write.knob is Knob.CPUSET_CPUS and not self._hardware.fits(write.target, write.knob, write.value):
            return Violation.VALUE
        if write.knob in liberties:
            rule = rule._replace(priorities=rule.priorities | rule.optional)
        owned = self._owners.get(write.target.cgroup)
        if owned is not None:
            return self._of_pod(rule, *owned)
        priorities = self._ancestors.get(write.target.cgroup)
        if priorities is None or Place.ANCESTOR not in rule.places:
            return Violation.TARGET
        return None if priorities & rule.priorities else Violation.PRIORITY

    def _on_disk(self, rule: Rule, write: Write, liberties: frozenset[Knob]) -> bool:
        """Whether the write is of a whole disk of this node if it has to be, and of none if not."""
        if not rule.of_disk or write.target.kind is not TargetKind.DISK:
            return not rule.of_disk and write.target.kind is TargetKind.CGROUP
        found = self._disks.get(write.target.disk)
        return found is not None and (not found.system or write.knob in liberties)

    def _of_hardware(self, rule: Rule, write: Write) -> Violation | None:
        if Place(write.target.kind.value) not in rule.places or not self._hardware.has(write.target, write.knob):
            return Violation.TARGET
        return None if self._hardware.fits(write.target, write.knob, write.value) else Violation.VALUE

    @staticmethod
    def _of_pod(rule: Rule, sample: PodSample, place: Place) -> Violation | None:
        if place not in rule.places:
            return Violation.TARGET
        if not sample.pod.intent.managed:
            return Violation.UNMANAGED
        return None if sample.pod.priority in rule.priorities else Violation.PRIORITY


def territory(snapshot: Snapshot) -> Territory:
    """Of the pods, CPUs, disks and the swap device of one snapshot."""
    node = snapshot.node
    device = None if node.swap is None else node.swap.device
    return Territory(snapshot.pods, Hardware(node.frequency), node.disks or (), device)


def ancestors(sample: PodSample) -> tuple[str, ...]:
    """The kubelet's cgroups above a pod's own, from its root down; none when its place is not known."""
    root, path = sample.kubelet_root, sample.cgroup
    if root is None or path is None or not path.startswith(f"{root}/"):
        return ()
    found = [root]
    for name in path.removeprefix(f"{root}/").split("/")[:-1]:
        found.append(f"{found[-1]}/{name}")
    return tuple(found)
