"""The ioctls of Speed Select: numbers and layouts, against the kernel header's own, compiled elsewhere."""

from __future__ import annotations

import ctypes
import struct

import pytest

from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request

REQUESTS = {
    "GET_PLATFORM_INFO": 0x8008FE00,
    "GET_PHY_ID": 0xC008FE01,
    "IO_CMD": 0x4008FE02,
    "MBOX_COMMAND": 0xC008FE03,
    "MSR_COMMAND": 0xC008FE04,
    "COUNT_TPMI_INSTANCES": 0x8008FE05,
    "CORE_POWER_STATE": 0xC008FE06,
    "CLOS_PARAM": 0xC008FE07,
    "CLOS_ASSOC": 0xC008FE08,
    "PERF_LEVELS": 0xC008FE09,
    "PERF_SET_LEVEL": 0x4008FE0A,
    "PERF_SET_FEATURE": 0x4008FE0B,
    "GET_PERF_LEVEL_INFO": 0x8008FE0C,
    "GET_PERF_LEVEL_CPU_MASK": 0x8008FE0D,
    "GET_BASE_FREQ_INFO": 0x8008FE0E,
    "GET_BASE_FREQ_CPU_MASK": 0x8008FE0F,
    "GET_TURBO_FREQ_INFO": 0x8008FE10,
    "GET_PERF_LEVEL_FABRIC_INFO": 0x8008FE11,
}

# In the notation of the struct module: written down apart from the ctypes definitions.
LAYOUTS = [
    (abi.PlatformInfo, "<HHHBB"),
    (abi.CommandCount, "<I"),
    (abi.AlignedCommandCount, "<II"),
    (abi.CpuMap, "<II"),
    (abi.IoReg, "<IIII"),
    (abi.MboxCmd, "<IIIIHHI"),
    (abi.MsrCmd, "<IIQQ"),
    (abi.InstanceCount, "<BBH"),
    (abi.CorePower, "<6B"),
    (abi.ClosParam, "<4BHHBx"),
    (abi.ClosAssocHeader, "<HHH"),
    (abi.ClosAssoc, "<BBHH"),
    (abi.PerfLevelInfo, "<11B"),
    (abi.PerfLevelControl, "<3B"),
    (abi.PerfFeatureControl, "<3B"),
    (abi.PerfLevelData, "<2B76H"),
    (abi.CpuMask, "<4B4xQHb5x"),
    (abi.BaseFreqInfo, "<2B5H"),
    (abi.TurboFreqInfo, "<2B66H"),
    (abi.PerfLevelFabricInfo, "<2B26H"),
]


def test_every_request_has_the_number_of_the_kernel() -> None:
    """All eighteen numbers: each encodes the size of a pointer, not that of its structure."""
    assert {each.name: each.value for each in Request} == REQUESTS


@pytest.mark.parametrize(("structure", "layout"), LAYOUTS, ids=lambda each: getattr(each, "__name__", ""))
def test_every_field_is_where_the_kernel_looks(structure: type[ctypes.Structure], layout: str) -> None:
    """A structure filled with distinct values has the very bytes of the independent notation."""
    count = len(struct.unpack(layout, bytes(struct.calcsize(layout))))
    assert ctypes.sizeof(structure) == struct.calcsize(layout)
    values = [index + 1 for index in range(count)]
    packed = bytearray(struct.pack(layout, *values))
    found = structure.from_buffer(packed)
    flat: list[int] = []
    for name, *_ in structure._fields_:
        _flatten(getattr(found, name), flat)
    assert flat == values


def _flatten(value: object, into: list[int]) -> None:
    if isinstance(value, int):
        into.append(value)
    else:
        for each in value:  # type: ignore[attr-defined]
            _flatten(each, into)


def test_a_layout_that_is_not_the_kernels_is_not_imported() -> None:
    """A wrong offset, and a wrong size, each stop the import: registers nobody meant would be written."""

    def define(size: int, *offsets: int) -> None:
        @abi._layout(size, *offsets)
        class Wrong(ctypes.Structure):
            one: abi.U8
            two: abi.U32

    define(8, 0, 4)
    for wrong in ((8, 0, 1), (5, 0, 4), (8, 0), (8, 0, 4, 8)):
        with pytest.raises(ImportError, match="Wrong"):
            define(*wrong)
