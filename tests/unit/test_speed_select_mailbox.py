"""The simulated mailbox and memory-mapped registers: what the firmware before TPMI does with commands and words."""

from __future__ import annotations

import errno
import struct

import pytest

from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_machine import Generation, describe
from tests.speed_select import IO, MBOX, MSR, OLD, ask, changed, code, mailbox, registers


def test_memory_mapped_registers_have_bounds() -> None:
    """Offsets are multiples of 4 from 0x04 to the last core's; a small device has 45 of those, a large one 64."""
    small, large = SpeedSelect(describe(Generation.MMIO)), SpeedSelect(describe(Generation.MMIO, cores=50))
    for device, last in ((small, 0xD0), (large, 0x11C)):
        registers(device, write=1, cpu=0, places={0x04: 0, last: 1 << 16})
        assert registers(device, write=0, cpu=0, places={last: 0, 0x18: 0}) == [1 << 16, 0]
        for bad in (0x00, 0x05, last + 4):
            assert code(device, IO, struct.pack("<5I", 1, 0, 0, bad, 0)) == errno.EINVAL
    assert registers(small, write=0, cpu=15, places={0x20: 0}) == [0]
    assert code(small, IO, struct.pack("<5I", 1, 0, 1000, 0x08, 0)) == errno.EINVAL


@pytest.mark.parametrize("generation", OLD)
def test_the_mailbox_lets_through_what_the_kernel_lists(generation: Generation) -> None:
    """Every listed command reaches the firmware, everything else is EINVAL; a refusing firmware is ENXIO."""
    device = SpeedSelect(describe(generation))
    listed = {0xD0: {0, 1, 2, 3}, 0x94: {3}, 0x95: {3}}
    listed[0x7F] = {*range(0x0D), *range(0x10, 0x13), *range(0x20, 0x24)}
    for command in (0x7F, 0x94, 0x95, 0xD0, 0xD1, 0x00):
        for sub in range(0x30):
            if sub in listed.get(command, ()) and (command, sub) != (0x7F, 0x08):
                mailbox(device, command, sub)
            elif command != 0x7F or sub != 0x08:
                request = struct.pack("<5I2HI", 1, 0, 0, 0, 0, command, sub, 0)
                assert code(device, MBOX, request) == errno.EINVAL, (command, sub)
    assert code(device, MBOX, struct.pack("<5I2HI", 1, 0, 0, 9, 0, 0x7F, 0x03, 0)) == errno.ENXIO
    assert code(device, MBOX, struct.pack("<5I2HI", 1, 999, 0, 0, 0, 0x7F, 0x00, 0)) == errno.EINVAL


def test_classes_and_associations_have_two_ways_to_one_register() -> None:
    """Through the mailbox and through memory: bit 8 of the parameter writes, the word is kept whole, RMID and all."""
    device = SpeedSelect(describe(Generation.MMIO))
    before = dict(device.registers())
    mailbox(device, 0xD0, 1, 0x12_17_08_F4, parameter=0x100 | 3)
    assert mailbox(device, 0xD0, 1, 0xFFFF, parameter=3) == 0x12_17_08_F4
    assert registers(device, write=0, cpu=0, places={0x08 + 4 * 3: 0}) == [0x12_17_08_F4]
    registers(device, write=1, cpu=8, places={0x20 + 4 * 2: 3 << 16 | 5})
    assert mailbox(device, 0xD0, 0, parameter=2, cpu=8) == 3 << 16 | 5
    assert changed(device, before) == {"0/0/clos/3": 0x12_17_08_F4, "1/0/assoc/2": 3 << 16 | 5}
    assert device.hardware.class_of(1, 0, 2) == 3


