"""The whole agent with `frequency: {mode: enforce}` alone: what it observes, writes and puts back, whatever ends it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plimsoll.actor import Actor
from plimsoll.config.loader import parse_config
from plimsoll.model.frequency import Backend
from plimsoll.observer import Observer
from plimsoll.options import Options
from plimsoll.simulator.speed_select import SpeedSelect as Model
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from plimsoll.sources.manifests import ManifestPods
from tests.acting import Clock
from tests.running import Running, command, until
from tests.support import manifest, v2_node, v2_pod, write

ALONE = "frequency: {mode: enforce}\n"
# The same law in the time a test has.
QUICK = "frequency: {mode: enforce, window: 2s, coolDown: 0s, shrinkStep: 1.0}\n"
HIGHEST = "4600000\n"


class Node:
    """Two packages of four cores with two threads, a high-priority pod `web` and a low-priority pod `batch`."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.root = folder / "host"
        kubepods = v2_node(self.root)
        self.batch, self.web = (v2_pod(kubepods, number) for number in (1, 2))
        self.description = describe(Generation.TPMI, cores=4)
        lay_out(Tree(str(self.root)), self.description)
        (self.root / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io memory\n")
        self.everything = (self.root / f"{FOLDER}/online").read_text()
        for cgroup in (kubepods, *kubepods.rglob("*.slice"), *kubepods.rglob("*.scope")):
            write(cgroup, {"cpuset.cpus": "\n", "cpuset.cpus.effective": self.everything})
        self.pods = folder / "pods"
        self.pods.mkdir()
        for number, name, priority in ((1, "batch", "low"), (2, "web", "high")):
            text = manifest(number, name, plimsoll_io__qos_priority=priority)
            (self.pods / f"{name}.yaml").write_text(text.replace("plimsoll-io", "plimsoll.io"))
        self.config = folder / "plimsoll.yaml"
        self.config.write_text(config)
        self.start = self.image()

    def image(self) -> dict[str, str]:
        """Every file that the agent may write."""
        names = ("cpuset.cpus", "scaling_min_freq", "scaling_max_freq", "energy_performance_preference")
        return {str(path.relative_to(self.root)): path.read_text() for name in names for path in self.root.rglob(name)}

    def ceilings(self) -> dict[int, str]:
        return {
            cpu: (self.root / f"{FOLDER}/cpufreq/policy{cpu}/scaling_max_freq").read_text()
            for cpu in self.description.cpus
        }

    def follow(self) -> None:
        """As the kernel does: a pod runs where its cpuset says, or anywhere."""
        for pod in (self.batch, self.web):
            asked = (pod / "cpuset.cpus").read_text()
            effective = pod / "cpuset.cpus.effective"
            text = asked if asked.strip() else self.everything
            if effective.read_text() != text:
                new = pod / "effective.new"
                new.write_text(text)
                new.rename(effective)

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("--root", self.root, "--pods", self.pods, "--config", self.config)


@pytest.fixture
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(tmp_path, getattr(request, "param", QUICK))
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.01):
            node.follow()

    kernel = threading.Thread(target=live)
    kernel.start()
    yield node
    ended.set()
    kernel.join()


@pytest.fixture
def run(node: Node) -> Iterator[Callable[[], Running]]:
    running: list[Running] = []

    def start() -> Running:
        running.append(Running(node.folder, *node.arguments))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait(60)


def slow(node: Node) -> set[int]:
    return {cpu for cpu, ceiling in node.ceilings().items() if ceiling != HIGHEST}


def parted(node: Node) -> bool:
    """Whether some CPUs are slow, and the low-priority pod has just those."""
    found = slow(node)
    ours = (node.batch / "cpuset.cpus").read_text().strip()
    return bool(found) and set(range(len(node.description.cpus))) > found and bool(ours)


