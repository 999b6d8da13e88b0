"""The simulated TPMI requests: domains, switches, tables, and how their errors get lost."""

from __future__ import annotations

import errno
import struct

import pytest

from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_kernel import Kernel, KernelOopsError
from tests.speed_select import (
    ASSOC,
    BASE_INFO,
    BASE_MASK,
    COUNT,
    LEVEL_INFO,
    LEVEL_MASK,
    LEVELS,
    PARAM,
    POWER,
    SET_FEATURE,
    SET_LEVEL,
    TURBO_INFO,
    ask,
    changed,
    code,
    tpmi,
)


def test_every_failing_tpmi_request_is_enotty() -> None:
    """6.12 loses the errno on its way; a kernel without that flaw tells it."""
    kinds = {
        (POWER, bytes([1, 9, 0, 1, 0, 1])): errno.EINVAL,
        (POWER, bytes([1, 0, 0, 2, 0, 1])): errno.EINVAL,
        (PARAM, struct.pack("<4B2HBx", 1, 0, 0, 4, 0, 2000, 15)): errno.EINVAL,
        (PARAM, struct.pack("<4B2HBx", 1, 0, 0, 3, 0, 25600, 15)): errno.EINVAL,
        (PARAM, struct.pack("<4B2HBx", 1, 0, 0, 3, 0, 2000, 16)): errno.EINVAL,
        (ASSOC, struct.pack("<3H2B2H", 1, 1, 0, 0, 0, 0, 3)): errno.EOPNOTSUPP,
        (ASSOC, struct.pack("<3H2B2H", 1, 1, 1, 0, 0, 64, 3)): errno.EINVAL,
        (ASSOC, struct.pack("<3H2B2H", 1, 1, 1, 0, 7, 0, 3)): errno.EINVAL,
        (SET_LEVEL, bytes([0, 0, 0])): errno.EINVAL,  # it is the current one
        (SET_LEVEL, bytes([0, 0, 1])): errno.EINVAL,  # it is fused off
        (SET_FEATURE, bytes([0, 0, 4])): errno.EINVAL,
        (LEVEL_MASK, bytes(24)): errno.EOPNOTSUPP,
        (LEVEL_INFO, struct.pack("<2BH", 0, 0, 1) + bytes(150)): errno.EINVAL,
        (COUNT, bytes([2, 0, 0, 0])): errno.EINVAL,
    }
    for (request, content), expected in kinds.items():
        assert code(SpeedSelect(tpmi()), request, content) == errno.ENOTTY
        assert code(SpeedSelect(tpmi(), kernel=Kernel(folded=False)), request, content) == expected, hex(request)
    cold = SpeedSelect(tpmi(), kernel=Kernel(folded=False, hwp=False))
    assert code(cold, POWER, bytes([1, 0, 0, 1, 0, 1])) == errno.EFAULT
    ask(cold, PARAM, struct.pack("<4B2HBx", 1, 0, 0, 3, 0, 2000, 15))
    ask(cold, ASSOC, struct.pack("<3H2B2H", 1, 1, 1, 0, 0, 0, 3))
    locked = SpeedSelect(tpmi(locked=True), kernel=Kernel(folded=False))
    assert code(locked, SET_LEVEL, bytes([0, 0, 2])) == errno.EFAULT
    blocked = SpeedSelect(tpmi(), kernel=Kernel(folded=False, write_blocked=True))
    assert code(blocked, PARAM, struct.pack("<4B2HBx", 1, 0, 0, 3, 0, 2000, 15)) == errno.EPERM


def test_power_domains_have_holes_and_io_dies() -> None:
    """The mask has the domains that answer, also those without cores; the one request that does not check is told."""
    device = SpeedSelect(tpmi(missing_domains=frozenset({1})), kernel=Kernel(folded=False))
    assert struct.unpack("<2BH", ask(device, COUNT, bytes([1, 0, 0, 0]))) == (1, 4, 0b1101)
    assert {core.domain for core in device.machine.cores} == {0, 2}
    assert code(device, POWER, bytes([0, 0, 1, 0, 0, 0])) == errno.EINVAL
    ask(device, POWER, bytes([1, 0, 3, 1, 0, 1]))
    assert device.registers()["0/3/core-power"] == "ordered"
    mask = bytearray([0, 3, 0, 1]) + bytes(20)
    assert struct.unpack_from("<Q", ask(device, LEVEL_MASK, bytes(mask)), 8) == (0,)
    mask[1] = 2
    assert struct.unpack_from("<Q", ask(device, LEVEL_MASK, bytes(mask)), 8) == (0b11101,)
    with pytest.raises(KernelOopsError):
        ask(device, ASSOC, struct.pack("<3H2B2H", 1, 1, 1, 0, 1, 0, 3))


