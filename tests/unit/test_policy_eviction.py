"""Eviction, case by case: who has to wait how long, who goes for it, and everything that keeps anybody from going."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.acting import Status
from plimsoll.model.eviction import Evict, Pause, Resource
from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Priority
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import NodeSample, PodSample
from plimsoll.policies import eviction, registry
from plimsoll.policies.policy import Decision, Policy
from tests.fixtures.colocated import GIB, snapshot
from tests.fixtures.contended import TICK, Watching, attempt, high, low, node

CALM = high(1, cpu=0.0, memory=0.0, io=0.0)
STARVED = high(1, memory=0.35)
BATCH = low(2, memory=12 * GIB)
OTHER = low(3, memory=9 * GIB)


def begun(**section: object) -> Watching:
    """Where all was well for long enough."""
    watching = Watching(**section)
    watching.begin(CALM, BATCH, OTHER)
    return watching


def names(watching: Watching) -> list[str]:
    return [each.name for each, _ in watching.evicted]


def pause(watching: Watching) -> Pause:
    assert watching.last is not None
    assert watching.last.eviction is not None
    return watching.last.eviction.pause


def test_one_pod_goes_after_a_sustained_stall() -> None:
    """Thirty seconds of waiting for memory: the largest goes, once, with a sentence that names no other pod."""
    watching = begun()
    watching.go_on(30, STARVED, BATCH, OTHER)
    assert not watching.evicted
    watching.look(STARVED, BATCH, OTHER)

    ((evict, _),) = watching.evicted
    assert evict == Evict(
        BATCH.pod.uid,
        "shop",
        "web-2",
        "eviction",
        "A high-priority pod on this node had to wait for memory 35% of the time for 30 s, although low-priority pods "
        "give way. Of those that may be evicted this one has the largest part in it: it held 12288 MiB.",
        "shop/web-1",
    )
    watching.answer(Outcome.OK)
    watching.go_on(60, STARVED, OTHER)
    assert names(watching) == ["web-2"]
    assert pause(watching) is Pause.SETTLING


@pytest.mark.parametrize(
    ("waits", "seconds"), [({"cpu": 0.5}, 60), ({"memory": 0.3}, 30), ({"io": 0.7}, 60)], ids=["cpu", "memory", "io"]
)
def test_each_resource_has_its_own_victim(waits: dict[str, float], seconds: int) -> None:
    """The one that uses most of what is waited for."""
    pods = (
        low(2, cpu=6.0, memory=4 * GIB, io=1e6),
        low(3, cpu=1.0, memory=20 * GIB, io=2e6),
        low(4, cpu=1.0, memory=4 * GIB, io=9e6),
    )
    watching = begun()
    watching.go_on(seconds + TICK, high(1, **waits), *pods)
    assert names(watching) == [{"cpu": "web-2", "memory": "web-3", "io": "web-4"}[next(iter(waits))]]


def test_what_is_worse_comes_first() -> None:
    """Two shortages at once: the one further above what is too much; if nobody can help there, the other."""
    both = high(1, cpu=0.9, memory=0.25)
    watching = begun(memory={"sustained": "60s"})
    watching.go_on(65, both, low(2, cpu=6.0, memory=4 * GIB), low(3, cpu=1.0, memory=20 * GIB))
    assert names(watching) == ["web-2"]
    watching = begun(memory={"sustained": "60s"})
    watching.go_on(65, both, low(2, cpu=0.1, memory=4 * GIB), low(3, cpu=0.1, memory=20 * GIB))
    assert names(watching) == ["web-3"]


def test_use_then_importance_then_age() -> None:
    """Uses that are about the same do not decide."""
    pods = (
        low(2, memory=10 * GIB, scheduling_priority=0, created=100.0),
        low(3, memory=10 * GIB - 1, scheduling_priority=-10, created=100.0),
        low(4, memory=9 * GIB + 1, scheduling_priority=-10, created=200.0),
        low(5, memory=10 * GIB, scheduling_priority=-10),
        low(6, memory=8 * GIB, scheduling_priority=-1000, created=300.0),
    )
    watching = begun()
    watching.go_on(35, STARVED, *pods)
    assert names(watching) == ["web-4"]


@pytest.mark.parametrize(
    "pod",
    [
        low(2, controller="DaemonSet"),
        low(2, controller=None),
        low(2, says=False),
        low(2, managed=False),
        low(2, mirror=True),
        low(2, deleting=True),
        low(2, phase="Succeeded"),
        low(2, scheduling_priority=2_000_000_000),
        low(2, priority=Priority.NORMAL),
        low(2, priority=Priority.HIGH),
        low(2, memory=None),
        low(2, memory=3 * GIB),
    ],
    ids=["daemon", "bare", "never", "unmanaged", "mirror", "deleting", "finished", "critical", "normal", "high",
         "unknown", "small"],
)  # fmt: skip
def test_who_never_goes(pod: PodSample) -> None:
    """However long the others wait; the policy says that nobody can help."""
    watching = begun()
    watching.go_on(600, STARVED, pod)
    assert not watching.evicted
    assert pause(watching) is Pause.NOBODY


@pytest.mark.parametrize(
    "pod", [low(2, controller=None, says=True), low(2, memory=4 * GIB), low(2, says=True)], ids=["bare", "just", "auto"]
)
def test_who_may_go(pod: PodSample) -> None:
    """A pod nothing makes anew, if its owner says so; one with just the least share worth it."""
    watching = begun()
    watching.go_on(35, STARVED, pod)
    assert names(watching) == ["web-2"]


@pytest.mark.parametrize(
    "pods",
    [
        (CALM,),
        (high(1, memory=0.19),),
        (high(1, memory=None),),
        (high(1),),
        (replace(STARVED, pod=low(1, priority=Priority.NORMAL).pod),),
        (replace(STARVED, pod=low(1, priority=Priority.HIGH, managed=False).pod),),
        (replace(STARVED, pod=low(1, priority=Priority.HIGH, deleting=True).pod),),
        (replace(STARVED, memory_bytes=96 * GIB, memory_limit_bytes=100 * GIB),),
        (replace(STARVED, stall_rates={"memory": (0.35, None), "cgroup_memory_reclaim": (0.2, None)}),),
        (replace(STARVED, stall_rates={"memory": (0.35, None), "cgroup_memory_reclaim": (None, None)}),),
        (high(1, cpu=0.39),),
        (replace(STARVED, stall_rates={"cpu": (0.9, None), "cpu_cfs_bandwidth": (None, 0.6)}),),
        (replace(STARVED, stall_rates={"cpu": (0.9, None), "cpu_cfs_bandwidth": (None, 7.0)}),),
        (replace(STARVED, stall_rates={"cpu": (0.9, None), "cpu_cfs_bandwidth": (None, None)}),),
    ],
    ids=["calm", "below", "unknown", "absent", "normal", "unmanaged", "deleting", "at-its-limit", "own-limit",
         "own-limit-unknown", "cpu-below", "own-quota", "own-quota-summed", "own-quota-unknown"],
)  # fmt: skip
def test_whose_waiting_does_not_count(pods: tuple[PodSample, ...]) -> None:
    """Too little of it, not known, of the pod's own making, or not of a pod that matters here."""
    watching = begun()
    watching.go_on(600, *pods, BATCH)
    assert not watching.evicted


