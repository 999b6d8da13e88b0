"""For any node: preemption never takes from a pod above low, stays in its bounds, repeats itself, and converges."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.acting import Status
from plimsoll.model.order import order
from plimsoll.model.plan import Knob, Target
from plimsoll.model.pod import Priority, QosClass
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies import preemption, registry
from plimsoll.policies.bounds import ancestors
from plimsoll.policies.preemption import State, decide
from plimsoll.policies.registry import enrol
from tests.fixtures.colocated import GIB, sample, snapshot

CAPABILITIES = (
    "cpu-idle",
    "cpu-weight",
    "cpu-shares",
    "cpu-qos-level",
    "memory-qos-level",
    "memcg-qos-enable",
    "memory-low",
)
TAKES = frozenset(Knob) - {Knob.MEMORY_LOW, Knob.MEMCG_QOS_ENABLE}

SECTIONS = st.builds(
    lambda cpu, memory, share: PreemptionSection.model_validate(
        {"mode": "enforce", "cpu": cpu, "memory": memory, "memoryProtectionShare": share}
    ),
    st.sampled_from(["auto", "idle", "weight", "off"]),
    st.sampled_from(["auto", "off"]),
    st.floats(0.01, 0.9),
)


@st.composite
def pods(draw: st.DrawFn) -> tuple[PodSample, ...]:
    numbers = draw(st.lists(st.integers(0, 30), unique=True, max_size=12))
    return tuple(
        sample(
            number,
            draw(st.sampled_from(Priority)),
            qos=draw(st.sampled_from(QosClass)),
            managed=draw(st.booleans()),
            request=draw(st.none() | st.integers(1, 1 << 40) | st.just((1 << 63) - 1)),
            resizing=draw(st.booleans()),
            state=draw(st.sampled_from([CgroupState.FOUND, CgroupState.FOUND, CgroupState.PENDING, CgroupState.GONE])),
            containers=draw(st.integers(0, 3)),
            knobs=draw(st.sampled_from([{}, {Knob.CPU_QOS_LEVEL: "-1"}, {Knob.CPU_QOS_LEVEL: "0"}])),
            root=draw(st.sampled_from(["kubepods.slice", "kubepods.slice", None])),
        )
        for number in numbers
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    return snapshot(
        draw(pods()),
        draw(st.sets(st.sampled_from(CAPABILITIES))),
        monotonic=draw(st.floats(0, 1e6)),
        memory=draw(st.none() | st.integers(1, 1 << 42)),
    )


@given(snapshots(), SECTIONS)
def test_nobody_above_low_gives_anything(seen: Snapshot, section: PreemptionSection) -> None:
    """No write that takes reaches a cgroup of a pod that is not low, or of one that is not managed."""
    low: set[str] = set()
    others: set[str] = set()
    for each in seen.pods:
        of_low = each.pod.priority is Priority.LOW and each.pod.intent.managed
        (low if of_low else others).update({each.cgroup or "", *each.container_cgroups} - {""})
    for write in decide(seen, section, State()).writes:
        if write.knob in TAKES:
            assert write.target.path in low
        assert write.knob is Knob.MEMORY_LOW or write.target.path not in others


@given(snapshots(), SECTIONS)
def test_the_registry_never_has_to_stop_it(seen: Snapshot, section: PreemptionSection) -> None:
    """Whatever the node, the policy stays within the bounds it declared, and within a number of writes."""
    decisions, _ = registry.decide(enrol(preemption_section=section), seen, 0.0, {})
    (report,) = decisions.reports
    assert (report.status, report.failures) == (Status.OK, {})
    cgroups = sum(1 + len(each.container_cgroups) for each in seen.pods)
    assert len(decisions.plan.writes) <= 2 * cgroups + 4
    assert decisions.plan.conflicts == ()
    assert {each.reason for each in report.notes} <= set(preemption.REASONS)


@given(snapshots(), SECTIONS)
def test_protection_is_bounded(seen: Snapshot, section: PreemptionSection) -> None:
    """No pod is protected beyond its request, all together not beyond the share, and no parent by less than its own."""
    writes = {
        each.target.path: int(each.value)
        for each in decide(seen, section, State()).writes
        if each.knob is Knob.MEMORY_LOW
    }
    protected = {each.cgroup: each for each in seen.pods if each.cgroup in writes}
    total = 0
    sums: dict[str, int] = {}
    for path, each in protected.items():
        assert path is not None
        assert each.pod.priority is Priority.HIGH
        assert 0 < writes[path] <= (each.pod.object.memory_request_bytes or 0)
        total += writes[path]
        for above in ancestors(each):
            sums[above] = sums.get(above, 0) + writes[path]
    assert {path: writes[path] for path in writes if path not in protected} == sums
    if writes:
        assert total <= (seen.node.memory_total_bytes or 0) * section.memory_protection_share


@given(snapshots(), SECTIONS)
def test_the_same_again(seen: Snapshot, section: PreemptionSection) -> None:
    """Pure, and level: the same input gives the same output, and the state it gives changes nothing then."""
    first = decide(seen, section, State())
    assert decide(seen, section, State()) == first
    second = decide(seen, section, first.state)
    assert second == first
    assert hash(first.state) == hash(second.state)


@given(snapshots(), SECTIONS, st.randoms(use_true_random=False))
def test_the_order_of_pods_means_nothing(seen: Snapshot, section: PreemptionSection, random: object) -> None:
    """However a source lists the pods, the plan is the same."""
    shuffled = list(seen.pods)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = snapshot(
        shuffled,
        [each.name for each in seen.capabilities if each.available],
        monotonic=seen.monotonic,
        memory=seen.node.memory_total_bytes,
    )
    enrolled = enrol(preemption_section=section)
    assert registry.decide(enrolled, other, 0.0, {})[0].plan == registry.decide(enrolled, seen, 0.0, {})[0].plan


@given(st.lists(pods(), min_size=1, max_size=5), SECTIONS, st.sets(st.sampled_from(CAPABILITIES)))
def test_it_converges_through_churn(
    history: list[tuple[PodSample, ...]], section: PreemptionSection, capabilities: set[str]
) -> None:
    """
    Whatever pods came, went and changed before, once nothing resizes and the node stands still the wanted state is that
    of a fresh start, apart from the switch that stays on; and it is bounded by the pods there are.
    """
    enrolled = enrol(preemption_section=section)
    past: registry.Past = {}
    last = history[-1]
    calm = tuple(sample_without_resize(each) for each in last)
    for second, each in enumerate((*history, calm)):
        seen = snapshot(each, capabilities, monotonic=float(second), memory=64 * GIB)
        decisions, past = registry.decide(enrolled, seen, float(second), past)
    fresh, _ = registry.decide(enrolled, snapshot(calm, capabilities, memory=64 * GIB), 0.0, {})

    def values(plan: registry.Decisions) -> Mapping[tuple[Target, Knob], str]:
        return {each.key: each.value for each in plan.plan.writes if each.knob is not Knob.MEMCG_QOS_ENABLE}

    assert values(decisions) == values(fresh)
    state = past["preemption"].state
    assert isinstance(state, State)
    assert len(state.resized) <= len(calm)


def sample_without_resize(each: PodSample) -> PodSample:
    number = int(each.pod.uid.rpartition("-")[2])
    return sample(
        number,
        each.pod.priority,
        qos=each.pod.object.qos_class,
        managed=each.pod.intent.managed,
        request=each.pod.object.memory_request_bytes,
        state=each.state,
        containers=len(each.container_cgroups),
        knobs=each.knobs,
        root=each.kubelet_root,
    )


@given(pods(), pods(), SECTIONS)
def test_no_child_is_wider_than_its_parent(
    before: tuple[PodSample, ...], after: tuple[PodSample, ...], section: PreemptionSection
) -> None:
    """On the way from any protection to any other no pod is promised more than what is above it, at any write."""
    tree: dict[str, int] = {}
    for each in (before, after):
        wanted = decide(snapshot(each, ("memory-low",)), section, State()).writes
        # What is no longer wanted is put back by the applier; here that is 0.
        gone = [path for path in tree if path not in {write.target.path for write in wanted}]
        standing = {write.key: str(tree.get(write.target.path, 0)) for write in wanted}
        for path in sorted(gone, key=lambda path: -path.count("/")):
            tree[path] = 0
        for write in order(wanted, standing):
            tree[write.target.path] = int(write.value)
            parent = write.target.path.rpartition("/")[0]
            if parent in tree:
                assert tree[write.target.path] <= tree[parent]
