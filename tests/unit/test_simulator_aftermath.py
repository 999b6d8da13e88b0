"""What agents leave on a simulated node is told as the files have it, be it good or bad."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest

from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Entry, Key, Record
from plimsoll.model.plan import NODE, Knob, OnExit, cgroup
from plimsoll.simulator import cast, demonstration
from plimsoll.simulator.aftermath import estate, verdict
from plimsoll.simulator.demonstration import Demonstration, Failed
from plimsoll.simulator.knob_files import KnobFiles
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.stage import Stage
from plimsoll.simulator.workload import Workload
from plimsoll.status import fetch

CPU, MEMORY = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/memory"
SWITCH = "proc/sys/vm/memcg_qos_enable"


class Node:
    """An openEuler node whose control files are known from its beginning."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        workload = Workload(cast.PODS)
        self.simulated = SimulatedNode(str(root), Kind.OPENEULER_V1, workload, cast.NODE)
        self.files = KnobFiles(str(root))
        self.files.note()
        self.low = next(each for each in self.simulated.instances() if each.spec.name == "train" and not each.finished)
        self.pod = f"kubepods/besteffort/pod{self.low.uid}"
        (root / "run/plimsoll").mkdir()

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def remember(self, *knobs: tuple[str, Knob, str]) -> None:
        """In the journal: a cgroup (empty: the node), its knob and what stood there."""
        boot = (self.root / "proc/sys/kernel/random/boot_id").read_text().strip()
        with Journal.open(str(self.root / "run/plimsoll"), boot) as journal:
            journal.remember(
                Entry(
                    Key(cgroup(path) if path else NODE, knob, 1), Record(value, ("-1",), OnExit.RESTORE, "preemption")
                )
                for path, knob, value in knobs
            )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def test_a_node_nobody_touched_is_as_it_was(node):
    """Every control file of every cgroup and of the node is counted, each the same."""
    made = [path for path in node.root.rglob("*") if path.name in ("cpu.idle", "cpu.qos_level", "memory.qos_level")]
    found = verdict(node.files)

    assert found.files > len(made) > 20
    assert (found.kept, found.wrong) == ((), ())
    assert found.lines() == [f"{found.files} of {found.files} control files are as they were when they were made."]


def test_every_byte_counts(node):
    """A value nobody put back is named; so is one that only lost the end of its line."""
    node.write(f"{MEMORY}/{node.pod}/memory.qos_level", "-1\n")
    node.write(f"{CPU}/kubepods/cpu.shares", "1024")
    found = verdict(node.files)

    assert [(each.path, each.before, each.now) for each in found.wrong] == [
        (f"{CPU}/kubepods/cpu.shares", "1024\n", "1024"),
        (f"{MEMORY}/{node.pod}/memory.qos_level", "0\n", "-1\n"),
    ]
    first, *named = found.lines()
    assert first.startswith(f"{found.files - 2} of {found.files} ")
    assert named[1] == f"NOT as before: {MEMORY}/{node.pod}/memory.qos_level: 0 -> -1"


def test_what_the_kernel_does_not_take_back_is_said_apart(node):
    """cpu.qos_level is nobody's fault, and still not counted among those that are as they were."""
    node.write(f"{CPU}/{node.pod}/cpu.qos_level", "-1\n")
    found = verdict(node.files)

    assert found.wrong == ()
    assert [each.path for each in found.kept] == [f"{CPU}/{node.pod}/cpu.qos_level"]
    assert found.lines() == [
        f"{found.files - 1} of {found.files} control files are as they were when they were made.",
        "cpu.qos_level stays at -1 in 1 file of pods that still run: this kernel has no way back from there.",
    ]


def test_pods_come_and_go(node):
    """Files of new pods begin with what stands in them when noted; those of pods that are over do not count."""
    node.write(f"{CPU}/{node.pod}/cpu.qos_level", "-1\n")
    before = verdict(node.files).files
    known = {each.uid for each in node.simulated.instances() if not each.finished}
    node.simulated.advance(40.0)
    now = {each.uid: each for each in node.simulated.instances() if not each.finished}
    assert node.low.uid not in now
    assert now.keys() - known

    assert verdict(node.files).files < before
    assert verdict(node.files).kept == ()
    node.files.note()
    new = now[min(now.keys() - known)]
    path = next(node.root.glob(f"{CPU}/kubepods/*/pod{new.uid}/cpu.idle"))
    path.write_text("1\n")
    assert [each.path for each in verdict(node.files).wrong] == [str(path.relative_to(node.root))]


