"""A swap file of the agent's own: whole or not there, never in the place of anything, known again and removed."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import Journal
from plimsoll.kernel import swap_file
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_device import Header, read_header
from plimsoll.kernel.swap_file import LABEL, hindrance, is_own, make, remove
from plimsoll.kernel.swap_file_knob import SwapFileKnob
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Plan, Target, TargetKind, Write
from tests import swap
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 4 << 20
PATH = "/swap/file"
TARGET = Target(TargetKind.SWAP, PATH)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever the tests' own files are on, it counts as ext4."""
    monkeypatch.setattr(swap_file, "file_system", lambda _: 0xEF53)
    swap.swaps(tmp_path)
    trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "memory\n"})
    trees.write(tmp_path, {"proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n"})
    (tmp_path / "swap").mkdir()
    return tmp_path / "swap"


@pytest.fixture
def host(tmp_path: Path, folder: Path) -> Iterator[HostFs]:
    with HostFs(str(tmp_path)) as found:
        yield found


def test_a_whole_file(host: HostFs, folder: Path) -> None:
    """For root alone, without holes, with a header that says whose it is."""
    assert make(host, PATH, SIZE) == (Outcome.OK, 0)
    found = (folder / "file").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_size) == (0o600, SIZE)
    assert found.st_blocks * 512 >= SIZE
    header = read_header(host, PATH)
    assert isinstance(header, Header)
    assert (header.size, header.label) == (SIZE - swap.PAGE, LABEL)
    assert is_own(host, PATH)


@pytest.mark.parametrize("thing", ["file", "link", "folder", "empty"])
def test_what_is_there_is_never_touched(host: HostFs, folder: Path, thing: str) -> None:
    """Not even a link that leads nowhere, and what it would lead to is not made."""
    there = folder / "file"
    if thing == "file":
        there.write_bytes(b"data")
    elif thing == "link":
        there.symlink_to("/swap/elsewhere")
    elif thing == "folder":
        there.mkdir()
    else:
        there.touch()
    before = there.lstat()
    assert make(host, PATH, SIZE) == (Outcome.HELD, errno.EEXIST)
    assert remove(host, PATH)[0] is Outcome.GONE
    assert there.lstat() == before
    assert [each.name for each in folder.iterdir()] == ["file"]


def test_a_copy_is_nobodys(host: HostFs, folder: Path) -> None:
    """Nor what mkswap was told to call so: neither is ever removed."""
    make(host, PATH, SIZE)
    (folder / "copy").write_bytes((folder / "file").read_bytes())
    swap.make(folder, "labelled", swap.header(label=LABEL))
    for name in ("copy", "labelled"):
        assert not is_own(host, f"/swap/{name}")
        assert remove(host, f"/swap/{name}") == (Outcome.GONE, errno.ENODEV)
        assert (folder / name).exists()


def test_removed_when_it_is_not_in_use(host: HostFs, folder: Path, tmp_path: Path) -> None:
    """HELD while it is."""
    make(host, PATH, SIZE)
    swap.swaps(tmp_path, (PATH, "file", 4092, 0))
    assert remove(host, PATH) == (Outcome.HELD, errno.EBUSY)
    assert (folder / "file").exists()
    swap.swaps(tmp_path)
    assert remove(host, PATH) == (Outcome.OK, 0)
    assert list(folder.iterdir()) == []
    assert remove(host, PATH) == (Outcome.OK, 0)


