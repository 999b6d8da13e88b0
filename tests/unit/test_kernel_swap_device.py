"""Which device is meant, whatever it is called, and what its header says."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_device import (
    Device,
    DeviceName,
    Header,
    Identity,
    Kind,
    Traffic,
    Unidentified,
    active_swap,
    identify,
    identity_of,
    read_header,
    read_in_memory,
    read_traffic,
)
from plimsoll.kernel.swap_reason import SwapReason
from plimsoll.model.outcome import Outcome
from tests import swap
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path


def found(root: Path, name: str, fault: Faults | None = None) -> Device | Unidentified:
    with HostFs(str(root), fault=fault) as host:
        return identify(host, DeviceName.parse(name))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/dev/vdb", DeviceName("path", "/dev/vdb")),
        (f"UUID={swap.ONE.upper()}", DeviceName("UUID", swap.ONE)),
        ("LABEL=batch swap", DeviceName("LABEL", "batch swap")),
        ("/dev/a=b", DeviceName("path", "/dev/a=b")),
    ],
)
def test_names(text: str, name: DeviceName) -> None:
    """Paths, and UUIDs and labels as in fstab; a UUID has one spelling."""
    assert DeviceName.parse(text) == name


@pytest.mark.parametrize(
    "text", ["", "vdb", "UUID=", "UUID=12", "LABEL=", "LABEL=a label of seventeen", "PARTUUID=x", "/dev/", "/a\0b"]
)
def test_names_that_are_none(text: str) -> None:
    """What cannot name a swap device is refused when it is read, not when it is looked for."""
    with pytest.raises(ValueError, match=r"UUID|label|absolute path"):
        DeviceName.parse(text)


def test_the_header_is_read(tmp_path: Path) -> None:
    """UUID, label, and the bytes that can hold pages: all but the first page, as /proc/swaps counts them."""
    swap.make(tmp_path, "swapfile", swap.header(label="batch"))
    with HostFs(str(tmp_path)) as host:
        assert read_header(host, "/swapfile") == Header((swap.PAGES - 1) * swap.PAGE, swap.ONE, "batch")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, swap.header(magic=b"SWAP-SPACE"), swap.header(version=2), swap.header(version=1 << 24)],
)
def test_what_is_no_header(tmp_path: Path, content: bytes) -> None:
    """Anything else, down to a short file or the other byte order, is none: no guess is made what it may be."""
    (tmp_path / "swapfile").write_bytes(content)
    with HostFs(str(tmp_path)) as host:
        assert read_header(host, "/swapfile") is Outcome.MALFORMED


def test_links_are_followed_to_one_device(tmp_path: Path) -> None:
    """Two names, one device: it is told by its number, not by its name."""
    swap.make(tmp_path, "swap/file", swap.header())
    trees.write(tmp_path, {"dev/disk/mine": "-> /swap/file"})
    first, second = found(tmp_path, "/swap/file"), found(tmp_path, "/dev/disk/mine")
    assert isinstance(first, Device)
    assert isinstance(second, Device)
    assert first.identity == second.identity
    assert first.kind is Kind.FILE
    assert first.identity.inode


def test_by_uuid_and_by_label(tmp_path: Path) -> None:
    """Among the active swap and the block devices the one that carries the name, and no other."""
    swap.make(tmp_path, "one", swap.header(swap.ONE, "batch"))
    swap.make(tmp_path, "other", swap.header(swap.OTHER, "batch2"))
    swap.swaps(tmp_path, ("/one", "file", 252, 0), ("/other", "file", 252, 0))
    for name in (f"UUID={swap.OTHER}", "LABEL=batch2"):
        device = found(tmp_path, name)
        assert isinstance(device, Device)
        assert device.path == "/other"
    missing = found(tmp_path, "LABEL=batc")
    assert isinstance(missing, Unidentified)
    assert missing.reason is SwapReason.DEVICE_MISSING


def test_a_copy_makes_a_name_ambiguous(tmp_path: Path) -> None:
    """The same UUID twice, as after copying a disk: neither is taken. One device by two names is no copy."""
    swap.make(tmp_path, "one", swap.header())
    trees.write(tmp_path, {"again": "-> /one"})
    swap.swaps(tmp_path, ("/one", "file", 252, 0), ("/again", "file", 252, 0))
    assert isinstance(found(tmp_path, f"UUID={swap.ONE}"), Device)
    swap.make(tmp_path, "copy", swap.header())
    swap.swaps(tmp_path, ("/one", "file", 252, 0), ("/copy", "file", 252, 0))
    twice = found(tmp_path, f"UUID={swap.ONE}")
    assert isinstance(twice, Unidentified)
    assert twice.reason is SwapReason.DEVICE_AMBIGUOUS
    assert "/copy, /one" in twice.detail


def test_which_block_devices_are_looked_into(tmp_path: Path) -> None:
    """Not an empty one, not a drive with a medium that can be changed, not a part of what is made of several."""
    tree = {}
    for name, size, removable in (("vda", 10, 0), ("vdb", 0, 0), ("sr0", 10, 1), ("sda", 10, 0), ("cciss!c0d0", 9, 0)):
        tree |= trees.below(f"sys/class/block/{name}", {"size": f"{size}\n", "removable": f"{removable}\n"})
    tree["sys/class/block/sda/holders/dm-0/"] = ""
    trees.write(tmp_path, tree)
    asked = Faults()
    found(tmp_path, "LABEL=batch", asked)
    devices = f"{tmp_path}/dev/"
    assert sorted(path for path in asked.opened if path.startswith(devices)) == [
        f"{devices}cciss/c0d0",
        f"{devices}vda",
    ]


def test_a_path_that_is_no_device(tmp_path: Path) -> None:
    """Missing, not to be looked at, a directory: each has its reason; one without a header is a device still."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    for path, reason in (("/nowhere", SwapReason.DEVICE_MISSING), ("/folder", SwapReason.NOT_SWAP)):
        device = found(tmp_path, path)
        assert isinstance(device, Unidentified)
        assert device.reason is reason
    refused = found(tmp_path, "/empty", Faults({("open", "/empty"): errno.EACCES}))
    assert isinstance(refused, Unidentified)
    assert refused.reason is SwapReason.DEVICE_UNREADABLE
    bare = found(tmp_path, "/empty")
    assert isinstance(bare, Device)
    assert bare.header is None


