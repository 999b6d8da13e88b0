"""The node's figures from /proc: what is printed, what is not, and what is not what it seems."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from plimsoll.kernel import proc
from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, PressureLine, Source
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults


def host(root: Path, tree: trees.Tree, fault: Faults | None = None) -> HostFs:
    return HostFs(str(trees.write(root, tree)), fault=fault)


def test_pressure(tmp_path: Path) -> None:
    """The three resources of a stock kernel; irq and stat are missing, not zero."""
    with host(tmp_path, trees.proc()) as root:
        found = proc.read_pressure(root)
    assert [(each.cause, each.source) for each in found.pressures] == [
        ("cpu", Source.PSI),
        ("memory", Source.PSI),
        ("io", Source.PSI),
    ]
    assert found.outcomes == {
        "cpu": Outcome.OK,
        "memory": Outcome.OK,
        "io": Outcome.OK,
        "irq": Outcome.MISSING,
        "stat": Outcome.MISSING,
    }
    assert found.pressures[1].some == PressureLine(12, 34, 5, 123456)
    assert found.pressures[1].full == PressureLine(1, 2, 0, 65432)


def test_the_node_has_no_cpu_full(tmp_path: Path) -> None:
    """The zeros that kernels print for the node's cpu ``full`` are not passed on; its ``some`` is."""
    with host(tmp_path, trees.proc()) as root:
        cpu = proc.read_pressure(root).pressures[0]
    assert cpu.full is None
    assert cpu.some == PressureLine(110, 90, 40, 987654)


def test_only_a_full_line(tmp_path: Path) -> None:
    """irq has only ``full``; a cpu file with nothing but ``full`` says nothing at all."""
    tree = trees.proc() | {"proc/pressure/irq": trees.FULL_ONLY, "proc/pressure/cpu": trees.FULL_ONLY}
    with host(tmp_path, tree) as root:
        found = proc.read_pressure(root)
    assert [each.cause for each in found.pressures] == ["memory", "io", "irq"]
    assert found.pressures[2].some is None
    assert found.pressures[2].full == PressureLine(3, 2, 1, 777)
    assert found.outcomes["cpu"] is Outcome.OK


def test_openeuler_causes(tmp_path: Path) -> None:
    """``/proc/pressure/stat`` adds the seven causes after the resources."""
    with host(tmp_path, trees.openeuler_v1()) as root:
        found = proc.read_pressure(root)
    causes = [each.cause for each in found.pressures if each.source is Source.PRESSURE_STAT]
    assert causes == list(PRESSURE_STAT_CAUSES)
    swap = next(each for each in found.pressures if each.cause == "swap")
    assert swap.some is not None
    assert swap.some.total_us == 731245


@pytest.mark.parametrize("text", ["", "garbage\n", trees.PSI[:-1], trees.PSI[:30], "some avg10=nan\n"])
def test_torn_pressure(tmp_path: Path, text: str) -> None:
    """A torn or unknown text is MALFORMED and costs only its own figures."""
    tree = trees.openeuler_v1() | {"proc/pressure/memory": text, "proc/pressure/stat": text}
    with host(tmp_path, tree) as root:
        found = proc.read_pressure(root)
    assert found.outcomes["memory"] is found.outcomes["stat"] is Outcome.MALFORMED
    assert [each.cause for each in found.pressures] == ["cpu", "io"]


def test_refused_pressure(tmp_path: Path) -> None:
    """PSI turned off, or forbidden, is the outcome of each file."""
    faults = Faults({("read", "/cpu"): errno.EOPNOTSUPP, ("open", "/memory"): errno.EACCES})
    with host(tmp_path, trees.proc(), faults) as root:
        found = proc.read_pressure(root)
    assert (found.outcomes["cpu"], found.outcomes["memory"]) == (Outcome.UNSUPPORTED, Outcome.DENIED)
    assert [each.cause for each in found.pressures] == ["io"]


