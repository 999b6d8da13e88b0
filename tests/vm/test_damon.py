"""Cold memory by the kernel's own data access monitor: what it takes, from whom, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vm.agent import CONFIG, PORT, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod
from tests.vm.test_overcommit import read_page

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

MIB = 1 << 20
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"
TREE = "/sys/kernel/mm/damon/admin/kdamonds"
CLAIMED = 17
# An age and the looks around it, on an emulated processor that others use, too.
TAKES_SECONDS = 600


def config(mode: str = "enforce", ratio: float = 3.0) -> str:
    return (
        f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\novercommit:\n"
        f"  {{mode: {mode}, ratio: {ratio}, swapDevice: {SWAP}, selector: damon, probation: 5s, window: 30s, "
        f"writeBudget: 64Mi}}\n"
    )


class Node:
    """A guest with an agent, a swap device of its own for low-priority pods, and two pods, one of them low-priority."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.agent = Agent(guest)
        guest.push(CONFIG, config())
        guest.sh("for each in init.scope system.slice; do echo 0 > /sys/fs/cgroup/$each/memory.swap.max; done")
        guest.sh(f"mkswap {SWAP} && swapon {SWAP}")
        self.batch, self.service = Pod(guest, 1, "batch", priority="low"), Pod(guest, 2, "service")
        for pod in (self.batch, self.service):
            pod.start()
            pod.wait()

    def number(self, pod: Pod, file: str) -> int:
        return int(self.guest.sh(f"cat /sys/fs/cgroup/{pod.slice_path}/{file}"))

    def until(self, condition: str) -> None:
        self.guest.sh(f"until {condition}; do sleep 0.5; done", timeout=TAKES_SECONDS)

    def until_on_device(self, pod: Pod, mebibytes: int) -> None:
        self.until(f"[ $(cat /sys/fs/cgroup/{pod.slice_path}/memory.swap.current) -ge {mebibytes * MIB} ]")

    def refaults(self, pod: Pod) -> int:
        return int(
            self.guest.sh(f"sed -n 's/^workingset_refault_anon //p' /sys/fs/cgroup/{pod.slice_path}/memory.stat")
        )

    @property
    def kdamonds(self) -> int:
        return int(self.guest.sh(f"cat {TREE}/nr_kdamonds"))

    @property
    def running(self) -> int:
        # While the kernel is at work on one of them some kernels do not show the state of any.
        states = f"for each in {TREE}/[0-9]*/state; do until cat $each || [ ! -e $each ]; do sleep 0.1; done; done"
        return int(self.guest.sh(f"({states}) 2>/dev/null | grep -c on || true"))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """While inside, the agent runs."""
        self.agent.start()
        try:
            yield
        finally:
            self.agent.stop()


@pytest.fixture
def node(guest_image: Image) -> Iterator[Node]:
    with Machine(guest_image, kernel="6.12") as guest:
        yield Node(guest)


def test_only_cold_memory_of_a_low_pod_goes(node: Node) -> None:
    """
    All but a tenth of what is never used goes, of the low-priority pod alone, and hardly a page of it comes back; no
    kdamond and no limit is left in the end.
    """
    start = node.agent.script("settings.py")
    with (
        node.batch.load("48", "32", "120", "1.5", program="parts.py"),
        node.service.load("16", "0", "64", "1.5", program="parts.py"),
    ):
        node.until(f"[ $(cat /sys/fs/cgroup/{node.batch.slice_path}/memory.current) -ge {200 * MIB} ]")
        refaults = node.refaults(node.batch)
        with node.acting():
            node.until_on_device(node.batch, 100)
            node.until(f"[ $(cat /sys/fs/cgroup/{node.batch.slice_path}/memory.current) -le {112 * MIB} ]")
            claimed, running = node.kdamonds, node.running
            page = read_page(node.guest)
            came_back = node.refaults(node.batch) - refaults
            of_others = node.number(node.service, "memory.swap.current")
            cpu = node.guest.sh("cat /proc/$(pgrep -o kdamond)/schedstat /proc/uptime")
        left = node.agent.script("settings.py")
    print(f"refaults {came_back}, kdamond's schedstat and the uptime {cpu.split()}")
    assert (claimed, running) == (CLAIMED, 1)
    assert page.value("plimsoll_pod_reclaim_freed_bytes_total", pod="batch", selector="damon") > 0
    assert came_back < 1200
    assert of_others == 0
    assert (node.kdamonds, node.running) == (0, 0)
    assert {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)} == {}
    assert [
        line for line in node.agent.log() if line["level"] in ("error", "warning") and line["event"] != "tick-late"
    ] == []
