"""
What the tests of the simulated Speed Select machine ask it: requests by number, structures by struct.

Spelled out here apart from both the model and the product's bindings.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe

PLATFORM, PHY_ID, IO, MBOX, MSR = 0x8008FE00, 0xC008FE01, 0x4008FE02, 0xC008FE03, 0xC008FE04
COUNT, POWER, PARAM, ASSOC = 0x8008FE05, 0xC008FE06, 0xC008FE07, 0xC008FE08
LEVELS, SET_LEVEL, SET_FEATURE = 0xC008FE09, 0x4008FE0A, 0x4008FE0B
LEVEL_INFO, LEVEL_MASK, BASE_INFO, BASE_MASK, TURBO_INFO = range(0x8008FE0C, 0x8008FE11)
OLD = (Generation.MAILBOX, Generation.MMIO)


def tpmi(**settings: Any) -> MachineDescription:
    return describe(Generation.TPMI, domains=2, cores=4, io_domains=1, **settings)


def ask(device: SpeedSelect, request: int, content: bytes) -> bytes:
    buffer = bytearray(content)
    device.ioctl(request, buffer)
    return bytes(buffer)


def code(device: SpeedSelect, request: int, content: bytes) -> int:
    """The errno of a request that must fail."""
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        ask(device, request, content)
    assert caught.value.errno is not None
    return caught.value.errno


def mailbox(device: SpeedSelect, command: int, sub: int, data: int = 0, *, parameter: int = 0, cpu: int = 0) -> int:
    answer = ask(device, MBOX, struct.pack("<5I2HI", 1, cpu, parameter, data, 0, command, sub, 0))
    return int(struct.unpack_from("<I", answer, 16)[0])


def registers(device: SpeedSelect, *, write: int, cpu: int, places: dict[int, int]) -> list[int]:
    """Memory-mapped registers by offset, all in one ioctl."""
    content = struct.pack("<I", len(places))
    for offset, value in places.items():
        content += struct.pack("<4I", write, cpu, offset, value)
    answer = ask(device, IO, content)
    return [struct.unpack_from("<I", answer, 4 + 16 * index + 12)[0] for index in range(len(places))]


def changed(device: SpeedSelect, before: Mapping[str, int | str]) -> dict[str, int | str]:
    return {name: value for name, value in device.registers().items() if before.get(name) != value}
