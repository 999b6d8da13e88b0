"""Eviction on any node, whatever happens on it and whatever its API server answers: the promises of the last resort."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample
from plimsoll.policies import registry
from tests.fixtures.colocated import GIB
from tests.fixtures.contended import TICK, Watching, high, low, node

SHARES = st.none() | st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0])
ANSWERS = st.sampled_from([None, Outcome.OK, Outcome.GONE, Outcome.BUDGET, Outcome.DENIED, Outcome.REJECTED,
                           Outcome.HELD, Outcome.FAILED])  # fmt: skip


@st.composite
def pods(draw: st.DrawFn, number: int) -> PodSample:
    """Mostly one that may go, and sometimes with something that forbids it."""
    odd = st.sampled_from([
        {"deleting": True}, {"mirror": True}, {"phase": "Failed"}, {"controller": "DaemonSet"}, {"controller": None},
        {"says": False}, {"managed": False}, {"priority": Priority.NORMAL}, {"priority": Priority.HIGH},
        {"scheduling_priority": 2_000_001_000}, {"memory": None, "cpu": None},
    ])  # fmt: skip
    facts = draw(st.one_of(st.just({}), st.just({}), odd))
    figures = {"memory": draw(st.integers(1, 40)) * GIB, "cpu": draw(st.floats(0, 16)), "io": draw(st.floats(0, 1e9))}
    found = low(number, **{**figures, **facts})
    return replace(found, state=draw(st.sampled_from([CgroupState.FOUND, CgroupState.FOUND, CgroupState.GONE])))


def protected(sample: PodSample) -> bool:
    """Spelled out once more, so that a mistake in the policy's own words is seen."""
    thing, intent = sample.pod.object, sample.pod.intent
    return (
        intent.priority is not Priority.LOW
        or not intent.managed
        or thing.mirror
        or thing.deleting
        or thing.phase in ("Succeeded", "Failed")
        or thing.controller in ("DaemonSet", None)
        or intent.eviction is False
        or (thing.scheduling_priority or 0) >= 2 * 10**9
        or sample.state is not CgroupState.FOUND
    )


@settings(max_examples=60)
@given(st.data(), st.integers(0, 6), st.integers(30, 400), st.integers(1, 4))
def test_the_promises(data: st.DataObject, count: int, settle: int, most: int) -> None:
    """
    Nobody who is protected goes, never two within the settle time, never more than so many an hour, never one for whom
    nobody had to wait for as long as was asked, and never the same pod again once it is gone.
    """
    watching = Watching(settle=settle, maxPerHour=most)
    there = [data.draw(pods(number)) for number in range(2, count + 2)]
    stalled_since: dict[str, float] = {}
    done: list[float] = []
    evicted: set[str] = set()
    waits: dict[str, float | None] = {"cpu": 0.0, "memory": 1.0, "io": 0.0}
    for _ in range(data.draw(st.integers(20, 120))):
        if data.draw(st.integers(0, 9)) == 9:
            waits = {name: data.draw(SHARES) for name in ("cpu", "memory", "io")}
        seconds = data.draw(st.sampled_from([TICK, TICK, TICK, 1.0, 60.0]))
        now = watching.now + seconds
        ends = {"cpu": 0.2, "memory": 0.1, "io": 0.3}
        for name, share in waits.items():
            if share is None or share < ends[name]:
                stalled_since.pop(name, None)
            else:
                stalled_since.setdefault(name, now)
        decision = watching.look(high(1, **waits), *there, seconds=seconds)
        assert len(decision.evictions) <= 1
        for evict in decision.evictions:
            (victim,) = [each for each in there if each.pod.uid == evict.pod]
            assert not protected(victim)
            assert evict.pod not in evicted
            sustained = {"cpu": 60, "memory": 30, "io": 60}
            assert any(now - since >= sustained[name] for name, since in stalled_since.items())
            assert all(now - at >= settle for at in done)
            assert sum(now - at < 3600 for at in done) < most
            answer = data.draw(ANSWERS)
            watching.answer(answer)
            if answer in (None, Outcome.OK, Outcome.GONE):
                if answer is not Outcome.GONE:
                    done.append(now)
                evicted.add(evict.pod)
                if answer is not None:
                    there.remove(victim)


@settings(max_examples=60)
@given(st.data())
def test_the_policy_never_oversteps_its_bounds(data: st.DataObject) -> None:
    """What it wishes for, the registry lets it have: it is never skipped."""
    there = [data.draw(pods(number)) for number in range(2, data.draw(st.integers(2, 8)))]
    enrolled = [each for each in registry.enrol(
        preemption_section=registry.PreemptionSection(mode="off"), eviction_section=Watching(settle=30).config
    ) if each.policy.name == "eviction"]  # fmt: skip
    past: registry.Past = {}
    for step in range(14):
        seen = node((high(1, cpu=0.9, memory=0.9, io=0.9), *there), 1000 + TICK * step)
        decisions, past = registry.decide(enrolled, seen, seen.monotonic, past)
        assert decisions.reports[0].failures == {}