def test_meminfo(tmp_path: Path) -> None:
    """Bytes, from the kernel's KiB; a line that is not printed is None."""
    with host(tmp_path, trees.proc()) as root:
        found = proc.read_meminfo(root)
    assert found == (16318420 * 1024, 9876544 * 1024, 2097148 * 1024, 2000000 * 1024, None)
    assert proc.parse_meminfo("MemTotal:  5 kB\nMemFree:  1 kB\n") == (5120, None, None, None, None)
    assert proc.parse_meminfo("SwapTotal:  0 kB\n").swap_total == 0
    assert proc.parse_meminfo("SwapCached:  7 kB\n").swap_cached == 7168
    assert proc.parse_meminfo("MemTotal:  x kB\nXMemTotal: 5 kB\n") == (None, None, None, None, None)


def test_cpus(tmp_path: Path) -> None:
    """Online CPUs are counted, with gaps in their numbers; the summary line is not one of them."""
    with host(tmp_path, trees.proc()) as root:
        assert proc.read_cpu_count(root) == 3
    assert proc.parse_cpu_count("cpu  1 2 3\nintr 5\n") is None


def test_swaps(tmp_path: Path) -> None:
    """Paths are unescaped, sizes are bytes; no device and no file are told apart."""
    with host(tmp_path, trees.proc()) as root:
        assert proc.read_swaps(root) == (
            ("/dev/vdb", "partition", 2097148 * 1024, 97148 * 1024, -2),
            ("/swap files/one", "file", 1024 * 1024, 0, 5),
        )
    heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    assert proc.parse_swaps(heading) == ()
    deleted = f"{heading}/dev/zram0\\040(deleted) partition 100 0 -2\n/dev/x (deleted) file 1 0 1\nbroken line\n"
    assert [each.path for each in proc.parse_swaps(deleted)] == ["/dev/zram0 (deleted)", "/dev/x"]
    with host(tmp_path / "without", {"proc/": ""}) as root:
        assert proc.read_swaps(root) is None


def test_identity(tmp_path: Path) -> None:
    """Release, boot id and boot arguments, without their newlines."""
    with host(tmp_path, trees.proc(arguments="psi=1")) as root:
        assert proc.read_os_release(root) == trees.STOCK
        assert proc.read_boot_id(root) == trees.BOOT_ID
        assert proc.read_command_line(root) == (f"BOOT_IMAGE=/vmlinuz-{trees.STOCK}", "root=/dev/vda1", "psi=1")


def test_nothing_there(tmp_path: Path) -> None:
    """Without /proc everything is unknown and nothing raises."""
    with host(tmp_path, {"etc/": "", "proc/sys/kernel/osrelease": "\n"}) as root:
        assert proc.read_pressure(root).pressures == ()
        assert set(proc.read_pressure(root).outcomes.values()) == {Outcome.MISSING}
        assert proc.read_meminfo(root) == (None, None, None, None, None)
        assert proc.read_cpu_count(root) is None
        assert proc.read_os_release(root) is None
        assert proc.read_boot_id(root) is None
        assert proc.read_command_line(root) is None
        assert KernelBuild.read(root) == (None, None, None)


def test_this_host() -> None:
    """The machine the tests run on: figures agree with what its own interfaces say."""
    with HostFs("/") as root:
        meminfo = proc.read_meminfo(root)
        # A container's own /proc/meminfo (lxcfs) may show less than the machine has, never more.
        assert meminfo.total is not None
        assert meminfo.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert meminfo.available is not None
        assert 0 < meminfo.available <= meminfo.total
        assert proc.read_cpu_count(root) == os.sysconf("SC_NPROCESSORS_ONLN")
        assert proc.read_os_release(root) == os.uname().release
        boot_id = proc.read_boot_id(root)
        assert boot_id is not None
        assert re.fullmatch(r"[0-9a-f-]{36}", boot_id)
        found = proc.read_pressure(root)
        present = {name for name, outcome in found.outcomes.items() if outcome is Outcome.OK}
        there = set(os.listdir("/proc/pressure")) if Path("/proc/pressure").is_dir() else set()
        assert present == there & {"cpu", "memory", "io", "irq", "stat"}
        assert all(each.full is None for each in found.pressures if each.cause == "cpu")