def test_hysteresis() -> None:
    """Between calm and stalled an episode goes on but evicts nobody; below calm, once, it is over."""
    between, calm = high(1, memory=0.15), high(1, memory=0.09)
    watching = begun()
    watching.go_on(20, STARVED, BATCH)
    watching.go_on(300, between, BATCH)
    assert not watching.evicted
    # It has gone on all the time: the average alone has to come up again.
    watching.go_on(25, STARVED, BATCH)
    assert names(watching) == ["web-2"]

    watching = begun()
    for _ in range(20):
        watching.go_on(25, STARVED, BATCH)
        watching.look(calm, BATCH)
    assert not watching.evicted


def test_one_figure_is_not_sustained() -> None:
    """However much time it is of: three looks at least. After a gap nothing is known of what was meanwhile."""
    watching = begun(settle=30)
    watching.look(STARVED, BATCH)
    watching.look(STARVED, BATCH, seconds=100)
    assert not watching.evicted
    watching.look(STARVED, BATCH)
    assert names(watching) == ["web-2"]

    watching = begun(settle=30)
    watching.go_on(25, STARVED, BATCH)
    watching.look(STARVED, BATCH, seconds=3600)
    watching.go_on(20, STARVED, BATCH)
    assert not watching.evicted


def test_sources_that_do_not_answer_know_nothing() -> None:
    """Figures that are old, or pods that may be others by now: everything begins anew afterwards."""
    watching = begun()
    watching.go_on(25, STARVED, BATCH)
    for _ in range(30):
        watching.look(STARVED, BATCH, ok=False)
    assert not watching.evicted
    watching.go_on(30, STARVED, BATCH)
    assert not watching.evicted
    watching.look(STARVED, BATCH)
    assert names(watching) == ["web-2"]