def test_too_little_room(host: HostFs, folder: Path) -> None:
    """A tenth of the file system stays free, and that is said with what can be done."""
    found = os.statvfs(folder)
    size = (found.f_bavail - found.f_blocks // 10 + 1024) * found.f_frsize
    if size < SIZE:
        pytest.skip("The tests' own file system is nearly full.")
    assert make(host, PATH, size) == (Outcome.HELD, errno.ENOSPC)
    assert "swapFileSize smaller" in hindrance(host, PATH, size)
    assert hindrance(host, PATH, SIZE) == ""
    assert list(folder.iterdir()) == []


def test_a_file_system_that_holds_no_swap(tmp_path: Path) -> None:
    """Memory is one, as any container has it."""
    shm = "/dev/shm"
    if not os.path.isdir(shm):
        pytest.skip("There is no /dev/shm.")
    with HostFs("/") as host:
        assert "ext4 or XFS" in hindrance(host, f"{shm}/{tmp_path.name}", SIZE)
        assert make(host, f"{shm}/{tmp_path.name}", SIZE) == (Outcome.HELD, errno.EINVAL)
    assert not os.path.exists(f"{shm}/{tmp_path.name}")


@pytest.mark.parametrize(("release", "can"), [("4.19.90-2112.8.0.oe1", False), ("5.10.0-136.oe2203", True), ("", True)])
def test_a_kernel_that_takes_it_for_holes(host: HostFs, tmp_path: Path, folder: Path, release: str, can: bool) -> None:
    """swapon would answer EINVAL: nothing is made, and what else can be done is said."""
    trees.write(tmp_path, {"proc/sys/kernel/osrelease": f"{release}\n"})
    assert ("dd and mkswap" in hindrance(host, PATH, SIZE)) is not can
    assert make(host, PATH, SIZE) == ((Outcome.OK, 0) if can else (Outcome.HELD, errno.EINVAL))
    assert (folder / "file").exists() is can


def test_no_folder(host: HostFs) -> None:
    """It is the administrator's to make."""
    assert "make one" in hindrance(host, "/none/file", SIZE)
    assert make(host, "/none/file", SIZE) == (Outcome.MISSING, errno.ENOENT)
    assert Knobs.open(_knobs(host), Target(TargetKind.SWAP, "/none/file"), Knob.SWAP_FILE) is Outcome.GONE


def _knobs(host: HostFs) -> Knobs:
    return Knobs(host, Hierarchies.detect(host))


_KILLED = """
import os, sys
from plimsoll.kernel import swap_file
from plimsoll.kernel.hostfs import HostFs
swap_file.file_system = lambda _: 0xEF53
with HostFs(sys.argv[1]) as host:
    swap_file.make(host, "/swap/file", 4 << 20, lambda at: os.kill(os.getpid(), 9) if at == sys.argv[2] else None)
"""


@pytest.mark.parametrize(("step", "there"), [("opened", 0), ("allocated", 0), ("written", 0), ("named", 1)])
def test_killed_at_any_point(host: HostFs, folder: Path, tmp_path: Path, step: str, there: int) -> None:
    """Nothing, or a whole file that is known; and the next one goes on from there."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == there
    assert is_own(host, PATH) is bool(there)
    knob = SwapFileKnob.of(host, TARGET)
    assert isinstance(knob, SwapFileKnob)
    assert knob.write(str(SIZE)) == (Outcome.OK, 0)
    assert knob.read().data == f"{SIZE}\n".encode()


@pytest.mark.parametrize("text", ["", "0", "-4096", "4097", "4Mi", "other"])
def test_what_is_no_size(host: HostFs, folder: Path, text: str) -> None:
    """Refused before anything is made."""
    knob = SwapFileKnob.of(host, TARGET)
    assert isinstance(knob, SwapFileKnob)
    assert knob.write(text) == (Outcome.REJECTED, errno.EINVAL)
    assert list(folder.iterdir()) == []


def _applier(host: HostFs, hierarchies: Hierarchies, kernel: swap.SwapKernel, journal: Journal) -> Applier:
    knobs = Knobs(host, hierarchies, swap=kernel)
    applier = Applier(knobs, journal, clock=lambda: 0.0, random=lambda: 0.5, pause=lambda _: None)
    applier.adopt()
    return applier


def _plan(on_exit: OnExit = OnExit.RESTORE) -> Plan:
    file = Write(TARGET, Knob.SWAP_FILE, str(SIZE), "overcommit", "why", on_exit, phase=68, chain="device")
    return Plan((file, Write(TARGET, Knob.SWAP, "32767", "overcommit", "why", on_exit, phase=73, chain="device")))


@pytest.mark.parametrize("rebooted", [False, True])
def test_made_turned_on_and_undone(host: HostFs, folder: Path, tmp_path: Path, rebooted: bool) -> None:
    """In this order; and undone by a later agent, also where a reboot took the journal and left the file."""
    state = tmp_path / "run"
    state.mkdir()
    kernel = swap.SwapKernel(tmp_path, PATH)
    with Hierarchies.detect(host) as hierarchies:
        with Journal.open(str(state), "boot-1") as journal:
            first = _applier(host, hierarchies, kernel, journal)
            assert {each.outcome for each in first.execute(Plan(_plan().writes[:1]))} == {Outcome.OK}
            results = {each.write.knob: each.outcome for each in first.execute(_plan())}
            assert results == {Knob.SWAP_FILE: Outcome.UNCHANGED, Knob.SWAP: Outcome.OK}
        if rebooted:
            swap.swaps(tmp_path)
        with Journal.open(str(state), "boot-2" if rebooted else "boot-1") as journal:
            applier = _applier(host, hierarchies, kernel, journal)
            applier.execute(_plan())
            kernel.used = 1 << 20
            kernel.show(32767)
            assert Outcome.OK not in {each.outcome for each in applier.restore(1.0)}
            # No room: it is in use, and stays.
            assert (folder / "file").exists()
            kernel.used = 0
            kernel.show(32767)
            applier.restore(1.0)
            assert list(folder.iterdir()) == []
            assert journal.originals == {}
    assert kernel.calls[-1] is None


def test_left_in_the_end_and_taken_by_restore_all(host: HostFs, folder: Path, tmp_path: Path) -> None:
    """``onExit: leave``."""
    state = tmp_path / "run"
    state.mkdir()
    kernel = swap.SwapKernel(tmp_path, PATH)
    with Hierarchies.detect(host) as hierarchies, Journal.open(str(state), "boot") as journal:
        applier = _applier(host, hierarchies, kernel, journal)
        for _ in range(2):
            applier.execute(_plan(OnExit.KEEP))
        applier.restore(1.0)
        assert (folder / "file").exists()
        applier.restore(1.0, kept=True)
        assert list(folder.iterdir()) == []


def test_the_administrators_own_file_stays(host: HostFs, folder: Path, tmp_path: Path) -> None:
    """One that was there is used, and is no business of ours in the end."""
    swap.make(tmp_path, PATH, swap.header())
    size = (folder / "file").stat().st_size
    state = tmp_path / "run"
    state.mkdir()
    kernel = swap.SwapKernel(tmp_path, PATH)
    with Hierarchies.detect(host) as hierarchies, Journal.open(str(state), "boot") as journal:
        applier = _applier(host, hierarchies, kernel, journal)
        plan = _plan()
        applier.execute(plan._replace(writes=(plan.writes[0]._replace(value=str(size)), plan.writes[1])))
        assert [each.knob for each in journal.originals] == [Knob.SWAP]
        applier.restore(1.0, kept=True)
    assert (folder / "file").exists()
    assert kernel.calls == [0x8000 | 32767, None]


def test_what_the_snapshot_says(host: HostFs, folder: Path) -> None:
    """Not there, but it can be made; made, at the next look; and why not where it cannot."""
    with Hierarchies.detect(host) as hierarchies:
        device = DedicatedSwap(host, hierarchies, PATH, SIZE)
        seen = device.sample([], [], 0.0)
        assert (seen.makeable, seen.length, seen.device_path, seen.reasons) == (True, None, PATH, ("device-missing",))
        make(host, PATH, SIZE)
        seen = device.sample([], [], 1.0)
        assert (seen.makeable, seen.length, seen.headed, seen.kind) == (False, SIZE, True, "file")
        (folder / "file").unlink()
        seen = DedicatedSwap(host, hierarchies, PATH, 1 << 60).sample([], [], 0.0)
        assert (seen.makeable, seen.device_path, seen.reasons) == (False, None, ("not-made",))
        assert "swapFileSize smaller" in seen.details[0]
        assert not DedicatedSwap(host, hierarchies, PATH).sample([], [], 0.0).makeable
