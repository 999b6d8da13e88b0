"""
For any pods on the model of paging, that come and go and whose memory turns from cold to hot and back: the device is
written no more than its budget, no pod loses what is kept for it, and what is moved is no more than was to be moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.acting import Mode, Status
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import Knob, Plan, Selector
from plimsoll.model.pod import Priority
from plimsoll.policies import overcommit, registry
from plimsoll.policies.overcommit import MAX_TOTAL
from plimsoll.policies.overcommit_budget import BURST_SECONDS
from plimsoll.policies.overcommit_step import BUDGET_SECONDS
from plimsoll.policies.registry import Enrolled
from plimsoll.simulator.paging import CHUNK, FAULT_SECONDS, PAGE, Part, PodMemoryModel
from plimsoll.simulator.paging_node import PagingNode
from tests.fixtures.colocated import GIB, sample
from tests.fixtures.paging import MIB, STOCK, section

TICK, SECONDS = 5.0, 900.0
FLOOR = 0.2
"""``deviceFloor``."""
SLOWEST = 1 << 16
"""Bytes per second."""

brief = settings(max_examples=40)


class Turn(NamedTuple):
    """At a time, ``size`` bytes that were used every ``old`` seconds are used every ``new`` ones."""

    at: float
    old: float | None
    new: float | None
    size: int


class Life(NamedTuple):
    """One pod. ``ends`` is ``None``: it stays."""

    parts: tuple[Part, ...]
    protected: int
    begins: float
    ends: float | None
    turns: tuple[Turn, ...]

    @property
    def size(self) -> int:
        return sum(part.size // CHUNK * CHUNK for part in self.parts)


PERIODS = st.sampled_from([None, None, 1.0, 7.0, 40.0, 200.0])
SIZES = st.integers(8, 96).map(lambda mib: mib * MIB)
TIMES = st.integers(0, 160).map(lambda tick: tick * TICK)
LIVES = st.builds(
    Life,
    st.lists(st.builds(Part, SIZES, PERIODS), min_size=1, max_size=4).map(tuple),
    st.sampled_from([0, 0, 48 * MIB]),
    st.just(0.0) | TIMES,
    st.none() | TIMES,
    st.lists(st.builds(Turn, TIMES, PERIODS, PERIODS, SIZES), max_size=3).map(tuple),
)
WORLDS = st.lists(LIVES, min_size=1, max_size=4)
SELECTORS = st.sampled_from([(), ("damon",), ("lru-gen",)])
SECTIONS = st.builds(
    lambda ratio, floor: section(ratio=ratio, probation=10, podFloor=floor),
    st.sampled_from([1.2, 2.0, 3.0]),
    st.sampled_from([16 * MIB, 64 * MIB]),
)
RATES = st.sampled_from([64 << 10, 256 << 10, MIB])


class Moment(NamedTuple):
    """One decision, before and after it was carried out for a while: ``written`` bytes, all of the device so far."""

    now: float
    plan: Plan
    figures: Overcommit
    living: dict[str, tuple[Life, PodMemoryModel]]
    device_size: int
    written: int
    more: int


def play(
    lives: Sequence[Life],
    config: OvercommitSection,
    selectors: tuple[str, ...],
    *,
    device: int = 4 * GIB,
    silent: bool = False,
) -> Iterator[Moment]:
    """What becomes of these pods, decision by decision."""
    pods = [sample(number, Priority.LOW) for number in range(len(lives))]
    # Small enough for any selector.
    node = PagingNode(
        (), {}, ("cgroup", "kubepods", *STOCK, *selectors), device_size=device, memory=16 * GIB, silent=silent
    )
    enrolled = (Enrolled(overcommit.POLICY, Mode.ENFORCE, config),)
    past: registry.Past = {}
    living: dict[str, tuple[Life, PodMemoryModel]] = {}
    ended: set[int] = set()
    gone = before = 0
    while node.now < SECONDS:
        for number, (pod, life) in enumerate(zip(pods, lives, strict=True)):
            uid = pod.pod.uid
            if uid in living and life.ends is not None and node.now >= life.ends:
                gone += living.pop(uid)[1].traffic.written
                ended.add(number)
                node.remove(uid)
            elif uid not in living and number not in ended and node.now >= life.begins:
                living[uid] = life, PodMemoryModel(life.parts, protected=life.protected)
                node.add(pod, living[uid][1])
            if uid in living:
                for turn in life.turns:
                    if turn.at == node.now:
                        living[uid][1].phase(turn.old, turn.new, turn.size)
        seen = node.advance(TICK)
        decisions, past = registry.decide(enrolled, seen, node.now, past)
        report = decisions.reports[0]
        assert report.status is Status.OK, (report.reason, report.detail)
        assert report.overcommit is not None
        node.carry_out(decisions.plan.writes, decisions.plan.watches, decisions.plan.reclaims)
        written = gone + sum(model.traffic.written for _, model in living.values())
        yield Moment(node.now, decisions.plan, report.overcommit, dict(living), device, written, written - before)
        before = written


@brief
@given(WORLDS, SELECTORS, RATES, st.sampled_from([1.5, 3.0]))
def test_the_write_budget(lives: list[Life], selectors: tuple[str, ...], rate: int, ratio: float) -> None:
    """Whatever comes back and has to be written again: rate times time, five minutes' worth at once, a decision."""
    config = section(ratio=ratio, probation=10, podFloor="16Mi", writeBudget=rate)
    for moment in play(lives, config, selectors):
        # A chunk is the model's page: it takes no less.
        assert moment.written <= rate * (moment.now + BURST_SECONDS) + len(lives) * CHUNK
        assert moment.figures.write_limit == rate