def test_sigterm_puts_everything_back(node: Node, run: Callable[[], Running]) -> None:
    """An idle high group shrinks, what leaves it is slow and the low pod's; after SIGTERM every file is as before."""
    agent = run()
    until(lambda: parted(node), "slow CPUs with the low-priority pod on them")
    plan = json.loads(command("plan", *node.arguments, "--format", "json").stdout)
    status = json.loads(agent.get("/status.json")[1])

    assert {each["knob"] for each in plan["writes"]} >= {"cpuset.cpus", "scaling_max_freq"}
    # pressure.interval is five seconds.
    assert status["intervalSeconds"] == 1.0
    assert agent.stop() == 0
    assert node.image() == node.start


def test_a_kill_and_restore(node: Node, run: Callable[[], Running]) -> None:
    """SIGKILL leaves all of it; `plimsoll restore` puts it back from the journal alone."""
    agent = run()
    until(lambda: parted(node), "slow CPUs with the low-priority pod on them")
    agent.process.kill()
    agent.process.wait(60)
    assert node.image() != node.start

    assert command("restore", "--root", node.root).stdout.rstrip().endswith("0 left.")
    assert node.image() == node.start


def test_turning_it_off_while_it_runs(node: Node, run: Callable[[], Running]) -> None:
    """By a reload of the configuration: all of it goes back within a tick, and the agent ticks as slowly as before."""
    agent = run()
    until(lambda: parted(node), "slow CPUs with the low-priority pod on them")
    node.config.write_text("frequency: {mode: 'off'}\n")
    until(lambda: node.image() == node.start, "everything put back")
    until(lambda: json.loads(agent.get("/status.json")[1])["intervalSeconds"] == 5.0, "the slower tick")
    assert agent.stop() == 0


@pytest.mark.parametrize("node", ["frequency: {mode: observe}\n"], indirect=True)
def test_observing_writes_nothing(node: Node, run: Callable[[], Running]) -> None:
    """The default: what would be is told, and no file changes."""
    agent = run()
    until(lambda: (agent.metric("plimsoll_ticks_total") or "0") >= "2", "two ticks")
    assert agent.metric('plimsoll_policy_status{policy="frequency",mode="observe",status="ok"}') == "1"
    assert node.image() == node.start
    assert agent.stop() == 0
    assert node.image() == node.start


@pytest.mark.parametrize("generation", list(Generation))
def test_the_registers_of_speed_select(tmp_path: Path, generation: Generation) -> None:
    """
    Observer and hands share one Speed Select: what the journal holds is known to be ours in this life and the next, and
    goes back; without the journal it would be somebody else's.
    """
    node = Node(tmp_path, QUICK)
    (node.root / "run/plimsoll").mkdir()
    model, clock = Model(describe(generation, cores=4)), Clock()
    before = dict(model.registers())
    config = parse_config(QUICK, "f.yaml")

    def life(seconds: int, *, restored: bool) -> None:
        source = ManifestPods(str(node.pods), clock=clock)
        observer = Observer(Options(pods=str(node.pods), root=str(node.root)), config, source, clock)
        observer.speed_select._transport = model
        actor = Actor(observer.host, observer.hierarchies, observer.speed_select, "/run/plimsoll", config, clock=clock)
        observer.registers_held = actor.registers_held
        try:
            for _ in range(seconds):
                clock.now += 1
                node.follow()
                snapshot = observer.snapshot()
                assert snapshot.node.frequency is not None
                assert snapshot.node.frequency.backend in (Backend.TPMI, Backend.MAILBOX)
                assert snapshot.node.frequency.foreign == ""
                results = actor.act(snapshot).results
                assert not [each for each in results if each.outcome not in ("ok", "unchanged")]
            assert actor.registers_held()
            if restored:
                actor.restore()
                assert not actor.registers_held()
        finally:
            actor.close()
            observer.close()

    life(12, restored=False)
    moved = dict(model.registers())
    assert moved != before
    assert (node.batch / "cpuset.cpus").read_text().strip()
    life(3, restored=True)
    assert dict(model.registers()) == before
    assert node.image() == node.start


def test_alone_is_a_whole_configuration() -> None:
    """Everything else has a default."""
    section = parse_config(ALONE, "f.yaml").frequency
    assert (section.mode, section.interval, section.turbo_frequency) == ("enforce", 1.0, "off")
