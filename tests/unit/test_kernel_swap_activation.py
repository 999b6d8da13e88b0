"""Turning swap on and off: never what nobody meant, never without room."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.swap_activation import Activation, swapoff, swapon
from plimsoll.kernel.swap_device import Device, DeviceName, identify
from plimsoll.kernel.swap_signature import MARKS, Mark
from plimsoll.model.outcome import Outcome
from tests import swap
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


class Kernel:
    """Notes which file it was called for, and how; answers with ``code``."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[tuple[int, int | None]] = []

    def __call__(self, descriptor: int, flags: int | None) -> int:
        self.calls.append((os.fstat(descriptor).st_ino, flags))
        return self.code


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostFs]:
    swap.make(tmp_path, "swapfile", swap.header())
    swap.swaps(tmp_path)
    trees.write(tmp_path, {"proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n"})
    with HostFs(str(tmp_path)) as found:
        yield found


@pytest.fixture
def hierarchies(host: HostFs, tmp_path: Path) -> Iterator[Hierarchies]:
    """cgroup v2, and nothing in swap that could not come back."""
    trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "memory\n"})
    with Hierarchies.detect(host) as found:
        yield found


def device(host: HostFs) -> Device:
    found = identify(host, DeviceName.parse("/swapfile"))
    assert isinstance(found, Device)
    return found


def test_swapon(host: HostFs) -> None:
    """The device itself is handed to the kernel, with the priority that was asked for, or none."""
    kernel = Kernel()
    assert swapon(host, device(host), call=kernel) == Activation(Outcome.OK)
    assert swapon(host, device(host), priority=7, call=kernel).outcome is Outcome.OK
    inode = device(host).identity.inode
    assert kernel.calls == [(inode, 0), (inode, 0x8007)]
    with pytest.raises(ValueError, match="priority"):
        swapon(host, device(host), priority=-1, call=kernel)


def test_swapon_says_what_the_kernel_says(host: HostFs) -> None:
    """EPERM without CAP_SYS_ADMIN: an outcome, with the errno for people."""
    answer = swapon(host, device(host), call=Kernel(errno.EPERM))
    assert (answer.outcome, answer.errno) == (Outcome.DENIED, errno.EPERM)


def test_swapon_of_what_is_on_already(host: HostFs, tmp_path: Path) -> None:
    """Under whatever name: nothing is called."""
    trees.write(tmp_path, {"dev/swap": "-> /swapfile"})
    swap.swaps(tmp_path, ("/dev/swap", "file", 252, 0))
    kernel = Kernel()
    assert swapon(host, device(host), call=kernel).outcome is Outcome.UNCHANGED
    assert kernel.calls == []


def test_swapon_without_a_header(host: HostFs, tmp_path: Path) -> None:
    """What mkswap was not run on may hold somebody's data."""
    (tmp_path / "swapfile").write_bytes(b"data")
    kernel = Kernel()
    answer = swapon(host, device(host), call=kernel)
    assert answer.outcome is Outcome.HELD
    assert "mkswap" in answer.detail
    assert kernel.calls == []


def test_another_device_by_the_same_name(host: HostFs, tmp_path: Path) -> None:
    """Between looking and calling the name may come to mean another one: that one is left alone."""
    meant = device(host)
    swap.make(tmp_path, "other", swap.header(swap.OTHER))
    (tmp_path / "other").replace(tmp_path / "swapfile")
    kernel = Kernel()
    assert swapon(host, meant, call=kernel).outcome is Outcome.GONE
    assert kernel.calls == []


def test_unreadable_swaps_stop_both(host: HostFs, hierarchies: Hierarchies, tmp_path: Path) -> None:
    """Without /proc/swaps nobody knows what is on."""
    (tmp_path / "proc/swaps").unlink()
    kernel = Kernel()
    assert swapon(host, device(host), call=kernel).outcome is Outcome.FAILED
    assert swapoff(host, hierarchies, device(host), floor=0, call=kernel).outcome is Outcome.FAILED
    assert kernel.calls == []


