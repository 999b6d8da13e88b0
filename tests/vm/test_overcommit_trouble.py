"""What goes wrong around memory overcommit on a stock kernel: each of it once, and all is well or said afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.agent import CONFIG, HOME, LOG
from tests.vm.exposition import Page
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.offloading import MIB, SECOND, SERIAL, SWAP, Node, asked, offloaded, paused, pending, ticks

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

SWAP_MIB = 128
# deviceFloor: a fifth of the device stays free.
USABLE = int(SWAP_MIB * MIB * 0.8)
# What one look is late, and what each CPU keeps of the device for itself (swap slots).
LATE = 8 * MIB
# The disk takes eight requests of six pages at a time, so that the ninth waits: in the kernel, and not to be killed.
SHORT_QUEUE = ("-global", "virtio-blk-pci.queue-size=8")
# Of others that are there first: so many seconds before it is a slice's turn.
CROWD = 300
RELOADS = 8
# Of a pod that uses all it has: the interpreter's own pages that it does not.
REST = 10 * MIB


# The rest is the agent's doing on any kernel, and booting is not free.
ON_6_1 = (
    "test_a_device_that_is_full",
    "test_a_pods_own_memory_min",
    "test_what_is_back_in_memory_is_not_offloaded",
    "test_a_pod_deleted_during_a_reclaim",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "node" in metafunc.fixturenames:
        older = [pytest.param("6.1", marks=pytest.mark.long)] if metafunc.function.__name__ in ON_6_1 else []
        metafunc.parametrize("booted", ["6.12", *older], indirect=True, scope="module")


@pytest.fixture(scope="module")
def booted(guest_image: Image, request: pytest.FixtureRequest) -> Iterator[Node]:
    with Machine(guest_image, kernel=request.param, swap_mb=SWAP_MIB, qemu=SHORT_QUEUE) as guest:
        yield Node(guest)


@pytest.fixture
def node(booted: Node) -> Iterator[Node]:
    """As it was made, whatever the test before has left."""
    yield booted
    booted.guest.throttle(SERIAL, 0)
    booted.mend()


def dedicated(page: Page) -> bool:
    return [value for _, value in page.series("plimsoll_swap_dedicated")] == [1]


def test_a_device_that_is_full(node: Node) -> None:
    """Reclaim ends with a fifth of the device free, whatever the ratio wants; nor may the kernel take more."""
    with node.holding(node.batch, 16, 200), node.enforcing(ratio=3.0):
        page = node.until(lambda page: "device-full" in paused(page), "the device is full")
        limit = node.number(node.batch, "memory.swap.max")
        assert limit <= USABLE
        # Whatever else the pod is asked for, by the kernel or anybody.
        node.paging("reclaim", node.batch.slice_path, str(64 * MIB))
        later = node.until(lambda now: ticks(now) > ticks(page) + 3, "it goes on")
    print(
        f"{page.value('plimsoll_swap_used_bytes') / MIB:.1f}, then {later.value('plimsoll_swap_used_bytes') / MIB:.1f}"
    )
    assert USABLE - 2 * LATE < page.value("plimsoll_swap_used_bytes") <= USABLE + LATE
    assert later.value("plimsoll_swap_used_bytes") <= USABLE + LATE
    assert page.value("plimsoll_overcommit_ratio") < 3


def keep(node: Node, file: str) -> None:
    """Have the agent reclaim what this memory.min of the low-priority pod leaves, and look."""
    # So little above it that one request will do: each may be felt, which takes a minute.
    with node.holding(node.batch, 16, 112):
        node.guest.sh(f"echo {110 * MIB} > {node.path(node.batch, file)}")
        with node.enforcing(ratio=3.0):
            page = node.until(lambda page: paused(page) == {"floor"}, "the pod is at its floor")
            left = node.number(node.batch, "memory.current")
            # Its place on the device is the pod's, so its limit there counts it.
            cached = page.value("plimsoll_overcommit_swap_cached_bytes")
    print(f"memory.min of 110 MiB: {left / MIB:.1f} MiB left, {cached / MIB:.1f} of it in swap cache")
    assert page.value("plimsoll_pod_memory_floor_bytes", pod="batch") == 110 * MIB
    assert 108 * MIB < left < 118 * MIB + cached


def test_a_pods_own_memory_min(node: Node) -> None:
    """The kernel would not heed it; the agent does."""
    keep(node, "memory.min")


def test_a_containers_own_memory_min(node: Node) -> None:
    """The same where nothing was asked for the pod as a whole."""
    keep(node, f"{node.batch.scope}/memory.min")


def test_systemd_reloading_again_and_again(node: Node) -> None:
    """Each daemon-reload opens every pod that was closed; each is closed again within seconds, however often."""
    with node.holding(node.batch, 16, 64), node.enforcing(ratio=1.2):
        node.reclaiming()
        bounds = node.read(node.batch, "memory.swap.max")
        took = []
        for _ in range(RELOADS):
            # Stopped, so that it has not put it right before that is looked at.
            limit = node.path(node.service, "memory.swap.max")
            stopped = f"kill -STOP {node.agent.pid}; systemctl daemon-reload; cat {limit}; kill -CONT {node.agent.pid}"
            opened, begun = node.guest.sh(f"{stopped}; cut -d' ' -f1 /proc/uptime").split()
            assert opened == "max"
            node.service.wait_for("memory.swap.max", "0")
            took.append(float(node.guest.sh("cut -d' ' -f1 /proc/uptime")) - float(begun))
        node.batch.wait_for("memory.swap.max", bounds)
        page = node.until(dedicated, "the device is known to be dedicated again")
    print(f"closed again after {took} s")
    # Seen in the next tick; somebody who does so again and again is let have his way for 5 s, not longer.
    assert max(took) < 15
    assert not page.series("plimsoll_knob_disabled")


def test_a_second_device_beside_it(node: Node) -> None:
    """Low-priority memory could go there: reclaim stops, and goes on once it is off again."""
    with node.holding(node.batch, 16, 200), node.enforcing(ratio=1.5):
        node.reclaiming()
        node.guest.sh(f"swapon {SECOND}")
        page = node.until(lambda page: paused(page) >= {"shared"}, "it is seen")
        reasons = {labels["reason"] for labels, _ in page.series("plimsoll_swap_dedicated")}
        later = node.until(lambda now: ticks(now) > ticks(page) + 5, "it goes on")
        node.guest.sh(f"swapoff {SECOND}")
        again = node.until(lambda now: asked(now) > asked(later) or "reached" in paused(now), "reclaim goes on")
    assert reasons == {"other-device"}
    assert asked(later) == asked(page)
    assert dedicated(again)


def test_the_device_is_taken_away(node: Node) -> None:
    """swapoff by somebody: all limits are put back and nothing is asked for; swapon, and it goes on."""
    with node.holding(node.batch, 16, 100), node.enforcing(ratio=1.5):
        node.reclaiming()
        node.guest.sh(f"swapoff {SWAP}", timeout=120)
        page = node.until(lambda page: paused(page) == {"no-device"}, "it is seen")
        for pod in (node.batch, node.service):
            pod.wait_for("memory.swap.max", "max")
        node.guest.sh(f"swapon {SWAP}")
        again = node.reclaiming()
        node.service.wait_for("memory.swap.max", "0")
    assert asked(again) > asked(page)


@pytest.mark.long
def test_a_node_made_ready_for_systemd(node: Node) -> None:
    """Told by drop-ins, systemd itself closes the pods' slices whenever it reloads: nothing is open for a moment."""
    units = "/run/systemd/system"
    ready = {"kubepods-.slice.d/50-swap.conf": "0", "kubepods-burstable.slice.d/60-swap.conf": "infinity"}
    for path, limit in ready.items():
        node.guest.push(f"{units}/{path}", f"[Slice]\nMemorySwapMax={limit}\n")
    node.guest.sh("systemctl daemon-reload")
    try:
        with node.holding(node.batch, 16, 64), node.enforcing(ratio=1.2):
            node.reclaiming()
            bounds = node.read(node.batch, "memory.swap.max")
            found = []
            for _ in range(RELOADS):
                node.guest.sh("systemctl daemon-reload")
                found.append(node.read(node.service, "memory.swap.max"))
            # The low-priority pod is closed, too, until the agent has opened it again.
            node.batch.wait_for("memory.swap.max", bounds)
    finally:
        node.guest.sh(f"cd {units} && rm {' '.join(ready)} && systemctl daemon-reload")
    assert found == ["0"] * RELOADS


