"""The simulated /dev/isst_interface answers as the kernel does: numbers, limits, permissions, counts."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from tests.speed_select import (
    ASSOC,
    COUNT,
    IO,
    LEVELS,
    MBOX,
    MSR,
    PARAM,
    PHY_ID,
    PLATFORM,
    POWER,
    SET_FEATURE,
    SET_LEVEL,
    ask,
    changed,
    code,
    mailbox,
    tpmi,
)


@pytest.mark.parametrize(
    ("generation", "told"),
    [
        (Generation.MAILBOX, (1, 1, 64, 1, 0)),
        (Generation.MMIO, (1, 1, 64, 1, 1)),
        (Generation.TPMI, (3, 1, 64, 0, 0)),
    ],
)
def test_the_platform_tells_what_there_is(generation: Generation, told: tuple[int, ...]) -> None:
    """Version, limit and back-ends by generation; without a back-end version 0, and every request but two ENOTTY."""
    device = SpeedSelect(describe(generation))
    assert struct.unpack("<3H2B", ask(device, PLATFORM, bytes(8))) == told
    bare = SpeedSelect(describe(generation), kernel=Kernel(bound=False))
    assert struct.unpack("<3H2B", ask(bare, PLATFORM, bytes(8))) == (0, 1, 64, 0, 0)
    for request in (IO, MBOX, COUNT, POWER, ASSOC):
        assert code(bare, request, bytes(64)) == errno.ENOTTY
    assert ask(bare, PHY_ID, struct.pack("<3I", 1, 0, 0))


def test_requests_of_another_generation_are_not_there() -> None:
    """The two generations never meet on one machine; the fabric request is newer than this kernel."""
    old, new = SpeedSelect(describe(Generation.MMIO)), SpeedSelect(tpmi())
    assert {code(old, request, bytes(160)) for request in (COUNT, POWER, PARAM, ASSOC, LEVELS)} == {errno.ENOTTY}
    assert {code(new, request, struct.pack("<I", 1) + bytes(60)) for request in (IO, MBOX)} == {errno.ENOTTY}
    assert code(new, 0x8008FE11, bytes(64)) == errno.ENOTTY
    assert code(SpeedSelect(describe(Generation.MAILBOX)), IO, bytes(64)) == errno.ENOTTY


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize(("threads", "low", "shift"), [(2, 1, 9), (4, 3, 11)])
def test_cpus_are_identified_by_punit_core(adjacent: bool, threads: int, low: int, shift: int) -> None:
    """
    The physical id has domain, core and thread where MSR 0x53 and 0x54 have them; fused-off cores leave holes.

    Threads of one core (or the cores of a module) differ in the lowest bits only.
    """
    modern = threads > 2
    machine = (
        describe(Generation.TPMI, packages=2, domains=2, cores=2, threads=threads, adjacent=adjacent)
        if modern
        else describe(Generation.MMIO, packages=2, cores=4, threads=threads, adjacent=adjacent)
    )
    device = SpeedSelect(machine)
    count = len(machine.cpus)
    assert count == 2 * 4 * threads
    maps = [part for cpu in machine.cpus for part in (cpu, 0xFFFF)]
    buffer = bytearray(struct.pack(f"<I{2 * count}I", count, *maps))
    assert device.ioctl(PHY_ID, buffer) == count
    answer = struct.unpack(f"<I{2 * count}I", buffer)[1:]
    ids = dict(zip(answer[::2], answer[1::2], strict=True))
    units: dict[tuple[int, int], set[int]] = {}
    for cpu, word in ids.items():
        units.setdefault((machine.core_of(cpu).package, word >> (3 if modern else 1)), set()).add(cpu)  # type: ignore[union-attr]
    assert sorted(map(sorted, units.values())) == sorted(sorted(core.cpus) for core in machine.cores)
    assert {word & low for word in ids.values()} == set(range(threads))
    assert {word >> shift for word in ids.values()} == ({0, 1} if modern else {0})
    cores = {word >> 3 & 0xFF for word in ids.values()} if modern else {word >> 1 & 0xFF for word in ids.values()}
    assert cores == ({0, 2} if modern else {0, 2, 3, 4})
    assert device.ioctl(PHY_ID, bytearray(struct.pack("<5I", 2, 0, 0, count, 0))) == 1
    assert code(device, PHY_ID, struct.pack("<3I", 1, count, 0)) == errno.EINVAL


def test_a_cpu_that_was_never_online_has_no_identity() -> None:
    """It reads as 0, which is the first core's id: only online CPUs may be asked for."""
    device = SpeedSelect(describe(Generation.MMIO), kernel=Kernel(never_online=frozenset({5}), offline=frozenset({6})))
    answer = struct.unpack("<5I", ask(device, PHY_ID, struct.pack("<5I", 2, 5, 1, 6, 1)))
    assert answer == (2, 5, 0, 6, device.machine.physical_id(6))
    assert code(device, MSR, struct.pack("<I4x2I2Q", 1, 0, 6, 0x1AD, 0)) == errno.ENXIO


