"""
How low-priority pods give way on the CPU: which of the kernel's ways this node has, and what is written for one pod.

``cpu.qos_level`` (openEuler) lets offline tasks run only where no online task wants to, whatever their cgroups; it
cannot be taken back. ``cpu.idle`` and the smallest weight count among the pods of one QoS class only: the classes' own
cgroups are the kubelet's to weigh.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from plimsoll.model.plan import Knob, OnExit, Write, cgroup
from plimsoll.model.snapshot import PodSample

CpuChoice = Literal["auto", "idle", "weight", "off"]

# The kernel walks down from the pod's cgroup when its level is set; what a racing container was created with is then
# set right by its own write.
POD_PHASE, CONTAINER_PHASE = 1, 2


class Route(StrEnum):
    """A way to give way, by the capability it needs."""

    QOS_LEVEL = "cpu-qos-level"
    IDLE = "cpu-idle"
    WEIGHT = "cpu-weight"
    SHARES = "cpu-shares"


def candidates(choice: CpuChoice) -> tuple[Route, ...]:
    """The ways the administrator allows, best first."""
    if choice == "auto":
        return tuple(Route)
    if choice == "idle":
        return (Route.IDLE,)
    return (Route.WEIGHT, Route.SHARES) if choice == "weight" else ()


def find_route(choice: CpuChoice, capabilities: frozenset[str]) -> Route | None:
    """The best way this node has, if it has any."""
    return next((each for each in candidates(choice) if each.value in capabilities), None)


def lacking(choice: CpuChoice, route: Route | None) -> tuple[str, ...]:
    """The capabilities that would make a pod give way, or give way to more than a weight can."""
    if route is None:
        return tuple(each.value for each in candidates(choice))
    return (Route.IDLE.value,) if choice == "auto" and route in (Route.WEIGHT, Route.SHARES) else ()


def yields_to_kubelet(route: Route) -> bool:
    """Whether the kubelet could not resize a pod, or its new values would be lost, while this stands."""
    return route is not Route.QOS_LEVEL


def writes(route: Route, sample: PodSample, policy: str) -> tuple[Write, ...]:
    """What makes one low-priority pod give way; nothing while it has no cgroup."""
    if sample.cgroup is None:
        return ()
    reason = f"low priority ({sample.pod.intent.origin}): gives way to all others on the CPU"
    target = cgroup(sample.cgroup)
    if route is Route.IDLE:
        return (Write(target, Knob.CPU_IDLE, "1", policy, reason, phase=POD_PHASE),)
    if route is Route.WEIGHT:
        return (Write(target, Knob.CPU_WEIGHT, "1", policy, reason, phase=POD_PHASE),)
    if route is Route.SHARES:
        return (Write(target, Knob.CPU_SHARES, "2", policy, reason, phase=POD_PHASE),)
    # The kernel refuses the way back to 0 with EINVAL, so there is nothing to restore.
    pod = Write(target, Knob.CPU_QOS_LEVEL, "-1", policy, reason, OnExit.KEEP, POD_PHASE)
    below = (cgroup(path) for path in sample.container_cgroups)
    return (pod, *(pod._replace(target=each, phase=CONTAINER_PHASE) for each in below))
