"""Whether the swap device holds low-priority memory only: every way it may not, and when that is said."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.swap import LOOK_SECONDS, DedicatedSwap
from plimsoll.kernel.swap_dedication import PATIENCE_SECONDS
from plimsoll.kernel.swap_rounds import CGROUPS_PER_LOOK, CONFIRM_SECONDS, ROUND_SECONDS, Holder, Role
from tests import swap
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plimsoll.model.memory import SwapDevice

MIB = 1 << 20
GIB_IN_KIB = 1 << 20
ROOT = "kubepods.slice"
LOW, ONLINE = f"{ROOT}/low", f"{ROOT}/online"
SERVICE = "system.slice"


def cgroup(path: str, current: int = 0, limit: str = "0") -> trees.Tree:
    return trees.below(
        f"{trees.CGROUP}/{path}", {"memory.swap.current": f"{current}\n", "memory.swap.max": f"{limit}\n"}
    )


class Node:
    """A node with an active swap file of 1 GiB, a low-priority pod with 100 MiB in it and an online one beside it."""

    def __init__(self, root: Path, fault: Faults | None = None) -> None:
        self.root = root
        self.fault = fault or Faults()
        self.low, self.online = 100 * MIB, 0
        self.online_role = Role.CLOSED
        swap.make(root, "swapfile", swap.header(label="batch"))
        self.active()
        tree = {f"{trees.CGROUP}/cgroup.controllers": "memory\n", "proc/stat": "cpu 1\ncpu0 1\n"}
        self.write(tree | cgroup(ROOT, 100 * MIB, "max") | cgroup(LOW, 100 * MIB, "max") | cgroup(ONLINE))
        self.write(cgroup(SERVICE) | cgroup("init.scope"))
        self.host = HostFs(str(root), fault=self.fault)
        self.hierarchies = Hierarchies.detect(self.host)
        self.swap = DedicatedSwap(self.host, self.hierarchies, "LABEL=batch")

    def active(self, used: int = 100, *others: tuple[str, str, int, int]) -> None:
        swap.swaps(self.root, ("/swapfile", "file", GIB_IN_KIB, used * 1024), *others)

    def write(self, tree: trees.Tree) -> None:
        trees.write(self.root, tree)

    def sample(self, now: float) -> SwapDevice:
        holders = [Holder(LOW, Role.ALLOWED, self.low), Holder(ONLINE, self.online_role, self.online)]
        return self.swap.sample([ROOT], holders, now)

    def close(self) -> None:
        self.hierarchies.close()
        self.host.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def judged(seen: SwapDevice) -> tuple[bool | None, tuple[str, ...]]:
    return seen.dedicated, seen.reasons


def test_a_device_of_its_own(node: Node) -> None:
    """Nobody else swaps, nobody else may: dedicated, with the device's figures and no words."""
    seen = node.sample(0)
    assert judged(seen) == (True, ())
    assert seen.details == ()
    assert (seen.path, seen.active, seen.size, seen.used) == ("LABEL=batch", True, 1 << 30, 100 * MIB)
    assert (seen.backend, seen.kind, seen.read) == ("memory.swap.max", "file", None)


def test_a_pod_that_swaps_is_seen_at_once(node: Node) -> None:
    """Between two rounds, by what was observed of it; over as soon as it is out."""
    node.sample(0)
    node.online = MIB
    seen = node.sample(1)
    assert judged(seen) == (False, ("others-swap",))
    assert ONLINE in seen.details[0]
    node.online = 0
    assert judged(node.sample(2)) == (True, ())


def test_slots_given_back_do_not_count(node: Node) -> None:
    """The kernel keeps up to 64 freed slots of each CPU charged to whoever had them: that much is nobody in swap."""
    node.online = 64 * 4096
    assert node.sample(0).dedicated is True
    node.online += 4096
    assert node.sample(1).dedicated is False


