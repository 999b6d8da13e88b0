"""Knobs that are ours again after somebody else wrote, and whose first original goes back: cgroup v1's levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from tests import acting
from tests.acting import Agent, plan, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from pathlib import Path

POD = "kubepods/besteffort/pod1"
LOW = plan(want(POD, Knob.MEMORY_QOS_LEVEL, "-1"))


@pytest.fixture
def level(tmp_path: Path) -> Path:
    memory = f"{trees.CGROUP}/memory"
    node = {f"{acting.STATE}/": "", f"{memory}/memory.usage_in_bytes": "0\n", f"{memory}/{POD}/memory.qos_level": "0\n"}
    return trees.write(tmp_path, node) / memory / POD / "memory.qos_level"


def test_after_a_pause_it_is_ours_again_and_the_first_original_goes_back(level: Path, tmp_path: Path) -> None:
    """Told as drift, left alone for the pause, written again; the value from before us is put back, not theirs."""
    with Agent(tmp_path) as agent:
        agent.applier.execute(LOW)
        level.write_text("-2\n")
        agent.clock.now += 10
        assert [each.outcome for each in agent.applier.execute(LOW)] == [Outcome.DRIFTED]
        assert [each.outcome for each in agent.applier.execute(LOW)] == [Outcome.DRIFTED]
        assert level.read_text() == "-2\n"
        agent.clock.now += 2
        assert [each.outcome for each in agent.applier.execute(LOW)] == [Outcome.OK]
        agent.applier.restore(agent.clock() + 10)
    assert level.read_text() == "0\n"


@pytest.mark.parametrize("end", ["restore", "execute"])
def test_at_the_end_what_somebody_else_wrote_stays(level: Path, tmp_path: Path, end: str) -> None:
    """While a foreign value stands nothing goes back: it is told, and no longer ours. Also over a restart."""
    with Agent(tmp_path) as agent:
        agent.applier.execute(LOW)
        level.write_text("-2\n")
    with Agent(tmp_path) as agent:
        assert [each.outcome for each in agent.applier.adopt()] == [Outcome.DRIFTED]
        assert agent.applier.held == 1
        assert agent.applier.drifts == {Knob.MEMORY_QOS_LEVEL: 1}
        results = agent.applier.restore(agent.clock() + 10) if end == "restore" else agent.applier.execute(plan())
        assert [each.outcome for each in results] == [Outcome.DRIFTED]
        assert agent.applier.held == 0
    assert level.read_text() == "-2\n"


def test_what_another_one_put_back_is_nothing_to_report(level: Path, tmp_path: Path) -> None:
    """Somebody wrote the original: a drift while the plan stands, and nothing to do in the end."""
    with Agent(tmp_path) as agent:
        agent.applier.execute(LOW)
        level.write_text("0\n")
        agent.clock.now += 10
        assert [each.outcome for each in agent.applier.execute(LOW)] == [Outcome.DRIFTED]
        assert [each.outcome for each in agent.applier.restore(agent.clock() + 10)] == [Outcome.UNCHANGED]
        assert agent.applier.held == 0
    assert level.read_text() == "0\n"
