"""
Sets of CPUs above one another, as cgroup v1 wants them: no child has a CPU its parent lacks after any single write, on
the way there, on the way back, and wherever the agent is killed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.cpus import parse_cpus
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan
from tests import acting
from tests.acting import Agent, plan, pod, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plimsoll.model.plan import Result

POD = pod(0)
START = {POD: "0-3", f"{POD}/main": "0-1", f"{POD}/side": "2-3", f"{POD}/main/init": "1"}
# Beside what stood, across it, within it and around it.
SETS = ("4-7", "2-5", "2", "0-6")


class Killed(BaseException):
    """The end of a process: nothing may take it for an error and go on."""


class Kernel:
    """Checks what cgroup v1 refuses; ends the agent at one of its writes, half a line of the journal among them."""

    def __init__(self, root: Path, deadly: int | None = None) -> None:
        self._root = root
        self._deadly = deadly
        self.writes = 0

    def hook(self, operation: str, path: str) -> int:
        if operation in ("write", "truncate", "rename"):
            self.check(path)
            self._step()
        return 0

    def append(self, descriptor: int, data: bytes) -> int:
        if self.writes == self._deadly:
            os.write(descriptor, data[: len(data) // 2])
        self._step()
        return os.write(descriptor, data)

    def check(self, when: str) -> None:
        sets = {path: parse_cpus(line(self._root, path)) for path in START}
        for path, cpus in sets.items():
            above = path.rpartition("/")[0]
            assert cpus, when
            assert above not in sets or cpus <= sets[above], (when, path)

    def _step(self) -> None:
        if self.writes == self._deadly:
            raise Killed
        self.writes += 1


def line(root: Path, path: str) -> str:
    # A file keeps the tail of a longer value until it is cut; the kernel takes a line.
    return (root / trees.CGROUP / path / "cpuset.cpus").read_text().partition("\n")[0]


def make(root: Path) -> Path:
    made = acting.tree(0)
    for path, cpus in START.items():
        made |= trees.below(f"{trees.CGROUP}/{path}", {"cpuset.cpus": f"{cpus}\n"})
    return trees.write(root, made)


def wanted(cpus: str, **phases: int) -> Plan:
    """All of the pod on these CPUs; ``phases`` by the last part of a path."""
    return plan(*(want(each, Knob.CPUSET_CPUS, cpus, phase=phases.get(each.rpartition("/")[2], 0)) for each in START))


def life(root: Path, kernel: Kernel, plans: tuple[Plan, ...], *, restored: bool) -> Iterator[Result]:
    with Agent(root, fault=kernel.hook, write=kernel.append) as agent:
        agent.applier.adopt()
        for each in plans:
            agent.clock.now += 20
            yield from agent.applier.execute(each)
        if restored:
            yield from agent.applier.restore(agent.clock() + 10)
    kernel.check("in the end")


@pytest.mark.parametrize("phases", [{}, {"main": 20, "init": 30}, {POD.rpartition("/")[2]: 20, "init": 10}])
@pytest.mark.parametrize("released", [True, False])
def test_a_life(tmp_path: Path, phases: dict[str, int], released: bool) -> None:
    """Each set in its tick, and back, by a plan that wants nothing or at the end, in whatever phase each is written."""
    root = make(tmp_path / "node")
    start = acting.values(root)
    plans = tuple(wanted(each, **phases) for each in SETS)
    results = list(life(root, Kernel(root), (*plans, Plan()) if released else plans, restored=not released))
    assert {each.outcome for each in results} <= {Outcome.OK, Outcome.UNCHANGED}
    # Steps on the way are not told.
    assert len(results) == len(START) * (len(SETS) + 1)
    assert acting.values(root) == start


def test_killed_at_every_write(tmp_path: Path) -> None:
    """What comes next, an agent that goes on or one that only puts back, leaves everything as it was."""
    plans = tuple(wanted(each) for each in SETS[:2])
    deadly, reached = 0, True
    while reached:
        for following in ((), (wanted(SETS[2]), Plan())):
            root = make(tmp_path / f"node-{deadly}-{len(following)}")
            start = acting.values(root)
            kernel = Kernel(root, deadly)
            try:
                list(life(root, kernel, plans, restored=True))
                reached = False
            except Killed:
                reached = True
            results = list(life(root, Kernel(root), following, restored=not following))
            assert {each.outcome for each in results} <= {Outcome.OK, Outcome.UNCHANGED}, deadly
            assert acting.values(root) == start, deadly
        deadly += 1
    assert deadly > 30


@pytest.mark.parametrize("full", [False, True])
def test_what_cannot_be_written_down_is_not_gone_through(tmp_path: Path, full: bool) -> None:
    """With a full disk no value stands for an instant that a crash would make nobody's."""
    root = make(tmp_path / "node")
    seen: set[str] = set()
    filled: list[bool] = []

    def see(operation: str, path: str) -> int:
        if operation in ("write", "truncate") and path.endswith("cpuset.cpus"):
            seen.add(line(root, POD))
        return 0

    def append(descriptor: int, data: bytes) -> int:
        if filled:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    with Agent(root, fault=see, write=append) as agent:
        agent.applier.execute(wanted("4-7"))
        seen.clear()
        filled.extend([full] * full)
        agent.applier.restore(agent.clock() + 1)
    assert ("0-7" in seen) is not full