@pytest.mark.parametrize("count", [0, 65, 0xFFFFFFFF])
def test_the_number_of_commands_is_bounded(count: int) -> None:
    """0 and more than 64 commands are EINVAL before any is looked at; on TPMI that too comes as ENOTTY."""
    device = SpeedSelect(describe(Generation.MMIO))
    for request in (PHY_ID, IO, MBOX, MSR):
        assert code(device, request, struct.pack("<I", count) + bytes(2000)) == errno.EINVAL
    modern = SpeedSelect(tpmi())
    assert code(modern, ASSOC, struct.pack("<3H", count & 0xFFFF, 1, 1) + bytes(1000)) == errno.ENOTTY
    assert all(not each.commands for each in device.log + modern.log)


def test_an_error_after_the_first_command_is_a_count() -> None:
    """What was done stays done, what was read is there, the errno is lost; an error in the first is the errno."""
    device = SpeedSelect(describe(Generation.MMIO))
    buffer = bytearray(struct.pack("<I12I", 3, 1, 0, 0x08, 5, 0, 0, 0x08, 0, 1, 0, 0x0A, 7))
    assert device.ioctl(IO, buffer) == 2
    assert device.registers()["0/0/clos/0"] == 5
    assert struct.unpack_from("<I", buffer, 4 + 16 + 12) == (5,)
    assert [error for _, error in device.log[-1].commands] == [0, 0, errno.EINVAL]
    assert code(device, IO, struct.pack("<5I", 1, 1, 0, 0x0A, 7)) == errno.EINVAL


def test_a_buffer_that_is_too_small_is_a_fault() -> None:
    """The kernel would run into the end of the caller's memory: EFAULT, or the commands that were there."""
    device = SpeedSelect(describe(Generation.MMIO))
    assert code(device, PLATFORM, bytes(7)) == errno.EFAULT
    assert code(device, PHY_ID, struct.pack("<2I", 1, 0)) == errno.EFAULT
    assert device.ioctl(PHY_ID, bytearray(struct.pack("<3I", 2, 0, 0))) == 1
    assert code(SpeedSelect(tpmi()), POWER, bytes(5)) == errno.ENOTTY


def test_model_specific_registers() -> None:
    """A list of five; 0x54 only with TPMI; only the turbo limits can be written; the package has them, not the CPU."""
    for device in (SpeedSelect(describe(Generation.MMIO)), SpeedSelect(tpmi())):
        modern = device.machine.generation is Generation.TPMI
        last = device.machine.cpus[-1]
        for number in (0x1AD, 0x1AE, 0x1AF, 0x64B):
            ask(device, MSR, struct.pack("<I4x2I2Q", 1, 0, 0, number, 0))
        assert code(device, MSR, struct.pack("<I4x2I2Q", 1, 0, 0, 0x150, 0)) == errno.EINVAL
        assert code(device, MSR, struct.pack("<I4x2I2Q", 1, 1, 0, 0x1AE, 1)) == errno.EIO
        content = struct.pack("<I4x2I2Q", 1, 0, last, 0x54, 0)
        if modern:
            assert struct.unpack_from("<Q", ask(device, MSR, content), 24)[0] == device.machine.physical_id(last)
        else:
            assert code(device, MSR, content) == errno.EIO
        written = struct.pack("<I4x2I2Q", 1, 1, last, 0x1AD, 2**64 - 1)
        assert ask(device, MSR, written) == written
        assert device.registers()["1/msr/0x1ad"] == 2**64 - 1
        assert device.registers()["0/msr/0x1ad"] != 2**64 - 1


def test_writes_need_a_capability_where_the_kernel_asks_for_it() -> None:
    """
    MSR and MMIO writes and every TPMI switch do. Most mailbox writes do not: the kernel's list has the number of the
    write bit (8) where clients send the bit (0x100).
    """
    poor = Kernel(sys_admin=False)
    old = SpeedSelect(describe(Generation.MMIO), kernel=poor)
    assert code(old, MSR, struct.pack("<I4x2I2Q", 1, 1, 0, 0x1AD, 0)) == errno.EPERM
    assert code(old, IO, struct.pack("<5I", 1, 1, 0, 0x08, 0)) == errno.EPERM
    assert code(old, MBOX, struct.pack("<5I2HI", 1, 0, 0, 1 << 17, 0, 0x7F, 0x02, 0)) == errno.EPERM
    mailbox(old, 0xD0, 2, 0b110, parameter=0x100)
    assert old.registers()["0/0/qos"] == 0b110
    new = SpeedSelect(tpmi(), kernel=Kernel(sys_admin=False, folded=False))
    before = dict(new.registers())
    assert code(new, POWER, bytes([1, 0, 0, 1, 0, 1])) == errno.EPERM
    assert code(new, PARAM, struct.pack("<4B2HBx", 1, 0, 0, 3, 0, 2000, 15)) == errno.EPERM
    assert code(new, ASSOC, struct.pack("<3H2B2H", 1, 1, 1, 0, 0, 0, 3)) == errno.EPERM
    assert code(new, SET_LEVEL, bytes([0, 0, 2])) == errno.EPERM
    assert code(new, SET_FEATURE, bytes([0, 0, 1])) == errno.EPERM
    assert not changed(new, before)
    assert ask(new, POWER, bytes([0, 0, 0, 9, 9, 9])) == bytes([0, 0, 0, 0, 1, 0])


