"""A pod evicted on a simulated node, from the kernel's files to the API server and back; also by the program."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from plimsoll.actor import Actor
from plimsoll.config.loader import parse_config
from plimsoll.model.acting import Acting
from plimsoll.model.eviction import Pause
from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Priority
from plimsoll.observer import Observer
from plimsoll.options import Options
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.contention import Capacity
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import PodSpec, Shape, Workload
from plimsoll.sources.kube import KubePods
from plimsoll.sources.kube.evicting import Evictor
from tests.running import Running, until

GIB = 1 << 30
HIGH, LOW = ({"plimsoll.io/qos-priority": each.value} for each in (Priority.HIGH, Priority.LOW))
# Together they want far more memory than there is, and most of it for the training's sake.
PODS = (
    PodSpec("shop", "web", Shape.STEADY, cpu=1.0, memory=8 * GIB, base=1.0, annotations=HIGH),
    PodSpec("ml", "train", Shape.STEADY, cpu=1.0, memory=12 * GIB, base=1.0, io=1e6, annotations=LOW),
    PodSpec("ml", "small", Shape.STEADY, cpu=1.0, memory=2 * GIB, base=1.0, io=2e6, annotations=LOW),
)
CAPACITY = Capacity(cpus=8, memory=16 * GIB, swap=0, io=400e6)
CONFIG = (
    "pressure: {interval: 1s}\npreemption: {mode: 'off'}\novercommit: {mode: 'off'}\n"
    "eviction: {mode: enforce, settle: 30s, memory: {sustained: 10s}, cpu: null, io: null}\n"
)


class Cluster:
    """A node, its API server, and what its kubelet does."""

    def __init__(self, root: Path, kind: Kind) -> None:
        root.mkdir()
        self.node = SimulatedNode(str(root), kind, Workload(PODS), CAPACITY, name="n")
        self.api = ApiServer()
        self.api.start()
        for each in self.node.objects().values():
            self.api.put_pod(cast("dict[str, Any]", each))

    def live(self, now: float) -> None:
        """Until ``now``, in seconds; pods that were told to end do."""
        self.node.advance(now)
        for each in self.api.pods:
            metadata = each["metadata"]
            if "deletionTimestamp" in metadata:
                self.node.end(metadata["uid"])
                self.api.delete_pod(metadata["namespace"], metadata["name"])

    @property
    def names(self) -> set[str]:
        return {each["metadata"]["name"] for each in self.api.pods}


@pytest.fixture(params=list(Kind))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "node", request.param)
    yield cluster
    cluster.api.stop()


class Days:
    """The agent's parts on a cluster, in a time of their own. Nothing of them knows that it is no real node."""

    def __init__(self, cluster: Cluster, folder: Path, config: str = CONFIG) -> None:
        self.cluster = cluster
        self.now = 0.0
        self.ticks: list[Acting] = []
        kubeconfig = cluster.api.write_kubeconfig(folder / "kubeconfig")
        options = Options(root=cluster.node.root, kubeconfig=kubeconfig, node_name="n")
        parsed = parse_config(config, "config")
        self.source = KubePods("n", kubeconfig=kubeconfig)
        self.observer = Observer(options, parsed, self.source, clock=lambda: self.now)
        self.evictor = self.observer.evictions = Evictor(kubeconfig=kubeconfig, clock=lambda: self.now)
        (folder / "node/run/plimsoll").mkdir()
        self.actor = Actor(
            self.observer.host,
            self.observer.hierarchies,
            self.observer.speed_select,
            "run/plimsoll",
            parsed,
            clock=lambda: self.now,
            evictor=self.evictor,
        )
        self.source.start()
        self.evictor.start()
        assert self.source.wait_complete(60)

    def tick(self) -> Acting:
        self.now += 5.0
        self.cluster.live(self.now)
        acting = self.actor.act(self.observer.snapshot())
        self.ticks.append(acting)
        # The node's time stands still while the API server answers, and while its watch tells of it.
        until(lambda: all(each.outcome is not None for each in self.evictor.attempts), "the answer")
        self.cluster.live(self.now)
        known = partial(self.source.observe, parse_config("", "").priority)
        until(lambda: {each.name for each in known().pods} == self.cluster.names, "the watch")
        return acting

    def close(self) -> None:
        self.evictor.stop()
        self.source.stop()
        self.actor.close()
        self.observer.close()


