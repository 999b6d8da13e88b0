"""A swap file that the agent makes on ext4, turns on, and removes: what the kernel really does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.agent import CONFIG
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.offloading import MIB, SECOND, SWAP, Node, off

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]

ROOT = "kubepods.slice"
FOLDER = "/swap"
FILE = f"{FOLDER}/low"
SAID: dict[str, Any] = {"ratio": 1.5, "swapDevice": FILE, "activate": True, "swapFileSize": "192Mi"}


@pytest.fixture(scope="module")
def node(guest_image: Image) -> Iterator[Node]:
    """The disk that is swap elsewhere has a file system here."""
    with Machine(guest_image, kernel="6.12", swap_mb=512) as guest:
        found = Node(guest)
        guest.sh(f"swapoff {SWAP}; wipefs --all {SWAP}; mkfs.ext4 -q {SWAP}; mkdir {FOLDER}; mount {SWAP} {FOLDER}")
        yield found


def used(node: Node) -> list[list[str]]:
    """The lines of /proc/swaps."""
    return [each.split() for each in node.guest.sh("cat /proc/swaps").splitlines()[1:]]


def there(node: Node) -> list[str]:
    """What is in the folder."""
    return node.guest.sh(f"ls {FOLDER}").split()


def test_made_used_and_gone_with_the_last_of_it(node: Node) -> None:
    """onExit: drain: memory goes to the file and comes back from it, and neither swap nor file is left."""
    with node.holding(node.batch, 16, 144):
        with node.enforcing(**SAID, onExit="drain"):
            node.reclaiming(32 * MIB)
            (line,) = used(node)
            mode = node.guest.sh(f"stat -c '%a %s %b' {FILE}").split()
        after = node.number(node.batch, "memory.swap.current")
    print(f"{line}; mode, size and blocks: {mode}; {after} left in swap")
    assert (line[0], line[1], line[4]) == (FILE, "file", "32767")
    assert mode[:2] == ["600", str(192 * MIB)]
    assert int(mode[2]) * 512 >= 192 * MIB
    assert after == 0
    assert used(node) == []
    assert "low" not in there(node)


def test_it_outlives_a_kill_and_goes_when_that_is_said(node: Node) -> None:
    """SIGKILL with memory on it: the next agent goes on with the same file; ``leave`` leaves it, restore does not."""
    with node.holding(node.batch, 16, 144):
        start = node.settings()
        node.configure(**SAID)
        node.agent.start()
        node.reclaiming(16 * MIB)
        inode = node.guest.sh(f"stat -c %i {FILE}")
        node.agent.stop("KILL")
        with node.enforcing(start, **SAID):
            node.reclaiming(32 * MIB)
            assert node.guest.sh(f"stat -c %i {FILE}") == inode
        assert [each[0] for each in used(node)] == [FILE]
        refused = node.guest.run(f"rm {FILE}")
        said = node.agent.plimsoll("restore", "--all", "--config", CONFIG).check().stdout
    print(refused.stderr, said)
    # The kernel itself lets nobody remove a file that is swap.
    assert refused.status != 0
    assert used(node) == []
    assert "low" not in there(node)


@pytest.mark.parametrize("what", [FILE, SECOND])
def test_on_by_a_container_that_is_gone(node: Node, what: str) -> None:
    """The kernel has no path of it any more: it is known all the same, is not turned on again, and goes off."""
    node.guest.sh(f"[ -e {FILE} ] || (fallocate -l 64M {FILE}; chmod 600 {FILE}; mkswap {FILE})")
    # What is mounted: the folder of a file, a disk itself.
    mount = FOLDER if what == FILE else f"$(readlink -f {what})"
    inside = f"mount --make-rprivate /; mount --bind {mount} {mount}; swapon {what}"
    node.guest.sh(f"unshare --mount sh -c '{inside}'")
    (line,) = used(node)
    roles = {node.batch.slice_path: "allowed", node.service.slice_path: "closed"}
    seen = node.paging("sample", what, ROOT, json.dumps(roles))
    again = node.paging("on", what)
    gone = off(node.paging, what)
    print(line, seen, again)
    assert line[0] not in (what, mount)
    assert (seen["active"], seen["device_path"]) == (True, what)
    assert again["outcome"] == "unchanged"
    assert gone == "ok"
    assert used(node) == []
