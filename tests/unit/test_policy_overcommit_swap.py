"""Who may swap, how cold memory is found, and what stops everything: with what may be written and reclaimed at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from plimsoll.model.acting import Mode, Status
from plimsoll.model.overcommit import Pause
from plimsoll.model.plan import Knob, Plan, Reclaim, Selector, Target, TargetKind, Watch, Write, cgroup
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Capability, PodSample, Snapshot
from plimsoll.policies import registry
from plimsoll.policies.bounds import Violation, territory
from plimsoll.policies.overcommit_alarm import Alarm, listen
from plimsoll.policies.overcommit_ratio import Level
from plimsoll.policies.overcommit_selector import PATIENCE_SECONDS, choose, lacking, of_pod, passed_over
from plimsoll.policies.overcommit_swap import AHEAD, Limits, limit, saved
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.reclaim_bounds import MAX_RATE, MAX_RECLAIM, MAX_RECLAIMS, Reclaimable
from plimsoll.policies.registry import Enrolled
from tests.fixtures.colocated import GIB, UID, path, sample, snapshot
from tests.fixtures.paging import DEVICE, MIB, low, memory, node, section

POD, CONTAINER = cgroup(path(1)), cgroup(f"{path(1)}/c0.scope")


# --- limits


def sized(**pods: int) -> dict[str, Level]:
    return {uid: Level(size, size, 0, 0, size) for uid, size in pods.items()}


def test_limits_are_finite_and_have_room_to_grow() -> None:
    """Three quarters of 400 MiB, a quarter more, and again room for as much growth."""
    assert dict(limit(sized(a=400 * MIB), DEVICE, 0.2, 4.0, Limits()).sizes) == {"a": int(300 * MIB * 1.25 * 1.25)}


def test_limits_are_not_written_again_for_every_page() -> None:
    """A pod may grow or shrink by a good part before its limit follows."""
    before = limit(sized(a=400 * MIB), DEVICE, 0.2, 4.0, Limits())
    for same in (350, 400, 500):
        assert limit(sized(a=same * MIB), DEVICE, 0.2, 4.0, before) == before
    for other in (100, 800):
        assert limit(sized(a=other * MIB), DEVICE, 0.2, 4.0, before) != before


def test_a_limit_leaves_what_is_kept() -> None:
    """Never more on the device than is not kept in memory; somewhat less, so that it stands while memory goes."""
    keeps = {"a": 300 * MIB}
    before = limit(sized(a=400 * MIB), DEVICE, 0.2, 4.0, Limits(), keeps=keeps)
    ((_, size),) = before.sizes
    assert 80 * MIB <= size <= 100 * MIB
    assert limit(sized(a=395 * MIB), DEVICE, 0.2, 4.0, before, keeps=keeps) == before
    ((_, less),) = limit(sized(a=380 * MIB), DEVICE, 0.2, 4.0, before, keeps=keeps).sizes
    assert less <= 80 * MIB
    assert dict(limit(sized(a=200 * MIB), DEVICE, 0.2, 4.0, before, keeps=keeps).sizes) == {"a": 0}


def test_a_large_pods_limit_follows_what_it_has_there() -> None:
    """What goes at once is bounded; written anew only after half of that, in either direction. Small ones as ever."""
    big = replace(DEVICE, size=64 * GIB)

    def having(gone: int, before: Limits) -> Limits:
        levels = {"a": Level((8192 - gone) * MIB, (8192 - gone) * MIB, gone * MIB, 0, 0)}
        return limit(levels, big, 0.2, 4.0, before, stepwise=True)

    first = having(0, Limits())
    assert dict(first.sizes) == {"a": AHEAD}
    assert having(128, first) == first
    second = having(129, first)
    assert dict(second.sizes) == {"a": 129 * MIB + AHEAD}
    assert having(0, second) == second
    assert dict(having(0, having(1000, second)).sizes) == {"a": AHEAD}
    small = limit(sized(a=200 * MIB), big, 0.2, 4.0, Limits(), stepwise=True)
    assert small == limit(sized(a=200 * MIB), big, 0.2, 4.0, Limits())


def test_limits_together_fit_the_device() -> None:
    """What does not fit is scaled down, in proportion."""
    small = replace(DEVICE, size=100 * MIB)
    sizes = dict(limit(sized(a=400 * MIB, b=800 * MIB), small, 0.2, 4.0, Limits()).sizes)
    assert sum(sizes.values()) <= 80 * MIB
    assert sizes["b"] == pytest.approx(2 * sizes["a"], rel=0.01)


def test_a_limit_that_stood_makes_room_for_who_comes() -> None:
    """What a lone pod was given is not kept when the device has to do for two."""
    small = replace(DEVICE, size=1000 * MIB)
    alone = limit(sized(a=2048 * MIB), small, 0.2, 4.0, Limits())
    both = limit(sized(a=2048 * MIB, b=2048 * MIB), small, 0.2, 4.0, alone)
    assert dict(both.sizes) == {"a": 400 * MIB, "b": 400 * MIB}
    assert limit(sized(a=2048 * MIB, b=2048 * MIB), small, 0.2, 4.0, both) == both


def test_what_a_compressing_device_keeps_is_not_saved() -> None:
    """Its pool is memory: of what is on it, only the rest is free for others."""
    zram = replace(DEVICE, kind="zram", used=400 * MIB, in_memory=100 * MIB)
    assert saved(200 * MIB, zram) == 150 * MIB
    assert saved(200 * MIB, replace(zram, in_memory=500 * MIB)) == 0
    assert saved(200 * MIB, DEVICE) == 200 * MIB


# --- what may be written


@pytest.mark.parametrize(
    ("target", "knob", "value", "refusal"),
    [
        (POD, Knob.MEMORY_SWAP_MAX, "4096", None),
        (CONTAINER, Knob.MEMORY_SWAP_MAX, "4096", None),
        (POD, Knob.MEMORY_SWAP_MAX, "0", None),
        (POD, Knob.MEMORY_SWAP_MAX, "max", Violation.VALUE),
        (POD, Knob.MEMORY_SWAP_MAX, "-1", Violation.VALUE),
        (POD, Knob.MEMORY_SWAPFILE, "/dev/vdb", None),
        (CONTAINER, Knob.MEMORY_SWAPFILE, "/dev/mapper/swap-0", None),
        (POD, Knob.MEMORY_SWAPFILE, "none", None),
        (POD, Knob.MEMORY_SWAPFILE, "all", Violation.VALUE),
        (POD, Knob.MEMORY_SWAPFILE, "/dev/../etc/passwd", Violation.VALUE),
        (POD, Knob.MEMORY_SWAPFILE, "/dev/vdb\nall", Violation.VALUE),
        (cgroup(path(2)), Knob.MEMORY_SWAP_MAX, "0", None),
        (cgroup(path(3)), Knob.MEMORY_SWAP_MAX, "0", None),
        (cgroup(path(2)), Knob.MEMORY_SWAP_MAX, "4096", Violation.PRIORITY),
        (cgroup(f"{path(2)}/c0.scope"), Knob.MEMORY_SWAP_MAX, "0", Violation.PRIORITY),
        (cgroup(path(2)), Knob.MEMORY_SWAPFILE, "none", None),
        (cgroup(f"{path(2)}/c0.scope"), Knob.MEMORY_SWAPFILE, "none", None),
        (cgroup(path(2)), Knob.MEMORY_SWAPFILE, "/dev/vdb", Violation.PRIORITY),
        (cgroup(path(4)), Knob.MEMORY_SWAP_MAX, "0", Violation.UNMANAGED),
        (cgroup("kubepods.slice"), Knob.MEMORY_SWAP_MAX, "0", Violation.TARGET),
        (cgroup("system.slice"), Knob.MEMORY_SWAP_MAX, "0", Violation.TARGET),
        (Target(TargetKind.NODE), Knob.MEMORY_SWAP_MAX, "0", Violation.TARGET),
    ],
)
def test_who_may_be_given_swap(target: Target, knob: Knob, value: str, refusal: Violation | None) -> None:
    """Low-priority pods a finite limit or the device; the others nothing but none at all."""
    ground = territory(
        snapshot(
            [
                sample(1, Priority.LOW),
                sample(2, Priority.HIGH),
                sample(3, Priority.NORMAL),
                sample(4, Priority.NORMAL, managed=False),
            ]
        )
    )
    assert ground.refusal(Write(target, knob, value, "p", "why"), "p", frozenset(Knob)) is refusal


# --- what may be reclaimed


def watch(**changes: object) -> Watch:
    return Watch(UID.format(1), (POD, CONTAINER), Selector.MGLRU, "p", 180.0)._replace(**changes)  # type: ignore[arg-type]


def request(number: int = 1, **changes: object) -> Reclaim:
    plain = Reclaim(UID.format(number), cgroup(path(number)), MIB, "p", "why")
    return plain._replace(**changes)  # type: ignore[arg-type]


PODS = (low(1), low(2, reclaim=False), sample(3, Priority.HIGH), sample(4, Priority.LOW, managed=False))
REFUSED = [
    (request(), None),
    (request(swappiness=200), None),
    (request(swappiness=201), Violation.VALUE),
    (request(swappiness=True), Violation.VALUE),
    (request(size=0), Violation.VALUE),
    (request(size=-1), Violation.VALUE),
    (request(size=1.5), Violation.VALUE),
    (request(size=float("nan")), Violation.VALUE),
    (request(size=MAX_RECLAIM + 1), Violation.VALUE),
    (request(target=CONTAINER), Violation.TARGET),
    (request(target=cgroup("kubepods.slice")), Violation.TARGET),
    (request(target=cgroup("")), Violation.TARGET),
    (request(9), Violation.TARGET),
    (request(2), Violation.UNMANAGED),
    (request(3), Violation.PRIORITY),
    (request(4), Violation.UNMANAGED),
    (request(policy="q"), Violation.OWNER),
    (watch(), None),
    (watch(rate=MAX_RATE), None),
    (watch(rate=-1), Violation.VALUE),
    (watch(rate=MAX_RATE + 1), Violation.VALUE),
    (watch(rate=0.5), Violation.VALUE),
    (watch(selector="guess"), Violation.VALUE),
    (watch(targets=(POD, cgroup(path(3)))), Violation.TARGET),
    (watch(pod=UID.format(3), targets=()), Violation.PRIORITY),
    (watch(policy="q"), Violation.OWNER),
]


@pytest.mark.parametrize(("wanted", "refusal"), REFUSED)
def test_whose_memory_may_be_taken(wanted: Watch | Reclaim, refusal: Violation | None) -> None:
    """Managed low-priority pods whose owner has not said never; of the pod as a whole; so much and no more."""
    reclaimable = Reclaimable(PODS)
    if isinstance(wanted, Watch):
        assert reclaimable.watch_refusal(wanted, "p") is refusal
    else:
        assert reclaimable.reclaim_refusal(wanted, "p") is refusal


Decide = Callable[[Snapshot, object, int], Decision[int]]


def enrolled(decide: Decide, *, mode: Mode = Mode.ENFORCE, reclaims: bool = True, interval: float = 0.0) -> Enrolled:
    return Enrolled(Policy("p", interval, (), frozenset(), 0, decide, reclaims), mode, None)


def wants(*wanted: Watch | Reclaim) -> Decide:
    watches = tuple(each for each in wanted if isinstance(each, Watch))
    reclaims = tuple(each for each in wanted if isinstance(each, Reclaim))
    return lambda seen, config, state: Decision((), state + 1, watches=watches, reclaims=reclaims)


def run(
    each: Enrolled, past: registry.Past, now: float = 0.0, pods: tuple[PodSample, ...] = PODS
) -> registry.Decisions:
    return registry.decide([each], snapshot(pods), now, past)[0]


@pytest.mark.parametrize(
    ("decide", "reason"),
    [
        (wants(request(3)), "priority"),
        (wants(watch(rate=-1)), "value"),
        (wants(request(), request()), "too-many"),
        (wants(watch(), watch()), "too-many"),
        (lambda seen, config, state: Decision((), state, reclaims=[request()]), "malformed"),
        (lambda seen, config, state: Decision((), state, watches=("oh",)), "malformed"),
        (lambda seen, config, state: Decision((), state, reclaims=(request(),) * 2000), "too-many"),
    ],
)
def test_one_bad_request_skips_the_policy(decide: Decide, reason: str) -> None:
    """As a bad write does, and nothing of it is in the plan."""
    decisions = run(enrolled(decide), {})
    assert (decisions.reports[0].status, decisions.reports[0].reason) == (Status.SKIPPED, reason)
    assert decisions.plan == Plan()


def test_too_much_of_all_together() -> None:
    """Each pod's part may be legal and the sum not."""
    pods = tuple(low(number) for number in range(1, 7))
    ask = [request(number, size=MAX_RECLAIM) for number in range(1, MAX_RECLAIMS // MAX_RECLAIM + 2)]
    assert run(enrolled(wants(*ask[:-1])), {}, pods=pods).reports[0].status is Status.OK
    assert run(enrolled(wants(*ask)), {}, pods=pods).reports[0].reason == "too-many"


def test_only_a_policy_that_declared_it_may_reclaim() -> None:
    """Preemption has no business with anybody's memory."""
    assert run(enrolled(wants(request()), reclaims=False), {}).reports[0].reason == "knob"


def test_reclaims_are_never_repeated_and_watches_stand() -> None:
    """Between decisions, and when a policy fails, what was asked for once must not be taken again."""

    def decide(seen: Snapshot, config: object, state: int) -> Decision[int]:
        if state == 1:
            raise ZeroDivisionError
        return Decision((), state + 1, watches=(watch(),), reclaims=(request(),))

    each = enrolled(decide, interval=5.0)
    past: registry.Past = {}
    plans = []
    for now in (0.0, 1.0, 5.0):
        decisions, past = registry.decide([each], snapshot(PODS), now, past)
        plans.append((decisions.reports[0].status, len(decisions.plan.watches), len(decisions.plan.reclaims)))
    assert plans == [(Status.OK, 1, 1), (Status.OK, 1, 0), (Status.SKIPPED, 1, 0)]
    gone, _ = registry.decide([each], snapshot(PODS[1:]), 6.0, past)
    assert gone.plan.watches == ()


def test_observing_reclaims_nothing() -> None:
    """What would be is shown, in the other plan."""
    decisions = run(enrolled(wants(watch(), request()), mode=Mode.OBSERVE), {})
    assert decisions.plan == Plan()
    assert (len(decisions.observed.watches), len(decisions.observed.reclaims)) == (1, 1)


# --- selectors


@pytest.mark.parametrize(
    ("available", "total", "containers", "before", "chosen"),
    [
        ({"memory-reclaim", "damon", "lru-gen"}, 16 * GIB, 2, None, Selector.DAMON),
        ({"memory-reclaim", "damon", "lru-gen"}, 256 * GIB, 2, None, Selector.MGLRU),
        ({"memory-reclaim", "damon", "lru-gen"}, None, 2, None, Selector.MGLRU),
        ({"memory-reclaim", "damon", "lru-gen"}, 16 * GIB, 14, None, Selector.MGLRU),
        ({"memory-reclaim", "damon", "lru-gen"}, 16 * GIB, 14, Selector.DAMON, Selector.DAMON),
        ({"memory-reclaim", "damon", "lru-gen"}, 16 * GIB, 17, Selector.DAMON, Selector.MGLRU),
        ({"memory-reclaim", "damon"}, 256 * GIB, 2, None, Selector.PLAIN),
        ({"memory-reclaim", "lru-gen"}, 16 * GIB, 2, Selector.DAMON, Selector.MGLRU),
        ({"memory-reclaim"}, 16 * GIB, 2, None, Selector.PLAIN),
        ({"damon", "lru-gen"}, 16 * GIB, 2, None, None),
    ],
)
def test_the_best_selector_this_node_has(
    available: set[str], total: int | None, containers: int, before: Selector | None, chosen: Selector | None
) -> None:
    """DAMON on small nodes with few containers, generations on others, and reclaim alone where there is nothing."""
    pods = [low(1, containers=containers)]
    assert choose(section(), frozenset(available), total, pods, before) is chosen


@pytest.mark.parametrize(
    ("configured", "chosen", "missing"),
    [
        ("plain", Selector.PLAIN, ()),
        ("mglru", Selector.MGLRU, ()),
        ("damon", Selector.PLAIN, ("damon",)),
    ],
)
def test_a_configured_selector_or_none(configured: str, chosen: Selector, missing: tuple[str, ...]) -> None:
    """What the administrator did not name is not used in its place, and what is missing is said."""
    available = frozenset({"memory-reclaim", "lru-gen"})
    config = section(selector=configured)
    assert choose(config, available, GIB, [low()], None) is chosen
    assert lacking(config, available) == missing


def test_what_would_have_been_better_is_said() -> None:
    """Either would do."""
    assert lacking(section(), frozenset({"memory-reclaim"})) == ("damon", "lru-gen")
    assert lacking(section(), frozenset({"lru-gen"})) == ()


@pytest.mark.parametrize(
    ("configured", "failing", "total", "chosen", "why"),
    [
        ("auto", (), 16 * GIB, Selector.DAMON, ()),
        ("auto", ("damon",), 16 * GIB, Selector.MGLRU, ((Selector.DAMON, "failing"),)),
        ("auto", (), 256 * GIB, Selector.MGLRU, ((Selector.DAMON, "node-too-large"),)),
        ("auto", (), None, Selector.MGLRU, ((Selector.DAMON, "unknown"),)),
        ("auto", (), 16 * GIB, Selector.MGLRU, ((Selector.DAMON, "too-many-containers"),)),
        ("damon", (), 256 * GIB, Selector.PLAIN, ((Selector.DAMON, "too-many-containers"),)),
        ("mglru", (), 16 * GIB, Selector.MGLRU, ()),
        ("plain", (), 16 * GIB, Selector.PLAIN, ()),
    ],
)
def test_why_a_better_selector_is_not_used(
    configured: str,
    failing: tuple[str, ...],
    total: int | None,
    chosen: Selector,
    why: tuple[tuple[Selector, str], ...],
) -> None:
    """Only of those the administrator would have had; what the node cannot do has the probe's reason."""
    can = (Capability("damon", available=True), Capability("lru-gen", available=True))
    assert passed_over(section(selector=configured), can, failing, total, chosen) == why


def test_a_selector_the_node_does_not_have_has_the_probes_reason() -> None:
    """And one that was never probed is not said to be anything."""
    found = passed_over(section(), (Capability("damon", available=False, reason="in-use"),), (), GIB, Selector.PLAIN)
    assert found == ((Selector.DAMON, "in-use"), (Selector.MGLRU, "unknown"))


def test_a_selector_that_never_knows_is_left() -> None:
    """The pod goes on without it; DAMON never tells a size and needs none."""
    assert of_pod(Selector.MGLRU, PATIENCE_SECONDS, 150.0) is Selector.MGLRU
    assert of_pod(Selector.MGLRU, PATIENCE_SECONDS + 1, 150.0) is Selector.PLAIN
    assert of_pod(Selector.DAMON, 1e9, 150.0) is Selector.DAMON
    # Nothing can be known before the window is over.
    assert of_pod(Selector.MGLRU, 7200.0, 3600.0) is Selector.MGLRU
    assert of_pod(Selector.MGLRU, 7201.0, 3600.0) is Selector.PLAIN


# --- alarms


def high(memory_some: float | None = 0.0, io_some: float | None = 0.0) -> PodSample:
    return replace(sample(7, Priority.HIGH), stall_rates={"memory": (memory_some, None), "io": (io_some, None)})


def test_a_high_priority_pod_that_waits_stops_everything_for_a_minute() -> None:
    """Whatever it waits for memory for."""
    alarm = listen([high(0.06)], 10.0, 5.0, 0.05, Alarm())
    assert alarm.pause is Pause.HIGH_PRESSURE
    assert listen([high()], 69.0, 5.0, 0.05, alarm).pause is Pause.HIGH_PRESSURE
    assert listen([high()], 71.0, 5.0, 0.05, alarm).pause is Pause.NONE


def test_a_database_waits_for_its_disk_all_day() -> None:
    """What is usual is no alarm, more than that is."""
    alarm = Alarm()
    for tick in range(100):
        alarm = listen([high(0.0, 0.4)], tick * 5.0, 5.0, 0.05, alarm)
        assert alarm.pause is Pause.NONE
    assert listen([high(0.0, 0.5)], 500.0, 5.0, 0.05, alarm).pause is Pause.HIGH_PRESSURE


def test_normal_and_low_pods_raise_no_alarm_by_waiting() -> None:
    """Low-priority pods have their own brake."""
    pods = [replace(low(), stall_rates={"memory": (0.9, None)}), replace(high(0.9), pod=sample(8, Priority.NORMAL).pod)]
    assert listen(pods, 10.0, 5.0, 0.05, Alarm()).pause is Pause.NONE


@pytest.mark.parametrize(
    ("pod", "hits", "pause"),
    [
        (low(), 0, Pause.OOM_KILL),
        (low(), 1, Pause.NONE),
        (sample(7, Priority.HIGH), 1, Pause.OOM_KILL),
        (sample(7, Priority.NORMAL), 0, Pause.OOM_KILL),
    ],
)
def test_an_oom_kill_stops_everything(pod: PodSample, hits: int, pause: Pause) -> None:
    """But for a low-priority pod that ran into its own limit: it may do so for ever."""
    before = listen([replace(pod, memory=memory())], 0.0, 5.0, 0.05, Alarm())
    killed = replace(pod, memory=memory(oom_kills=1, limit_hits=hits))
    assert before.pause is Pause.NONE
    alarm = listen([killed], 5.0, 5.0, 0.05, before)
    assert alarm.pause is pause
    assert listen([killed], 70.0, 5.0, 0.05, alarm).pause is Pause.NONE


def test_a_first_look_at_kills_is_no_news() -> None:
    """They may be years old."""
    assert listen([replace(low(), memory=memory(oom_kills=9))], 0.0, 5.0, 0.05, Alarm()).pause is Pause.NONE
    assert node().node.swap is not None
