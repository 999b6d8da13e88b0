"""
For any node, load and fault: no write ever leaves a high-priority pod on a slow CPU that was not on one before, neither
on the way forward nor while everything is put back; and what is decided is bounded, minimal, repeatable and lawful.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.acting import Status
from plimsoll.model.cpus import parse_cpus
from plimsoll.model.frequency import Backend, Bucket, Unit
from plimsoll.model.plan import Knob, TargetKind
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState
from plimsoll.policies import frequency, registry
from plimsoll.policies.frequency import State, decide
from plimsoll.policies.frequency_demand import Demand
from plimsoll.policies.frequency_place import Site, place
from plimsoll.policies.frequency_size import Group, Size, resize
from plimsoll.policies.registry import enrol
from plimsoll.simulator.frequency_node import FrequencyNode
from tests.fixtures.frequency_history import History, checked, harmed, slow
from tests.fixtures.machines import machine

thorough = settings(max_examples=150)

OBSERVER = PreemptionSection.model_validate({"mode": "off"})


def section(**changes: object) -> FrequencySection:
    return FrequencySection.model_validate({"mode": "enforce", **changes})


SECTIONS = st.builds(
    lambda normal, ratio, least, ceiling, turbo: section(
        normalPods=normal,
        maxHighRatio=ratio,
        minHighUnits=least,
        lowGroupMaxMHz=ceiling,
        turboFrequency=turbo,
        # A window of some ticks, so that shrinking is met with.
        window=4,
        coolDown=2,
    ),
    st.sampled_from(["untouched", "low", "all"]),
    st.sampled_from([0.3, 0.6, 0.9, 1.0]),
    st.integers(0, 3),
    st.sampled_from(["auto", 100, 1300, 9000]),
    st.sampled_from(["auto", "on", "off"]),
)

MACHINES = st.builds(
    machine,
    packages=st.integers(1, 2),
    cores=st.integers(1, 6),
    threads=st.integers(1, 2),
    domains=st.integers(1, 2),
)


@st.composite
def nodes(draw: st.DrawFn) -> FrequencyNode:
    units = draw(MACHINES)
    version = draw(st.sampled_from(["cpuset-v2", "cpuset-v1"]))
    backend = draw(st.sampled_from([Backend.TPMI, Backend.MAILBOX, Backend.CPUFREQ]))
    if backend is Backend.CPUFREQ:
        units = tuple(each._replace(name=f"policy{number}") for number, each in enumerate(units))
    buckets = (Bucket(1, 4000), Bucket(3, 3800))
    return FrequencyNode(
        units,
        backend,
        ("cgroup", "kubepods", "frequency", "energy-preference", version),
        turbo={each.package: buckets for each in units} if draw(st.booleans()) else {},
    )


SEEDS, LENGTHS = st.integers(0, 1 << 32), st.integers(1, 60)


# What must never happen is looked for longest.
@settings(thorough, max_examples=1000)
@given(nodes(), SECTIONS, SEEDS, LENGTHS)
def test_at_no_instant_a_high_pod_gets_a_slow_cpu(
    node: FrequencyNode, config: FrequencySection, seed: int, length: int
) -> None:
    """
    After every single write of any history, with faults, kubelet and hotplug between; and after every write of putting
    everything back from any point of it.
    """
    history, state = History(node, seed), State()
    for second in range(length):
        history.go_on()
        decision = decide(node.snapshot(float(second)), config, state)
        state = decision.state
        # At any write the agent may be killed, and everything be put back from the journal.
        cut = history.below(12) if history.sometimes() else None
        for count, _ in enumerate(checked(node, node.carry_out(decision.writes, history.fails))):
            if count == cut:
                crashed = deepcopy(node)
                list(checked(crashed, crashed.carry_out((), history.fails)))
    list(checked(node, node.carry_out((), history.fails)))


@thorough
@given(nodes(), SECTIONS, SEEDS, LENGTHS)
def test_it_comes_to_rest(node: FrequencyNode, config: FrequencySection, seed: int, length: int) -> None:
    """
    Once nothing happens any more, nobody is harmed, every high pod runs on the high group, every unit of neither group
    but the kubelet's is in the low one, the same is decided again and again, and all of it can be put back.
    """
    # cgroup v1 forgets CPUs that go offline, so there what was before may not be had any more.
    history, state = History(node, seed, hotplug="cpuset-v2" in node.capabilities), State()
    for second in range(length):
        history.go_on()
        decision = decide(node.snapshot(float(second)), config, state)
        state = decision.state
        list(node.carry_out(decision.writes, history.fails))
    for each in node.pods.values():
        each.usage, each.waited = 0.1, 0.0
        # The kubelet's, and what was pinned, are left as they are.
        each.cpus = node._allowed(each)
    seen = []
    for second in range(100, 250):
        decision = decide(node.snapshot(float(second)), config, state)
        state = decision.state
        list(node.carry_out(decision.writes))
        seen.append({each.key: each.value for each in decision.writes})
    pods = [each for each in node.pods.values() if each.managed and each.state is CgroupState.FOUND]
    high = [each for each in pods if each.priority is Priority.HIGH]
    assert seen[-1] == seen[-2] == seen[-20]
    assert not harmed(node)
    group = frozenset().union(*(each.cpus for each in node.units if each.name in state.groups.high))
    taken = frozenset().union(*(each.pinned for each in node.pods.values()))
    assert all(each.cpus <= group - taken for each in high if not each.pinned and group - taken)
    neither = {each.name for each in node.units if not each.cpus & taken} - state.groups.high - state.groups.low
    waiting = any(
        each.state is CgroupState.PENDING and each.priority is Priority.HIGH and each.managed
        for each in node.pods.values()
    )
    assert waiting or not neither or not (group - taken)
    list(node.restore())
    assert not node.originals
    assert not slow(node)


@thorough
@given(nodes(), SECTIONS, SEEDS, LENGTHS)
def test_the_registry_never_has_to_stop_it(
    node: FrequencyNode, config: FrequencySection, seed: int, length: int
) -> None:
    """Whatever the node, the policy stays within the rules, within a number of writes, and says why."""
    history = History(node, seed)
    past: registry.Past = {}
    enrolled = enrol(preemption_section=OBSERVER, frequency_section=config)
    for second in range(length):
        history.go_on()
        decisions, past = registry.decide(enrolled, node.snapshot(float(second)), float(second), past)
        report = decisions.reports[-1]
        assert (report.status, report.detail) == (Status.OK, "")
        assert decisions.plan.conflicts == ()
        assert {each.reason for each in report.notes} <= set(frequency.REASONS)
        assert len(decisions.plan.writes) <= 4 * len(node.units) + 2 * len(node.pods) + 8
        for each in decisions.plan.writes:
            assert each.knob is not Knob.CPUSET_CPUS or parse_cpus(each.value)
        list(node.carry_out(decisions.plan.writes, history.fails))


@thorough
@given(nodes(), SECTIONS, SEEDS, LENGTHS)
def test_the_same_again(node: FrequencyNode, config: FrequencySection, seed: int, length: int) -> None:
    """Pure, its state a value, and blind to the order in which a source lists the pods."""
    history, state = History(node, seed), State()
    for second in range(length):
        history.go_on()
        seen = node.snapshot(float(second))
        decision = decide(seen, config, state)
        other = decide(replace(seen, pods=tuple(reversed(seen.pods))), config, state)
        assert decide(seen, config, state) == decision
        assert (sorted(other.writes), other.state) == (sorted(decision.writes), decision.state)
        assert hash(decision.state) == hash(other.state)
        state = decision.state
        list(node.carry_out(decision.writes, history.fails))


DEMANDS = st.builds(
    lambda used, known, waiting: Demand(used, known, waiting, {0: used}, {}),
    st.floats(0, 200),
    st.booleans(),
    st.booleans(),
)


@thorough
@given(st.lists(DEMANDS, max_size=30), DEMANDS, st.integers(1, 128), st.sampled_from([1, 2, 4]), st.booleans())
def test_steps_are_bounded(history: list[Demand], last: Demand, cpus: int, grain: int, confined: bool) -> None:
    """
    The group grows by no more than its factor or what is used calls for, shrinks by no more than its share and never
    below what the window used; while use is not known it holds, and grows from the second time on.
    """
    config = section(window=10, coolDown=0)
    group, size = Group(cpus, 0.0, grain, confined), Size()
    for second, each in enumerate([*history, last]):
        before = size
        wish, size = resize(group, each, float(second), config, size)
        enough = each.used / config.target_utilization
        assert wish.cpus <= max(cpus, cpus * config.growth_factor, enough, cpus + 1.0)
        assert wish.cpus >= cpus - max(grain, math.ceil(config.shrink_step * cpus))
        if wish.cpus < cpus:
            recent = [past for past in [*history, last][max(0, second - 9) : second + 1] if past.known]
            assert wish.cpus >= max(past.used for past in recent) / config.target_utilization - 1e-9
            assert each.known
        if not each.known and before.blind == 0:
            assert wish.cpus >= cpus
        if not each.known and before.blind >= 1:
            assert wish.cpus > cpus
        if confined and each.known and each.used >= 0.95 * cpus:
            assert wish.cpus >= cpus * config.growth_factor


@thorough
@given(MACHINES, st.data())
def test_moves_are_minimal(units: tuple[Unit, ...], data: st.DataObject) -> None:
    """Only what is needed is added, only what is not is removed, and never both; a size that fits moves nothing."""
    names = [each.name for each in units]
    current = frozenset(data.draw(st.sets(st.sampled_from(names))))
    wanted = data.draw(st.floats(0, 30))
    nodes_ = sorted({each.numa for each in units if each.numa is not None})
    site = Site(
        units=units,
        fixed=frozenset(data.draw(st.sets(st.sampled_from(names), max_size=1))),
        closed=frozenset(data.draw(st.sets(st.sampled_from(names), max_size=2))),
        ready=frozenset(data.draw(st.sets(st.sampled_from(names)))),
        taken=frozenset(),
        pull={node: data.draw(st.floats(0, 5)) for node in nodes_},
        least={},
        least_units=data.draw(st.integers(0, 2)),
        most=data.draw(st.integers(1, len(names) + 1)),
        buckets={},
    )

    def few(group: frozenset[str]) -> bool:
        return any(
            sum(1 for each in units if each.name in group and each.numa == node) < site.least_units for node in nodes_
        )

    high = place(current, wanted, site)
    grain = len(units[0].cpus)
    base = current | site.fixed
    assert not (high - base and base - high) or len(base) > site.most or few(base)
    assert len(high) <= max(site.most, len(site.fixed))
    assert place(high, len(high) * grain, site) == high
    assert not (high - base) & site.closed
    for each in high - base:
        assert (len(high) - 1) * grain < wanted or few(high - {each})
    assert not base - high or len(base) > site.most or len(high) * grain >= wanted


@thorough
@given(nodes(), SECTIONS)
def test_somebody_elses_speed_select_is_left_alone(node: FrequencyNode, config: FrequencySection) -> None:
    """A foreign manager: nothing is wanted, so all of ours goes back; and it is said to whom it matters."""
    node.add(1, Priority.HIGH, usage=0.5)
    node.add(2, Priority.LOW)
    state = State()
    for second in range(5):
        decision = decide(node.snapshot(float(second)), config, state)
        state = decision.state
        list(node.carry_out(decision.writes))
    node.foreign = "core power was turned off"
    decision = decide(node.snapshot(5.0), config, state)
    assert decision.writes == ()
    assert decision.lacking == (frequency.EXCLUSIVE,)
    assert [each.reason for each in decision.notes] == [frequency.MANAGED_ELSEWHERE]
    list(checked(node, node.carry_out(decision.writes)))
    assert not slow(node)
    assert all(each.target.kind is not TargetKind.UNIT for each in node.originals.values())