@brief
@given(WORLDS, SELECTORS, SECTIONS, st.sampled_from([64 * MIB, 4 * GIB]), st.booleans())
def test_what_is_moved(
    lives: list[Life], selectors: tuple[str, ...], config: OvercommitSection, device: int, silent: bool
) -> None:
    """
    No more than was to be moved, in one decision for all of them; nothing in a pause; the device keeps its floor, each
    pod its part and what is kept for it; and none waits for longer than its budget, and what its memory costs to read
    back once, and once more with each turn.
    """
    # DAMON is told nothing slower; the model takes no less than a chunk.
    slack = len(lives) * int(CHUNK + SLOWEST * config.interval)
    gaps: deque[int] = deque(maxlen=3)
    for moment in play(lives, config, selectors, device=device, silent=silent):
        figures, plan = moment.figures, moment.plan
        gaps.append(max(0, figures.gap))
        # What DAMON was told holds for two of these moments, and is seen in the one after.
        most = min(MAX_TOTAL, max(gaps))
        assert moment.more <= most + slack
        rates = [each.rate for each in plan.watches]
        assert sum(each for each in rates if each > SLOWEST) * config.interval <= most
        assert sum(each.size for each in plan.reclaims) <= min(MAX_TOTAL, max(0, figures.gap))
        if figures.pause is not Pause.NONE:
            assert plan.reclaims == ()
            assert set(rates) <= {0}
        assert sum(model.swapped for _, model in moment.living.values()) <= (1 - FLOOR) * device + len(lives) * CHUNK
        for life, model in moment.living.values():
            assert model.current + model.swapped == life.size
            assert model.swapped <= 0.75 * life.size + CHUNK
            assert model.current >= min(max(config.pod_floor, life.protected), life.size) - slack
            once = life.size / PAGE * FAULT_SECONDS
            lived = moment.now - life.begins
            assert model.stalled <= config.watermark * (BUDGET_SECONDS + lived) + once * (1 + len(life.turns))


@brief
@given(
    st.lists(LIVES, min_size=2, max_size=4),
    st.sampled_from([1.5, 3.0]),
    st.sampled_from([256 << 10, MIB, 64 * MIB]),
)
def test_several_pods_with_damon(lives: list[Life], ratio: float, rate: int) -> None:
    """
    Nothing is asked for in another way; the rates together are within what may be written and moved; a pod whose
    memory comes back is told to give nothing, and what is used is never taken.
    """
    config = section(ratio=ratio, probation=10, podFloor="16Mi", writeBudget=rate, selector="damon")
    for moment in play(lives, config, ("damon",)):
        assert moment.plan.reclaims == ()
        assert {each.selector for each in moment.plan.watches} <= {Selector.DAMON}
        assert {each.pod for each in moment.plan.watches} == moment.living.keys()
        rates = {each.pod: each.rate for each in moment.plan.watches}
        pauses = {each.uid: each.pause for each in moment.figures.pods}
        for uid, each in rates.items():
            assert each == 0 or pauses[uid] is Pause.NONE
            assert each == 0 or each & (each - 1) == 0
        for life, model in moment.living.values():
            used = sum(each.size for each in life.parts if each.period is not None and each.period < 90)
            if not life.turns:
                assert model.refaulted == 0 or any((each.period or 0) > 90 for each in life.parts)
                assert model.current >= used // CHUNK * CHUNK - len(life.parts) * CHUNK


@brief
@given(WORLDS, SELECTORS, st.sampled_from([1.5, 3.0]), st.sampled_from([64 * MIB, 160 * MIB, 4 * GIB]))
def test_the_sum_of_the_limits(lives: list[Life], selectors: tuple[str, ...], ratio: float, device: int) -> None:
    """While pods come and go: all together what the device may hold, and never more."""
    config = section(ratio=ratio, probation=10, podFloor="16Mi")
    for moment in play(lives, config, selectors, device=device):
        paths = {each.targets[0].path for each in moment.plan.watches}
        limits = [
            int(each.value)
            for each in moment.plan.writes
            if each.knob is Knob.MEMORY_SWAP_MAX and each.target.path in paths
        ]
        assert sum(limits) <= (1 - FLOOR) * device, (moment.now, limits)


@brief
@given(st.lists(LIVES, min_size=1, max_size=3), st.sampled_from([1.5, 3.0]))
def test_rates_of_damon_do_not_flip(lives: list[Life], ratio: float) -> None:
    """
    Telling DAMON another rate takes it an interval: a pod's goes up again after it went down at most once a minute,
    under the default write budget.
    """
    config = section(ratio=ratio, probation=10, podFloor="16Mi", selector="damon")
    before: dict[str, int] = {}
    ups: dict[str, list[float]] = {}
    fell: set[str] = set()
    for moment in play(lives, config, ("damon",)):
        for each in moment.plan.watches:
            old = before.get(each.pod, 0)
            if each.rate < old:
                fell.add(each.pod)
            elif each.rate > old and each.pod in fell:
                fell.discard(each.pod)
                ups.setdefault(each.pod, []).append(moment.now)
            before[each.pod] = each.rate
    for pod, times in ups.items():
        assert all(later - earlier >= 60 for earlier, later in pairwise(times)), (pod, times)
