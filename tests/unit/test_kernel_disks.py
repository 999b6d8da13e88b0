"""The node's disks, from a sysfs like that of real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll.kernel.disks import device_names, read_disks
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.disk import Disk
from plimsoll.sources.disks import FRESH_SECONDS, NodeDisks


def disk(
    root: Path, name: str, number: str, *parts: tuple[str, str], slaves: tuple[str, ...] = (), dm: str = ""
) -> None:
    """A disk with its partitions; sysfs shows those in the class beside it, and below it."""
    block = root / "sys/class/block"
    home = root / "sys/devices/virtual/block" / name
    (home / "slaves").mkdir(parents=True)
    block.mkdir(parents=True, exist_ok=True)
    (home / "dev").write_text(f"{number}\n")
    for slave in slaves:
        (home / "slaves" / slave).mkdir()
    if dm:
        (home / "dm").mkdir()
        (home / "dm/name").write_text(f"{dm}\n")
    (block / name).symlink_to(f"../../devices/virtual/block/{name}")
    for part, its_number in parts:
        (home / part).mkdir()
        (home / part / "dev").write_text(f"{its_number}\n")
        (home / part / "partition").write_text("1\n")
        (block / part).symlink_to(f"../../devices/virtual/block/{name}/{part}")


def mounted(root: Path, number: str, source: str) -> None:
    (root / "proc/1").mkdir(parents=True, exist_ok=True)
    (root / "proc/1/mountinfo").write_text(
        "22 28 0:20 / /proc rw,relatime shared:5 - proc proc rw\n"
        f"28 1 {number} / / rw,relatime shared:1 - ext4 {source} rw\n"
        "30 28 8:32 / /data rw - xfs /dev/sdc rw\n"
    )


def read(root: Path) -> tuple[Disk, ...]:
    with HostFs(str(root)) as host:
        return read_disks(host, device_names(host))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two disks with partitions, one without, a volume on two of them, and a name with a slash."""
    disk(tmp_path, "sda", "8:0", ("sda1", "8:1"), ("sda2", "8:2"))
    disk(tmp_path, "sdb", "8:16", ("sdb1", "8:17"))
    disk(tmp_path, "sdc", "8:32")
    disk(tmp_path, "dm-0", "252:0", slaves=("sda2", "sdb"), dm="vg-root")
    disk(tmp_path, "cciss!c0d0", "104:0")
    return tmp_path


def test_disks_and_their_parts(machine: Path) -> None:
    """Whole disks only, by number; a volume is one, by both of its names."""
    assert read(machine) == (
        Disk("104:0", ("cciss/c0d0",)),
        Disk("252:0", ("dm-0", "mapper/vg-root")),
        Disk("8:0", ("sda",), ("sda1", "sda2")),
        Disk("8:16", ("sdb",), ("sdb1",)),
        Disk("8:32", ("sdc",)),
    )


@pytest.mark.parametrize(
    ("number", "source", "roots"),
    [
        ("8:1", "/dev/sda1", {"sda"}),
        ("8:32", "/dev/root", {"sdc"}),
        ("252:0", "/dev/mapper/vg-root", {"dm-0", "sda", "sdb"}),
        ("0:31", "/dev/sdb1", {"sdb"}),
        ("0:31", "/dev/mapper/vg-root", {"dm-0", "sda", "sdb"}),
        ("0:31", "overlay", set()),
    ],
)
def test_the_root_file_system_is_followed_down(machine: Path, number: str, source: str, roots: set[str]) -> None:
    """Through partitions and volumes to every disk; by its path where the file system makes up a number (btrfs)."""
    mounted(machine, number, source)
    assert {each.names[0] for each in read(machine) if each.system} == roots


def test_an_agent_in_a_container_sees_them_by_what_was_put_into_it(machine: Path) -> None:
    """Its root is an overlay, and /data of the host is none of the node's; /etc/hosts is a file of the kubelet's."""
    mounted(machine, "0:31", "overlay")
    with (machine / "proc/1/mountinfo").open("a") as file:
        file.write("40 28 8:17 /var/lib/kubelet/pods/x/etc-hosts /etc/hosts rw - ext4 /dev/sdb1 rw\n")
    assert [each.names[0] for each in read(machine) if each.system] == ["sdb"]


def test_what_cannot_be_read_is_not_there(machine: Path) -> None:
    """A disk that goes meanwhile is left out; the others stay."""
    (machine / "sys/devices/virtual/block/sdc/dev").unlink()
    assert "8:32" not in {each.number for each in read(machine)}
    (machine / "sys/devices/virtual/block/sdb/dev").write_text("not a number\n")
    assert {each.number for each in read(machine)} == {"104:0", "252:0", "8:0"}


def test_disks_that_come_are_seen_at_once_and_renamed_ones_in_a_minute(machine: Path) -> None:
    """The files about a disk are not read again every tick."""
    with HostFs(str(machine)) as host:
        disks = NodeDisks(host)
        before = disks.sample(0.0)
        (machine / "sys/devices/virtual/block/dm-0/dm/name").write_text("other\n")
        assert disks.sample(FRESH_SECONDS - 1) == before
        assert Disk("252:0", ("dm-0", "mapper/other")) in disks.sample(FRESH_SECONDS)
        disk(machine, "sdd", "8:48")
        assert Disk("8:48", ("sdd",)) in disks.sample(FRESH_SECONDS + 1)