def test_an_open_pod_counts_when_it_stays_open(node: Node) -> None:
    """A pod is made open and closed a moment later; what is still open five seconds on has been opened again."""
    node.sample(0)
    node.write(cgroup(ONLINE, 0, "max") | cgroup(f"{ONLINE}/container", 0, "max"))
    assert judged(node.sample(1)) == (True, ())
    assert judged(node.sample(ROUND_SECONDS)) == (True, ())
    assert judged(node.sample(ROUND_SECONDS + CONFIRM_SECONDS - 1)) == (True, ())
    seen = node.sample(ROUND_SECONDS + CONFIRM_SECONDS)
    assert judged(seen) == (False, ("pod-open",))
    assert ONLINE in seen.details[0]
    node.write(cgroup(ONLINE))
    assert judged(node.sample(2 * ROUND_SECONDS + CONFIRM_SECONDS)) == (True, ())


def test_containers_that_are_closed_close_their_pod(node: Node) -> None:
    """The kubelet's own 0 on every container is as good as one on the pod."""
    node.write(cgroup(ONLINE, 0, "max") | cgroup(f"{ONLINE}/one") | cgroup(f"{ONLINE}/other"))
    for now in (0, CONFIRM_SECONDS, 2 * ROUND_SECONDS):
        assert node.sample(now).dedicated is True
    node.write(cgroup(f"{ONLINE}/other", 0, "4096"))
    node.sample(4 * ROUND_SECONDS)
    assert judged(node.sample(5 * ROUND_SECONDS)) == (False, ("pod-open",))


def test_a_pod_nobody_closes_may_be_open_but_not_swap(node: Node) -> None:
    """What is not managed is no breach while it does not swap."""
    node.online_role = Role.OTHER
    node.write(cgroup(ONLINE, 0, "max") | cgroup(f"{ONLINE}/container", 0, "max"))
    for now in (0, CONFIRM_SECONDS, ROUND_SECONDS):
        assert node.sample(now).dedicated is True
    node.online = MIB
    assert judged(node.sample(ROUND_SECONDS + 1)) == (False, ("others-swap",))


def test_a_service_that_swaps_is_seen_in_the_next_round(node: Node) -> None:
    """Outside of pods it takes up to a round; the sentence says what to do."""
    node.sample(0)
    node.write(cgroup(SERVICE, MIB))
    assert node.sample(ROUND_SECONDS - 1).dedicated is True
    seen = node.sample(ROUND_SECONDS)
    assert judged(seen) == (False, ("others-swap",))
    assert SERVICE in seen.details[0]
    assert "MemorySwapMax=0" in seen.details[0]


def test_a_service_that_may_swap_is_only_told(node: Node) -> None:
    """Every stock node has them: dedicated as long as they do not."""
    node.write(cgroup(SERVICE, 0, "max"))
    seen = node.sample(0)
    assert judged(seen) == (True, ())
    assert SERVICE in seen.details[0]


def test_cgroups_beside_a_root_further_down(tmp_path: Path) -> None:
    """With a kubelet's root below another slice its neighbours are looked at, too; its own pods are not."""
    node = Node(tmp_path)
    nested = f"kubelet.slice/{ROOT}"
    node.write(cgroup(nested) | cgroup(f"{nested}/low", 100 * MIB) | cgroup("kubelet.slice/neighbour", MIB))
    seen = node.swap.sample([nested, ROOT], [Holder(f"{nested}/low", Role.ALLOWED, 100 * MIB)], 0)
    assert judged(seen) == (False, ("others-swap",))
    assert seen.details[0].startswith("In swap, but no low-priority pod: kubelet.slice/neighbour. ")


def test_another_device_with_room(node: Node) -> None:
    """No cgroup can be kept off one device alone; a full one takes nothing."""
    node.active(100, ("/dev/zram0", "partition", 1000, 1))
    seen = node.sample(0)
    assert judged(seen) == (False, ("other-device",))
    assert "/dev/zram0" in seen.details[0]
    node.active(100, ("/dev/zram0", "partition", 1000, 1000))
    assert node.sample(1).dedicated is True


def test_more_on_the_device_than_pods_have(node: Node) -> None:
    """Held against nobody at once: a pod that was deleted, or two reads at different times, look the same."""
    node.sample(0)
    node.active(180)
    assert node.sample(1).dedicated is True
    assert node.sample(PATIENCE_SECONDS).dedicated is True
    seen = node.sample(1 + PATIENCE_SECONDS)
    assert judged(seen) == (False, ("unaccounted",))
    assert "80 MiB" in seen.details[0]
    node.active(110)
    assert node.sample(2 + PATIENCE_SECONDS).dedicated is True
    node.active(180)
    assert node.sample(3 + PATIENCE_SECONDS).dedicated is True


