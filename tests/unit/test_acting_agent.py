"""The whole agent with hands: what it writes, shows, and puts back, whatever ends it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.running import PROGRAM, Running, command, until
from tests.support import manifest, v2_node, v2_pod, write

KNOBS = {"cpu.idle": "0\n", "cpu.weight": "100\n", "memory.low": "0\n", "memory.min": "0\n"}


class Node:
    """Two pods, `batch` low and `web` high with a memory request, on a cgroup v2 node in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "host"
        kubepods = v2_node(self.root)
        self.batch, self.web = (v2_pod(kubepods, number) for number in (1, 2))
        for directory in (
            kubepods,
            *kubepods.glob("*.slice"),
            *kubepods.glob("*/*-pod*.slice"),
            *kubepods.glob("*/*/*"),
        ):
            if directory.is_dir():
                write(directory, KNOBS)
        self.pods = folder / "pods"
        self.pods.mkdir()
        (self.pods / "batch.yaml").write_text(self.pod(1, "batch", "low"))
        (self.pods / "web.yaml").write_text(self.pod(2, "web", "high"))
        self.config = folder / "plimsoll.yaml"
        self.set_mode("enforce")
        self.start = self.image()

    @staticmethod
    def pod(number: int, name: str, priority: str) -> str:
        text = manifest(number, name, plimsoll_io__qos_priority=priority).replace("plimsoll-io", "plimsoll.io")
        return text.replace(
            "status:\n", "spec:\n  containers: [{name: main, resources: {requests: {memory: 64Ki}}}]\nstatus:\n"
        )

    def set_mode(self, mode: str) -> None:
        self.config.write_text(f"pressure: {{interval: 1s}}\npreemption: {{mode: {mode}}}\n")

    def image(self) -> dict[str, str]:
        """Every file of the host but the agent's own."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "plimsoll" not in path.parts
        }

    def idle(self) -> str:
        return (self.batch / "cpu.idle").read_text()

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("--root", self.root, "--pods", self.pods, "--config", self.config)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def run(node: Node) -> Iterator[Callable[[], Running]]:
    with ExitStack() as running:
        yield lambda: running.enter_context(Running(node.folder, *node.arguments))


def test_enforcing_writes_and_the_end_puts_everything_back(node: Node, run: Callable[[], Running]) -> None:
    """The low pod idles, the high pod's memory is protected up to the root; after SIGTERM every byte is as before."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    until(lambda: (node.web / "memory.low").read_text() == "65536\n", "the high pod's protection")
    assert (node.root / "sys/fs/cgroup/kubepods.slice/memory.low").read_text() == "65536\n"
    assert (node.web / "cpu.idle").read_text() == "0\n"

    assert agent.stop() == 0
    assert node.image() == node.start
    assert [each["left"] for each in agent.events() if each["event"] == "restored"] == [0]
    audit = [json.loads(line) for line in (node.root / "run/plimsoll/audit.jsonl").read_text().splitlines()]
    told = [(each["before"], each["value"]) for each in audit if each["knob"] == "cpu.idle"]
    assert told == [("0 cpu.weight=100", "1"), ("1", "0 cpu.weight=100")]
    assert {each["pod"] for each in audit if each["knob"] == "cpu.idle"} == {"batch"}
    assert all(each["reason"] for each in audit)


def test_observing_writes_nothing(node: Node, run: Callable[[], Running]) -> None:
    """The default mode: what would be done is told, and no byte of the host changes."""
    node.set_mode("observe")
    agent = run()
    until(lambda: (agent.metric("plimsoll_ticks_total") or "0") >= "2", "two ticks")
    assert node.image() == node.start
    assert agent.metric('plimsoll_policy_status{policy="preemption",mode="observe",status="ok"}') == "1"
    assert agent.stop() == 0


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_turning_the_policy_off_puts_everything_back(node: Node, run: Callable[[], Running], mode: str) -> None:
    """By a reload of the configuration, while the agent runs on."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    node.set_mode(mode)
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: node.image() == node.start, "everything put back")
    assert agent.get("/healthz")[0] == 200
    assert agent.stop() == 0


def test_after_a_kill_the_next_agent_knows_what_it_changed(node: Node, run: Callable[[], Running]) -> None:
    """F15: SIGKILL, a new agent adopts, and its end puts back what the first one found."""
    first = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    first.process.kill()
    first.process.wait(60)
    assert node.idle() == "1\n"

    second = run()
    until(lambda: (second.metric("plimsoll_ticks_total") or "0") >= "2", "two ticks")
    assert node.idle() == "1\n"
    assert second.stop() == 0
    assert node.image() == node.start


def test_restore_needs_no_agent(node: Node, run: Callable[[], Running]) -> None:
    """After a kill, `plimsoll restore` puts everything back from the journal alone; beside a live agent it refuses."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    command("restore", "--root", node.root, code=75)
    agent.process.kill()
    agent.process.wait(60)

    said = command("restore", "--root", node.root).stdout
    assert "cpu.idle: 1 -> 0 cpu.weight=100: ok" in said
    assert said.rstrip().endswith("0 left.")
    assert node.image() == node.start
    assert "0 knobs put back, 0 left." in command("restore", "--root", node.root).stdout


