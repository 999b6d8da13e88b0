"""Memory of low-priority pods on a swap device of its own, on a stock kernel: what the kernel really does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.vm.agent import Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.offloading import off
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

MIB = 1 << 20
ROOT = "kubepods.slice"
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"
SECOND = "/dev/disk/by-id/virtio-plimsoll-data"
LABEL = "plimsoll"
WARM_SECONDS = 1.5
# Long enough for every warm page to be used in each, on an emulated processor that others use, too.
INTERVAL = 10


class Node:
    """A low-priority pod that may swap and one that may not, in a guest with a labelled swap device that is on."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.agent = Agent(guest)
        self.batch = Pod(guest, 1, "batch", priority="low")
        self.service = Pod(guest, 2, "service")
        for pod in (self.batch, self.service):
            pod.start()
            pod.wait()
        self.write(self.service, "memory.swap.max", "0")
        # Nothing else may take part in what is measured.
        guest.sh("for each in init.scope system.slice; do echo 0 > /sys/fs/cgroup/$each/memory.swap.max; done")
        guest.sh(f"mkswap --label {LABEL} {SWAP}; mkswap {SECOND}")

    def paging(self, *arguments: str, timeout: float = 120.0) -> Any:
        return self.agent.script("paging.py", *arguments, timeout=timeout)

    def read(self, pod: Pod, name: str) -> str:
        return self.guest.sh(f"cat /sys/fs/cgroup/{pod.slice_path}/{name}").strip()

    def number(self, pod: Pod, name: str) -> int:
        return int(self.read(pod, name))

    def write(self, pod: Pod, name: str, value: str) -> None:
        self.guest.sh(f"echo {value} > /sys/fs/cgroup/{pod.slice_path}/{name}")

    def sample(self) -> dict[str, Any]:
        roles = {self.batch.slice_path: "allowed", self.service.slice_path: "closed"}
        found: dict[str, Any] = self.paging("sample", f"LABEL={LABEL}", ROOT, json.dumps(roles))
        return found

    @contextmanager
    def holding(self, pod: Pod, hot: int, warm: int, cold: int) -> Iterator[None]:
        """While inside, the pod has so many MiB of each."""
        with pod.parts(hot, warm, cold, WARM_SECONDS):
            yield


@pytest.fixture(scope="module")
def node(guest_image: Image) -> Iterator[Node]:
    with Machine(guest_image, kernel="6.12") as guest:
        found = Node(guest)
        assert found.paging("on", f"LABEL={LABEL}")["outcome"] == "ok"
        yield found


def test_a_pod_is_paged_out_to_the_device(node: Node) -> None:
    """What is asked for leaves memory for the device, by as much as is said; all of it belongs to the pod."""
    with node.holding(node.batch, 0, 0, 128):
        before = node.number(node.batch, "memory.current")
        answer = node.paging("reclaim", node.batch.slice_path, str(64 * MIB))
        after = node.number(node.batch, "memory.current")
        swapped = node.number(node.batch, "memory.swap.current")
        seen = node.sample()
    print(f"64 MiB asked for: {answer}, {before - after} left memory, {swapped} on the device")
    assert answer["outcome"] == "ok"
    assert abs(answer["freed"] - (before - after)) < 2 * MIB
    assert swapped > 48 * MIB
    assert (seen["dedicated"], seen["reasons"], seen["kind"]) == (True, [], "block")
    assert seen["active"]
    assert seen["used"] >= swapped
    assert seen["written"] > 48 * MIB


def test_less_than_asked_for_is_eagain_and_not_nothing(node: Node) -> None:
    """EAGAIN from asking for more than there is: the whole pod is out by then, so nobody may ask for too much."""
    with node.holding(node.batch, 0, 0, 64):
        answer = node.paging("reclaim", node.batch.slice_path, str(512 * MIB))
    print(f"512 MiB asked of 64: {answer}")
    assert answer["outcome"] == "busy"
    assert answer["freed"] > 48 * MIB


def test_the_kernel_does_not_heed_the_pods_own_protection(node: Node) -> None:
    """memory.min of the pod that is asked is no bound: whoever asks must see to it."""
    with node.holding(node.batch, 0, 0, 96):
        node.write(node.batch, "memory.min", str(80 * MIB))
        node.paging("reclaim", node.batch.slice_path, str(64 * MIB))
        left = node.number(node.batch, "memory.current")
        node.write(node.batch, "memory.min", "0")
    print(f"memory.min of 80 MiB, 64 of 96 asked for: {left / MIB:.1f} MiB left")
    assert left < 60 * MIB


def test_a_limit_of_zero_keeps_a_pod_off(node: Node) -> None:
    """Nothing of a pod with memory.swap.max of 0 reaches the device, however hard it is reclaimed."""
    with node.holding(node.service, 0, 0, 64):
        answer = node.paging("reclaim", node.service.slice_path, str(32 * MIB))
        assert node.number(node.service, "memory.swap.current") == 0
        assert node.sample()["dedicated"] is True
    assert answer["outcome"] == "busy"


