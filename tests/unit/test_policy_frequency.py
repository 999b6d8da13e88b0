"""The frequency policy on a small node, decision by decision: who runs where, what is slow, and in what order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pytest

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.acting import Note
from plimsoll.model.cpus import format_cpus
from plimsoll.model.frequency import Backend, Bucket, Unit
from plimsoll.model.frequency_groups import Cause, Group
from plimsoll.model.order import order
from plimsoll.model.plan import Knob, TargetKind, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState
from plimsoll.policies.frequency import EXCLUSIVE, NOT_STEERED, POLICY, State, decide
from plimsoll.simulator.frequency_node import FrequencyNode
from tests.fixtures.machines import machine

WEB, BATCH, OTHER = 1, 2, 3
PACKAGE_1 = "4-7,12-15"


def section(**changes: object) -> FrequencySection:
    return FrequencySection.model_validate({"mode": "enforce", **changes})


class Run:
    """A node of two packages of four cores, and the policy on it, a second a tick."""

    def __init__(self, node: FrequencyNode, **changes: object) -> None:
        self.node = node
        self.config = section(**changes)
        self.state = State()
        self.now = 0.0
        self.notes: tuple[Note, ...] = ()
        self.lacking: tuple[str, ...] = ()

    def tick(self, **fails: str) -> list[Write]:
        """One decision, carried out; what was written. ``fails``: by knob name, targets whose writes are refused."""
        decision = decide(self.node.snapshot(self.now), self.config, self.state)
        self.state, self.notes, self.lacking = decision.state, decision.notes, decision.lacking
        self.now += 1.0
        return list(
            self.node.carry_out(
                decision.writes, lambda each: each.target.path.startswith(fails.get(each.knob.name, "none"))
            )
        )

    def until(self, seconds: float) -> None:
        while self.now < seconds:
            self.tick()

    def use(self, cpus: float | None, *, waited: float = 0.0) -> None:
        self.node.pods[WEB].usage, self.node.pods[WEB].waited = cpus, waited

    def pod(self, number: int) -> str:
        return format_cpus(self.node.pods[number].cpus)

    def cpus(self, names: Iterable[str]) -> str:
        chosen = set(names)
        return format_cpus(cpu for each in self.node.units if each.name in chosen for cpu in each.cpus)

    @property
    def high(self) -> int:
        return len(self.state.groups.high)

    @property
    def low(self) -> int:
        return len(self.state.groups.low)


def started(
    backend: Backend = Backend.TPMI,
    *,
    units: tuple[Unit, ...] | None = None,
    version: str = "cpuset-v2",
    turbo: tuple[Bucket, ...] = (),
    **changes: object,
) -> Run:
    """With one high-priority pod that uses two CPUs, and one low-priority pod."""
    units = units or machine()
    if backend is Backend.CPUFREQ:
        units = tuple(each._replace(name=f"policy{min(each.cpus)}") for each in units)
    node = FrequencyNode(
        units,
        backend,
        ("cgroup", "kubepods", "frequency", "energy-preference", version),
        turbo={0: turbo, 1: turbo} if turbo else {},
    )
    node.add(WEB, Priority.HIGH, usage=2.0)
    node.add(BATCH, Priority.LOW)
    return Run(node, **changes)


class Step(NamedTuple):
    phase: int
    knob: Knob
    target: str
    value: str


def steps(writes: Iterable[Write]) -> list[Step]:
    return [Step(each.phase, each.knob, each.target.path, each.value) for each in writes]


def test_first_enabling() -> None:
    """
    mode: enforce alone. First both pods are kept apart, while nothing is slow; one decision later, with nobody left
    there, the low group is associated, then the classes get their parameters, and last of all they count.
    """
    run = started()
    first = run.tick()
    assert [(each.phase, each.knob) for each in first] == [(20, Knob.CPUSET_CPUS), (30, Knob.CPUSET_CPUS)]
    # As much as may be until use is known: 0.9 of eight cores.
    assert run.high == 7
    second = steps(run.tick())
    (slow,) = run.state.groups.low
    assert second == [
        Step(40, Knob.CLOS_ASSOCIATION, slow, "3"),
        Step(45, Knob.CLOS_PARAMETERS, "0/0/0", "prio=0 min=2000 max=none"),
        Step(45, Knob.CLOS_PARAMETERS, "0/0/3", "prio=15 min=800 max=1400"),
        Step(45, Knob.CLOS_PARAMETERS, "1/0/0", "prio=0 min=2000 max=none"),
        Step(45, Knob.CLOS_PARAMETERS, "1/0/3", "prio=15 min=800 max=1400"),
        Step(50, Knob.CORE_POWER, "0", "ordered"),
        Step(50, Knob.CORE_POWER, "1", "ordered"),
    ]
    assert run.pod(BATCH) == run.cpus([slow])


def test_mailbox_spelling() -> None:
    """The older generation's class registers also hold a preference and a wish."""
    run = started(Backend.MAILBOX, lowGroupMaxMHz=1250, highGroupMinMHz=9000)
    run.until(2)
    texts = {each.value for each in run.node.originals.values() if each.knob is Knob.CLOS_PARAMETERS}
    assert texts == {""}
    found = {value for (target, knob), value in run.node.values.items() if knob is Knob.CLOS_PARAMETERS}
    assert found == {"prio=0 min=2000 max=none epp=0 desired=0", "prio=15 min=800 max=1200 epp=15 desired=0"}


