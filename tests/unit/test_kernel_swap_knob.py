"""The use of a swap device as a knob: read, turned on and off, put back; and the process that turns it off."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.swap_call import in_child, swap_call
from plimsoll.kernel.swap_knob import SwapKnob
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Knob, Target, TargetKind, cgroup
from tests import swap
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICE = Target(TargetKind.SWAP, "/swapfile")


@pytest.fixture
def kernel(tmp_path: Path) -> swap.SwapKernel:
    swap.make(tmp_path, "swapfile", swap.header())
    swap.swaps(tmp_path)
    memory = {"proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n"}
    trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "memory\n", **memory})
    return swap.SwapKernel(tmp_path)


@pytest.fixture
def knobs(tmp_path: Path, kernel: swap.SwapKernel) -> Iterator[Knobs]:
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        yield Knobs(host, hierarchies, swap=kernel)


def opened(knobs: Knobs) -> SwapKnob:
    found = knobs.open(DEVICE, Knob.SWAP)
    assert isinstance(found, SwapKnob)
    return found


def test_off_on_and_with_a_priority(knobs: Knobs, kernel: swap.SwapKernel) -> None:
    """What /proc/swaps says, and what is written stands there; the kernel's own priority has one spelling."""
    with opened(knobs) as knob:
        assert knob.read().data == b"off\n"
        assert knob.write("auto\n") == (Outcome.OK, 0)
        assert knob.read().data == b"auto\n"
        assert knob.write("off") == (Outcome.OK, 0)
        assert knob.read().data == b"off\n"
        assert knob.write("32767") == (Outcome.OK, 0)
        assert knob.read().data == b"32767\n"
    assert kernel.calls == [0, None, 0x8000 | 32767]


def test_turning_off_takes_its_time(knobs: Knobs, kernel: swap.SwapKernel) -> None:
    """BUSY with some of it done, as often as it takes."""
    kernel.used, kernel.slice_mib = 100, 40
    kernel.show()
    with opened(knobs) as knob:
        assert [knob.write("off")[0] for _ in range(3)] == [Outcome.BUSY, Outcome.BUSY, Outcome.OK]


def test_without_room_it_stays_on(knobs: Knobs, kernel: swap.SwapKernel) -> None:
    """1,000 MiB are available, 256 must stay: 750 are too many."""
    kernel.used = 750
    kernel.show()
    with opened(knobs) as knob:
        assert knob.write("off")[0] is Outcome.HELD
    assert kernel.calls == []


@pytest.mark.parametrize("text", ["", "on", "-1", "32768", "1.5", "0x1", "00", "off off"])
def test_what_is_no_value(knobs: Knobs, kernel: swap.SwapKernel, text: str) -> None:
    """Refused before anybody is called."""
    with opened(knobs) as knob:
        assert knob.write(text) == (Outcome.REJECTED, errno.EINVAL)
    assert kernel.calls == []


def test_a_device_in_the_place_of_another(knobs: Knobs, kernel: swap.SwapKernel, tmp_path: Path) -> None:
    """It has another identity, and what was meant for the first is not done to it; without one there is no knob."""
    with opened(knobs) as knob:
        swap.make(tmp_path, "other", swap.header(swap.OTHER))
        (tmp_path / "other").replace(tmp_path / "swapfile")
        assert knob.write("auto") == (Outcome.GONE, errno.ENODEV)
        with opened(knobs) as other:
            assert other.identity != knob.identity
    (tmp_path / "swapfile").unlink()
    assert knobs.open(DEVICE, Knob.SWAP) is Outcome.GONE
    assert kernel.calls == []


def test_only_a_device_has_it(knobs: Knobs) -> None:
    """The node, and a cgroup, have no such knob."""
    for target in (NODE, cgroup("/swapfile")):
        assert knobs.open(target, Knob.SWAP) is Outcome.MISSING


def test_the_kernel_itself_refuses_a_plain_file(tmp_path: Path) -> None:
    """The real calls: EINVAL for what is no swap, or EPERM for whoever is not root; nothing is turned on or off."""
    (tmp_path / "plain").write_bytes(bytes(swap.PAGE))
    descriptor = os.open(tmp_path / "plain", os.O_PATH)
    try:
        for flags in (0, None):
            assert swap_call(descriptor, flags) in (errno.EINVAL, errno.EPERM)
    finally:
        os.close(descriptor)


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """It is EINTR then, as it is for one that somebody else killed; else its exit code is the errno."""
    descriptor = os.open(tmp_path, os.O_PATH)
    try:
        begun = time.monotonic()
        assert in_child("import time; time.sleep(60)", "", descriptor, 0.5) == errno.EINTR
        assert time.monotonic() - begun < 30
        assert in_child("import os; os.kill(os.getpid(), 9)", "", descriptor, 60) == errno.EINTR
        argument = "import sys; sys.exit(0 if sys.argv[1] == 'here' else 1)"
        assert in_child(argument, "here", descriptor, 60) == 0
        passed = f"import os, sys; os.fstat({descriptor}); sys.exit(28)"
        assert in_child(passed, "", descriptor, 60) == 28
    finally:
        os.close(descriptor)
