"""Writes that come back late or never: the tick goes on, nothing is lost of what they came to, and the end waits."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from plimsoll import actor as acting_half
from plimsoll.actor import Actor
from plimsoll.actuators.applier import Applier
from plimsoll.config.schema import Config
from plimsoll.daemon import Agent
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.acting import Acting
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Reclaim, cgroup
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Snapshot
from plimsoll.options import Options
from tests import acting
from tests.fixtures.colocated import path, sample, snapshot
from tests.fixtures.hosts import trees

FIRST, SECOND = 1, 2
CONFIG = Config.model_validate({"preemption": {"mode": "enforce"}})
SEEN = snapshot((sample(FIRST), sample(SECOND), sample(3, Priority.NORMAL)), ("cgroup", "kubepods", "cpu-idle"))
DEADLINE = 0.2


class Gate:
    """Holds up the first write to ``cpu.idle`` until it is opened, as a kernel does that has other worries."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.writes: list[str] = []

    def __call__(self, operation: str, where: str) -> int:
        if operation == "write" and where.endswith("cpu.idle"):
            self.writes.append(where)
            self.reached.set()
            assert self.opened.wait(60)
        return 0


class Node:
    """A node in a folder, with an actor whose first write is held up."""

    def __init__(self, root: Path, opened: ExitStack) -> None:
        self.root = root
        self.start = acting.values(root)
        self.gate = Gate()
        host = opened.enter_context(HostFs(str(root), fault=self.gate))
        hierarchies = opened.enter_context(Hierarchies.detect(host))
        self.actor = Actor(host, hierarchies, SpeedSelect(host), acting.STATE, CONFIG)
        opened.callback(self.actor.close)
        opened.callback(self.gate.opened.set)

    def act_late(self) -> Acting:
        """A tick that is given up on while its first write hangs."""
        told = self.actor.act(SEEN)
        # However long the thread took to come so far.
        assert self.gate.reached.wait(60)
        return told

    def idle(self, number: int) -> str:
        return (self.root / trees.CGROUP / path(number) / "cpu.idle").read_text()

    def restored(self) -> bool:
        """By the next one, from the journal alone."""
        with HostFs(str(self.root)) as host, Hierarchies.detect(host) as hierarchies:
            actor = Actor(host, hierarchies, SpeedSelect(host), acting.STATE, CONFIG)
            actor.restore()
            actor.close()
        return acting.values(self.root) == self.start


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(acting_half, "ACT_DEADLINE", DEADLINE)
    tree = trees.proc() | {f"{acting.STATE}/": "", f"{trees.CGROUP}/cgroup.controllers": "cpu memory\n"}
    for number in (FIRST, SECOND, 3):
        tree |= trees.below(f"{trees.CGROUP}/{path(number)}", dict(acting.KNOB_FILES))
    with ExitStack() as opened:
        yield Node(trees.write(tmp_path, tree), opened)


def test_what_a_late_tick_came_to_is_told_when_it_comes(node: Node) -> None:
    """While a write hangs every tick says for how long, and nothing is written behind it; then all of it is told."""
    first = node.act_late()
    again = node.actor.act(SEEN)

    assert 0 < first.stuck_seconds < again.stuck_seconds
    assert (first.results, again.results) == ((), ())
    assert len(node.gate.writes) == 1
    assert not again.writes

    node.gate.opened.set()
    # On a busy machine the next ticks may be late, too.
    until = time.monotonic() + 60
    results = list((told := node.actor.act(SEEN)).results)
    while (told.stuck_seconds or told.held < 2) and time.monotonic() < until:
        results += (told := node.actor.act(SEEN)).results
    done = [each for each in results if each.outcome is Outcome.OK]
    assert sorted(each.write.target.path for each in done) == [path(FIRST), path(SECOND)], "it is told, and once"
    assert told.writes == {("preemption", Knob.CPU_IDLE, Outcome.OK): 2}
    assert told.held == 2


def test_the_end_waits_for_a_tick_that_is_late(node: Node) -> None:
    """SIGTERM while the kernel is slow: what the tick has yet to write is written, told, and put back in time."""
    node.act_late()
    threading.Timer(2 * DEADLINE, node.gate.opened.set).start()

    results = node.actor.restore(30.0)

    assert acting.values(node.root) == node.start
    assert node.actor.held == 0
    assert [each.write.value for each in results if each.write.target.path == path(FIRST)] == ["1", "0 cpu.weight=100"]


def test_the_end_does_not_wait_for_a_write_that_hangs(node: Node) -> None:
    """After its time it ends, with all it knows in the journal; whoever comes next puts everything back."""
    node.act_late()

    begun = time.monotonic()
    assert node.actor.restore(2 * DEADLINE) == ()
    assert time.monotonic() - begun < 10

    assert len(node.gate.writes) == 1
    node.gate.opened.set()
    node.actor.close()
    assert node.actor._worker.settle(60)
    assert node.idle(SECOND) == "1\n"
    assert node.restored()


def test_figures_are_asked_for_where_they_are_made(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the applier counts is read by its own thread only: while a tick is late it goes on counting."""
    asked: set[str] = set()
    for name in ("writes", "drifts", "disabled", "held"):
        known = getattr(Applier, name)

        def read(self: Applier, known: property = known) -> object:
            asked.add(threading.current_thread().name)
            return known.__get__(self)

        monkeypatch.setattr(Applier, name, property(read))
    node.actor.act(SEEN)
    node.gate.opened.set()
    node.actor.act(SEEN)
    assert asked <= {"act"}


def test_an_agent_told_to_end_while_it_observes_writes_nothing_more(node: Node, tmp_path: Path) -> None:
    """SIGTERM during a slow observation: the kubelet's time is for putting back, not for another tick's writes."""
    pods = tmp_path / "pods"
    pods.mkdir()
    options = Options(root=str(node.root), pods=str(pods), node_name="node", listen="127.0.0.1:0")
    agent = Agent(options, CONFIG, None)

    def slow() -> Snapshot:
        agent.stop()
        return SEEN

    acted: list[Snapshot] = []
    agent._observer.snapshot = slow  # type: ignore[method-assign]
    act = Actor.act
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Actor, "act", lambda self, seen: acted.append(seen) or act(self, seen))
        node.gate.opened.set()
        agent.run()
    assert not acted
    assert acting.values(node.root) == node.start


def test_no_request_for_memory_goes_on_while_all_is_put_back(node: Node) -> None:
    """What was wanted until then ends with the slice it is in: limits are lifted meanwhile."""
    node.gate.opened.set()
    node.actor.act(SEEN)
    node.actor.reclaimer.want(["uid"])

    node.actor.restore(30.0)

    node.actor.reclaimer.run(
        (), (Reclaim("uid", cgroup(path(FIRST)), 1 << 20, "overcommit", "the test wants it"),), 60.0
    )
    assert [each.outcome for each in node.actor.reclaimer.take()] == [Outcome.HELD]