@pytest.mark.parametrize(
    ("cached", "expected"),
    [
        ("SwapCached: 102400 kB\n", (True, ())),
        ("SwapCached: 40960 kB\n", (False, ("unaccounted",))),
        ("", (None, ("unreadable",))),
    ],
)
def test_swap_cache_on_v1(tmp_path: Path, cached: str, expected: tuple[bool | None, tuple[str, ...]]) -> None:
    """
    What was read back keeps its slot, and cgroup v1 charges it to memory alone: 300 MiB used, 200 of them the pods'.

    Only what the swap cache does not explain is somebody else's.
    """
    swap.make(tmp_path, "swapfile", swap.header())
    swap.swaps(tmp_path, ("/swapfile", "file", GIB_IN_KIB, 300 << 10))
    memory = f"{trees.CGROUP}/memory"
    tree: trees.Tree = {f"{memory}/memory.usage_in_bytes": "1\n"}
    for path, to, used in (("kubepods", "all", 200 * MIB), ("kubepods/low", "/swapfile", 200 * MIB)):
        tree |= trees.below(
            f"{memory}/{path}", {"memory.swapfile": f"{to}\n", "memory.stat": f"swap 0\ntotal_swap {used}\n"}
        )
    trees.write(tmp_path, tree | {"proc/meminfo": f"MemTotal: 8388608 kB\n{cached}", "proc/stat": "cpu 1\ncpu0 1\n"})
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        device = DedicatedSwap(host, hierarchies, "/swapfile")
        holders = [Holder("kubepods/low", Role.ALLOWED, 200 * MIB)]
        for now in (0.0, PATIENCE_SECONDS, PATIENCE_SECONDS + 1):
            seen = device.sample(["kubepods"], holders, now)
    assert judged(seen) == expected


def test_a_pod_whose_swap_is_unknown(node: Node) -> None:
    """Then too much on the device says nothing: not dedicated cannot be told from dedicated."""
    holders = [Holder(LOW, Role.ALLOWED, None)]
    node.swap.sample([ROOT], holders, 0)
    assert judged(node.swap.sample([ROOT], holders, PATIENCE_SECONDS)) == (None, ("unreadable",))


def test_zswap_keeps_it_in_memory(node: Node) -> None:
    """Turned on: nothing is saved. Unless the pods that swap are kept out of it."""
    node.write({"sys/module/zswap/parameters/enabled": "Y\n"})
    node.write({f"{trees.CGROUP}/{LOW}/memory.zswap.max": "max\n"})
    assert judged(node.sample(0)) == (False, ("zswap",))
    node.write({f"{trees.CGROUP}/{LOW}/memory.zswap.max": "0\n"})
    assert node.sample(ROUND_SECONDS).dedicated is True


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """A cgroup that may not be read may hold anything; one without the controller is accounted for above it."""
    node = Node(tmp_path, Faults({("read", f"{SERVICE}/memory.swap.current"): errno.EACCES}))
    seen = node.sample(0)
    assert judged(seen) == (None, ("unreadable",))
    assert SERVICE in seen.details[0]
    del node.fault.script["read", f"{SERVICE}/memory.swap.current"]
    node.fault.script["open", f"{SERVICE}/memory.swap.current"] = errno.ENOENT
    assert node.sample(ROUND_SECONDS).dedicated is True


def test_what_is_wrong_says_more_than_what_is_unknown(tmp_path: Path) -> None:
    """With one cgroup unreadable and another in swap: not dedicated."""
    node = Node(tmp_path, Faults({("read", f"{SERVICE}/memory.swap.current"): errno.EACCES}))
    node.online = MIB
    assert judged(node.sample(0)) == (False, ("others-swap",))


def test_many_cgroups_are_gone_round_in_turns(node: Node) -> None:
    """No look reads more than its part; until all have been seen nothing is said; and then there is a pause."""
    count = 3 * CGROUPS_PER_LOOK
    for number in range(count):
        node.write(cgroup(f"unit-{number:04d}.scope"))
    reads: list[int] = []
    answers = []
    for now in range(5):
        before = len(node.fault.opened)
        answers.append(judged(node.sample(now)))
        reads.append(sum(path.endswith("memory.swap.current") for path in node.fault.opened[before:]))
    assert answers == [(None, ("not-looked",))] * 3 + [(True, ())] * 2
    assert max(reads) <= CGROUPS_PER_LOOK
    assert sum(reads) == count + 3
    assert reads[-1] == 0


