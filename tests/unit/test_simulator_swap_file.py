"""The simulated node's swap file: only who may swap does, as much as was asked for, and what is used comes back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_meminfo, read_swaps
from plimsoll.kernel.reclaim.wording import ANON_FIRST, Wording
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_rounds import Holder, Role
from plimsoll.model.outcome import Outcome
from plimsoll.simulator import cast
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.swap_file import PATH
from plimsoll.simulator.workload import PodSpec, Shape, Workload

MIB, GIB = 1 << 20, 1 << 30
SPECS = (
    PodSpec("shop", "web", Shape.STEADY, cpu=1.0, memory=GIB, cpu_request=1.0),
    PodSpec("batch", "hoard", Shape.STEADY, cpu=0.5, memory=2 * GIB, idle=0.5, wakes=30.0, cpu_request=0.1),
)


class Node:
    """One of these pods on a node, as an agent reaches it."""

    def __init__(self, folder: Path) -> None:
        self.simulated = SimulatedNode(
            str(folder), Kind.STOCK_V2, Workload(SPECS), cast.NODE, frequencies=True, swap_file=True
        )
        self.host = HostFs(str(folder))
        self.hierarchies = Hierarchies.detect(self.host)
        self.now = 0.0

    def close(self) -> None:
        self.hierarchies.close()
        self.host.close()

    def live(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.simulated.advance(self.now)

    def cgroup(self, name: str) -> str:
        uid = next(each.uid for each in self.simulated.instances() if each.name == name)
        above = "kubepods.slice/kubepods-burstable.slice"
        return f"{above}/kubepods-burstable-pod{uid.replace('-', '_')}.slice"

    def container(self, name: str) -> str:
        pod = next(each for each in self.simulated.instances() if each.name == name)
        return f"{self.cgroup(name)}/cri-containerd-{pod.container}.scope"

    def open(self, name: str, size: int) -> None:
        for path in (self.cgroup(name), self.container(name)):
            assert self.host.write(f"sys/fs/cgroup/{path}/memory.swap.max", f"{size}\n".encode())[0] is Outcome.OK

    def ask(self, name: str, size: int) -> Outcome:
        with self.host.directory(f"sys/fs/cgroup/{self.cgroup(name)}") as directory:
            return Wording().reclaim(directory, size, ANON_FIRST).outcome

    def figure(self, path: str, name: str) -> int:
        return int(self.host.read(f"sys/fs/cgroup/{path}/{name}").text() or "")

    def swapped(self, name: str = "hoard") -> int:
        return self.figure(self.cgroup(name), "memory.swap.current")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def test_what_is_asked_for_goes(node: Node) -> None:
    """Both of two requests at once; out of memory, into the file, in every cgroup above, and nowhere else."""
    node.open("hoard", GIB)
    node.live(1.0)
    before = node.figure(node.cgroup("hoard"), "memory.current")
    assert [node.ask("hoard", size) for size in (100 * MIB, 60 * MIB)] == [Outcome.OK] * 2
    node.live(1.0)
    assert 160 * MIB <= node.swapped() < 180 * MIB
    assert before - node.figure(node.cgroup("hoard"), "memory.current") == node.swapped()
    assert node.figure(node.container("hoard"), "memory.swap.current") == node.swapped()
    assert node.figure("kubepods.slice", "memory.swap.current") == node.swapped()
    assert node.swapped("web") == 0
    assert [(each.path, each.kind, each.used) for each in read_swaps(node.host) or ()] == [
        (PATH, "file", node.swapped())
    ]
    memory = read_meminfo(node.host)
    assert memory.swap_total == cast.NODE.swap
    assert memory.swap_total - (memory.swap_free or 0) == node.swapped()


def test_who_may_not_swap_gives_nothing(node: Node) -> None:
    """As the kubelet leaves containers; and no more than the limit, wherever it stands."""
    for name in ("web", "hoard"):
        node.ask(name, 100 * MIB)
    node.live(1.0)
    assert (node.swapped(), node.swapped("web")) == (0, 0)
    node.open("hoard", 64 * MIB)
    node.ask("hoard", 500 * MIB)
    node.live(1.0)
    assert node.swapped() == 64 * MIB


def test_what_is_used_comes_back(node: Node) -> None:
    """A quarter of what was idle, after a while; the pod waits for it, the kernel counts it, and others do not."""
    node.open("hoard", 2 * GIB)
    for _ in range(32):
        node.ask("hoard", 32 * MIB)
    node.live(29.0)
    stat = node.host.read(f"sys/fs/cgroup/{node.cgroup('hoard')}/memory.stat").text() or ""
    assert "workingset_refault_anon 0000000000000000\n" in stat
    held = node.swapped()
    assert GIB <= held < GIB + 64 * MIB
    waited = _waited(node)
    node.live(15.0)
    back = held - node.swapped()
    assert 0.2 * GIB < back <= 0.26 * GIB
    stat = node.host.read(f"sys/fs/cgroup/{node.cgroup('hoard')}/memory.stat").text() or ""
    refaults = int(stat.partition("workingset_refault_anon ")[2].split()[0])
    assert abs(refaults * 4096 - back) < MIB
    # A page costs what it cost in a guest.
    assert _waited(node) - waited > 10.0


def test_a_pod_that_ends_leaves_nothing(node: Node) -> None:
    """No room in the file, no descriptor."""
    node.open("hoard", GIB)
    node.ask("hoard", 100 * MIB)
    node.live(1.0)
    assert node.swapped() > 0
    descriptors = len(os.listdir("/proc/self/fd"))
    node.simulated.end(next(each.uid for each in node.simulated.instances() if each.name == "hoard"))
    node.live(1.0)
    assert [each.used for each in read_swaps(node.host) or ()] == [0]
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1


def test_the_agent_knows_the_device(node: Node) -> None:
    """In use, and dedicated once it has gone round."""
    device = DedicatedSwap(node.host, node.hierarchies, PATH)
    holders = [Holder(node.cgroup("hoard"), Role.ALLOWED, node.swapped())]
    for second in (0.0, 1.0):
        seen = device.sample(["kubepods.slice"], holders, second)
    assert (seen.active, seen.size, seen.used, seen.kind, seen.dedicated) == (True, cast.NODE.swap, 0, "file", True)


def test_requests_that_cannot_be_told_apart(node: Node) -> None:
    """They are not lost in silence."""
    assert node.host.write(f"sys/fs/cgroup/{node.cgroup('hoard')}/memory.reclaim", b"1048576")[0] is Outcome.OK
    with pytest.raises(ValueError, match="told apart"):
        node.live(1.0)


def test_openeuler_has_none(tmp_path: Path) -> None:
    """It binds cgroups to devices instead."""
    with pytest.raises(ValueError, match="no limits"):
        SimulatedNode(str(tmp_path), Kind.OPENEULER_V1, Workload(SPECS), cast.NODE, swap_file=True)


def _waited(node: Node) -> float:
    """Seconds the pod waited for I/O so far."""
    text = node.host.read(f"sys/fs/cgroup/{node.cgroup('hoard')}/io.pressure").text() or ""
    return int(text.partition("total=")[2].split()[0]) / 1e6