def test_nobody_goes_right_after_a_start() -> None:
    """An agent does not know whom the one before it has evicted; nor does a policy that only observed until now."""
    watching = Watching()
    watching.go_on(180, STARVED, BATCH)
    assert pause(watching) is Pause.STARTING
    watching.look(STARVED, BATCH)
    assert names(watching) == ["web-2"]

    watching = Watching(mode="observe")
    watching.go_on(190, STARVED, BATCH)
    assert names(watching) == ["web-2"]
    watching.config = watching.config.model_copy(update={"mode": "enforce"})
    watching.go_on(180, STARVED, BATCH)
    assert pause(watching) is Pause.STARTING
    # It was never evicted, so it may be.
    watching.look(STARVED, BATCH)
    watching.look(STARVED, BATCH)
    assert names(watching) == ["web-2", "web-2"]


def test_observing_counts_as_if_it_were_done() -> None:
    """What would be evicted when: others after the settle time, none twice, no more than so many an hour."""
    pods = [low(number, memory=(30 - number) * GIB) for number in range(2, 12)]
    watching = Watching(mode="observe", maxPerHour=4)
    watching.go_on(3600, STARVED, *pods)
    assert names(watching) == ["web-2", "web-3", "web-4", "web-5"]
    assert pause(watching) is Pause.RATE
    times = [at for _, at in watching.evicted]
    assert all(later - sooner >= 180 for sooner, later in pairwise(times))
    watching.go_on(600, STARVED, *pods)
    assert len(watching.evicted) > 4


def test_settling_and_terminating() -> None:
    """The next one goes when the last has had its time and is gone, or has taken far too long to go."""
    watching = begun()
    watching.go_on(35, STARVED, BATCH, OTHER)
    watching.answer(None)
    watching.go_on(300, STARVED, BATCH, OTHER)
    assert pause(watching) is Pause.ASKED
    watching.answer(Outcome.OK)
    ending = low(2, memory=12 * GIB, deleting=True)
    watching.go_on(175, STARVED, ending, OTHER)
    assert pause(watching) is Pause.SETTLING
    watching.go_on(405, STARVED, ending, OTHER)
    assert (names(watching), pause(watching)) == (["web-2"], Pause.TERMINATING)
    watching.go_on(60, STARVED, ending, OTHER)
    assert names(watching) == ["web-2", "web-3"]

    watching = begun()
    watching.go_on(35, STARVED, BATCH, OTHER)
    watching.answer(Outcome.OK)
    watching.go_on(185, STARVED, OTHER)
    assert names(watching) == ["web-2", "web-3"]


