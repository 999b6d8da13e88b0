"""
For any node, load and fault: overcommit takes from nobody but low-priority pods that allow it, never below a floor,
never more than the gap, the device or its budget has room for; and in a model of paging it hurts no pod beyond its
budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.acting import Mode, Status
from plimsoll.model.memory import NodeSwap, Offload, PodMemory, SwapDevice
from plimsoll.model.overcommit import Pause
from plimsoll.model.plan import Knob, Plan, Selector
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, NodeSample, PodSample, Snapshot
from plimsoll.policies import overcommit, registry
from plimsoll.policies.overcommit import MAX_TOTAL
from plimsoll.policies.overcommit_budget import BURST_SECONDS
from plimsoll.policies.overcommit_pod import MAX_RECLAIM
from plimsoll.policies.overcommit_ratio import level
from plimsoll.policies.overcommit_step import BUDGET_SECONDS
from plimsoll.policies.registry import Enrolled
from plimsoll.simulator.paging import CHUNK, FAULT_SECONDS, PAGE, Part, PodMemoryModel
from plimsoll.simulator.paging_node import PagingNode
from tests.fixtures.colocated import GIB, sample, snapshot
from tests.fixtures.paging import MIB, STOCK, section

SELECTORS = st.sampled_from([(), ("damon",), ("lru-gen",), ("damon", "lru-gen")])

SECTIONS = st.builds(
    lambda ratio, basis, shared, pod_ratio, target, rate: section(
        ratio=ratio,
        basis=basis,
        stopWhenShared=shared,
        podRatio=max(ratio, pod_ratio),
        probation=10,
        writeBudget=rate,
        **({"target": "budget", "budget": "300Mi"} if target == "budget" else {}),
    ),
    st.sampled_from([1.1, 1.5, 2.0, 3.0]),
    st.sampled_from(["anon", "total"]),
    st.booleans(),
    st.sampled_from([1.5, 4.0]),
    st.sampled_from(["ratio", "budget"]),
    st.sampled_from(["4Ki", "1Mi", "1Gi"]),
)

# Among them what no kernel would say.
BYTES = st.none() | st.integers(0, 4 * GIB) | st.sampled_from([0, 1, 256 * MIB, (1 << 63) - 1])
SHARES = st.none() | st.floats(0, 1) | st.just(0.0)
MEMORIES = st.none() | st.builds(
    PodMemory,
    current=BYTES,
    anon=BYTES,
    shmem=BYTES,
    listed=BYTES,
    unevictable=BYTES,
    swapped=BYTES,
    swap_cached=BYTES,
    zswapped=BYTES,
    protected=st.sampled_from([0, 0, 100 * MIB]),
    refaulted=BYTES,
    oom_kills=st.none() | st.integers(0, 3),
    limit_hits=st.none() | st.integers(0, 3),
    cold=BYTES,
)
DEVICES = st.none() | st.builds(
    lambda active, size, used, written, dedicated, kind: SwapDevice(
        "/dev/vdb", active, "254:16", size, used, 0, written, dedicated=dedicated, kind=kind
    ),
    st.sampled_from([True, True, True, False]),
    BYTES,
    BYTES,
    BYTES,
    st.sampled_from([True, True, False, None]),
    st.sampled_from(["block", "block", "zram"]),
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[PodSample, ...]:
    found = []
    for number in draw(st.lists(st.integers(0, 9), unique=True, max_size=6)):
        priority = draw(st.sampled_from([Priority.LOW, Priority.LOW, Priority.LOW, Priority.NORMAL, Priority.HIGH]))
        pod = sample(
            number,
            priority,
            managed=draw(st.sampled_from([True, True, False])),
            state=draw(st.sampled_from([CgroupState.FOUND] * 4 + [CgroupState.GONE])),
            containers=draw(st.integers(0, 2)),
        )
        intent = replace(
            pod.pod.intent,
            reclaim=draw(st.sampled_from([True, True, False])),
            memory_floor=draw(st.sampled_from([0, 0, 200 * MIB])),
        )
        found.append(
            replace(
                pod,
                pod=replace(pod.pod, intent=intent),
                memory=draw(MEMORIES),
                stall_rates={"memory": (draw(SHARES), None), "io": (draw(SHARES), None)},
            )
        )
    return tuple(found)


@st.composite
def days(draw: st.DrawFn) -> list[Snapshot]:
    """Some snapshots in a row, of pods that have hardly anything to do with each other."""
    capabilities = (*draw(st.sampled_from([STOCK, (*STOCK, "swapfile"), ("memory-reclaim",), ()])), *draw(SELECTORS))
    found, at = [], 1000.0
    for _ in range(draw(st.integers(1, 6))):
        at += draw(st.sampled_from([0.0, 1.0, 10.0, 30.0]))
        seen = snapshot(draw(pods()), capabilities, monotonic=at)
        offloads = {
            each.pod.uid: Offload(freed=draw(st.integers(0, GIB)), partial=draw(st.integers(0, 2)))
            for each in seen.pods
            if draw(st.booleans())
        }
        swap = draw(st.none() | st.builds(NodeSwap, DEVICES, st.just(offloads)))
        total = draw(st.sampled_from([None, 16 * GIB, 256 * GIB]))
        found.append(replace(seen, node=NodeSample(memory_total_bytes=total, swap=swap)))
    return found


def enrolled(config: OvercommitSection) -> tuple[Enrolled, ...]:
    return (Enrolled(overcommit.POLICY, Mode.ENFORCE, config),)


def play(seen: Sequence[Snapshot], config: OvercommitSection) -> list[registry.Decisions]:
    past: registry.Past = {}
    found = []
    for each in seen:
        decisions, past = registry.decide(enrolled(config), each, each.monotonic, past)
        found.append(decisions)
    return found


def check(seen: Snapshot, plan: Plan, config: OvercommitSection) -> None:
    """What must hold of one decision, whatever came before."""
    by_uid = {each.pod.uid: each for each in seen.pods}
    levels = {uid: level(each.memory, config.basis) for uid, each in by_uid.items()}
    for watch in plan.watches:
        assert by_uid[watch.pod].pod.priority is Priority.LOW
    for reclaim in plan.reclaims:
        pod, found = by_uid[reclaim.pod], levels[reclaim.pod]
        assert pod.pod.priority is Priority.LOW
        assert pod.pod.intent.managed
        assert pod.pod.intent.reclaim
        assert pod.memory is not None
        assert found is not None
        assert 0 < reclaim.size <= MAX_RECLAIM
        flushed = {each.pod for each in plan.watches if each.selector is Selector.DAMON}
        if reclaim.pod not in flushed:
            floor = max(config.pod_floor, pod.pod.intent.memory_floor, pod.memory.protected)
            assert found.current - reclaim.size >= floor
            assert reclaim.size <= found.movable
    for write in plan.writes:
        if write.knob is Knob.MEMORY_SWAP_MAX:
            assert write.value != "max"
    swap = seen.node.swap
    if plan.reclaims:
        assert swap is not None
        assert swap.device is not None
        assert swap.device.active
        if config.stop_when_shared and not any(each.selector is Selector.DAMON for each in plan.watches):
            assert swap.device.dedicated is not False
            assert sum(each.size for each in plan.reclaims) <= MAX_TOTAL


@given(days(), SECTIONS)
def test_nothing_a_node_may_look_like_breaks_it(seen: list[Snapshot], config: OvercommitSection) -> None:
    """No exception, no write or reclaim the registry refuses; and the bounds hold in every tick."""
    for each, decisions in zip(seen, play(seen, config), strict=True):
        report = decisions.reports[0]
        assert report.status is Status.OK, (report.reason, report.detail)
        check(each, decisions.plan, config)


@given(days(), SECTIONS)
def test_it_repeats_itself(seen: list[Snapshot], config: OvercommitSection) -> None:
    """The same day gives the same plans, in whatever order the pods are listed."""
    turned = [replace(each, pods=each.pods[::-1]) for each in seen]

    def plans(days_seen: Sequence[Snapshot]) -> list[tuple[object, ...]]:
        return [
            tuple(map(frozenset, (each.plan.writes, each.plan.watches, each.plan.reclaims)))
            for each in play(days_seen, config)
        ]

    assert plans(seen) == plans(seen) == plans(turned)


@given(days(), st.sampled_from([1.1, 2.0]))
def test_off_is_off(seen: list[Snapshot], pod_ratio: float) -> None:
    """A ratio of 1.0 wants nothing of anybody."""
    for decisions in play(seen, section(ratio=1.0, podRatio=pod_ratio)):
        assert decisions.plan == Plan()


PARTS = st.lists(
    st.builds(
        Part, st.integers(8, 64).map(lambda mib: mib * MIB), st.sampled_from([None, None, 1.0, 7.0, 40.0, 200.0])
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(
    st.lists(PARTS, min_size=1, max_size=3),
    SELECTORS,
    st.sampled_from([1.2, 2.0, 3.0]),
    st.sampled_from([64 * MIB, 4 * GIB]),
    st.booleans(),
)
def test_in_a_model_of_paging(
    shapes: list[list[Part]], selectors: tuple[str, ...], ratio: float, device: int, silent: bool
) -> None:
    """
    Whatever is hot or cold in them: the device keeps its floor, the ratio its target but for one decision, the pods
    theirs, and none waits for longer than its budget, and what its memory costs to read back once.
    """
    config = section(ratio=ratio, probation=10, podFloor="16Mi")
    low = [sample(number, Priority.LOW) for number in range(len(shapes))]
    models = {pod.pod.uid: PodMemoryModel(parts) for pod, parts in zip(low, shapes, strict=True)}
    logical = {uid: each.current for uid, each in models.items()}
    node = PagingNode(low, models, ("cgroup", "kubepods", *STOCK, *selectors), device_size=device, silent=silent)
    past: registry.Past = {}
    while node.now < 600.0:
        seen = node.advance(5.0)
        decisions, past = registry.decide(enrolled(config), seen, node.now, past)
        check(seen, decisions.plan, config)
        figures = decisions.reports[0].overcommit
        assert figures is not None
        assert sum(each.size for each in decisions.plan.reclaims) <= max(figures.gap, 0)
        assert (node.device.written or 0) <= config.write_rate * (node.now + BURST_SECONDS) + len(low) * CHUNK
        if figures.pause is not Pause.NONE:
            assert decisions.plan.reclaims == ()
            assert all(each.rate == 0 for each in decisions.plan.watches)
        node.carry_out(decisions.plan.writes, decisions.plan.watches, decisions.plan.reclaims)
        # A chunk is the model's page: it takes no less.
        assert node.offloaded <= 0.8 * device + len(low) * CHUNK
        for uid, model in models.items():
            assert model.current + model.swapped == logical[uid]
            assert model.swapped <= 0.75 * logical[uid] + CHUNK
    for uid, model in models.items():
        once = logical[uid] / PAGE * FAULT_SECONDS
        assert model.stalled <= config.watermark * (BUDGET_SECONDS + node.now) + once