def test_forgetting_leaves_no_trace(node: Node, run: Callable[[], Running]) -> None:
    """`restore --forget` after a kill: every value, and no file of an agent anywhere."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    agent.process.kill()
    agent.process.wait(60)
    assert (node.root / "run/plimsoll/journal").exists()

    command("restore", "--root", node.root, "--forget")
    assert node.image() == node.start
    assert not (node.root / "run/plimsoll").exists()


def test_forgetting_waits_for_an_agent_that_ends(node: Node, run: Callable[[], Running]) -> None:
    """The lock is waited for as long as is said, and not longer: an agent that does not end is an error."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    command("restore", "--root", node.root, "--forget", "--lock-wait", "0.2", code=75)
    assert (node.root / "run/plimsoll/journal").exists()

    with subprocess.Popen(
        [*PROGRAM, "restore", "--root", str(node.root), "--forget", "--lock-wait", "60"], stdout=subprocess.PIPE
    ) as waiting:
        assert agent.stop() == 0
        assert waiting.wait(60) == 0
    assert node.image() == node.start
    assert not (node.root / "run/plimsoll").exists()


def test_forgetting_needs_no_good_configuration(node: Node, run: Callable[[], Running], tmp_path: Path) -> None:
    """A wrong one is said and left out: nobody is to come who would do it with a better one. Without, it is refused."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    agent.process.kill()
    agent.process.wait(60)
    bad = tmp_path / "bad.yaml"
    bad.write_text("overcommit: {drainTimeout: soon}\n")

    assert "drainTimeout" in command("restore", "--root", node.root, "--config", bad, code=78).stderr
    assert node.image() != node.start
    said = command("restore", "--root", node.root, "--config", bad, "--forget").stderr
    assert "drainTimeout" in said
    assert "going on without a configuration" in said
    assert node.image() == node.start
    assert not (node.root / "run/plimsoll").exists()


def test_what_is_left_is_not_forgotten(node: Node, run: Callable[[], Running]) -> None:
    """A knob that cannot be put back now keeps its original in the journal; a later try has it."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    agent.process.kill()
    agent.process.wait(60)
    idle = node.batch / "cpu.idle"
    idle.rename(idle.with_name("away"))
    idle.mkdir()

    assert "1 left." in command("restore", "--root", node.root, "--forget", code=1).stdout
    assert (node.root / "run/plimsoll/journal").exists()

    idle.rmdir()
    idle.with_name("away").rename(idle)
    command("restore", "--root", node.root, "--forget")
    assert node.image() == node.start
    assert not (node.root / "run/plimsoll").exists()


def test_what_a_person_should_see_stays(node: Node) -> None:
    """A damaged journal was put aside; forgetting names it and leaves it there."""
    state = node.root / "run/plimsoll"
    state.mkdir(parents=True)
    (state / "journal.corrupt-1").write_text("damage")

    said = command("restore", "--root", node.root, "--forget").stdout
    assert "/run/plimsoll/journal.corrupt-1 stays" in said
    assert [each.name for each in state.iterdir()] == ["journal.corrupt-1"]


def test_a_plan_shows_and_does_nothing(node: Node) -> None:
    """What would be written, what stands there and why, as a table and as JSON."""
    table = command("plan", *node.arguments).stdout
    assert "cpu.idle: 0 cpu.weight=100 -> 1" in table
    assert table.rstrip().endswith("nothing was written.")
    writes = json.loads(command("plan", *node.arguments, "--format", "json").stdout)["writes"]
    idle = next(each for each in writes if each["knob"] == "cpu.idle")
    assert (idle["before"], idle["value"], idle["outcome"]) == ("0 cpu.weight=100", "1", "ok")
    assert idle["reason"]
    assert node.image() == node.start


def test_a_promoted_pod_is_let_go(node: Node, run: Callable[[], Running]) -> None:
    """An owner's change of mind is followed within a tick, also where that means writing less."""
    agent = run()
    until(lambda: node.idle() == "1\n", "the low pod to give way")
    (node.pods / "batch.yaml").write_text(node.pod(1, "batch", "normal"))
    until(lambda: node.idle() == "0\n", "the promoted pod to be let go")
    assert agent.stop() == 0
    assert node.image() == node.start