def test_active_swap_without_a_node_in_dev(tmp_path: Path) -> None:
    """In a container without the host's /dev the kernel's own name of a disk still leads to its number."""
    trees.write(tmp_path, {"sys/class/block/vdb/dev": "254:16\n"})
    with HostFs(str(tmp_path)) as host:
        line = Swap("/dev/vdb", "partition", 1, 0, -2)
        assert active_swap(host, line) == Identity(os.makedev(254, 16))
        assert active_swap(host, line._replace(kind="file")) is None
        assert active_swap(host, line._replace(path="/dev/vdc")) is None
        assert identity_of(host, "/dev/vdb") is None


def test_what_a_compressing_device_takes(tmp_path: Path) -> None:
    """Of zram all it uses of memory, in bytes; nothing is said of what is no zram, or says nothing."""
    trees.write(tmp_path, {"sys/dev/block/252:0/mm_stat": " 41943040 20000000 20971520 0 21000000 12 0 3 4\n"})
    device = Device("/dev/zram0", Kind.ZRAM, Identity(os.makedev(252, 0)), None)
    with HostFs(str(tmp_path)) as host:
        assert read_in_memory(host, device) == 20 << 20
        assert read_in_memory(host, device._replace(identity=Identity(os.makedev(252, 1)))) is None
        assert read_in_memory(host, device._replace(kind=Kind.BLOCK)) is None


def test_traffic_of_a_file(tmp_path: Path) -> None:
    """What is swapped is the file's while no other swap is in use; what came before, or meanwhile, is not."""
    page = os.sysconf("SC_PAGE_SIZE")
    swap.make(tmp_path, "swapfile", swap.header())
    ours, other = ("/swapfile", "file", 1 << 20, 100), ("/dev/vdc", "partition", 1 << 20, 0)
    trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "memory\n"})

    def seen(swapped: int, *swaps: tuple[str, str, int, int]) -> tuple[int | None, int | None]:
        swap.swaps(tmp_path, *swaps)
        trees.write(tmp_path, {"proc/vmstat": f"pswpin {swapped // 10}\npswpout {swapped}\npswpoutx 9\n"})
        found = device.sample([], [], 0.0)
        return found.read, found.written

    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        device = DedicatedSwap(host, hierarchies, "/swapfile")
        assert seen(1000, ours) == (0, 0)
        assert seen(1500, ours) == (50 * page, 500 * page)
        # Whose these 400 are nobody knows.
        assert seen(1900, ours, other) == (None, None)
        assert seen(2000, ours) == (50 * page, 500 * page)
        assert seen(2010, ours) == (51 * page, 510 * page)
        (tmp_path / "proc/vmstat").unlink()
        assert device.sample([], [], 0.0).written is None


def test_traffic_of_a_disk(tmp_path: Path) -> None:
    """Sectors are 512 bytes whatever the disk's; of a file its disk says nothing, as it holds more."""
    stat = "  120  3  2048  90  55  7  4096  12  0  80  102 0 0 0 0\n"
    trees.write(tmp_path, {"sys/dev/block/254:16/stat": stat})
    device = Device("/dev/vdb", Kind.BLOCK, Identity(os.makedev(254, 16)), None)
    with HostFs(str(tmp_path)) as host:
        assert read_traffic(host, device) == Traffic(1 << 20, 2 << 20)
        assert read_traffic(host, device._replace(kind=Kind.FILE)) is None
        assert read_traffic(host, device._replace(identity=Identity(os.makedev(254, 17)))) is None
