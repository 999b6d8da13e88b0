"""F35: a node without a CPU or a page to spare, and the agent with no more of either than the chart asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.vm.agent import CONFIG, ENFORCE, HOME, PODS, PORT, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

SECONDS = 25
# What the kubelet makes of the chart's requests and limit, and of the priority class system-node-critical.
CHART = ("Slice=kubepods-burstable.slice", "CPUWeight=1", "MemoryMax=192M", "OOMScoreAdjust=-997")
# And of a pod that asks for one CPU.
ONE_CPU = 39
# The loop may be late, and must not be away: the probe of the chart waits as long.
LONGEST_SECONDS = 15
KILLS = 3
# What the kubelet leaves to all pods together, the agent's among them. Without swap the last page is soon there; the
# guest's own programs are not concerned, so that there is somebody to ask.
PODS_MIB = 320


@dataclass
class Node:
    """A low, a high and a normal pod, which wants all there is; ``start``: the settings without an agent."""

    guest: Machine
    agent: Agent
    batch: Pod
    greedy: Pod
    start: dict[str, str]

    def ticks(self) -> dict[str, Any]:
        """What ticks.py says of the running agent."""
        found: dict[str, Any] = self.agent.script("ticks.py", str(SECONDS), f"http://127.0.0.1:{PORT}/metrics")
        return found

    def check(self, process: int) -> None:
        """It is in its usual rhythm again, nobody else can have the lock, and the journal is enough to put all back."""
        assert self.agent.pid == process
        found = self.ticks()
        print(f"afterwards: {found}")
        assert found["ticks"] > SECONDS / 2
        second = self.agent.plimsoll("run", "--lock-wait", "0", "--pods", PODS, "--config", CONFIG)
        assert second.status == 75
        assert f"process {process}" in second.stderr

        self.agent.stop("KILL")
        assert self.agent.script("settings.py") != self.start
        assert self.agent.plimsoll("restore").check().stdout.rstrip().endswith("0 left.")
        assert self.agent.script("settings.py") == self.start


@pytest.fixture(scope="module")
def node(guest_image: Image) -> Iterator[Node]:
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        batch = Pod(guest, 1, "batch", "BestEffort", "low")
        web = Pod(guest, 2, "web", "Burstable", "high", memory="48Mi")
        greedy = Pod(guest, 3, "greedy", "Burstable", "normal")
        for pod in (batch, web, greedy):
            pod.start()
        for pod in (batch, web, greedy):
            pod.wait()
        guest.sh(f"echo {ONE_CPU} > /sys/fs/cgroup/{greedy.slice_path}/cpu.weight")
        guest.sh(f"echo {PODS_MIB}M > /sys/fs/cgroup/kubepods.slice/memory.max")
        yield Node(guest, agent, batch, greedy, agent.script("settings.py"))


@pytest.fixture
def process(node: Node) -> int:
    """The process id of an agent that has begun to enforce."""
    node.agent.start(*CHART)
    node.batch.wait_for("cpu.idle", "1")
    return node.agent.pid


def test_f35_without_a_cpu_to_spare(node: Node, process: int) -> None:
    """F35: four hogs for each CPU, of a pod that weighs forty times as much: late, never away, and it still acts."""
    late = Pod(node.guest, 4, "late", "BestEffort", "low")
    with node.greedy.load("spin", "8"):
        found = node.ticks()
        late.start()
        late.wait_for("cpu.idle", "1")
    print(f"starved: {found}")
    assert found["ticks"] > 0
    assert found["longest"] < LONGEST_SECONDS
    late.forget()
    node.guest.sh(f"systemctl kill --signal=KILL {late.scope}; systemctl stop {late.slice}")
    node.check(process)


def test_f35_without_a_page_to_spare(node: Node, process: int) -> None:
    """F35: a pod takes all the memory there is for pods, three times over: it is killed, and the agent never is."""
    # No unit of systemd's, which would end it with its first process that is killed.
    container = f"/sys/fs/cgroup/{node.greedy.slice_path}/hog"
    # Marked as the kubelet marks a BestEffort pod's.
    hog = (
        f"echo $$ > {container}/cgroup.procs && echo 1000 > /proc/self/oom_score_adj && "
        f"exec python3 {HOME}/scripts/load.py touch {PODS_MIB} 1"
    )
    node.guest.sh(f"mkdir {container}")
    kills = "sed -n 's/^oom_kill //p' /proc/vmstat"
    before = int(node.guest.sh(kills))
    for _ in range(KILLS):
        assert node.guest.run(["/bin/sh", "-c", hog], timeout=300).status == -9
    assert int(node.guest.sh(kills)) == before + KILLS
    node.guest.sh(f"rmdir {container}")
    node.check(process)
