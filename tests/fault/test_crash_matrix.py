"""
Killed at every system call: the agent's hands are stopped dead at each step of a representative run, and started again.

A run takes knobs for the first time, changes them, lets go of some, compacts its journal and ends. The calls at the
host's boundary and the journal's are counted; an append counts twice, because a kill may leave half of its bytes.
"""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan
from tests import acting
from tests.acting import Agent, Pages, plan, pod, switch, want
from tests.fixtures.hosts import trees
from tests.untraced import untraced
from tests.vm.scripts.forked import child, ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Later versions of Python warn of threads that other tests have left behind; the children use none of their locks.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

COMPACT = 1500  # a few lines: the run compacts several times


class Steps:
    """Counts the steps and dies at one of them."""

    def __init__(self, deadly: int | None = None) -> None:
        self.taken = 0
        self.names: list[str] = []
        self._deadly = deadly
        self._pages = Pages()

    def step(self, name: str) -> None:
        if self.taken == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken += 1
        self.names.append(name)

    def hook(self, operation: str, path: str) -> int:
        self.step(f"{operation} {path}")
        return self._pages(operation, path)

    def write(self, descriptor: int, data: bytes) -> int:
        half = len(data) // 2
        if self.taken == self._deadly and half:
            os.write(descriptor, data[:half])
        self.step("mid-append")
        return os.write(descriptor, data)


def plans() -> tuple[Plan, ...]:
    """Wider and narrower values, some of no whole page; a child and its parents; the node's switch; a pod let go of."""
    return (
        plan(
            switch(),
            want(acting.ROOT, Knob.MEMORY_LOW, "8388608"),
            want(acting.QOS, Knob.MEMORY_LOW, "4194304"),
            want(pod(0), Knob.MEMORY_LOW, "4128769", phase=1),
            want(pod(0), Knob.CPU_IDLE, "1", phase=1),
            want(pod(1), Knob.CPU_WEIGHT, "1"),
        ),
        plan(
            switch(),
            want(acting.ROOT, Knob.MEMORY_LOW, "2097152"),
            want(acting.QOS, Knob.MEMORY_LOW, "1048577"),
            want(pod(0), Knob.MEMORY_LOW, "1048576", phase=1),
            want(pod(1), Knob.CPU_WEIGHT, "20000"),
            want(pod(2), Knob.CPU_IDLE, "1", phase=1),
        ),
    )


def run(root: Path, steps: Steps) -> None:
    """A whole life of the agent. The clock moves so that every knob is looked at in each tick."""
    with Agent(root, fault=steps.hook, write=steps.write, compact_bytes=COMPACT) as agent:
        agent.applier.adopt()
        for each in (*plans(), plans()[1]):
            agent.applier.execute(each)
            agent.clock.now += 20
        agent.applier.restore(agent.clock() + 10)


def dies(function: Callable[[], None]) -> bool:
    """
    Run in a child: whether it was killed. Any other failure of it is one of the test.

    It takes with it whatever a tracer has counted.
    """
    with untraced():
        code = ended(child(function))
    assert code in (0, -signal.SIGKILL)
    return code != 0


def fresh(root: Path) -> dict[str, bytes]:
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    trees.write(root, acting.tree(3))
    return acting.values(root)


def stop(root: Path) -> None:
    """What an uninstall hook does: from the journal alone."""
    with Agent(root, fault=Pages()) as agent:
        agent.applier.adopt()
        results = agent.applier.restore(agent.clock() + 10)
        assert {each.outcome for each in results} <= {Outcome.OK, Outcome.UNCHANGED}
        assert not agent.journal.originals
        assert agent.journal.size == 0


def go_on_and_stop(root: Path) -> None:
    """What the next agent does: it adopts, goes on with the plan and is ended by SIGTERM."""
    with Agent(root, fault=Pages(), compact_bytes=COMPACT) as agent:
        agent.applier.adopt()
        results = agent.applier.execute(plans()[1])
        assert {each.outcome for each in results} <= {Outcome.OK, Outcome.UNCHANGED, Outcome.CLAMPED}
        agent.applier.restore(agent.clock() + 10)
        assert not agent.journal.originals


@pytest.fixture
def steps(tmp_path: Path) -> int:
    """How many steps a whole run has; that it is a run worth being killed in."""
    start = fresh(tmp_path / "node")
    counted = Steps()
    run(tmp_path / "node", counted)
    assert acting.values(tmp_path / "node") == start
    kinds = {name.partition(" ")[0] for name in counted.names}
    assert {"open", "read", "write", "truncate", "mid-append", "unlink", "fsync", "rename"} <= kinds
    assert sum("rename journal.new" in name for name in counted.names) > 2
    return counted.taken


@pytest.mark.parametrize("end", [stop, go_on_and_stop])
def test_f15_killed_at_any_step_everything_goes_back(tmp_path: Path, steps: int, end: Callable[[Path], None]) -> None:
    """F15: whatever the step, the next life puts back every byte, goes on as planned, and leaves an empty journal."""
    root = tmp_path / "node"
    for deadly in range(steps):
        start = fresh(root)
        assert dies(lambda deadly=deadly: run(root, Steps(deadly)))
        end(root)
        assert acting.values(root) == start, f"step {deadly}"
        assert sorted(os.listdir(root / acting.STATE)) in (["journal"], ["journal", "journal.new"]), f"step {deadly}"


def test_f15_killed_twice(tmp_path: Path, steps: int) -> None:
    """F15: the life after a kill may be killed too, wherever: a sample of pairs of steps."""
    root = tmp_path / "node"
    for deadly in range(0, steps, 5):
        start = fresh(root)
        assert dies(lambda deadly=deadly: run(root, Steps(deadly)))
        dies(lambda deadly=deadly: run(root, Steps(deadly * 7 % steps)))
        stop(root)
        assert acting.values(root) == start, f"steps {deadly} and {deadly * 7 % steps}"
