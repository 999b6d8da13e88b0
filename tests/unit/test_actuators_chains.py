"""Writes that depend on each other stop where one of them failed, on the way there and on the way back."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan, Result, Write
from tests import acting
from tests.acting import Agent, plan, pod, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return trees.write(tmp_path, acting.tree(4))


class Refusal:
    """Refuses to write one pod's files while it is armed."""

    def __init__(self, number: int, code: int = errno.EINVAL) -> None:
        self.number: int | None = number
        self._code = code

    def __call__(self, operation: str, path: str) -> int:
        hit = self.number is not None and operation == "write" and pod(self.number) in path
        return self._code if hit else 0


def link(number: int, phase: int, *, chain: str = "frequency") -> Write:
    return want(pod(number), Knob.MEMORY_LOW, "4096", phase=phase)._replace(chain=chain)


def outcomes(results: Iterable[Result]) -> dict[str, Outcome]:
    return {each.write.target.path: each.outcome for each in results}


def test_what_comes_after_a_failure_is_not_tried(node: Path) -> None:
    """The same phase goes on, later ones of the chain are HELD, and what is in no chain does not care."""
    wanted = plan(link(0, 1), link(1, 1), link(2, 2), link(3, 3, chain=""))
    with Agent(node, fault=Refusal(0)) as agent:
        found = outcomes(agent.applier.execute(wanted))
        assert found == {
            pod(0): Outcome.REJECTED,
            pod(1): Outcome.OK,
            pod(2): Outcome.HELD,
            pod(3): Outcome.OK,
        }
        # What waits for another try, without a system call, stops the chain just as well.
        assert outcomes(agent.applier.execute(wanted))[pod(2)] is Outcome.HELD


def test_a_chain_goes_on_when_the_failure_is_over(node: Path) -> None:
    """Nothing is remembered of a chain between two ticks."""
    refusal = Refusal(0, errno.EACCES)
    with Agent(node, fault=refusal) as agent:
        wanted = plan(link(0, 1), link(2, 2))
        agent.applier.execute(wanted)
        refusal.number = None
        agent.clock.now += 400
        assert outcomes(agent.applier.execute(wanted)) == {pod(0): Outcome.OK, pod(2): Outcome.OK}


def test_on_the_way_back_a_failure_keeps_what_depends_on_it(node: Path) -> None:
    """Restoring goes from the last phase to the first; what comes after a failure stays as it is, and journaled."""
    refusal = Refusal(2, errno.EACCES)
    refusal.number = None
    start = acting.values(node)
    with Agent(node, fault=refusal) as agent:
        agent.applier.execute(plan(link(0, 1), link(1, 2), link(2, 3)))
        refusal.number = 2
        found = outcomes(agent.applier.restore(agent.clock() + 10))
        assert found == {pod(2): Outcome.DENIED, pod(1): Outcome.HELD, pod(0): Outcome.HELD}
        assert agent.applier.held == 3
    refusal.number = None
    with Agent(node) as agent:
        assert set(outcomes(agent.applier.restore(agent.clock() + 10)).values()) == {Outcome.OK}
    assert acting.values(node) == start


def test_what_depends_on_a_busy_one_waits_for_it(node: Path) -> None:
    """Busy is no failure: the rest of the chain follows once it has passed."""
    busy = Refusal(2, errno.EBUSY)
    busy.number = None
    start = acting.values(node)
    with Agent(node, fault=busy) as agent:
        agent.applier.execute(plan(link(0, 1), link(2, 2)))
        busy.number = 2
        tries = 0

        def passing(operation: str, path: str) -> int:
            nonlocal tries
            code = Refusal.__call__(busy, operation, path)
            tries += bool(code)
            if tries > 9:
                busy.number = None
            return code

        with Agent(node, fault=passing) as second:
            assert set(outcomes(second.applier.restore(second.clock() + 10)).values()) == {Outcome.OK}
            assert tries > 9
    assert acting.values(node) == start


def test_letting_go_keeps_to_the_chain_too(node: Path) -> None:
    """A plan that wants nothing any more puts back in reverse, and stops at a failure likewise."""
    refusal = Refusal(2, errno.EACCES)
    refusal.number = None
    with Agent(node, fault=refusal) as agent:
        agent.applier.execute(plan(link(0, 1), link(2, 2)))
        refusal.number = 2
        found = outcomes(agent.applier.execute(Plan()))
        assert found == {pod(2): Outcome.DENIED, pod(0): Outcome.HELD}


def test_a_value_that_moves_to_a_later_phase_is_put_back_sooner(node: Path) -> None:
    """Nothing is written for it, but the journal knows the new phase and chain, once."""
    with Agent(node) as agent:
        agent.applier.execute(plan(link(0, 1, chain=""), link(1, 2)))
        moved = plan(link(0, 3), link(1, 2))
        assert set(outcomes(agent.applier.execute(moved)).values()) == {Outcome.UNCHANGED}
        size = agent.journal.size
        agent.applier.execute(moved)
        assert agent.journal.size == size
        assert [each.chain for each in agent.journal.originals.values()] == ["frequency", "frequency"]
    with Agent(node) as agent:
        restored = agent.applier.restore(agent.clock() + 10)
        assert [each.write.target.path for each in restored] == [pod(0), pod(1)]
