"""
Some minutes of low-priority pods on the model of paging, through the overcommit policy as the agent runs it.

All have hot, warm and cold memory. One comes later; half of what is cold in another is used from some moment on, so it
has to have that back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import Selector
from plimsoll.model.pod import Pod, PodIntent, PodObject, Priority, QosClass
from plimsoll.model.snapshot import CgroupState, PodSample
from plimsoll.policies.overcommit import POLICY
from plimsoll.simulator.paging import MIB, STANDARD, PodMemoryModel
from plimsoll.simulator.paging_node import PagingNode

TICK_SECONDS = 5.0
CHANGING = "batch-2"
"""The pod of which cold memory comes into use."""

# When a pod comes and when one changes, as shares of the time.
_LATE, _CHANGE = 1 / 3, 2 / 3
# Less often than hot memory and more than warm: it comes back over as many seconds.
_CHANGED, _PERIOD = 80 * MIB, 30.0
_MEMORY = 16 << 30  # small enough for any selector
STOCK = ("cgroup", "kubepods", "swap-limit", "memory-reclaim", "memory-reclaim-swappiness")
"""What a node can do that has no selector."""

_NEEDS = {Selector.DAMON: "damon", Selector.MGLRU: "lru-gen"}


class PodMoment(NamedTuple):
    """One pod, in bytes: in memory, on the device, and what it uses at all. ``waited``: seconds, for swap, so far."""

    name: str
    memory: int
    offloaded: int
    uses: int
    waited: float
    pause: Pause


class Moment(NamedTuple):
    """What the policy made of one tick, and the pods before anything of it was carried out. ``written``: bytes."""

    seconds: float
    figures: Overcommit
    pods: tuple[PodMoment, ...]
    written: int


def trial(config: OvercommitSection, seconds: float) -> Iterator[Moment]:
    """One :class:`Moment` every :data:`TICK_SECONDS`; the node has what the configured selector needs."""
    needed = [name for selector, name in _NEEDS.items() if config.selector in ("auto", selector)]
    node = PagingNode((), {}, (*STOCK, *needed), memory=_MEMORY)
    first, changing, late = (model_pod(number, name) for number, name in enumerate(("batch-1", CHANGING, "batch-3"), 1))
    model = PodMemoryModel(STANDARD)
    node.add(first, PodMemoryModel(STANDARD))
    node.add(changing, model)
    events = [
        (_LATE * seconds, lambda: node.add(late, PodMemoryModel(STANDARD))),
        (_CHANGE * seconds, lambda: model.phase(None, _PERIOD, _CHANGED)),
    ]
    state = POLICY.initial
    while node.now < seconds:
        while events and events[0][0] <= node.now:
            events.pop(0)[1]()
        decision = POLICY.decide(node.advance(TICK_SECONDS), config, state)
        state = decision.state
        yield _moment(node, decision.overcommit or Overcommit())
        node.carry_out(decision.writes, decision.watches, decision.reclaims)


def model_pod(number: int, name: str, priority: Priority = Priority.LOW) -> PodSample:
    """A pod of which no figures are known yet."""
    uid = f"{number:08x}-0000-4000-8000-000000000000"
    thing = PodObject(uid, "simulated", name, QosClass.BURSTABLE, "Running", False, False, None, ())
    path = f"kubepods.slice/kubepods-burstable.slice/pod{number}"
    return PodSample(
        Pod(thing, PodIntent(priority, "default")),
        CgroupState.FOUND,
        path,
        kubelet_root="kubepods.slice",
        container_cgroups=(f"{path}/main",),
    )


def _moment(node: PagingNode, figures: Overcommit) -> Moment:
    pauses = {each.uid: each.pause for each in figures.pods}
    pods = []
    for each in node.pods:
        model = node.models[each.pod.uid]
        pause = pauses.get(each.pod.uid, Pause.NONE)
        pods.append(PodMoment(each.pod.name, model.current, model.swapped, model.needed, model.stalled, pause))
    return Moment(node.now, figures, tuple(pods), node.device.written or 0)