def test_sysfs_goes_with_the_machine(tmp_path: Path) -> None:
    """Packages, siblings and offline CPUs as Linux shows them, with masks no longer than the machine."""
    machine = describe(Generation.TPMI, packages=2, domains=2, cores=10, threads=2)
    lay_out(Tree(str(tmp_path)), machine, offline=frozenset({41}))
    root = tmp_path / FOLDER
    assert (root / "online").read_text() == "0-40,42-79\n"
    assert (root / "cpu1/topology/thread_siblings_list").read_text() == "1\n"
    assert (root / "cpu2/topology/thread_siblings_list").read_text() == "2,42\n"
    assert (root / "cpu2/topology/thread_siblings").read_text() == "0000,00000400,00000004\n"
    assert (root / "cpu30/topology/physical_package_id").read_text() == "1\n"
    assert (root / "cpu30/topology/die_id").read_text() == "1\n"
    assert (root / "cpu41/online").read_text() == "0\n"
    assert not (root / "cpu41/topology").exists()
    assert not (root / "cpu0/online").exists()
    assert (root / "cpu0/cpufreq/cpuinfo_max_freq").read_text() == "4600000\n"


NUMBERS = [PLATFORM, PHY_ID, IO, MBOX, MSR, *range(0xC008FE00, 0xC008FE12), *range(0x8008FE00, 0x8008FE12)]


@example(generation=Generation.MAILBOX, request=PHY_ID, start=b"", rest=b"\x01")
@given(
    generation=st.sampled_from(list(Generation)),
    request=st.sampled_from([*NUMBERS, SET_LEVEL, SET_FEATURE]) | st.integers(0, 2**32 - 1),
    start=st.sampled_from([b"", struct.pack("<I", 1), struct.pack("<I", 2), struct.pack("<3H", 2, 1, 1)]),
    rest=st.binary(max_size=200).map(lambda some: bytes(byte % 8 for byte in some)) | st.binary(max_size=200),
)
def test_whatever_is_asked_has_an_answer(generation: Generation, request: int, start: bytes, rest: bytes) -> None:
    """
    Any request with any bytes is answered or is an errno, in a buffer of the same size; what a client without the
    capability asks of TPMI changes nothing; and no more is needed than what is then looked at.
    """
    device = SpeedSelect(describe(generation, cores=2), kernel=Kernel(sys_admin=False))
    before = dict(device.registers())
    buffer = bytearray(start + rest)
    # The zeros that a short buffer is filled up with complete its count, by which the rest is measured.
    counted = bytes(buffer).ljust(device.size(request, bytes(buffer)), b"\0")
    enough = bytearray(counted.ljust(device.size(request, counted), b"\0"))
    with suppress(OSError):
        device.ioctl(request, buffer)
    assert device.log[-1].result <= 64
    assert len(buffer) == len(start + rest)
    if generation is Generation.TPMI:
        assert not changed(device, before)
    with suppress(OSError):
        device.ioctl(request, enough)
    errors = [error for _, error in device.log[-1].commands]
    assert errno.EFAULT not in errors or generation is Generation.TPMI
    assert device.log[-1].result != -errno.EFAULT


def test_a_foreign_hand_reaches_every_register() -> None:
    """What registers() shows can be changed behind a client's back by the same name; other names are errors."""
    for machine in (describe(Generation.MMIO), tpmi()):
        device = SpeedSelect(machine)
        before = dict(device.registers())
        names = ["0/0/clos/1", "1/0/assoc/3", "0/0/features", "1/0/level", "0/msr/0x1ad"]
        names += ["1/0/qos"] if machine.generation is not Generation.TPMI else []
        for name in names:
            device.hardware.poke(name, len(machine.levels) - 1)
        found = changed(device, before)
        assert {name: found[name] for name in names} == dict.fromkeys(names, len(machine.levels) - 1)
        for wrong in ("0/0/clos", "0/0/core-power", "0/0/what/1"):
            with pytest.raises(ValueError, match="no register"):
                device.hardware.poke(wrong, 0)
        with pytest.raises(KeyError):
            device.hardware.poke("0/msr/0x150", 0)