def test_it_follows_use() -> None:
    """Down, a few units at a time, to what two CPUs of use need; up at once when they no longer do."""
    run = started()
    sizes = []
    while run.now < 600:
        run.tick()
        sizes.append(run.high)
    assert sizes == sorted(sizes, reverse=True)
    # ceil(2 / 0.65) = 4 CPUs are two cores of two threads.
    assert (sizes[0], sizes[119], sizes[-1]) == (7, 7, 2)
    assert run.low == 6
    assert len(run.node.pods[WEB].cpus) == 4
    run.use(3.9, waited=0.3)
    run.tick()
    assert run.high == 3
    run.use(6.0, waited=0.3)
    run.tick()
    assert run.high == 5
    assert len(run.node.pods[WEB].cpus) == 10


def test_growing_is_one_decision_in_order() -> None:
    """The unit is raised, then taken from the low pod, then given to the high one."""
    run = started()
    run.until(600)
    run.use(3.9, waited=0.5)
    written = steps(run.tick())
    assert [each.phase for each in written] == [10, 20, 30]
    assert written[0].value == "0"
    assert written[0].target in run.state.groups.high


def test_shrinking_is_two_decisions() -> None:
    """The high pod leaves first; only when the snapshot shows that is the unit made slow and given away."""
    run = started()
    run.until(120)
    written = run.tick()
    assert run.high < 7
    assert {each.phase for each in written} == {30}
    assert run.low == 1
    left = run.tick()
    assert run.low > 1
    assert {each.knob for each in left if each.phase == 40} == {Knob.CLOS_ASSOCIATION}
    assert any(each.phase == 20 for each in left)


def test_a_high_pod_that_does_not_leave_keeps_its_cpus_fast() -> None:
    """Its cpuset cannot be written: what it may run on is never made slow, however small the group should be."""
    run = started()
    while run.now < 300:
        run.tick(CPUSET_CPUS="kubepods.slice/pod1")
    assert run.low == 0
    assert not run.node.slow()


def test_a_high_pod_on_slow_cpus_makes_them_fast() -> None:
    """Somebody writes its cpuset, and ours does not come through: after three seconds all that it reaches is fast."""
    run = started()
    run.until(600)
    run.node.pods[WEB].cpus = run.node.cpus
    run.node.values.clear()
    for _ in range(5):
        run.tick(CPUSET_CPUS="kubepods.slice/pod1")
        run.node.pods[WEB].cpus = run.node.cpus
    assert run.low == 0
    assert [each.reason for each in run.notes] == []
    run.until(run.now + 40)
    assert run.low > 0


def test_what_could_not_be_made_slow_is_not_once_a_high_pod_is_there() -> None:
    """The write failed; before it is tried again somebody lets the high pod run there."""
    run = started()
    run.tick()
    run.tick(CLOS_ASSOCIATION="")
    assert run.low == 1
    assert not run.node.slow()
    run.node.pods[WEB].cpus = run.node.cpus
    written = run.tick()
    assert run.low == 0
    assert not [each for each in written if each.knob is Knob.CLOS_ASSOCIATION]


