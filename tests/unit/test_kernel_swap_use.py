"""A swap device that a container turned on and that container is gone: /proc/swaps has no path of it any more."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.proc import read_swaps
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_activation import swapon
from plimsoll.kernel.swap_device import Device, DeviceName, Kind, identify
from plimsoll.kernel.swap_knob import SwapKnob
from plimsoll.kernel.swap_use import use_of
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Target, TargetKind
from tests import swap
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/swap/low"
KIB = (swap.PAGES - 1) * swap.PAGE // 1024
TAKEN = Faults({("write", PATH): errno.ETXTBSY})


def made(root: Path, *lines: tuple[str, str, int, int]) -> None:
    swap.make(root, PATH, swap.header())
    swap.swaps(root, *lines)
    trees.write(root, {f"{trees.CGROUP}/cgroup.controllers": "memory\n"})


def found(host: HostFs) -> Device:
    device = identify(host, DeviceName.parse(PATH))
    assert isinstance(device, Device)
    return device


@pytest.mark.parametrize("path", ["/low", "/"])
def test_a_file_whose_path_leads_nowhere(tmp_path: Path, path: str) -> None:
    """What is left of it is the last part where the folder was mounted, and nothing where the file was."""
    made(tmp_path, ("/dev/zram0", "partition", KIB, 0), (path, "file", KIB, 8))
    with HostFs(str(tmp_path), fault=TAKEN) as host, Hierarchies.detect(host) as hierarchies:
        line = use_of(host, read_swaps(host) or (), found(host))
        assert line is not None
        assert (line.path, line.used) == (path, 8192)
        knob = Knobs(host, hierarchies).open(Target(TargetKind.SWAP, PATH), Knob.SWAP)
        assert isinstance(knob, SwapKnob)
        assert knob.read().data == b"auto\n"
        # It is on, and is not turned on again.
        assert swapon(host, found(host)).outcome is Outcome.UNCHANGED
        seen = DedicatedSwap(host, hierarchies, PATH).sample([], [], 0.0)
        assert (seen.active, seen.device_path, seen.used) == (True, PATH, 8192)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (("/low", "file", KIB, 8), Faults()),
        (("/low", "file", KIB + 4, 8), TAKEN),
        (("/low", "partition", KIB, 8), TAKEN),
    ],
)
def test_what_is_not_in_use(tmp_path: Path, line: tuple[str, str, int, int], fault: Faults) -> None:
    """One that may be written to is free; and a line of another size or kind is about another."""
    made(tmp_path, line)
    with HostFs(str(tmp_path), fault=fault) as host:
        before = (tmp_path / PATH.lstrip("/")).stat()
        assert use_of(host, read_swaps(host) or (), found(host)) is None
        after = (tmp_path / PATH.lstrip("/")).stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)


@pytest.mark.parametrize(("fault", "used"), [(Faults({("open", PATH): errno.EBUSY}), True), (Faults(), False)])
def test_a_disk_whose_path_leads_nowhere(tmp_path: Path, fault: Faults, used: bool) -> None:
    """Nobody else can have it alone while the kernel swaps to it."""
    made(tmp_path, ("/", "partition", KIB, 8))
    with HostFs(str(tmp_path)) as host:
        device = found(host)._replace(kind=Kind.BLOCK)
    with HostFs(str(tmp_path), fault=fault) as host:
        assert (use_of(host, read_swaps(host) or (), device) is not None) is used


def test_a_path_that_leads_to_it_needs_no_other_sign(tmp_path: Path) -> None:
    """As on the node itself, and in the container that turned it on: nothing is opened for that."""
    made(tmp_path, (PATH, "file", 1 << 20, 8))
    with HostFs(str(tmp_path)) as host:
        assert use_of(host, read_swaps(host) or (), found(host)) is not None
