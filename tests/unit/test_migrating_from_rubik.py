"""docs/migrating-from-rubik.md, "Moving a node": an openEuler node that rubik has left, observed, then enforced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plimsoll.simulator import cast
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import PodSpec, Shape, Workload
from tests.running import Running, command, until

LEVELS = ("cpu.qos_level", "memory.qos_level")
# What rubik follows and this agent does not, as rubik's documents have it.
NOT_FOLLOWED = {
    "volcano.sh/cache-limit": "low",
    "volcano.sh/quota-burst-time": "20000",
    "volcano.sh/quota-turbo": "true",
    "volcano.sh/cpi": "true",
}
ANNOTATIONS: dict[str, dict[str, str]] = {
    "handled": {"volcano.sh/preemptable": "true"},
    "missed": {"volcano.sh/preemptable": "true"},
    "labelled": {},
    "online": {"volcano.sh/preemptable": "false", **NOT_FOLLOWED},
    "silent": {},
}
OFFLINE = {"handled", "missed", "labelled"}


class Node:
    """Five pods; what rubik had written of two of them stands, another came after its end."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "host"
        self.root.mkdir()
        self.pods = folder / "pods"
        self.pods.mkdir()
        specs = [
            PodSpec("default", name, Shape.STEADY, cpu=0.1, memory=64 << 20, annotations=annotations)
            for name, annotations in ANNOTATIONS.items()
        ]
        node = SimulatedNode(str(self.root), Kind.OPENEULER_V1, Workload(specs), cast.NODE, name="node")
        node.advance(1.0)
        self.uids: dict[str, str] = {}
        for (_, name), item in node.objects().items():
            self.put(name, item)
        self.config = folder / "plimsoll.yaml"
        # The one switch that is the administrator's, with rubik as well.
        (self.root / "proc/sys/vm/memcg_qos_enable").write_text("1\n")
        for name in ("handled", "labelled"):
            for path in self.files(name):
                path.write_text("-1\n")

    def put(self, name: str, item: Any) -> None:
        if name == "labelled":
            item["metadata"]["labels"] = {"volcano.sh/preemptable": "true"}
        self.uids[name] = item["metadata"]["uid"]
        (self.pods / f"{name}.yaml").write_text(json.dumps(item))  # JSON is YAML

    def files(self, name: str) -> list[Path]:
        return [path for level in LEVELS for path in self.root.rglob(level) if self.uids[name] in str(path)]

    def levels(self, name: str) -> dict[str, set[str]]:
        """What stands in the pod's cgroup and its containers', by file."""
        found: dict[str, set[str]] = {level: set() for level in LEVELS}
        for path in self.files(name):
            found[path.name].add(path.read_text().strip())
        return found

    @property
    def arguments(self) -> tuple[object, ...]:
        return ("--root", self.root, "--pods", self.pods, "--config", self.config)

    def say(self, mode: str) -> None:
        self.config.write_text(f"pressure: {{interval: 1s}}\npreemption: {{mode: {mode}}}\n")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def both(cpu: str, memory: str) -> dict[str, set[str]]:
    return {"cpu.qos_level": {cpu}, "memory.qos_level": {memory}}


def test_what_rubik_has_left_is_no_write(node: Node) -> None:
    """Step 1: the plan has every offline pod, says what stands there, and only of the one rubik missed a change."""
    node.say("observe")
    plan = json.loads(command("plan", *node.arguments, "--format", "json").stdout)
    found = {
        name: {
            (each["before"], each["outcome"] == "unchanged")
            for each in plan["writes"]
            if uid in each["target"] and each["knob"] in LEVELS
        }
        for name, uid in node.uids.items()
    }

    assert found == {
        "handled": {("-1", True)},
        "labelled": {("-1", True)},
        "missed": {("0", False)},
        "online": set(),
        "silent": set(),
    }
    assert node.levels("missed") == both("0", "0")


def test_enforcing_goes_on_from_there_and_ends_there(node: Node, tmp_path: Path) -> None:
    """
    Step 3: offline pods give way, online ones are let alone, other keys are passed over without a word; the end puts
    back rubik's values where they stood, and of ours what the kernel takes back.
    """
    node.say("enforce")
    with Running(tmp_path, *node.arguments) as agent:
        until(lambda: node.levels("missed") == both("-1", "-1"), "the pod that rubik missed gives way")
        assert [node.levels(name) for name in sorted(OFFLINE)] == [both("-1", "-1")] * 3
        assert [node.levels(name) for name in ("online", "silent")] == [both("0", "0")] * 2
        # The page is made when the tick that wrote has ended.
        until(lambda: agent.get("/readyz")[0] == 200, "the first page")
        status = json.loads(agent.get("/status.json")[1])
        priorities = {each["name"]: each["priority"] for each in status["pods"]}
        assert priorities == {name: "low" if name in OFFLINE else "normal" for name in ANNOTATIONS}
        page = agent.get("/metrics")[1].decode()
        assert "cache-limit" not in page + json.dumps(status)
        assert agent.stop() == 0
    assert not [each for each in agent.events() if "volcano" in json.dumps(each)]

    assert node.levels("handled") == node.levels("labelled") == both("-1", "-1")
    # The simulated kernel refuses what openEuler's does: from -1 to 0.
    assert node.levels("missed") == both("-1", "0")
