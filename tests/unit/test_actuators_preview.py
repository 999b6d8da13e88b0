"""What a plan would come to, beside one that is carried out, and for somebody who only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan
from tests import acting
from tests.acting import Agent, plan, pod, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return trees.write(tmp_path / "node", acting.tree(2))


def test_a_plan_beside_the_other_lets_go_of_nothing(node: Path) -> None:
    """An observed policy's plan says nothing of what another policy holds; a whole plan says what it would release."""
    enforced = want(pod(0), Knob.CPU_WEIGHT, "1")
    observed = want(pod(1), Knob.MEMORY_LOW, "0", policy="observed")
    with Agent(node) as agent:
        agent.applier.execute(plan(enforced))
        beside = agent.applier.preview(plan(observed), releases=False)
        assert [(each.write, each.outcome) for each in beside] == [(observed, Outcome.UNCHANGED)]
        assert [each.outcome for each in agent.applier.preview(Plan())] == [Outcome.OK]
        assert agent.applier.held == 1


def test_what_would_be_written_is_what_is_written(node: Path) -> None:
    """A preview's writes, in its order, are those of the next tick."""
    wanted = plan(
        want(acting.QOS, Knob.MEMORY_LOW, "131072"),
        want(pod(0), Knob.MEMORY_LOW, "65536"),
        want(pod(1), Knob.CPU_WEIGHT, "1"),
    )
    with Agent(node) as agent:
        agent.applier.execute(plan(want(pod(0), Knob.CPU_WEIGHT, "7")))
        preview = agent.applier.preview(wanted)
        done = agent.applier.execute(wanted)
        assert [each.write for each in preview] == [each.write for each in done]
        assert {each.outcome for each in (*preview, *done)} == {Outcome.OK}
        assert [each.before for each in preview] == [each.before for each in done]
