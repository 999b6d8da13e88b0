"""What goes wrong by script on the way to a simulated Speed Select register, and what the log tells of it."""

from __future__ import annotations

import errno
import struct

import pytest

from plimsoll.simulator.speed_select import Exchange, SpeedSelect
from plimsoll.simulator.speed_select_fault import Fault, at, at_write, busy, lost, refused, rejected, short
from plimsoll.simulator.speed_select_machine import Generation, describe
from tests.speed_select import (
    ASSOC,
    IO,
    MBOX,
    PHY_ID,
    PLATFORM,
    SET_FEATURE,
    ask,
    changed,
    code,
    mailbox,
    registers,
    tpmi,
)


def test_faults_of_the_mailbox() -> None:
    """EBUSY and ENXIO so many times and then no more; a lost write is confirmed; other reads still work."""
    device = SpeedSelect(describe(Generation.MAILBOX), faults=[busy(2)])
    request = struct.pack("<5I2HI", 1, 0, 0x103, 0x00140800, 0, 0xD0, 1, 0)
    assert [code(device, MBOX, request) for _ in range(2)] == [errno.EBUSY, errno.EBUSY]
    ask(device, PHY_ID, struct.pack("<3I", 1, 0, 0))
    device.faults = [rejected()]
    assert code(device, MBOX, request) == errno.ENXIO
    device.faults.append(lost("clos/3"))
    ask(device, MBOX, request)
    assert device.registers()["0/0/clos/3"] == 0x00FF0000
    ask(device, MBOX, request)
    assert device.registers()["0/0/clos/3"] == 0x00140800


def test_a_write_is_lost() -> None:
    """It is confirmed and nothing has changed; the next one works."""
    device = SpeedSelect(tpmi(), faults=[lost("assoc/2")])
    content = struct.pack("<3H2B2H", 1, 1, 1, 0, 0, 2, 3)
    assert ask(device, ASSOC, content) == content
    assert device.registers()["0/0/assoc/2"] == 0
    ask(device, ASSOC, content)
    assert device.registers()["0/0/assoc/2"] == 3


def test_one_package_refuses() -> None:
    """Every write to it fails, reads and the other package do not."""
    device = SpeedSelect(describe(Generation.MMIO), faults=[refused(1)])
    registers(device, write=1, cpu=0, places={0x08: 1})
    assert registers(device, write=0, cpu=8, places={0x08: 0}) == [0x00FF0000]
    for _ in range(2):
        assert code(device, IO, struct.pack("<5I", 1, 1, 8, 0x08, 1)) == errno.EPERM


def test_a_short_count_and_a_foreign_hand() -> None:
    """An ioctl stops after two commands once; at a given ioctl, and at a given write, somebody else acts first."""
    device = SpeedSelect(describe(Generation.MMIO))
    clos = device.hardware.domains[0, 0].clos

    def foreign() -> None:
        clos[1] = 42

    device.faults += [short(2), at(2, foreign)]
    content = struct.pack("<I", 3) + b"".join(struct.pack("<4I", 1, 0, 0x08 + 4 * index, 7) for index in range(3))
    assert device.ioctl(IO, bytearray(content)) == 2
    assert clos[:3] == [7, 7, 0x00FF0000]
    assert device.ioctl(IO, bytearray(content)) == 3
    assert registers(device, write=0, cpu=0, places={0x0C: 0}) == [42]
    seen: list[int] = []
    device.faults = [at_write(1, lambda: seen.append(clos[2]))]
    clos[2] = 0
    assert device.ioctl(IO, bytearray(content)) == 3
    assert seen == [0]


def test_a_kill_ends_the_caller_before_the_write() -> None:
    """What the script raises goes through, the exchange is in the log, and the register is as it was."""

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    device = SpeedSelect(tpmi(), faults=[Fault(lambda command: command.write, act=kill)])
    before = dict(device.registers())
    with pytest.raises(Killed):
        ask(device, SET_FEATURE, bytes([0, 0, 1]))
    assert not changed(device, before)
    assert [each.request for each in device.log] == ["PERF_SET_FEATURE"]


def test_the_log_tells_what_was_asked() -> None:
    """Each exchange in order, decoded, with what became of each command; whoever observes is told the same."""
    seen: list[Exchange] = []
    device = SpeedSelect(describe(Generation.MMIO), observe=seen.append)
    ask(device, PLATFORM, bytes(8))
    mailbox(device, 0xD0, 2, 6, parameter=0x100, cpu=8)
    device.ioctl(IO, bytearray(struct.pack("<I8I", 2, 1, 0, 0x20, 3 << 16, 0, 0, 0x01, 0)))
    code(device, 0x1234, b"")
    assert seen == device.log
    assert [(each.step, each.request, each.result) for each in seen] == [
        (0, "GET_PLATFORM_INFO", 0),
        (1, "MBOX_COMMAND", 1),
        (2, "IO_CMD", 1),
        (3, "0x1234", -errno.ENOTTY),
    ]
    command, error = seen[1].commands[0]
    assert (command.package, command.register, command.write, command.value, error) == (1, "qos", True, 6, 0)
    command, error = seen[2].commands[0]
    assert (command.position, command.register, command.write, command.value) == (0, "assoc/0", True, 3 << 16)
    assert seen[2].commands[1][1] == errno.EINVAL