def test_strays_are_told() -> None:
    """While such a pod is on slow CPUs for too long its owner is told why."""
    run = started()
    run.until(600)
    for second in range(4):
        run.node.pods[WEB].cpus = run.node.cpus
        run.tick(CPUSET_CPUS="kubepods.slice/pod1")
        assert [each.reason for each in run.notes] == ([NOT_STEERED] if second == 3 else [])


def test_a_unit_that_cannot_be_raised_does_not_hold_up_the_others() -> None:
    """EPERM on package 1: growth goes on in package 0 after three seconds, and nothing is given away too early."""
    run = started()
    run.until(600)
    run.use(16.0, waited=0.5)
    for _ in range(20):
        run.use(float(len(run.node.pods[WEB].cpus)), waited=0.5)
        run.tick(CLOS_ASSOCIATION="1/")
        assert not run.node.pods[WEB].cpus & run.node.slow()
    assert {each for each in run.state.groups.high if each.startswith("0/")} == {f"0/0/{core}" for core in range(4)}
    assert len(run.node.pods[WEB].cpus) >= 8


def test_a_pending_pod_holds_back_slowing_for_a_minute() -> None:
    """It may start anywhere at any moment; one that never starts must not cost power for ever."""
    run = started()
    run.node.add(OTHER, Priority.HIGH, state=CgroupState.PENDING)
    run.until(50)
    assert run.low == 0
    run.until(65)
    assert run.low == 1


def test_without_high_pods() -> None:
    """One core stays high for whoever comes; the rest is slow at once, and the low pod's."""
    run = started()
    run.node.remove(WEB)
    run.until(3)
    assert (run.high, run.low) == (1, 7)
    assert run.pod(BATCH) == run.cpus(run.state.groups.low)
    run.node.add(WEB, Priority.HIGH, request_millis=6000)
    run.tick()
    # Half of the request, but no less than the largest single one.
    assert run.high == 3
    run.tick()
    assert run.node.pods[WEB].cpus <= run.node.cpus - run.node.slow()


def test_new_pods_whose_use_is_not_known() -> None:
    """For one decision it is held, from the second on it counts as a full group."""
    run = started()
    run.until(600)
    before = run.high
    run.use(None)
    run.tick()
    assert run.high == before
    run.tick()
    assert run.high > before


def test_pinned_pods() -> None:
    """
    A high pod's exclusive CPUs are high by force, and its cpuset is the kubelet's; those of others are in neither
    group, and nobody else is given any of them.
    """
    run = started()
    run.node.add(OTHER, Priority.HIGH, pinned=frozenset({2, 10}), cpus=frozenset({2, 10}), usage=2.0)
    run.node.add(4, Priority.LOW, pinned=frozenset({7}), cpus=frozenset({7}))
    run.until(600)
    assert "0/0/2" in run.state.groups.high
    assert "1/0/3" not in run.state.groups.high | run.state.groups.low
    assert not {2, 10, 7} & (run.node.pods[WEB].cpus | run.node.pods[BATCH].cpus)
    written = {target.path for (target, knob) in run.node.originals if knob is Knob.CPUSET_CPUS}
    assert written == {"kubepods.slice/pod1", "kubepods.slice/pod2"}
    assert len(run.node.pods[WEB].cpus) == 4


def test_a_pod_keeps_its_numa_node() -> None:
    """A pod that was confined to one node before stays there, and the group has what it needs there."""
    run = started()
    run.node.pods[WEB].cpus = run.node.units[4].cpus | run.node.units[5].cpus
    run.until(600)
    assert {each.split("/")[0] for each in run.state.groups.high} == {"1"}
    run.use(4.0, waited=0.5)
    run.tick()
    assert run.pod(WEB) == PACKAGE_1
    # What is elsewhere is no use to it, however much it wants.
    run.use(8.0, waited=0.5)
    run.tick()
    assert (run.high, run.pod(WEB)) == (4, PACKAGE_1)
    # One that was free to run anywhere has CPUs of both nodes; that changes nothing for the other one.
    run.node.add(OTHER, Priority.HIGH, usage=3.0, request_millis=12_000)
    run.until(run.now + 3)
    assert run.node.pods[OTHER].cpus > run.node.pods[WEB].cpus == frozenset({4, 5, 6, 7, 12, 13, 14, 15})