@pytest.mark.parametrize("generation", OLD)
def test_core_power_and_features_of_the_mailbox(generation: Generation) -> None:
    """Core power needs both its switches; turbo frequency needs core power; and core power stays on under it."""
    device = SpeedSelect(describe(generation))
    before = dict(device.registers())
    domain = device.hardware.domains[0, 0]
    assert mailbox(device, 0x7F, 0x00) == 3 | 1 << 8 | 1 << 31
    assert mailbox(device, 0x7F, 0x01) == 0b11
    assert mailbox(device, 0x94, 3) == 1
    enable = struct.pack("<5I2HI", 1, 0, 0, 1 << 16, 0, 0x7F, 0x02, 0)
    assert code(device, MBOX, enable) == errno.ENXIO
    mailbox(device, 0x95, 3, 1 << 16)
    assert not device.hardware.prioritised(domain)
    mailbox(device, 0xD0, 2, 0b110, parameter=0x100)
    assert device.hardware.prioritised(domain)
    ask(device, MBOX, enable)
    assert mailbox(device, 0x7F, 0x01) == 0b11 | 1 << 16
    assert mailbox(device, 0x94, 3) == 1 | 1 << 16
    assert changed(device, before) == {"0/0/core-power": "ordered", "0/0/features": 2, "0/0/qos": 6}
    for command, sub, data, parameter in ((0x95, 3, 0, 0), (0xD0, 2, 0b100, 0x100)):
        request = struct.pack("<5I2HI", 1, 0, parameter, data, 0, command, sub, 0)
        assert code(device, MBOX, request) == errno.ENXIO
    mailbox(device, 0x7F, 0x02, 1 << 17)
    assert domain.features == 1
    mailbox(device, 0x95, 3, 0)
    assert device.registers()["0/0/core-power"] == "off"


def test_without_the_interlock_everything_is_taken() -> None:
    """A checker then sees what was asked for in which order."""
    device = SpeedSelect(describe(Generation.MMIO), interlocked=False)
    mailbox(device, 0x7F, 0x02, 1 << 16)
    assert device.registers()["0/0/features"] == 2
    assert device.registers()["0/0/core-power"] == "off"


def test_a_change_of_level_turns_features_off() -> None:
    """So does the hardware; the turbo limits are the new level's. A locked machine takes no other level."""
    device = SpeedSelect(describe(Generation.MMIO), interlocked=False)
    mailbox(device, 0x7F, 0x02, 1 << 16)
    mailbox(device, 0x7F, 0x08, 1)
    assert device.registers()["0/0/features"] == 0
    assert mailbox(device, 0x7F, 0x00) >> 16 & 0xFF == 1
    assert device.registers()["0/msr/0x1ad"] != device.registers()["1/msr/0x1ad"]
    locked = SpeedSelect(describe(Generation.MMIO, locked=True))
    assert code(locked, MBOX, struct.pack("<5I2HI", 1, 0, 0, 1, 0, 0x7F, 0x08, 0)) == errno.ENXIO
    assert mailbox(locked, 0x7F, 0x00) >> 24 & 1
    answer = ask(locked, MSR, struct.pack("<I4x2I2Q", 1, 0, 0, 0x64B, 0))
    assert struct.unpack_from("<Q", answer, 24)[0] >> 31 == 1


def test_the_mailbox_tells_a_level() -> None:
    """Bytes and words lie where the kernel's tool looks for them."""
    device = SpeedSelect(describe(Generation.MMIO, cores=40))
    level = device.machine.levels[0]
    assert level is not None
    assert level.turbo is not None
    assert level.basic is not None
    assert mailbox(device, 0x7F, 0x03) == level.watts | level.base[0] << 16
    assert mailbox(device, 0x7F, 0x05) == level.celsius
    assert mailbox(device, 0x7F, 0x0A).to_bytes(4, "little") == bytes(level.base)
    mask = mailbox(device, 0x7F, 0x06) | mailbox(device, 0x7F, 0x06, 1 << 8) << 32
    assert [core for core in range(64) if mask >> core & 1] == [0, *range(2, 41)]
    for isa in range(3):
        halves = [mailbox(device, 0x7F, 0x07, word << 8 | isa << 16).to_bytes(4, "little") for word in range(2)]
        assert tuple(b"".join(halves)) == level.limits[isa]
        halves = [mailbox(device, 0x7F, 0x11, word << 8 | isa << 16).to_bytes(4, "little") for word in range(2)]
        assert tuple(b"".join(halves)) == level.turbo.ratios[isa]
    assert mailbox(device, 0x7F, 0x10).to_bytes(4, "little") == bytes(level.turbo.counts[:4])
    assert mailbox(device, 0x7F, 0x12) == int.from_bytes(bytes(level.turbo.clip[:3]), "little")
    assert mailbox(device, 0x7F, 0x21) == level.basic.low | level.basic.high << 8
    assert mailbox(device, 0x7F, 0x20) == sum(1 << core for core in level.basic.cores)