def test_openeuler_binds_cgroups_to_the_device(tmp_path: Path) -> None:
    """cgroup v1: `all` and our device's path may swap there, `none` and another device may not; others may be on."""
    swap.make(tmp_path, "swapfile", swap.header())
    swap.make(tmp_path, "second", swap.header(swap.OTHER))
    lines = (("/swapfile", "file", GIB_IN_KIB, 1024), ("/second", "file", GIB_IN_KIB, 0))
    swap.swaps(tmp_path, *lines)
    memory = f"{trees.CGROUP}/memory"

    def bound(path: str, to: str, used: int = 0) -> trees.Tree:
        return trees.below(
            f"{memory}/{path}", {"memory.swapfile": f"{to}\n", "memory.stat": f"swap 0\ntotal_swap {used}\n"}
        )

    tree = {f"{memory}/memory.usage_in_bytes": "1\n"}
    tree |= bound("kubepods", "all") | bound("kubepods/low", "/swapfile", MIB) | bound("kubepods/online", "/second")
    trees.write(tmp_path, tree | bound("system.slice", "none"))
    holders = [Holder("kubepods/low", Role.ALLOWED, MIB), Holder("kubepods/online", Role.CLOSED, 0)]
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        device = DedicatedSwap(host, hierarchies, "/swapfile")
        seen = device.sample(["kubepods"], holders, 0)
        assert (judged(seen), seen.backend, seen.details) == ((True, ()), "memory.swapfile", ())
        trees.write(tmp_path, bound("kubepods/online", "all") | bound("kubepods/online/container", "all"))
        device.sample(["kubepods"], holders, ROUND_SECONDS)
        assert judged(device.sample(["kubepods"], holders, 2 * ROUND_SECONDS)) == (False, ("pod-open",))


def test_a_device_that_is_not_in_use(node: Node) -> None:
    """There but not on, on, and off again: what is not in use is not called dedicated."""
    device = DedicatedSwap(node.host, node.hierarchies, "/swapfile")
    holders = [Holder(LOW, Role.ALLOWED, node.low)]
    swap.swaps(node.root)
    assert judged(device.sample([ROOT], holders, 0)) == (None, ("not-active",))
    node.active()
    assert device.sample([ROOT], holders, 1).dedicated is True
    swap.swaps(node.root)
    seen = device.sample([ROOT], [], 2)
    assert (seen.active, seen.used, seen.dedicated) == (False, None, None)


def test_a_device_with_the_mark_of_something_else(tmp_path: Path) -> None:
    """It is called swap by nobody: named by the mark; and what is in use is not looked into."""
    node = Node(tmp_path)
    with (tmp_path / "swapfile").open("r+b") as file:
        file.seek(0)
        file.write(b"XFSB")
    device = DedicatedSwap(node.host, node.hierarchies, "/swapfile")
    assert device.sample([ROOT], [], 0).active
    swap.swaps(tmp_path)
    seen = device.sample([ROOT], [], 1)
    assert (judged(seen), seen.headed) == ((None, ("not-swap",)), False)
    assert "an XFS filesystem" in seen.details[0]
    (tmp_path / "swapfile").write_bytes(swap.header().ljust(swap.PAGES * swap.PAGE, b"\0"))
    seen = device.sample([ROOT], [], 1 + LOOK_SECONDS)
    assert (judged(seen), seen.headed) == ((None, ("not-active",)), True)


def test_a_device_has_a_path_for_the_kernel(node: Node) -> None:
    """By label, and by a link in another place: what the kernel is told is the path it prints itself while it is on."""
    assert node.sample(0).device_path == "/swapfile"
    (node.root / "dev").mkdir()
    (node.root / "dev/by-id").symlink_to("/swapfile")
    device = DedicatedSwap(node.host, node.hierarchies, "/dev/by-id")
    assert device.sample([ROOT], [], 0).device_path == "/swapfile"
    swap.swaps(node.root, ("/elsewhere/swapfile", "file", GIB_IN_KIB, 0))
    assert device.sample([ROOT], [], 1).device_path == "/dev/by-id"