@pytest.mark.parametrize("choice", ["untouched", "low", "all"])
def test_normal_pods(choice: str) -> None:
    """Where the administrator wants them; by default they are never written."""
    run = started(normalPods=choice)
    run.node.add(OTHER, Priority.NORMAL)
    run.until(600)
    written = {target.path for (target, knob) in run.node.originals if knob is Knob.CPUSET_CPUS}
    assert ("kubepods.slice/pod3" in written) is (choice == "low")
    assert run.pod(OTHER) == (run.pod(BATCH) if choice == "low" else "0-15")


def test_unmanaged_pods_are_nobody() -> None:
    """They are neither steered nor waited for."""
    run = started()
    run.node.add(OTHER, Priority.HIGH, managed=False)
    run.until(3)
    assert run.low == 1
    assert not any(target.path.endswith("pod3") for target, _ in run.node.originals)


def test_cgroup_v1_goes_through_the_union() -> None:
    """A pod that becomes high: its cgroup is given both sets, its container the new one; one decision later it fits."""
    run = started(version="cpuset-v1")
    run.until(600)
    fast, slow = run.cpus(run.state.groups.high), run.cpus(run.state.groups.low)
    assert run.pod(BATCH) == slow
    run.node.pods[BATCH].priority = Priority.HIGH
    run.node.pods[BATCH].usage = 0.0
    run.tick()
    assert run.pod(BATCH) == fast
    run.tick()
    assert {value for (target, _), value in run.node.values.items() if target.path.startswith("kubepods")} == {fast}


def test_cpufreq() -> None:
    """Only the low group's policies are capped; a unit that never was slow is left as it is found."""
    run = started(Backend.CPUFREQ)
    run.until(600)
    units = {
        (target.path, knob): value
        for (target, knob), value in run.node.values.items()
        if target.kind is TargetKind.UNIT
    }
    low = run.state.groups.low
    assert {path for path, knob in units if knob is Knob.SCALING_MAX_FREQ} == low
    assert {units[each, Knob.SCALING_MAX_FREQ] for each in low} == {"1400000"}
    assert {units[each, Knob.ENERGY_PREFERENCE] for each in low} == {"power"}
    # The first of all has never been anything but high.
    wanted = decide(run.node.snapshot(run.now), run.config, run.state).writes
    assert ("policy0", Knob.SCALING_MAX_FREQ) not in {(each.target.path, each.knob) for each in wanted}
    assert "policy0" in run.state.groups.high
    run.use(3.9, waited=0.5)
    written = steps(run.tick())
    (raised,) = [each for each in written if each.knob is Knob.SCALING_MAX_FREQ]
    assert (raised.phase, raised.value) == (10, "3500000")
    assert raised.target in run.state.groups.high
    assert written.index(raised) < [each.phase for each in written].index(20)


def test_both_siblings_are_capped() -> None:
    """Each thread of a core may have a policy of its own; the core is as fast as the faster of them is let."""
    units = tuple(each._replace(targets=tuple(f"policy{cpu}" for cpu in sorted(each.cpus))) for each in machine())
    run = started(Backend.CPUFREQ, units=units)
    run.until(600)
    capped = {target.path for (target, knob) in run.node.values if knob is Knob.SCALING_MAX_FREQ}
    slow = [each for each in units if each.cpus <= run.node.slow()]
    assert capped == {path for each in slow for path in each.targets}
    assert len(slow) == run.low == 6


def test_cpufreq_floor() -> None:
    """A floor for the high group is written only where it is asked for, never below the lowest."""
    run = started(Backend.CPUFREQ, highGroupMinMHz=1800)
    run.until(600)
    floors = {
        target.path: value
        for (target, knob), value in run.node.values.items()
        if knob is Knob.SCALING_MIN_FREQ and value
    }
    assert {each: floors[each] for each in run.state.groups.high} == dict.fromkeys(run.state.groups.high, "1800000")