def test_a_pod_that_swaps_and_should_not_is_seen(node: Node) -> None:
    """One pod of normal priority in swap: not dedicated any more, and the pod is named. Over when the pod is out."""
    node.write(node.service, "memory.swap.max", "max")
    with node.holding(node.service, 0, 0, 64):
        node.paging("reclaim", node.service.slice_path, str(16 * MIB))
        node.write(node.service, "memory.swap.max", "0")
        seen = node.sample()
    assert seen["dedicated"] is False
    assert seen["reasons"] == ["others-swap"]
    assert node.service.slice in seen["details"][0]
    # What waits in the container beside the load has been paged out, too.
    node.guest.sh(f"systemctl kill --signal=KILL {node.service.scope}")
    node.guest.sh(f"until [ ! -e /sys/fs/cgroup/{node.service.slice_path}/{node.service.scope} ]; do sleep 0.2; done")
    node.service.start()
    node.service.wait()
    node.write(node.service, "memory.swap.max", "0")
    assert node.sample()["dedicated"] is True


def test_a_second_device_is_seen(node: Node) -> None:
    """Another active device with room: low-priority memory may go there; dedicated again when it is off."""
    assert node.paging("on", SECOND)["outcome"] == "ok"
    seen = node.sample()
    assert off(node.paging, SECOND) == "ok"
    assert (seen["dedicated"], seen["reasons"]) == (False, ["other-device"])
    assert node.sample()["dedicated"] is True


def test_systemd_reload_opens_pods_and_is_seen(node: Node) -> None:
    """`systemctl daemon-reload` makes the 0 of a pod's slice into no limit, without a word."""
    assert node.read(node.service, "memory.swap.max") == "0"
    node.guest.sh("systemctl daemon-reload")
    reset = node.read(node.service, "memory.swap.max")
    seen = node.sample()
    node.write(node.service, "memory.swap.max", "0")
    assert reset == "max"
    assert (seen["dedicated"], seen["reasons"]) == (False, ["pod-open"])
    assert node.sample()["dedicated"] is True


def test_swapoff_is_refused_without_room(node: Node) -> None:
    """What is on the device must fit into memory with the floor left free, or it stays where it is."""
    with node.holding(node.batch, 0, 0, 64):
        node.paging("reclaim", node.batch.slice_path, str(32 * MIB))
        refused = node.paging("off", f"LABEL={LABEL}", str(1 << 40))
        assert node.number(node.batch, "memory.swap.current") > 16 * MIB
        done = off(node.paging, f"LABEL={LABEL}", 64 * MIB)
        assert node.number(node.batch, "memory.swap.current") == 0
    seen = node.sample()
    again = node.paging("on", f"LABEL={LABEL}")
    assert refused["outcome"] == "held"
    assert done == "ok"
    assert (seen["active"], seen["reasons"]) == (False, ["not-active"])
    assert again["outcome"] == "ok"


def test_generations_tell_what_is_cold(node: Node) -> None:
    """After three passes what has been idle for two intervals is the part that is never used, to one part in ten."""
    with node.holding(node.batch, 48, 32, 160):
        found = node.paging("cold", node.batch.slice_path, str(INTERVAL), "4", timeout=300)
    print(f"cold after each pass, and CPU seconds: {found}")
    assert found["outcome"] == "ok"
    assert [each for each, _ in found["passes"][:2]] == [None, None]
    for cold, _ in found["passes"][2:]:
        assert 144 * MIB < cold < 176 * MIB


def test_the_classic_lru_has_no_generations(node: Node) -> None:
    """With MGLRU turned off the capability says so, and nothing is called cold."""
    assert node.agent.doctor()["lru-gen"]["available"]
    switch = "/sys/kernel/mm/lru_gen/enabled"
    before = node.guest.sh(f"cat {switch}").strip()
    node.guest.sh(f"echo n > {switch}")
    try:
        found = node.agent.doctor()["lru-gen"]
    finally:
        node.guest.sh(f"echo {before} > {switch}")
    assert (found["available"], found["reason"]) == (False, "turned-off")


@pytest.mark.parametrize(("kernel", "takes"), [("6.12", True), ("6.1", False)])
def test_swappiness_is_known_by_the_version(guest_image: Image, kernel: str, takes: bool) -> None:
    """The capability goes by the kernel's version; a request for nothing at all shows that it is right."""
    with Machine(guest_image, kernel=kernel) as guest:
        agent = Agent(guest)
        guest.sh("mkdir /sys/fs/cgroup/kubepods.slice; echo +memory > /sys/fs/cgroup/cgroup.subtree_control")
        asked = guest.run("echo '0 swappiness=60' > /sys/fs/cgroup/kubepods.slice/memory.reclaim")
        found = agent.doctor()
    assert (asked.status == 0) is takes
    assert found["memory-reclaim-swappiness"]["available"] is takes
    assert found["memory-reclaim"]["available"]