def test_at_most_so_many_an_hour() -> None:
    """Counted over any hour, not a clock's."""
    watching = begun(maxPerHour=3, settle=60)
    pods = [low(number, memory=(40 - number) * GIB) for number in range(2, 30)]
    for _ in range(int(7200 / TICK)):
        if watching.look(STARVED, *pods).evictions:
            gone = watching.evicted[-1][0].pod
            pods = [each for each in pods if each.pod.uid != gone]
            watching.answer(Outcome.OK)
    times = [at for _, at in watching.evicted]
    assert len(times) == 6
    assert all(times[place + 3] - times[place] >= 3600 for place in range(3))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.BUDGET, ["web-2", "web-3"]),
        (Outcome.REJECTED, ["web-2", "web-3"]),
        (Outcome.FAILED, ["web-2"]),
        (Outcome.HELD, ["web-2", "web-2"]),
        (Outcome.DENIED, ["web-2"]),
        (Outcome.GONE, ["web-2"]),
    ],
)
def test_what_follows_from_an_answer(outcome: Outcome, expected: list[str]) -> None:
    """A budget's no is about that pod, a missing right about all of them; a failure may have been none."""
    watching = begun()
    watching.go_on(35, STARVED, BATCH, OTHER)
    watching.answer(outcome)
    watching.go_on(35, STARVED, BATCH, OTHER)
    assert names(watching) == expected


def test_a_failure_is_another_ones_turn() -> None:
    """After the settle time somebody else is tried: an API server may fail for one pod, again and again."""
    watching = begun()
    watching.go_on(35, STARVED, BATCH, OTHER)
    watching.answer(Outcome.FAILED)
    watching.go_on(175, STARVED, BATCH, OTHER)
    assert pause(watching) is Pause.SETTLING
    watching.go_on(10, STARVED, BATCH, OTHER)
    assert names(watching) == ["web-2", "web-3"]


def test_a_budget_and_a_right_are_asked_about_again() -> None:
    """Both are somebody's to give, minutes later."""
    watching = begun()
    watching.go_on(35, STARVED, BATCH)
    watching.answer(Outcome.BUDGET)
    watching.go_on(290, STARVED, BATCH)
    assert (names(watching), pause(watching)) == (["web-2"], Pause.NOBODY)
    watching.go_on(20, STARVED, BATCH)
    assert names(watching) == ["web-2", "web-2"]
    watching.answer(Outcome.DENIED)
    watching.go_on(595, STARVED, BATCH)
    assert pause(watching) is Pause.FORBIDDEN
    watching.go_on(10, STARVED, BATCH)
    assert names(watching) == ["web-2"] * 3


def test_the_node_itself_counts_if_asked_to() -> None:
    """Nobody runs at all for want of memory: a share the kernel averages."""
    line = PressureLine(4000, 0, 0, 0)
    full = NodeSample(
        (Pressure("memory", Source.PSI, line, line), Pressure("cpu", Source.PSI, line, line)), 64 * GIB, cpus=16
    )
    for section, expected in (({}, 0), ({"node": True}, 1), ({"node": True, "memory": None}, 0)):
        config = Watching(**section).config
        state, found = eviction.State(), []
        for step in range(100):
            seen = replace(node((BATCH,), 1000 + step * TICK), node=full)
            decision = eviction.decide(seen, config, state)
            state = decision.state
            found.extend(decision.evictions)
        assert len(found) == expected
        assert all(each.sufferer == "" for each in found)
        assert all("Nothing on this node could run, waiting for memory 40%" in each.reason for each in found)


def test_a_resource_can_be_left_out() -> None:
    """``memory: null``: nobody goes for it."""
    watching = begun(memory=None)
    watching.go_on(600, STARVED, BATCH)
    assert not watching.evicted
    assert watching.last is not None
    assert watching.last.eviction is not None
    assert watching.last.eviction.shortages == ()


def test_the_figures() -> None:
    """Who waits, worst first, with the smoothed share and for how long; and how many went lately."""
    watching = begun()
    watching.attempts = [attempt(9, Outcome.OK, watching.now - 300)]
    watching.go_on(25, high(1, cpu=0.5, memory=0.3), BATCH)
    assert watching.last is not None
    figures = watching.last.eviction
    assert figures is not None
    assert [(each.resource, each.seconds, each.sustained) for each in figures.shortages] == [
        (Resource.MEMORY, 20.0, False),
        (Resource.CPU, 20.0, False),
    ]
    assert figures.shortages[0].share == pytest.approx(0.3)
    assert (figures.pause, figures.lately) == (Pause.NONE, 1)