def test_tpmi_switches_classes_and_associations() -> None:
    """Megahertz are cut to hundreds; other bits of a class stay; an association is by punit core, many in one go."""
    device = SpeedSelect(tpmi())
    before = dict(device.registers())
    device.hardware.domains[1, 1].clos[3] |= 0xA
    ask(device, PARAM, struct.pack("<4B2HBx", 1, 1, 1, 3, 850, 2099, 15))
    assert ask(device, PARAM, struct.pack("<4B2HBx", 0, 1, 1, 3, 1, 1, 1)) == struct.pack(
        "<4B2HBx", 0, 1, 1, 3, 800, 2000, 15
    )
    places = [(0, 0, 0, 3), (0, 1, 2, 3), (1, 0, 3, 2)]
    content = struct.pack("<3H", 3, 1, 1) + b"".join(struct.pack("<2B2H", *each) for each in places)
    assert device.ioctl(ASSOC, bytearray(content)) == 0
    content = struct.pack("<3H", 2, 0, 1) + struct.pack("<2B2H2B2H", 0, 1, 2, 0, 1, 0, 3, 0)
    assert struct.unpack_from("<H4xH", ask(device, ASSOC, content), 10) == (3, 2)
    ask(device, ASSOC, struct.pack("<3H2B2H", 1, 1, 1, *(0, 1, 2, 1)))
    ask(device, POWER, bytes([1, 0, 0, 1, 0, 0]))
    ask(device, SET_FEATURE, bytes([0, 0, 2]))
    assert changed(device, before) == {
        "0/0/assoc/0": 3,
        "0/0/core-power": "proportional",
        "0/0/features": 2,
        "0/1/assoc/2": 1,
        "1/0/assoc/3": 2,
        "1/1/clos/3": 0x0014_08FA,
    }
    # A switch that the hardware does not take is confirmed by the driver all the same.
    ask(device, POWER, bytes([1, 0, 0, 0, 0, 0]))
    ask(device, SET_FEATURE, bytes([0, 1, 2]))
    assert device.registers()["0/0/core-power"] == "proportional"
    assert device.registers()["0/1/features"] == 0
    ask(device, SET_LEVEL, bytes([0, 0, 2]))
    assert (device.registers()["0/0/level"], device.registers()["0/0/features"]) == (2, 0)
    assert device.registers()["0/1/level"] == 0


def test_an_error_in_a_list_of_associations_keeps_those_before() -> None:
    """There is no count: the whole request fails, and what came before is done."""
    device = SpeedSelect(tpmi())
    content = struct.pack("<3H", 3, 1, 1) + struct.pack("<2B2H2B2H2B2H", *(0, 0, 0, 3), *(0, 0, 2, 4), *(0, 0, 3, 3))
    assert code(device, ASSOC, content) == errno.ENOTTY
    assert [device.registers()[f"0/0/assoc/{core}"] for core in (0, 2, 3)] == [3, 0, 0]


@pytest.mark.parametrize(("version", "support"), [(3, 0b101), (2, 1)])
def test_tpmi_tells_levels(version: int, support: int) -> None:
    """Revision 3 has a mask of the levels with a feature where 2 had a yes or no; numbers are in MHz and watts."""
    device = SpeedSelect(tpmi(), kernel=Kernel(api_version=version))
    level = device.machine.levels[2]
    assert level is not None
    assert level.turbo is not None
    assert level.basic is not None
    assert tuple(ask(device, LEVELS, bytes(11))) == (0, 0, 2, 2, 0b101, 0, 0, 0, 1, support, support)
    pn_fabric = 34
    content = bytearray(struct.pack("<2BH", 0, 1, 2) + bytes(150))
    struct.pack_into("<H", content, pn_fabric, 4711)
    answer = struct.unpack("<2B76H", ask(device, LEVEL_INFO, bytes(content)))
    ratio = level.base[0]
    assert answer[:5] == (0, 1, 2, ratio, ratio * 100)
    assert answer[8:12] == (level.watts, level.celsius, level.memory * 100, 0)
    assert answer[12:16] == tuple(each * 100 for each in level.core)
    assert answer[18] == 4711  # 6.12 has no register for it and leaves what the caller had
    assert answer[20:30] == (8, 6, *level.counts)
    assert answer[30:38] == tuple(each * 100 for each in level.limits[0])
    turbo = struct.unpack("<2B66H", ask(device, TURBO_INFO, struct.pack("<2BH", 0, 1, 2) + bytes(130)))
    assert turbo[3:6] == (6, 8, 6)
    assert turbo[6:12] == tuple(each * 100 for each in level.turbo.clip)
    assert turbo[12:20] == level.turbo.counts
    assert turbo[20:28] == tuple(each * 100 for each in level.turbo.ratios[0])
    base = struct.unpack("<2B5H", ask(device, BASE_INFO, struct.pack("<2BH", 0, 1, 2) + bytes(8)))
    assert base[3:5] == (level.basic.high * 100, level.basic.low * 100)
    mask = ask(device, BASE_MASK, bytes([0, 1, 2, 1]) + bytes(20))
    assert struct.unpack_from("<Q", mask, 8)[0] == sum(1 << core for core in level.basic.cores)


def test_a_switch_may_lag() -> None:
    """The status follows the control after some reads; whoever reads back once is told the old state."""
    device = SpeedSelect(tpmi(), kernel=Kernel(lag=2))
    ask(device, POWER, bytes([1, 0, 0, 1, 0, 1]))
    seen = [tuple(ask(device, POWER, bytes([0, 0, 0, 0, 0, 0])))[3::2] for _ in range(4)]
    assert seen == [(0, 0), (0, 0), (1, 1), (1, 1)]