@pytest.mark.parametrize(
    ("choice", "buckets", "on"),
    [
        ("off", (Bucket(4, 4600),), False),
        ("on", (Bucket(1, 4600),), True),
        ("auto", (Bucket(1, 4600), Bucket(2, 4300)), True),
        ("on", (), False),
    ],
)
def test_turbo_frequency(choice: str, buckets: tuple[Bucket, ...], *, on: bool) -> None:
    """Where it is wanted and there, after core power, with the limits that would hide it; and it is put back first."""
    run = started(turbo=buckets, turboFrequency=choice)
    run.until(600)
    wanted = {
        (target.path, knob, value)
        for (target, knob), value in run.node.values.items()
        if knob in (Knob.TURBO_FREQUENCY, Knob.TURBO_LIMITS)
    }
    both = {("0", Knob.TURBO_FREQUENCY, "on"), ("0", Knob.TURBO_LIMITS, "f" * 16)}
    assert wanted == (both | {("1", knob, value) for _, knob, value in both} if on else set())
    back = [each.knob for each in run.node.restore()]
    if on:
        assert back.index(Knob.TURBO_FREQUENCY) < back.index(Knob.TURBO_LIMITS) < back.index(Knob.CORE_POWER)
    assert back.index(Knob.CORE_POWER) < back.index(Knob.CLOS_ASSOCIATION)


def test_going_back_is_the_other_way_round() -> None:
    """Core power first, then everybody is fast, and only then may high pods run anywhere."""
    run = started()
    run.until(600)
    order_ = [each.phase for each in run.node.restore()]
    assert order_ == sorted(order_)
    assert order_[0] == -50
    assert not run.node.originals
    assert run.pod(WEB) == run.pod(BATCH) == "0-15"


def test_hotplug() -> None:
    """Cores come and go: what is gone is not written, what comes is used."""
    run = started()
    run.until(600)
    everything = run.node.units
    gone = min(run.state.groups.high)
    run.node.online(tuple(each for each in everything if each.name != gone))
    run.tick()
    assert gone not in run.state.groups.high
    run.tick()
    assert run.high == 2
    run.node.online(everything)
    run.tick()
    run.tick()
    assert gone in run.state.groups.low


@pytest.mark.parametrize("lacks", ["sample", "cpuset", "backend", "units"])
def test_what_it_cannot_do_without(lacks: str) -> None:
    """Nothing is wanted, so that what was is put back; and it says what is lacking."""
    run = started()
    run.until(5)
    seen = run.node.snapshot(5.0)
    if lacks == "cpuset":
        run.node.capabilities = ("cgroup", "kubepods", "frequency")
    elif lacks == "backend":
        run.node.backend = Backend.NONE
    elif lacks == "units":
        run.node.units = ()
    seen = run.node.snapshot(5.0)
    if lacks == "sample":
        seen = type(seen)(
            sequence=1, monotonic=5.0, unix=5.0, interval=1.0, node_name="n", capabilities=seen.capabilities
        )
    decision = decide(seen, run.config, run.state)
    assert (decision.writes, decision.state) == ((), State())
    assert decision.lacking == (("cpuset-v2",) if lacks == "cpuset" else ("frequency",))


def test_a_foreign_manager() -> None:
    """It is not fought, and said: by what is lacking, and to the pods it matters to."""
    run = started()
    run.until(5)
    run.node.foreign = "class 2 is in use"
    run.tick()
    assert run.lacking == (EXCLUSIVE,)
    assert "class 2 is in use" in run.notes[0].message
    assert not run.node.originals


def test_chains() -> None:
    """What a high pod could suffer from depends on what comes before; taking from low pods depends on nothing."""
    run = started(turbo=(Bucket(2, 4600),), turboFrequency="on")
    run.until(300)
    run.use(5.0, waited=0.5)
    decision = decide(run.node.snapshot(run.now), run.config, run.state)
    raised = decision.state.groups.high & run.state.groups.low
    assert raised
    for each in order(decision.writes, {}):
        expected = each.phase in (30, 40, 45, 50, 55) or (each.phase == 10 and each.target.path in raised)
        assert bool(each.chain) is expected, each
    assert {each.policy for each in decision.writes} == {POLICY.name}


