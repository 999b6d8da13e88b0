"""
What may be written to whom, whatever a policy wants: the one place that keeps online pods from harm.

A policy's writes pass here before they are a plan. Each knob has one rule; a knob without a rule is never written.
This module must not know any policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.model.plan import NODE, Knob, TargetKind, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample, Snapshot


class Violation(StrEnum):
    """Why a write is refused: label values, keep them stable."""

    OWNER = "owner"  # in another policy's name
    KNOB = "knob"  # not among those the policy declared, or without a rule
    TARGET = "target"  # no cgroup of a pod of this node, or one the rule does not reach
    UNMANAGED = "unmanaged"  # a pod that is never acted upon
    PRIORITY = "priority"  # a pod whose priority forbids it
    VALUE = "value"  # no value of this knob


class Place(StrEnum):
    """What kinds of cgroup a rule reaches."""

    POD = "pod"
    CONTAINER = "container"
    ANCESTOR = "ancestor"  # the kubelet's root and QoS class cgroups above such a pod
    NODE = "node"


class Rule(NamedTuple):
    """``priorities``: of the pods it may be written to; unused for the node."""

    places: frozenset[Place]
    priorities: frozenset[Priority]
    legal: Callable[[str], bool]


def _one_of(*values: str) -> Callable[[str], bool]:
    return frozenset(values).__contains__


def _between(low: int, high: int) -> Callable[[str], bool]:
    digits = len(str(high))

    def legal(value: str) -> bool:
        # str.isdigit takes superscripts, and int() takes blanks and underscores: the kernel takes neither.
        return 0 < len(value) <= digits and value.isascii() and value.isdigit() and low <= int(value) <= high

    return legal


_LOW = frozenset({Priority.LOW})
_HIGH = frozenset({Priority.HIGH})
_POD = frozenset({Place.POD})
_POD_AND_BELOW = frozenset({Place.POD, Place.CONTAINER})

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
        Knob.MEMCG_QOS_ENABLE: Rule(frozenset({Place.NODE}), frozenset(), _one_of("1")),
    }
)


class Territory:
    """Whose each cgroup of one snapshot is."""

    __slots__ = ("_ancestors", "_owners")

    def __init__(self, samples: Iterable[PodSample]) -> None:
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

    def refusal(self, write: Write, policy: str, bounds: frozenset[Knob]) -> Violation | None:
        """Why ``policy``, which may write ``bounds``, may not have this write; ``None`` when it may."""
        if write.policy != policy:
            return Violation.OWNER
        rule = RULES.get(write.knob)
        if rule is None or write.knob not in bounds:
            return Violation.KNOB
        if not rule.legal(write.value):
            return Violation.VALUE
        if write.target.kind is TargetKind.NODE:
            return None if write.target == NODE and Place.NODE in rule.places else Violation.TARGET
        owned = self._owners.get(write.target.path)
        if owned is not None:
            return self._of_pod(rule, *owned)
        priorities = self._ancestors.get(write.target.path)
        if priorities is None or Place.ANCESTOR not in rule.places:
            return Violation.TARGET
        return None if priorities & rule.priorities else Violation.PRIORITY

    @staticmethod
    def _of_pod(rule: Rule, sample: PodSample, place: Place) -> Violation | None:
        if place not in rule.places:
            return Violation.TARGET
        if not sample.pod.intent.managed:
            return Violation.UNMANAGED
        return None if sample.pod.priority in rule.priorities else Violation.PRIORITY


def territory(snapshot: Snapshot) -> Territory:
    """Of the pods of one snapshot."""
    return Territory(snapshot.pods)


def ancestors(sample: PodSample) -> tuple[str, ...]:
    """The kubelet's cgroups above a pod's own, from its root down; none when its place is not known."""
    root, path = sample.kubelet_root, sample.cgroup
    if root is None or path is None or not path.startswith(f"{root}/"):
        return ()
    found = [root]
    for name in path.removeprefix(f"{root}/").split("/")[:-1]:
        found.append(f"{found[-1]}/{name}")
    return tuple(found)