def test_memory_pressure_is_silent_on_the_classic_lru(node: Node) -> None:
    """A pod that waits for swap and has no memory pressure to show for it is seen to wait, by its I/O."""
    switch = "/sys/kernel/mm/lru_gen/enabled"
    before = node.guest.sh(f"cat {switch}").strip()
    node.guest.sh(f"echo n > {switch}")
    try:
        # Told to leave it alone: what comes back is the test's doing.
        with node.holding(node.batch, 80, 0), node.enforcing(ratio=1.5, podFloor="1Gi"):
            node.service.wait_for("memory.swap.max", "0")
            page = node.until(lambda page: "floor" in paused(page), "the pod is known")
            memory, io = (node.stalled(node.batch, each) for each in ("memory", "io"))
            # A page used again between two looks of the kernel's becomes active: waiting for it is counted.
            with node.frozen(node.batch):
                node.paging("reclaim", node.batch.slice_path, str(48 * MIB))
            page = node.until(
                lambda page: page.value("plimsoll_pod_swap_pressure", pod="batch") > 0.001, "it is seen to wait", 30
            )
            # All of it is in use.
            node.until(lambda now: offloaded(now) < REST, "it is back")
            waits = {each: node.stalled(node.batch, each) for each in ("memory", "io")}
    finally:
        node.guest.sh(f"echo {before} > {switch}")
    silent, loud = waits["memory"] - memory, waits["io"] - io
    print(f"waited by memory.pressure {silent:.3f} s, by io.pressure {loud:.3f} s")
    assert silent < loud / 5
    assert page.series("plimsoll_pod_swap_pressure", pod="batch", source="estimated")