def test_a_device_that_comes_and_goes(node: Node) -> None:
    """It is looked for again, now and then; a device that is taken away is missed at once."""
    (node.root / "swapfile").rename(node.root / "away")
    swap.swaps(node.root)
    assert judged(node.sample(0)) == (None, ("device-missing",))
    (node.root / "away").rename(node.root / "swapfile")
    node.active()
    assert node.sample(1).active is False
    assert node.sample(LOOK_SECONDS).active is True
    (node.root / "swapfile").unlink()
    swap.swaps(node.root)
    assert judged(node.sample(LOOK_SECONDS + 1)) == (None, ("device-missing",))


@pytest.mark.parametrize(("name", "why"), [("LABEL=batch", "device-missing"), ("/swapfile", "not-active")])
def test_a_device_that_is_pulled_out(node: Node, name: str, why: str) -> None:
    """
    The kernel has it in use for ever after: said, also with another one in its place. Not so of a disk that is not
    ours, and of a file, which works on without a name.
    """
    device = DedicatedSwap(node.host, node.hierarchies, name)
    swap.swaps(node.root, ("/swapfile", "partition", GIB_IN_KIB, 1024))
    assert device.sample([ROOT], [], 0).active is True
    (node.root / "swapfile").rename(node.root / "pulled")
    if why == "not-active":
        swap.make(node.root, "swapfile", swap.header())
    swap.swaps(node.root, ("/swapfile\\040(deleted)", "partition", GIB_IN_KIB, 1024))
    seen = device.sample([ROOT], [], 1)
    assert (judged(seen), seen.active, seen.removed) == ((False, ("device-removed", why)), False, True)
    assert "/swapfile was taken away" in seen.details[0]
    for path, kind in (("/dev/vdz\\040(deleted)", "partition"), ("/swapfile\\040(deleted)", "file")):
        swap.swaps(node.root, (path, kind, GIB_IN_KIB, 1024))
        other = device.sample([ROOT], [], 2)
        assert (judged(other), other.removed) == ((None, (why,)), False)


@pytest.mark.parametrize("name", ["/swapfile", "LABEL=batch"])
def test_a_device_in_use_is_not_read(node: Node, name: str) -> None:
    """What is in use is told by its number: a disk that hangs would never answer. By label it is read once."""
    device = DedicatedSwap(node.host, node.hierarchies, name)
    if name.startswith("LABEL"):
        assert device.sample([ROOT], [], 0).active
    node.fault.asked.clear()
    for turn in range(1, 4):
        seen = device.sample([ROOT], [], turn * LOOK_SECONDS)
        assert (seen.active, seen.size) == (True, GIB_IN_KIB << 10)
    assert ("read", "/swapfile") not in node.fault.asked
    swap.swaps(node.root)
    assert judged(device.sample([ROOT], [], 3 * LOOK_SECONDS + 1)) == (None, ("not-active",))


def test_without_a_header(tmp_path: Path) -> None:
    """A path that mkswap was never run on says so, and is seen when it was."""
    node = Node(tmp_path)
    (tmp_path / "bare").write_bytes(b"\0" * swap.PAGE)
    swap.swaps(tmp_path)
    device = DedicatedSwap(node.host, node.hierarchies, "/bare")
    assert judged(device.sample([ROOT], [], 0)) == (None, ("not-swap",))
    (tmp_path / "bare").write_bytes(swap.header())
    assert judged(device.sample([ROOT], [], LOOK_SECONDS)) == (None, ("not-active",))


def test_without_a_kubelet_or_accounting(node: Node) -> None:
    """Nobody says who swaps: not known."""
    assert judged(node.swap.sample([], [], 0)) == (None, ("no-accounting",))
    assert node.sample(1).dedicated is True


def test_without_proc_swaps(node: Node) -> None:
    """Whether anything is on cannot be known."""
    node.fault.script["open", "proc/swaps"] = errno.EACCES
    device = DedicatedSwap(node.host, node.hierarchies, "/swapfile")
    assert judged(device.sample([ROOT], [], 0)) == (None, ("unreadable",))