@pytest.fixture
def days(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Days]]:
    made: list[Days] = []

    def begin(config: str = CONFIG) -> Days:
        made.append(Days(cluster, tmp_path, config))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def test_the_one_that_takes_the_memory_goes(cluster: Cluster, days: Callable[..., Days]) -> None:
    """One eviction, of the largest; then nobody has to wait and nobody else goes, for as long as one looks."""
    day = days()
    for _ in range(40):
        day.tick()

    assert cluster.names == {"web", "small"}
    assert {each.spec.name for each in cluster.node.instances()} == {"web", "small"}
    evicted = [each for acting in day.ticks for each in acting.evicted]
    assert [(each.evict.namespace, each.evict.name, each.outcome) for each in evicted] == [("ml", "train", Outcome.OK)]
    assert evicted[0].evict.sufferer == "shop/web"
    assert day.ticks[-1].evictions == {("eviction", Outcome.OK): 1}
    figures = day.ticks[-1].reports[-1].eviction
    assert figures is not None
    assert (figures.shortages, figures.pause) == ((), Pause.NONE)


def test_a_budget_is_heeded(cluster: Cluster, days: Callable[..., Days]) -> None:
    """The largest may not go; the other one does in its place, and the first one when its budget has room."""
    cluster.api.budgeted = frozenset({("ml", "train")})
    day = days()
    for _ in range(12):
        day.tick()
    outcomes = [(each.evict.name, each.outcome) for acting in day.ticks for each in acting.evicted]
    assert outcomes[0] == ("train", Outcome.BUDGET)
    assert "train" in cluster.names
    cluster.api.budgeted = frozenset()
    for _ in range(90):
        day.tick()
    assert "train" not in cluster.names


def test_observing_evicts_nobody(cluster: Cluster, days: Callable[..., Days]) -> None:
    """What would be is told, and the API server is not asked."""
    day = days(CONFIG.replace("mode: enforce", "mode: observe"))
    for _ in range(20):
        day.tick()
    assert cluster.names == {"web", "train", "small"}
    assert next(each.name for acting in day.ticks for each in acting.would_evict) == "train"
    assert day.evictor.attempts == ()
    assert day.ticks[-1].evictions_observed["eviction"] >= 1


def test_use_of_disks_is_known(cluster: Cluster, days: Callable[..., Days]) -> None:
    """Of low-priority pods, from the files of this kernel."""
    day = days(CONFIG.replace(", io: null", ""))
    for _ in range(3):
        day.tick()
    rates = {each.pod.name: each.io_rate for each in day.observer.snapshot().pods}
    assert rates["web"] is None
    day.now += 5.0
    cluster.live(day.now)
    rates = {each.pod.name: each.io_rate for each in day.observer.snapshot().pods}
    assert rates["small"] is not None
    assert rates["train"] is not None
    assert rates["small"] > 0


def test_the_program_evicts(tmp_path: Path) -> None:
    """The whole agent in real time: the pod goes, its owner gets an event, and metrics, page and audit log say so."""
    cluster = Cluster(tmp_path / "node", Kind.STOCK_V2)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG + "notices: {events: true}\n")
    kubeconfig = cluster.api.write_kubeconfig(tmp_path / "kubeconfig")
    begun = time.monotonic()
    arguments = ("--root", cluster.node.root, "--kubeconfig", kubeconfig, "--node-name", "n", "--config", config)
    try:
        with Running(tmp_path, *arguments) as agent:

            def gone() -> bool:
                cluster.live(time.monotonic() - begun)
                return "train" not in cluster.names

            agent.event("agent-started")
            # Half a minute of settling after the start, in real time; the deadline only bounds a failure.
            until(gone, "the eviction", seconds=200)
            counter = r'plimsoll_evictions_total\{policy="eviction",outcome="ok"\}'
            until(lambda: agent.metric(counter) == "1", "the metric")
            (event,) = until(lambda: [each for each in cluster.api.events if each["reason"] == "Evicted"], "the event")
            assert event["involvedObject"]["name"] == "train"
            assert "had to wait for memory" in event["message"]
            assert "web" not in event["message"]
            changes = json.loads(agent.get("/status.json")[1])["changes"]
            assert [(each["action"], each["pod"], each["outcome"]) for each in changes] == [("evict", "train", "ok")]
            assert agent.stop() == 0
            lines = (tmp_path / "node/run/plimsoll/audit.jsonl").read_text().splitlines()
            assert [json.loads(line)["action"] for line in lines] == ["evict"]
            assert [each["uid"] for each in agent.events() if each["event"] == "pod-evicted"] == [
                event["involvedObject"]["uid"]
            ]
    finally:
        cluster.api.stop()