def test_what_is_back_in_memory_is_not_offloaded(node: Node) -> None:
    """Pages that were read back keep their place on the device: by the kernel's figures much is saved, by ours none."""
    with node.holding(node.batch, 80, 0), node.enforcing(ratio=1.5, podFloor="1Gi"):
        node.service.wait_for("memory.swap.max", "0")
        node.until(lambda page: "floor" in paused(page), "the pod is known")
        # Else some of it may be back, and go again, before as much has gone as is asked for: twice of the same page.
        with node.frozen(node.batch):
            node.paging("reclaim", node.batch.slice_path, str(48 * MIB))
        page = node.until(
            lambda page: page.value("plimsoll_overcommit_swap_cached_bytes") > 32 * MIB and offloaded(page) < REST,
            "it is back",
        )
        current, swapped = (node.number(node.batch, f"memory.{each}current") for each in ("", "swap."))
    naive = (current + swapped) / current
    print(f"(current + swap) / current: {naive:.2f}; the agent: {page.value('plimsoll_overcommit_ratio'):.2f}")
    assert naive > 1.3
    assert page.value("plimsoll_overcommit_ratio") <= 1 + REST / (80 * MIB)
    assert page.value("plimsoll_overcommit_gap_bytes") > 16 * MIB


def test_a_pod_deleted_during_a_reclaim(node: Node) -> None:
    """Its reclaim ends with its cgroup; nothing of it is left, and the next pod is served."""
    with node.enforcing(ratio=3.0):
        with node.holding(node.batch, 16, 144):
            node.reclaiming()
            node.guest.throttle(SERIAL, 100)
            node.until(lambda page: pending(page) > 0, "a reclaim is under way")
            node.batch.forget()
        node.guest.sh(f"systemctl kill --signal=KILL {node.batch.scope}; systemctl stop {node.batch.slice}")
        gone = node.until(lambda page: not page.series("plimsoll_pod_offloaded_bytes", pod="batch"), "it is gone")
        node.guest.throttle(SERIAL, 0)
        node.guest.sh(f"until [ ! -e {node.path(node.batch, '')} ]; do sleep 0.2; done")
        outcomes = {labels["outcome"] for labels, _ in gone.series("plimsoll_reclaims_total")}
        node.batch.start()
        node.batch.wait()
        with node.holding(node.batch, 16, 64):
            node.reclaiming()
    assert outcomes <= {"ok", "busy", "held", "gone", "exceeded"}


