"""
Who gets what when pods want more than the node has, and how long each waits for it: pure arithmetic, no state, no time.

Modelled: CPU quotas and sets; CPU shared by weight, offline pods (openEuler's ``cpu.qos_level`` -1) after all others;
memory limits; a node short of memory, whose reclaim takes from every pod in proportion; swap; one disk that queues.

Not modelled: single tasks and CPUs, so a pod's tasks wait independently of each other; NUMA, caches and frequency; the
nesting of weights; page ages, so what is reclaimed is touched again at a fixed pace; the OOM killer; writeback;
``cgroup_async_memory_reclaim``, which is zero where nobody sets ``memory.high_async_ratio``, as here. The shares of
time are plausible and bounded, not predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet
from plimsoll.simulator.psi import NO_STALL, Stall

PAGE = 4096
# The kernel keeps free memory back (watermarks) and lives in some itself.
_FREE_SHARE = 0.04
# Of what was reclaimed or swapped out, this share is touched again each second: a cold tail with a warm edge.
_TOUCHED_PER_SECOND = 0.02
# The coldest pages go first: stall grows with the square of the share that does not fit. Chosen by eye, so that a tenth
# too little is felt (5 %) and three tenths hurt badly (45 %).
_STALL = 5.0
_MOST_STALL = 0.8
# Compaction runs while free memory is short and somebody wants huge pages: a small part of the global reclaim.
_COMPACT_PART = 0.2
_BUSIEST = 0.95


class Capacity(NamedTuple):
    """What the node has: CPUs, bytes of memory and swap, bytes per second of its disk."""

    cpus: int
    memory: int
    swap: int
    io: float


@dataclass(frozen=True, slots=True)
class Demand:
    """
    What one pod would use if it were alone: CPUs, bytes of working set, bytes of disk per second.

    Limits are ``None`` where there is none, ``cpus`` where it may run anywhere. ``weight`` is the CPU's; ``offline``
    pods get what the others leave.
    """

    cpu: float
    memory: int
    io: float
    weight: float
    cpu_limit: float | None = None
    memory_limit: int | None = None
    offline: bool = False
    cpus: CpuSet | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """
    What it got. ``memory`` is resident, ``swapped`` is not; rates are per second.

    ``stalls`` has the causes of ``pressure.stat`` and the resources ``cpu`` and ``io``. ``throttled`` is the share of
    time its CPU quota kept it off, on ``parallel`` CPUs at once.
    """

    cpu: float
    memory: int
    swapped: int
    io: float
    throttled: float
    parallel: float
    refaults: float
    limit_hits: float
    stalls: Mapping[str, Stall] = field(default_factory=dict)


class _Held(NamedTuple):
    memory: int
    swapped: int
    reclaim: float
    shortage: float
    swap: float


class _Cpu(NamedTuple):
    wanted: float
    allowed: float
    got: float
    suppressed: float  # of the time it waits, the share in which it was kept off for being offline


def contend(capacity: Capacity, demands: Mapping[str, Demand]) -> dict[str, Use]:
    """Share the node out among the pods. The sums never exceed the capacity, nor a part its limit."""
    memory = _memory(capacity, demands)
    waits = {
        name: 1.0 - (1.0 - each.reclaim) * (1.0 - each.shortage) * (1.0 - each.swap) for name, each in memory.items()
    }
    # A pod that waits for memory does not compute meanwhile.
    wanted = {name: demand.cpu * (1.0 - waits[name]) for name, demand in demands.items()}
    allowed = {name: _least(wanted[name], demand.cpu_limit) for name, demand in demands.items()}
    cpu, online = _cpu(capacity, demands, allowed)
    io = _io(capacity, demands, memory)
    # While others run on a CPU, openEuler keeps offline tasks off it.
    online = min(1.0, online / capacity.cpus)
    return {
        name: _use(
            memory[name],
            cpu=_Cpu(wanted[name], allowed[name], cpu[name], online if demand.offline else 0.0),
            io=io[name],
        )
        for name, demand in demands.items()
    }


def share_out(amount: float, wants: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """
    Divide ``amount`` among ``wants`` (name to want and weight): by weight, nobody gets more than it wants.

    Nothing is left over while somebody still wants.
    """
    got = dict.fromkeys(wants, 0.0)
    hungry = {name for name, (want, weight) in wants.items() if want > 0 and weight > 0}
    while hungry and amount > 0:
        per_weight = amount / sum(wants[name][1] for name in hungry)
        full = {name for name in hungry if wants[name][0] <= wants[name][1] * per_weight}
        if not full:
            got.update({name: wants[name][1] * per_weight for name in hungry})
            return got
        for name in sorted(full):
            got[name] = wants[name][0]
            amount -= wants[name][0]
        hungry -= full
    return got


def _least(value: float, limit: float | None) -> float:
    return value if limit is None else min(value, limit)


def _memory(capacity: Capacity, demands: Mapping[str, Demand]) -> dict[str, _Held]:
    held = {name: int(_least(demand.memory, demand.memory_limit)) for name, demand in demands.items()}
    total = sum(held.values())
    shortage = max(0.0, 1.0 - capacity.memory * (1.0 - _FREE_SHARE) / total) if total else 0.0
    missing = {name: demand.memory - int(held[name] * (1.0 - shortage)) for name, demand in demands.items()}
    everything = sum(missing.values())
    # A full swap device takes its part of everybody; the rest is file pages, read again from where they came.
    swappable = min(1.0, capacity.swap / everything) if everything else 0.0
    found = {}
    for name, demand in demands.items():
        over = 1.0 - held[name] / demand.memory if demand.memory else 0.0
        swapped = int(missing[name] * swappable)
        found[name] = _Held(
            memory=demand.memory - missing[name],
            swapped=swapped,
            reclaim=_stall(over),
            shortage=_stall(shortage) if held[name] else 0.0,
            swap=_stall(swapped / demand.memory) if demand.memory else 0.0,
        )
    return found


def _stall(missing: float) -> float:
    return min(_MOST_STALL, _STALL * missing * missing)


def _cpu(
    capacity: Capacity, demands: Mapping[str, Demand], allowed: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """CPUs by pod, and how many the pods that are not offline got together."""
    within = _within(demands, allowed)
    online = share_out(
        capacity.cpus, {name: (within[name], each.weight) for name, each in demands.items() if not each.offline}
    )
    used = sum(online.values())
    offline = share_out(
        max(0.0, capacity.cpus - used),
        {name: (within[name], each.weight) for name, each in demands.items() if each.offline},
    )
    return {**online, **offline}, used


def _within(demands: Mapping[str, Demand], allowed: Mapping[str, float]) -> dict[str, float]:
    """What each may have of the CPUs it is kept to, beside those that are kept to the same ones."""
    found = dict(allowed)
    for cpus in {each.cpus for each in demands.values() if each.cpus is not None}:
        peers = {name: (allowed[name], each.weight) for name, each in demands.items() if each.cpus == cpus}
        found.update(share_out(len(cpus), peers))
    return found


def _io(
    capacity: Capacity, demands: Mapping[str, Demand], memory: Mapping[str, _Held]
) -> dict[str, tuple[float, float]]:
    """Bytes per second by pod, and the share of time it waits for them."""
    wants = {name: (demand.io + memory[name].swapped * _TOUCHED_PER_SECOND, 1.0) for name, demand in demands.items()}
    got = share_out(capacity.io, wants)
    # The longer the queue, the longer each waits beyond the time its own bytes take (M/M/1).
    queue = 1.0 / (1.0 - min(_BUSIEST, sum(got.values()) / capacity.io))
    found = {}
    for name, (want, _) in wants.items():
        lost = 1.0 - got[name] / want if want > 0 else 0.0
        found[name] = got[name], max(min(1.0, got[name] / capacity.io * queue), lost)
    return found


def _use(memory: _Held, cpu: _Cpu, io: tuple[float, float]) -> Use:
    parallel = max(1.0, cpu.wanted)
    # It computes at full width until the quota of the period is used up, and then not at all until the next.
    throttled = 1.0 - cpu.allowed / cpu.wanted if cpu.wanted > 0 else 0.0
    lacking = 1.0 - cpu.got / cpu.allowed if cpu.allowed > 0 else 0.0
    # With several tasks it is likely that some waits, and unlikely that all do.
    some, full = 1.0 - (1.0 - lacking) ** parallel, lacking**parallel
    running = min(_BUSIEST, cpu.got)
    reads, blocked = io
    return Use(
        cpu=cpu.got,
        memory=memory.memory,
        swapped=memory.swapped,
        io=reads,
        throttled=throttled,
        parallel=parallel,
        refaults=memory.swapped * _TOUCHED_PER_SECOND / PAGE,
        limit_hits=memory.reclaim * 100,
        stalls={
            "cpu": Stall(_either(throttled, some), _either(throttled, full)),
            "io": _blocked(blocked, running),
            "cgroup_memory_reclaim": _blocked(memory.reclaim, running),
            "global_memory_reclaim": _blocked(memory.shortage, running),
            "compact": _blocked(memory.shortage * _COMPACT_PART, running),
            "cgroup_async_memory_reclaim": NO_STALL,
            "swap": _blocked(memory.swap, running),
            "cpu_cfs_bandwidth": Stall(None, throttled),
            "cpu_qos": Stall(None, lacking * cpu.suppressed),
        },
    )


def _either(first: float, second: float) -> float:
    return 1.0 - (1.0 - first) * (1.0 - second)


def _blocked(share: float, running: float) -> Stall:
    # `full` needs that no other task of the pod computes meanwhile.
    return Stall(share, share * (1.0 - running))