def test_units_nothing_is_known_of_are_left_fast() -> None:
    """Without a base and a highest frequency there is no slow one to choose."""
    units = tuple(each._replace(base=None, highest=None) for each in machine())
    run = started(units=units)
    run.until(300)
    assert (run.high, run.low) == (0, 0)
    assert not run.node.originals


def test_what_it_came_to_is_counted() -> None:
    """Each group with its CPUs and how fast they ran, what is used and wanted, moves, and why it changed last."""
    node = FrequencyNode(machine())
    run = Run(node, window=5, coolDown=0)
    node.add(WEB, Priority.HIGH, usage=1.0)
    node.add(BATCH, Priority.LOW)
    begun = decide(node.snapshot(0.0), run.config, State()).frequency
    assert begun is not None
    assert (begun.cause, begun.groups[Group.HIGH].units) == (Cause.START, begun.moves)
    run.until(20)
    found = decide(node.snapshot(run.now), run.config, run.state).frequency
    assert found is not None
    high, low = found.groups[Group.HIGH], found.groups[Group.LOW]
    assert (high.cpus, low.cpus) == (node.pods[WEB].cpus, node.pods[BATCH].cpus)
    assert found.groups[Group.NEITHER].units == 0
    assert (found.demand, found.cause) == (1.0, Cause.UNUSED)
    # All of them joined, and some left.
    assert found.moves == 2 * begun.moves - high.units
    assert (high.megahertz, high.astray) == (None, None)
    node.pods[WEB].usage = None
    unknown = decide(node.snapshot(run.now), run.config, run.state).frequency
    assert unknown is not None
    assert unknown.demand is None


@pytest.mark.parametrize(
    ("backend", "floor", "use", "slow"),
    [
        (Backend.TPMI, "auto", 0.1, 1800),
        (Backend.CPUFREQ, "auto", 0.85, 1200),
        (Backend.CPUFREQ, 1500, 0.1, 1300),
    ],
)
def test_cpus_that_run_otherwise_than_they_should(backend: Backend, floor: str | int, use: float, slow: float) -> None:
    """A high one below its floor or, without one, no faster than the low ones while busy; a low one above its own."""
    units = machine()
    if backend is Backend.CPUFREQ:
        units = tuple(each._replace(name=f"policy{min(each.cpus)}") for each in units)
    node = FrequencyNode(units, backend)
    run = Run(node, window=5, coolDown=0, highGroupMinMHz=floor)
    node.add(WEB, Priority.HIGH, usage=1.0)
    node.add(BATCH, Priority.LOW)
    run.until(20)
    high, low = sorted(node.pods[WEB].cpus), sorted(node.pods[BATCH].cpus)
    node.pods[WEB].usage = use * len(high)

    def astray(**ran: float) -> dict[Group, frozenset[int] | None]:
        node.megahertz = {int(cpu.removeprefix("cpu")): mhz for cpu, mhz in ran.items()}
        found = decide(node.snapshot(run.now), run.config, run.state).frequency
        assert found is not None
        return {group: each.astray for group, each in found.groups.items() if each.astray is not None}

    assert astray(**{f"cpu{high[0]}": slow, f"cpu{high[1]}": 3400.0, f"cpu{low[0]}": 1400.0}) == {
        Group.HIGH: {high[0]},
        Group.LOW: frozenset(),
    }
    assert astray(**{f"cpu{low[0]}": 1700.0}) == {Group.LOW: {low[0]}}
    assert astray() == {}
    run.config = run.config.model_copy(update={"mode": "observe"})
    assert astray(**{f"cpu{high[0]}": slow}) == {}
    if (backend, floor) == (Backend.CPUFREQ, "auto"):
        # With little to do it may be slow by its governor's choice.
        run.config = run.config.model_copy(update={"mode": "enforce"})
        node.pods[WEB].usage = 0.1
        assert astray(**{f"cpu{high[0]}": slow}) == {Group.HIGH: frozenset()}