def run(policy: Policy[object, object], *pods: PodSample) -> tuple[Status, str, int]:
    """What the registry makes of a policy's wish."""
    enrolled = registry.Enrolled(policy, registry.Mode.ENFORCE, None)
    decisions, _ = registry.decide([enrolled], node(pods, 1.0), 1.0, {})
    (report,) = decisions.reports
    return report.status, report.reason, len(decisions.plan.evictions)


def wishing(*evictions: object, evicts: bool = True) -> Policy[object, object]:
    def decide(seen: object, config: object, state: object) -> Decision[object]:
        return Decision((), state, evictions=evictions)  # type: ignore[arg-type]

    return Policy("broken", 0.0, (), frozenset(), None, decide, evicts=evicts)


@pytest.mark.parametrize(
    ("policy", "pod", "reason"),
    [
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2), ""),
        (wishing(attempt(2, None, 0).evict), low(2), "owner"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken"), evicts=False), low(2), "knob"),
        (wishing(attempt(3, None, 0).evict._replace(policy="broken")), low(2), "target"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken", name="other")), low(2), "target"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2, deleting=True), "target"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2, priority=Priority.NORMAL), "priority"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2, mirror=True), "unmanaged"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2, controller="DaemonSet"), "unmanaged"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken")), low(2, says=False), "unmanaged"),
        (wishing(attempt(2, None, 0).evict._replace(policy="broken", reason=7)), low(2), "value"),
        (wishing(*[attempt(2, None, 0).evict._replace(policy="broken")] * 2), low(2), "too-many"),
        (wishing("web-2"), low(2), "malformed"),
    ],
    ids=["legal", "owner", "not-declared", "foreign", "renamed", "deleting", "priority", "mirror", "daemon", "never",
         "value", "two", "malformed"],
)  # fmt: skip
def test_the_registry_keeps_every_policy_from_it(policy: Policy[object, object], pod: PodSample, reason: str) -> None:
    """F36: a policy that wants what it may not is left out of the tick, named, and evicts nobody."""
    status = Status.SKIPPED if reason else Status.OK
    assert run(policy, pod) == (status, reason, int(not reason))


def test_a_wish_is_for_one_tick() -> None:
    """What is wished for once is in one plan, also if the policy is not asked in the next tick, or fails."""
    once = wishing(attempt(2, None, 0).evict._replace(policy="broken"))
    slow = replace(once, interval=100.0)
    enrolled = registry.Enrolled(slow, registry.Mode.ENFORCE, None)
    first, past = registry.decide([enrolled], node((low(2),), 1.0), 1.0, {})
    second, _ = registry.decide([enrolled], node((low(2),), 2.0), 2.0, past)
    assert (len(first.plan.evictions), len(second.plan.evictions)) == (1, 0)


def test_modes_and_needs() -> None:
    """Observing is shown and not in the plan; without an API server the policy says what is lacking."""
    off = PreemptionSection(mode="off")
    for mode, api, expected in (("enforce", True, (1, 0)), ("observe", True, (0, 1)), ("enforce", False, (0, 0))):
        section = Watching(mode=mode, settle=30).config
        enrolled = registry.enrol(preemption_section=off, eviction_section=section)
        past: registry.Past = {}
        plans = [0, 0]
        for step in range(12):
            seen = node((STARVED, BATCH), 1000 + step * TICK)
            if not api:
                seen = replace(seen, capabilities=snapshot(()).capabilities)
            decisions, past = registry.decide(enrolled, seen, seen.monotonic, past)
            plans[0] += len(decisions.plan.evictions)
            plans[1] += len(decisions.observed.evictions)
        assert tuple(plans) == expected
        report = decisions.reports[-1]
        assert (report.status, report.lacking) == (
            (Status.OK, ()) if api else (Status.MISSING, ("eviction-api",))
        )  # fmt: skip
