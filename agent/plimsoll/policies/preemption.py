"""
Absolute preemption: low-priority pods give way to all others at once, by whatever means this node's kernel has.

Decides only; ``docs/policies/preemption.md`` is the contract with administrators and pod owners. A pod of high or
normal priority is never taken anything from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.acting import Note
from plimsoll.model.plan import Knob, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies import preemption_cpu, preemption_memory
from plimsoll.policies.policy import Decision, Policy

NAME = "preemption"
# The kubelet tries a resize that failed again after ten seconds or so.
RESIZE_SECONDS = 60.0
# A pod that resizes without end would never give way.
RESIZE_PAUSE_SECONDS = 600.0

NOT_REVERSIBLE = "PreemptionNotReversible"
NO_MEMORY_REQUEST = "NoMemoryRequest"
REASONS = (NOT_REVERSIBLE, NO_MEMORY_REQUEST)
"""Every reason a note of this policy may carry."""

_QOS_LEVEL, _QOS_ENABLE, _LOW = "memory-qos-level", "memcg-qos-enable", "memory-low"


class State(NamedTuple):
    """
    ``resized``: since when (monotonic seconds) each low-priority pod is let off for a resize, by UID in order.
    ``enabled``: ``memory.qos_level`` has been needed; turning it off again would undo every pod's.
    """

    resized: tuple[tuple[str, float], ...] = ()
    enabled: bool = False


def decide(snapshot: Snapshot, config: PreemptionSection, state: State) -> Decision[State]:
    """Everything this policy wants of the node that the snapshot shows."""
    capabilities = frozenset(each.name for each in snapshot.capabilities if each.available)
    found = [each for each in snapshot.pods if each.state is CgroupState.FOUND and each.pod.intent.managed]
    low = [each for each in found if each.pod.priority is Priority.LOW]
    resized = _resized(low, snapshot.monotonic, state)
    writes: list[Write] = []
    notes = [_not_reversible(each) for each in found if _left_behind(each)]

    route = preemption_cpu.find_route(config.cpu, capabilities)
    lacking = list(preemption_cpu.lacking(config.cpu, route))
    if route is not None:
        let_off = _let_off(low, snapshot.monotonic, resized) if preemption_cpu.yields_to_kubelet(route) else frozenset()
        for each in low:
            if each.pod.uid not in let_off:
                writes.extend(preemption_cpu.writes(route, each, NAME))

    enabled = state.enabled
    if config.memory == "auto":
        lacking.extend(_lacking_memory(capabilities))
        if {_QOS_LEVEL, _QOS_ENABLE} <= capabilities:
            enabled = enabled or bool(low)
            if enabled:
                writes.append(preemption_memory.enable(NAME))
            for each in low:
                writes.extend(preemption_memory.mark(each, NAME))
        if _LOW in capabilities:
            high = [each for each in found if each.pod.priority is Priority.HIGH]
            notes.extend(_no_request(each) for each in high if each.pod.object.memory_request_bytes is None)
            total = snapshot.node.memory_total_bytes
            if total is not None:
                most = int(total * config.memory_protection_share)
                writes.extend(preemption_memory.protect(high, most, NAME))
    return Decision(tuple(writes), State(resized, enabled), tuple(notes), tuple(lacking))


def _resized(low: Sequence[PodSample], now: float, state: State) -> tuple[tuple[str, float], ...]:
    since = {uid: begun for uid, begun in state.resized if now - begun < RESIZE_PAUSE_SECONDS}
    return tuple(
        sorted(
            (each.pod.uid, since.get(each.pod.uid, now))
            for each in low
            if each.pod.uid in since or each.pod.object.resizing
        )
    )


def _let_off(low: Sequence[PodSample], now: float, resized: tuple[tuple[str, float], ...]) -> frozenset[str]:
    """
    The pods whose CPU knobs are left to the kubelet while it resizes them.

    It writes the weight of the pod's cgroup, which the kernel refuses while ``cpu.idle`` is 1.
    """
    since = dict(resized)
    return frozenset(
        each.pod.uid for each in low if each.pod.object.resizing and now - since[each.pod.uid] < RESIZE_SECONDS
    )


def _lacking_memory(capabilities: frozenset[str]) -> tuple[str, ...]:
    if _QOS_LEVEL in capabilities:
        return () if _QOS_ENABLE in capabilities else (_QOS_ENABLE,)
    return () if _LOW in capabilities else (_QOS_LEVEL, _LOW)


def _left_behind(sample: PodSample) -> bool:
    return sample.pod.priority is not Priority.LOW and sample.knobs.get(Knob.CPU_QOS_LEVEL) == "-1"


def _not_reversible(sample: PodSample) -> Note:
    return Note(
        sample.pod.uid,
        NOT_REVERSIBLE,
        f"This pod's priority is {sample.pod.priority}, but its cgroup was made low-priority before (cpu.qos_level is "
        "-1) and this kernel does not take that back: it still gives way to all others. Recreate the pod.",
    )


def _no_request(sample: PodSample) -> Note:
    return Note(
        sample.pod.uid,
        NO_MEMORY_REQUEST,
        "This pod has high priority but no memory request, so there is nothing its memory protection could be sized "
        "by: it has none. Give its containers memory requests.",
    )


POLICY: Policy[PreemptionSection, State] = Policy(
    name=NAME,
    interval=0.0,
    needs=("cgroup", "kubepods"),
    bounds=frozenset(
        {
            Knob.CPU_IDLE,
            Knob.CPU_WEIGHT,
            Knob.CPU_SHARES,
            Knob.CPU_QOS_LEVEL,
            Knob.MEMORY_QOS_LEVEL,
            Knob.MEMORY_LOW,
            Knob.MEMCG_QOS_ENABLE,
        }
    ),
    initial=State(),
    decide=decide,
)