@pytest.mark.parametrize(("used", "floor", "done"), [(500, 499, True), (500, 500, False), (1001, 0, False)])
def test_swapoff_needs_room(  # noqa: PLR0917 - three of them are what is tried
    host: HostFs, hierarchies: Hierarchies, tmp_path: Path, used: int, floor: int, done: bool
) -> None:
    """With 1,000 MiB available what comes back must leave more than the floor, to the byte."""
    swap.swaps(tmp_path, ("/swapfile", "file", 4096 * 1024, used * 1024))
    kernel = Kernel()
    answer = swapoff(host, hierarchies, device(host), floor=floor * MIB, call=kernel)
    assert answer.outcome is (Outcome.OK if done else Outcome.HELD)
    assert kernel.calls == ([(device(host).identity.inode, None)] if done else [])


def test_swapoff_without_knowing_the_room(host: HostFs, hierarchies: Hierarchies, tmp_path: Path) -> None:
    """A kernel that does not say what is available is taken to have nothing."""
    swap.swaps(tmp_path, ("/swapfile", "file", 4096, 4))
    (tmp_path / "proc/meminfo").write_text("MemTotal: 2048000 kB\n")
    kernel = Kernel()
    assert swapoff(host, hierarchies, device(host), floor=0, call=kernel).outcome is Outcome.HELD
    assert kernel.calls == []


def test_swapoff_of_what_is_off(host: HostFs, hierarchies: Hierarchies) -> None:
    """Nothing to do."""
    kernel = Kernel()
    assert swapoff(host, hierarchies, device(host), floor=0, call=kernel).outcome is Outcome.UNCHANGED
    assert kernel.calls == []


LIMITED = "kubepods.slice/pod"


@pytest.mark.parametrize(
    ("limit", "done"), [(f"{150 * MIB}", True), (f"{150 * MIB - 1}", False), ("max", True), ("0", False)]
)
def test_swapoff_needs_room_in_every_cgroup(
    host: HostFs, hierarchies: Hierarchies, tmp_path: Path, limit: str, done: bool
) -> None:
    """What comes back is charged to whom it was taken from: 50 MiB beside 100, below a limit of that container."""
    swap.swaps(tmp_path, ("/swapfile", "file", 4096 * 1024, 50 * 1024))
    for path, most in (("kubepods.slice", "max"), (LIMITED, "max"), (f"{LIMITED}/container", limit)):
        files = {"memory.current": f"{100 * MIB}\n", "memory.swap.current": f"{50 * MIB}\n", "memory.max": f"{most}\n"}
        trees.write(tmp_path, trees.below(f"{trees.CGROUP}/{path}", files))
    # Nothing of it is in swap, so its limit is of no interest.
    full = {"memory.current": "4096\n", "memory.swap.current": "0\n", "memory.max": "4096\n"}
    trees.write(tmp_path, trees.below(f"{trees.CGROUP}/kubepods.slice/full", full))
    kernel = Kernel()
    answer = swapoff(host, hierarchies, device(host), floor=0, call=kernel)
    assert answer.outcome is (Outcome.OK if done else Outcome.HELD)
    assert ("container may have" in answer.detail) is not done
    assert bool(kernel.calls) is done


def test_swapoff_on_cgroup_v1(host: HostFs, tmp_path: Path) -> None:
    """Whether there is room in each cgroup is not known there."""
    swap.swaps(tmp_path, ("/swapfile", "file", 4096, 4))
    trees.write(tmp_path, {f"{trees.CGROUP}/memory/kubepods/memory.usage_in_bytes": "1\n"})
    kernel = Kernel()
    with Hierarchies.detect(host) as hierarchies:
        assert swapoff(host, hierarchies, device(host), floor=0, call=kernel).outcome is Outcome.HELD
    assert kernel.calls == []


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: f"{mark.what}-{mark.offset}")
def test_swapon_of_somebody_elses(host: HostFs, tmp_path: Path, mark: Mark) -> None:
    """A swap header and the mark of something else: one of the two is left over, and nobody guesses which."""
    with (tmp_path / "swapfile").open("r+b") as file:
        file.seek(mark.offset)
        file.write(mark.text)
    kernel = Kernel()
    answer = swapon(host, device(host), call=kernel)
    assert (answer.outcome, kernel.calls) == (Outcome.HELD, [])
    assert mark.what in answer.detail
