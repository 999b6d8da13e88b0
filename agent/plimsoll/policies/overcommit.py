"""
Memory overcommit: cold memory of low-priority pods is moved to a swap device of their own, while they hardly feel it.

Decides only; ``docs/policies/overcommit.md`` is the contract with administrators and pod owners. It asks for little at
a time, watches what comes back, and sets no limit that a pod could run into: a pod that wants its memory back has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.memory import NodeSwap, Offload, SwapDevice
from plimsoll.model.overcommit import ALARMS, Pause
from plimsoll.model.plan import Knob, OnExit, Selector, Watch, Write, cgroup
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies import overcommit_selector, overcommit_swap
from plimsoll.policies.overcommit_alarm import Alarm, listen
from plimsoll.policies.overcommit_budget import Writes, account, life, unworn
from plimsoll.policies.overcommit_figures import of_node, of_pods
from plimsoll.policies.overcommit_offer import Offer, offer
from plimsoll.policies.overcommit_pod import BATCH, LEAST, Remembered, Seen, look, protection
from plimsoll.policies.overcommit_ratio import Level, Ratio, level, measure
from plimsoll.policies.overcommit_share import ask, brake, empty, remember, share_out
from plimsoll.policies.overcommit_swap import NAME, Limits, Route
from plimsoll.policies.policy import Decision, Policy

DEVICE = "swap-device"
"""What is lacking while the device is not configured, or not in use; no probe can tell it once and for all."""

MIB = 1 << 20
MAX_TOTAL = 256 * MIB
"""What all pods are asked for in one decision."""

# What swap can hold first, as far as the kernel heeds that at all.
_ANON_FIRST = 200
_EARLY = 0.95  # of an interval: a tick that comes a little early must not wait for the next one


class State(NamedTuple):
    """
    ``at``: the last decision; ``asked``: when pods were last asked. ``closing``: the others were to be kept off a
    device that is not in use yet. The rest is each module's own.
    """

    at: float | None = None
    asked: float = float("-inf")
    reached: bool = False
    selector: Selector | None = None
    writes: Writes = Writes()
    alarm: Alarm = Alarm()
    limits: Limits = Limits()
    offer: Offer = Offer()
    closing: bool = False
    pods: tuple[tuple[str, Remembered], ...] = ()


class _Ground(NamedTuple):
    """Who is who in one snapshot, and what the node has."""

    low: tuple[PodSample, ...]
    others: tuple[PodSample, ...]
    levels: Mapping[str, Level]
    available: frozenset[str]
    swap: NodeSwap
    now: float
    seconds: float


def decide(snapshot: Snapshot, config: OvercommitSection, state: State) -> Decision[State]:
    """Everything this policy wants of the node that the snapshot shows."""
    ground = _ground(snapshot, config, state)
    device, route = ground.swap.device, overcommit_swap.find_route(ground.available, ground.swap.device)
    willing = [each for each in ground.low if each.pod.intent.reclaim]
    memory_total = snapshot.node.memory_total_bytes
    selector = overcommit_selector.choose(config, ground.available, memory_total, willing, state.selector)
    pause, missing = _impossible(config, device, route, selector)
    ratio = measure(ground.levels.values(), config, reached=state.reached)
    if pause is not Pause.NONE or device is None or route is None or selector is None:
        figures = of_node(ratio, config, pause)
        if pause is Pause.NO_DEVICE and device is not None and device.removed and route is Route.LIMIT:
            shut = overcommit_swap.shut_writes((*ground.others, *ground.low), NAME)
            return Decision(shut, State(), lacking=missing, overcommit=figures)
        if pause is Pause.NO_DEVICE and config.activate and device is not None and route is not None:
            wanted, closing = _activation(route, ground, device, config, state)
            return Decision(wanted, State(closing=closing), lacking=missing, overcommit=figures)
        return Decision((), State(), lacking=missing, overcommit=figures)
    alarm = listen(snapshot.pods, ground.now, ground.seconds, config.high_pressure_limit, state.alarm)
    writes = account(state.writes, device, config.write_rate, ground.seconds)
    opened = _open(ground, willing)
    keeps = {each.pod.uid: protection(each) for each in willing}
    # DAMON takes what it is told to, at the rate it is told.
    stepwise = selector is not Selector.DAMON
    limits = overcommit_swap.limit(
        opened, device, config.device_floor, config.pod_ratio, state.limits, keeps=keeps, stepwise=stepwise
    )
    seen = _look(ground, selector, config, state)
    room = _room(device, writes, config)
    pause = _paused(config, device, alarm, ratio, room)
    most = 0 if pause else min(MAX_TOTAL, ratio.gap, *room.values())
    shares = share_out(seen, ground.now, config, most=most)
    # What is asked for while the last requests are not over would be lost.
    busy = any(each.busy_bytes for each in ground.swap.offloads.values())
    due = ground.now - state.asked >= config.interval * _EARLY and not busy
    sizes = shares.sizes if due else {}
    if due:
        # What goes at a rate is paid for when it is written, if that is counted: there may be nothing to write.
        slow = {each.uid for each in seen if each.selector is Selector.DAMON and device.written is not None}
        writes = writes.ask(sum(size for uid, size in sizes.items() if uid not in slow))
        seen = [remember(each, sizes.get(each.uid, 0), ground.now, config) for each in seen]
    else:
        seen = [brake(each, pause or shares.pauses[each.uid]) for each in seen]
    swappiness = _ANON_FIRST if config.basis == "anon" else None
    reclaims = [each for one in seen if (each := ask(one, sizes.get(one.uid, 0), NAME, swappiness)) is not None]
    # What it freed and should not have is read back from the disk; until then it costs nothing to be used again.
    if due and pause not in ALARMS:
        freed = [empty(each, NAME, swappiness) for each in seen]
        reclaims.extend(each for each, _ in freed if each is not None)
        seen = [each for _, each in freed]
    available = snapshot.node.memory_available_bytes
    saved = overcommit_swap.saved(ratio.offloaded, device)
    offered = offer(state.offer, saved, ground.now, available=available, total=memory_total)
    figures = replace(
        of_node(ratio, config, pause),
        write_budget=None if unworn(device) else writes.allow(),
        write_limit=None if unworn(device) else config.write_rate,
        write_rate=writes.rate,
        write_mean=writes.mean,
        offer=offered.size,
        life=None if config.endurance is None or unworn(device) else life(writes, config.endurance.rated),
        selector=selector,
        passed_over=overcommit_selector.passed_over(
            config, snapshot.capabilities, ground.swap.failing, memory_total, selector
        ),
        pods=of_pods(seen, shares, reclaims, ground.now, config),
    )
    return Decision(
        (
            *_writes(route, ground, willing, device, limits),
            *(overcommit_selector.claim(selector, NAME) if willing else ()),
            *_active(device, config),
        ),
        State(
            at=ground.now,
            asked=ground.now if due else state.asked,
            reached=ratio.reached,
            selector=selector,
            writes=writes,
            alarm=alarm,
            limits=limits,
            offer=offered,
            pods=tuple(sorted((each.uid, each.kept) for each in seen)),
        ),
        lacking=overcommit_selector.lacking(config, ground.available),
        watches=tuple(_watch(each, alarm, config) for each in seen if each.sample.pod.intent.reclaim),
        reclaims=tuple(reclaims),
        overcommit=figures,
    )


def _ground(snapshot: Snapshot, config: OvercommitSection, state: State) -> _Ground:
    found = [
        each
        for each in snapshot.pods
        if each.state is CgroupState.FOUND
        and each.cgroup is not None
        and each.pod.intent.managed
        and not each.pod.object.finished
    ]
    low = tuple(each for each in found if each.pod.priority is Priority.LOW)
    known = {each.pod.uid: level(each.memory, config.basis) for each in low}
    now, swap = snapshot.monotonic, snapshot.node.swap or NodeSwap()
    return _Ground(
        low,
        tuple(each for each in found if each.pod.priority is not Priority.LOW),
        {uid: each for uid, each in known.items() if each is not None},
        overcommit_selector.working(
            frozenset(each.name for each in snapshot.capabilities if each.available), swap.failing
        ),
        swap,
        now,
        0.0 if state.at is None else max(0.0, now - state.at),
    )


def _impossible(
    config: OvercommitSection, device: SwapDevice | None, route: Route | None, selector: Selector | None
) -> tuple[Pause, tuple[str, ...]]:
    """Why nothing can be done on this node, and what it lacks."""
    if not config.wanted:
        return Pause.OFF, ()
    if config.swap_device is None or device is None or not device.active or not device.size:
        return Pause.NO_DEVICE, (DEVICE,)
    if route is None:
        return Pause.NO_LIMIT, tuple(each.value for each in Route)
    if selector is None:
        return Pause.NO_RECLAIM, (overcommit_selector.RECLAIM,)
    return Pause.NONE, ()


def _active(device: SwapDevice, config: OvercommitSection) -> tuple[Write, ...]:
    """That the device is there and in use, where the agent sees to that."""
    on_exit = OnExit.RESTORE if config.on_exit == "drain" else OnExit.KEEP
    if not config.activate:
        return ()
    file = None
    if config.swap_file_size is not None:
        file = overcommit_swap.file_write(device, config.swap_file_size, on_exit)
    write = overcommit_swap.activate_write(device, on_exit)
    return tuple(each for each in (file, write) if each is not None)


def _activation(
    route: Route, ground: _Ground, device: SwapDevice, config: OvercommitSection, state: State
) -> tuple[tuple[Write, ...], bool]:
    """What is to be done about a device that is not in use, and whether the others are to be kept off it by now."""
    activate = _active(device, config)
    if not activate:
        return (), False
    others = _writes(route, ground, (), device, Limits())
    # The others are kept off before it is there, not after.
    shut = state.closing and (route is Route.SWAPFILE or overcommit_swap.closed(ground.others))
    # A file that is there stays; one that is not is made when it may be turned on, and not before.
    wanted = activate if shut else [each for each in activate if each.knob is Knob.SWAP_FILE and not device.makeable]
    return (*others, *wanted), True


def _room(device: SwapDevice, writes: Writes, config: OvercommitSection) -> dict[Pause, int]:
    """What each thing that is used up leaves room for."""
    # A single pod's limit is all that may be used, and the last of that the kernel does not take.
    room = 0 if device.used is None else overcommit_swap.usable(device, config.device_floor) - device.used - BATCH
    found = {Pause.DEVICE_FULL: room}
    if not unworn(device):
        found[Pause.WRITE_BUDGET] = writes.allow()
    return found


def _paused(
    config: OvercommitSection, device: SwapDevice, alarm: Alarm, ratio: Ratio, room: Mapping[Pause, int]
) -> Pause:
    """Why no pod is asked for anything now."""
    if alarm.pause is not Pause.NONE:
        return alarm.pause
    if device.dedicated is False and config.stop_when_shared:
        return Pause.SHARED
    if ratio.reached or ratio.gap <= 0:
        return Pause.REACHED
    return next((pause for pause, size in room.items() if size < LEAST), Pause.NONE)


def _open(ground: _Ground, willing: Sequence[PodSample]) -> dict[str, Level]:
    return {each.pod.uid: ground.levels[each.pod.uid] for each in willing if each.pod.uid in ground.levels}


def _look(ground: _Ground, selector: Selector, config: OvercommitSection, state: State) -> list[Seen]:
    before = dict(state.pods)
    return [
        look(
            each,
            ground.levels[each.pod.uid],
            ground.swap.offloads.get(each.pod.uid, Offload()),
            before.get(each.pod.uid),
            now=ground.now,
            seconds=ground.seconds,
            selector=selector,
            config=config,
        )
        for each in ground.low
        if each.pod.uid in ground.levels
    ]


def _watch(seen: Seen, alarm: Alarm, config: OvercommitSection) -> Watch:
    sample = seen.sample
    # Not with the cgroup gone: the kernel gives its number to another one.
    halt = alarm.pause is not Pause.NONE or sample.pod.object.deleting
    targets = tuple(cgroup(each) for each in (sample.cgroup or "", *sample.container_cgroups))
    window = seen.kept.course.window(config)
    return Watch(seen.uid, targets, seen.selector, NAME, window, 0 if halt else seen.kept.rate, halt)


def _writes(
    route: Route, ground: _Ground, willing: Sequence[PodSample], device: SwapDevice, limits: Limits
) -> list[Write]:
    # An owner who wants nothing moved out wants no swap either.
    closed = (*ground.others, *(each for each in ground.low if not each.pod.intent.reclaim))
    if route is Route.LIMIT:
        return overcommit_swap.limit_writes(closed, willing, limits, NAME)
    return overcommit_swap.swapfile_writes(closed, willing, device.device_path or device.path, NAME)


POLICY: Policy[OvercommitSection, State] = Policy(
    name=NAME,
    # What hurts is looked at in every tick; memory is asked for at the configured interval.
    interval=0.0,
    needs=("cgroup", "kubepods"),
    bounds=frozenset({Knob.MEMORY_SWAP_MAX, Knob.MEMORY_SWAPFILE, Knob.SWAP, Knob.SWAP_FILE, Knob.DAMON_KDAMONDS}),
    initial=State(),
    decide=decide,
    reclaims=True,
)
