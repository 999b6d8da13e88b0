"""What every tick reads anyway is not looked at only when its turn comes: limits of swap that somebody has lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.doubts import doubted
from plimsoll.model.memory import PodMemory
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.snapshot import CgroupState, PodSample
from tests import acting
from tests.acting import Agent, plan, want
from tests.fixtures.hosts import trees
from tests.unit.test_sources_cgroup_knobs import pod

if TYPE_CHECKING:
    from pathlib import Path

PODS = 30
PLAN = plan(*(want(acting.pod(number), Knob.MEMORY_SWAP_MAX, "0") for number in range(PODS)))


def sample(memory: PodMemory | None, cgroup: str | None = acting.pod(0)) -> PodSample:
    return PodSample(pod(), CgroupState.FOUND, cgroup, memory=memory)


@pytest.mark.parametrize(
    ("found", "doubts"),
    [
        (sample(PodMemory(swap_limit=None, swap_limited=True)), True),
        (sample(PodMemory(swap_limit=4096, swap_limited=True)), True),
        (sample(PodMemory(swap_limit=0, swap_limited=True)), False),
        # Nothing was read, or of another cgroup.
        (sample(PodMemory(swap_limit=None, swap_limited=False)), False),
        (sample(None), False),
        (sample(PodMemory(swap_limit=None, swap_limited=True), acting.pod(PODS)), False),
        (sample(PodMemory(swap_limit=None, swap_limited=True), None), False),
    ],
)
def test_which(found: PodSample, doubts: bool) -> None:
    """A limit that was read, and is not the one that is wanted."""
    assert doubted([found], PLAN) == (frozenset({PLAN.writes[0].key}) if doubts else frozenset())


def test_other_knobs_wait_for_their_turn() -> None:
    """The same value of another file says nothing."""
    wanted = plan(want(acting.pod(0), Knob.MEMORY_LOW, "0"))
    assert doubted([sample(PodMemory(swap_limit=None, swap_limited=True))], wanted) == frozenset()


def test_what_is_in_doubt_is_looked_at_at_once(tmp_path: Path) -> None:
    """All pods opened at once, as by `systemctl daemon-reload`: seen in this tick, closed again after the pause."""
    trees.write(tmp_path, acting.tree(PODS, {"memory.swap.max": "max\n"}))
    files = [tmp_path / trees.CGROUP / acting.pod(number) / "memory.swap.max" for number in range(PODS)]
    every = frozenset(each.key for each in PLAN.writes)
    with Agent(tmp_path) as agent:
        agent.applier.execute(PLAN)
        for each in files:
            each.write_text("max\n")
        agent.clock.now += 1
        assert {each.outcome for each in agent.applier.execute(PLAN, doubted=every)} == {Outcome.DRIFTED}
        agent.clock.now += 2
        assert {each.outcome for each in agent.applier.execute(PLAN, doubted=every)} == {Outcome.OK}
        assert {each.read_text().strip() for each in files} == {"0"}
        assert agent.applier.drifts == {Knob.MEMORY_SWAP_MAX: PODS}