def test_killed_during_a_reclaim(node: Node) -> None:
    """SIGKILL in the middle: the next agent takes over what the first one held and goes on; then all is put back."""
    with node.holding(node.batch, 16, 144):
        node.configure(ratio=3.0)
        start = node.settings()
        node.agent.start()
        node.reclaiming()
        node.guest.throttle(SERIAL, 100)
        node.until(lambda page: pending(page) > 0, "a reclaim is under way")
        node.agent.stop("KILL")
        node.guest.throttle(SERIAL, 0)
        assert node.number(node.service, "memory.swap.max") == 0
        with node.enforcing(start, ratio=3.0):
            node.until(lambda page: asked(page) > 0, "the next one goes on")
        node.agent.start()
        node.until(lambda page: asked(page) > 0, "and one more")
        node.agent.stop("KILL")
        assert node.number(node.service, "memory.swap.max") == 0
        assert node.restore().endswith("0 left.")
        node.untouched(start)


def test_a_reclaim_that_hangs(node: Node) -> None:
    """The device does nothing any more: ticks go on, nothing is added, the end puts all limits back all the same."""
    with node.holding(node.batch, 16, 144):
        node.configure(ratio=3.0, step={"start": 0.2, "smallest": 0.2, "largest": 0.2})
        start = node.settings()
        node.agent.start()
        node.reclaiming()
        node.guest.throttle(SERIAL, 1)
        # A slice alone does not fill the disk's queue, and would end with less than it was asked for.
        node.guest.sh(f"systemd-run --quiet --unit=crowd python3 {HOME}/scripts/crowd.py {SWAP} {CROWD}")
        since: dict[float, float] = {}

        def hangs(page: Page) -> bool:
            return pending(page) > 0 and ticks(page) >= since.setdefault(asked(page), ticks(page)) + 20

        page = node.until(hangs, "a reclaim hangs")
        # Longer than the look at a device is good for.
        later = node.until(lambda now: ticks(now) >= ticks(page) + 40, "ticks go on")
        assert asked(later) == asked(page)
        assert pending(later) > 0
        assert later.value("plimsoll_source_up", source="kernel") == 1
        process = node.agent.pid
        node.guest.sh(f"kill {process}")
        node.service.wait_for("memory.swap.max", "max")
        node.untouched(start)
        hung = node.guest.run(f"test -e /proc/{process}").status == 0
        node.guest.throttle(SERIAL, 0)
        node.agent.stop()
        node.guest.sh("until ! systemctl is-active --quiet crowd; do sleep 0.2; done", timeout=300)
    print(f"the process was still in the kernel when all was put back: {hung}")


def test_what_was_moved_out_comes_back_in_the_end(node: Node) -> None:
    """onExit: drain. All of it is in memory when the limits go back, and the device is on as before."""
    with node.holding(node.batch, 16, 144):
        with node.enforcing(ratio=1.5, onExit="drain"):
            node.reclaiming(32 * MIB)
            before = node.number(node.batch, "memory.swap.current")
        after = node.number(node.batch, "memory.swap.current")
        (line,) = [each for each in node.agent.log() if each["event"] == "drained"]
        swaps = node.guest.sh("cat /proc/swaps")
    print(f"{before / MIB:.1f} MiB in swap before the end, {after / MIB:.1f} after; {line}")
    assert before > 32 * MIB
    assert after == 0
    assert line["left_bytes"] == 0
    assert len(swaps.splitlines()) == 2


def test_what_has_no_room_stays(node: Node) -> None:
    """The pod's own limit leaves no room for what would come back: nobody is killed, it stays, and that is said."""
    with node.holding(node.batch, 16, 144):
        node.configure(ratio=1.5, onExit="drain")
        node.guest.sh(f"rm -f {LOG}")
        node.agent.start()
        node.reclaiming(32 * MIB)
        limit = node.number(node.batch, "memory.current") + 8 * MIB
        node.guest.sh(f"echo {limit} > {node.path(node.batch, 'memory.max')}")
        node.agent.stop()
        left = node.number(node.batch, "memory.swap.current")
        (line,) = [each for each in node.agent.log() if each["event"] == "drain-ended"]
        node.guest.sh(f"echo max > {node.path(node.batch, 'memory.max')}")
        said = node.agent.plimsoll("restore", "--config", CONFIG).check().stdout
        after = node.number(node.batch, "memory.swap.current")
    print(line, said)
    assert left > 16 * MIB
    assert (line["outcome"], node.batch.slice in line["reason"]) == ("held", True)
    assert said.startswith("Brought back from the swap device: ok; still there: 0 MiB.")
    assert after == 0