def test_an_estate_is_what_the_journal_can_put_back(node):
    """The same knob in two cgroups and the node's own: all known, whatever else the journal holds."""
    node.write(f"{CPU}/{node.pod}/cpu.idle", "1\n")
    node.write(f"{MEMORY}/{node.pod}/memory.qos_level", "-1\n")
    node.write(SWITCH, "1\n")
    node.remember(
        (node.pod, Knob.CPU_IDLE, "0 cpu.shares=2"),
        (node.pod, Knob.MEMORY_QOS_LEVEL, "0"),
        ("", Knob.MEMCG_QOS_ENABLE, "0"),
        ("kubepods/burstable/podgone", Knob.MEMORY_QOS_LEVEL, "0"),
    )
    left = estate(str(node.root), "run/plimsoll", node.files)

    assert left.whole
    assert left.known == {
        f"{CPU}/{node.pod}/cpu.idle": "0 cpu.shares=2",
        f"{MEMORY}/{node.pod}/memory.qos_level": "0",
        SWITCH: "0",
    }
    assert left.lines() == [
        "  cpu.idle          holds 1 in 1 file; before the agent: 0",
        "  memcg_qos_enable  holds 1 in 1 file; before the agent: 0",
        "  memory.qos_level  holds -1 in 1 file; before the agent: 0",
        "The journal holds 3 of 3 originals.",
    ]


@pytest.mark.parametrize("known", [(), (("", Knob.MEMCG_QOS_ENABLE, "1"),), (("kubepods", Knob.CPU_IDLE, "0"),)])
def test_an_estate_that_lacks_an_original_is_not_whole(node, known):
    """None, a wrong one, or one of another knob."""
    node.write(SWITCH, "1\n")
    node.remember(*known)
    left = estate(str(node.root), "run/plimsoll", node.files)

    assert not left.whole
    assert left.lines()[-1] == "The journal holds 0 of 1 originals."


class Audience(Stage):
    """Sees everything on no screen, and may do something about it."""

    def __init__(self, then) -> None:
        self.seen: list[str] = []
        self._then = then

    def scene(self) -> None:
        pass

    def show(self, heading, status=None) -> None:
        self.seen += heading
        self._then("\n".join(heading))


def play(folder: Path, then, *, seconds: float | None = 3.0, stop: threading.Event | None = None):
    """The demonstration in this process; ``then`` is told every picture's heading."""
    show = Demonstration(
        str(folder),
        Kind.STOCK_V2,
        seconds=seconds,
        listen="127.0.0.1:0",
        seed=0,
        stop=threading.Event() if stop is None else stop,
        clock=time.monotonic,
    )
    audience = Audience(then)
    show.run(audience)
    return show, audience


def test_stopped_while_no_agent_runs(tmp_path):
    """Then nothing is put back, which is said; no other agent is started."""
    stop = threading.Event()

    def then(heading: str) -> None:
        if "no agent runs" in heading:
            stop.set()

    show, audience = play(tmp_path, then, seconds=20.0 / 6, stop=stop)
    assert show.told[-1].startswith("Stopped while no agent ran: ")
    assert not any("Another agent, process" in each for each in show.told)
    assert sorted(path.name for path in tmp_path.glob("agent-*.log")) == ["agent-1.log"]
    assert any("holds 1" in each for each in audience.seen)


def test_what_was_adopted_is_not_forgotten(tmp_path, monkeypatch):
    """The agent tells of it among its last changes, until others push it out: one answer with it is enough."""
    told = 0

    def forgetful(url: str, timeout: float) -> dict[str, object]:
        nonlocal told
        answer = dict(fetch(url, timeout))
        told += any(each["knob"] is None for each in answer["changes"])
        if told > 1:
            answer["changes"] = [each for each in answer["changes"] if each["knob"] is not None]
        return answer

    monkeypatch.setattr(demonstration, "fetch", forgetful)
    show, audience = play(tmp_path, lambda _: None, seconds=6.0)
    assert told > 1
    adopted = re.search(r"process \d+, (adopted [1-9]\d* knobs of an earlier run)", "\n".join(show.told))[1]
    # On a busy machine some of them are gone by then, which is said behind it.
    assert sum(each.startswith(f"It {adopted}") for each in audience.seen) > 1


def test_a_journal_that_lost_its_lines_is_a_failure(tmp_path):
    """Somebody empties it under the agent: what it wrote could not be put back, and the demonstration says so."""

    def then(_heading: str) -> None:
        os.truncate(tmp_path / "node/run/plimsoll/journal", 0)

    with pytest.raises(Failed, match="the journal does not hold what a successor would need") as failure:
        play(tmp_path, then)
    assert "The journal holds 0 of " in failure.value.details[-1]


def test_a_file_that_is_not_as_before_is_a_failure(tmp_path):
    """Whoever it was that wrote it: the verdict is about the files."""
    stop = threading.Event()

    def then(_heading: str) -> None:
        (tmp_path / "node/sys/fs/cgroup/kubepods.slice/cpu.weight").write_text("55\n")
        stop.set()

    with pytest.raises(Failed, match="has not put everything back") as failure:
        play(tmp_path, then, seconds=None, stop=stop)
    assert failure.value.details[-1] == "NOT as before: sys/fs/cgroup/kubepods.slice/cpu.weight: 100 -> 55"
