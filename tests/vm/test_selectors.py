"""Which way of finding cold memory is in use: generations of the LRU at work, and what follows when a way is gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.exposition import Page
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.offloading import MIB, Node, offloaded, paused, ticks

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

HOT, COLD = 64, 128
# Ageing passes are a minute apart and three of them are needed; what a node can do is looked at every minute.
TAKES_SECONDS = 300.0
DAMON = "/sys/kernel/mm/damon/admin/kdamonds"
CLAIMED = "17"


@pytest.fixture(scope="module")
def booted(guest_image: Image) -> Iterator[Node]:
    # Most of the time everybody waits, and such a clock jumps ahead meanwhile.
    with Machine(guest_image, kernel="6.12", swap_mb=256, counted=True) as guest:
        yield Node(guest)


@pytest.fixture
def node(booted: Node) -> Iterator[Node]:
    yield booted
    booted.mend()


def used(page: Page) -> float:
    """Bytes of the device."""
    return sum(value for _, value in page.series("plimsoll_swap_used_bytes"))


def cold(page: Page) -> list[float]:
    """Bytes of the low-priority pod that are known to be cold; none while that is not known."""
    return [value for _, value in page.series("plimsoll_pod_memory_cold_bytes", pod="batch")]


def freed(page: Page) -> float:
    """Bytes that generations have taken from it."""
    return page.value("plimsoll_pod_reclaim_freed_bytes_total", pod="batch", selector="mglru")


def selectors(page: Page) -> set[str]:
    """In use for the low-priority pod."""
    return {labels["selector"] for labels, _ in page.series("plimsoll_pod_reclaim_pending_bytes", pod="batch")}


def why_not(page: Page, capability: str) -> str:
    """The reason, empty where this node can."""
    ((labels, can),) = page.series("plimsoll_capability", capability=capability)
    return "" if can else labels["reason"]


def refaults(node: Node) -> int:
    """Pages that went and came back."""
    path = node.path(node.batch, "memory.stat")
    return int(node.guest.sh(f"sed -n 's/^workingset_refault_anon //p' {path}"))


def changes(node: Node, capability: str) -> list[tuple[bool, str]]:
    """What the log says became of it."""
    found = [each for each in node.agent.log() if each["event"] == "capability-changed"]
    return [(each["available"], each["reason"]) for each in found if each["capability"] == capability]


def test_by_generations_cold_memory_goes_and_hot_stays(node: Node) -> None:
    """Nine tenths of what is never used go once they are known for cold, and nothing that is used."""
    with node.holding(node.batch, HOT, COLD):
        before = refaults(node)
        with node.enforcing(selector="mglru", ratio=3.0):
            known = node.until(lambda page: bool(cold(page)), "it is known", TAKES_SECONDS)
            page = node.until(
                lambda page: min(offloaded(page), freed(page)) > 0.85 * COLD * MIB, "it is out", TAKES_SECONDS
            )
            left = node.number(node.batch, "memory.current")
            came_back = refaults(node) - before
    print(f"{offloaded(page) / MIB:.1f} MiB out, {left / MIB:.1f} left, {came_back} pages came back")
    assert selectors(known) == {"mglru"}
    # The ticks of two seconds in which it looks twice, a window apart.
    assert ticks(known) > 5
    assert left > HOT * MIB
    assert came_back < 512


@pytest.mark.parametrize("selector", ["mglru", "damon"])
def test_what_a_container_asks_to_be_kept(node: Node, selector: str) -> None:
    """Its memory.min holds, however much of the rest is known to be cold: DAMON does not heed it, the agent does."""
    kept = (HOT + COLD // 2) * MIB
    with node.holding(node.batch, HOT, COLD):
        node.guest.sh(f"echo {kept} > {node.path(node.batch, node.batch.scope)}/memory.min")
        with node.enforcing(selector=selector, ratio=3.0):
            page = node.until(
                lambda page: used(page) > COLD // 4 * MIB and "floor" in paused(page), "it stops", TAKES_SECONDS
            )
            # What would go on by itself would do so within that.
            later = node.until(lambda now: ticks(now) > ticks(page) + 60, "time goes by")
            left = node.number(node.batch, "memory.current")
        # On its way to the device: to such a clock a disk is slow.
        cached = later.value("plimsoll_overcommit_swap_cached_bytes")
    print(f"{kept >> 20} MiB to be kept: {left / MIB:.1f} left, {cached / MIB:.1f} of it in swap cache")
    assert selectors(page) == {selector}
    assert page.value("plimsoll_pod_memory_floor_bytes", pod="batch") == kept
    assert kept - 2 * MIB < left - cached < kept + 16 * MIB


def test_without_debugfs_plain_reclaim_takes_its_place(node: Node) -> None:
    """What the agent finds gone it does without, and says so; and has it again when it is back."""
    folder = "/sys/kernel/debug"
    with node.holding(node.batch, HOT, COLD), node.enforcing(selector="mglru", ratio=1.5):
        node.until(lambda page: selectors(page) == {"mglru"}, "it is in use")
        node.guest.sh(f"umount --lazy {folder}")
        try:
            page = node.until(lambda page: selectors(page) == {"plain"}, "it is done without", TAKES_SECONDS)
            node.until(lambda now: offloaded(now) > 8 * MIB, "reclaim goes on", TAKES_SECONDS)
        finally:
            node.guest.sh(f"mount -t debugfs debugfs {folder}")
        again = node.until(lambda page: selectors(page) == {"mglru"}, "it is in use again", TAKES_SECONDS)
        told = changes(node, "lru-gen")
    assert (why_not(page, "lru-gen"), why_not(again, "lru-gen")) == ("no-file", "")
    assert told == [(False, "no-file"), (True, "")]


def test_somebody_takes_damon_in_the_middle(node: Node) -> None:
    """At whichever system call of a start: it comes to nothing, and what is theirs stays as they made it."""
    cgroup = node.path(node.batch, node.batch.scope).removeprefix("/sys/fs/cgroup/")
    found = node.agent.script("taken_kdamonds.py", cgroup)
    print(*found["taken"], sep="\n")
    assert found["otherwise"] == "ok"
    *during, after = found["taken"]
    assert sum(each["call"].startswith("write ") for each in during) > len(("a context", "a target", "a scheme"))
    assert {each["outcome"] for each in during} == {"held", "missing", "gone"}
    assert after["outcome"] == "ok"
    assert {(each["state"], each["contexts"]) for each in found["taken"]} == {("off", "0")}


def test_where_somebody_else_takes_damon_the_next_one_is_used(node: Node) -> None:
    """All of DAMON is ours until somebody takes it: then it is theirs, and stays so when the agent ends."""
    ours = f"{DAMON}/nr_kdamonds"
    with node.holding(node.batch, HOT, COLD):
        with node.enforcing(selector="auto", ratio=1.5):
            node.until(lambda page: selectors(page) == {"damon"}, "it is in use")
            node.guest.sh(f"until [ $(cat {ours}) = {CLAIMED} ]; do sleep 0.5; done")
            # They do not ask. Whatever is just being started is in their way for a moment.
            off = f"for each in {DAMON}/*/state; do echo off > $each; done"
            node.guest.sh(f"until {off}; echo 1 > {ours}; do sleep 0.1; done")
            page = node.until(lambda page: selectors(page) == {"mglru"}, "it is done without", TAKES_SECONDS)
            told = changes(node, "damon")
        left, state = node.guest.sh(f"cat {ours} {DAMON}/0/state").split()
        node.guest.sh(f"echo 0 > {ours}")
    assert why_not(page, "damon") == "in-use"
    assert told == [(False, "in-use")]
    assert (left, state) == ("1", "off")
