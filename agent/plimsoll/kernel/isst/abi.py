"""
The ioctls of ``/dev/isst_interface``: numbers and structures, as the kernel's ``linux/isst_if.h`` lays them out.

Own definitions, because the header of many distributions ends before the TPMI generation. Every size and offset is
checked when this module is imported. Nothing is opened or sent here, and no value is interpreted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Final, TypeVar, get_type_hints

MAX_COMMANDS: Final = 64  # in one ioctl; more are EINVAL
CLASSES: Final = range(4)
MAX_DOMAINS: Final = 8  # power domains in a package
MAX_LEVELS: Final = 6  # instruction set levels of a turbo table
MAX_BUCKETS: Final = 8

_IOC_WRITE = 1
_IOC_READ = 2
_MAGIC = 0xFE


def _ioc(direction: int, number: int) -> int:
    # Every define of the header is _IOx(0xFE, n, struct X *): the size encoded is that of a pointer, not of X.
    return direction << 30 | ctypes.sizeof(ctypes.c_void_p) << 16 | _MAGIC << 8 | number


class Request(IntEnum):
    """
    The request numbers. Their direction bits are not honest: several of those marked as reading take input as well.

    So every structure is sent whole and taken back whole, with zeros in what is not set.
    """

    GET_PLATFORM_INFO = _ioc(_IOC_READ, 0)
    GET_PHY_ID = _ioc(_IOC_READ | _IOC_WRITE, 1)
    IO_CMD = _ioc(_IOC_WRITE, 2)
    MBOX_COMMAND = _ioc(_IOC_READ | _IOC_WRITE, 3)
    MSR_COMMAND = _ioc(_IOC_READ | _IOC_WRITE, 4)
    COUNT_TPMI_INSTANCES = _ioc(_IOC_READ, 5)
    CORE_POWER_STATE = _ioc(_IOC_READ | _IOC_WRITE, 6)
    CLOS_PARAM = _ioc(_IOC_READ | _IOC_WRITE, 7)
    CLOS_ASSOC = _ioc(_IOC_READ | _IOC_WRITE, 8)
    PERF_LEVELS = _ioc(_IOC_READ | _IOC_WRITE, 9)
    PERF_SET_LEVEL = _ioc(_IOC_WRITE, 10)
    PERF_SET_FEATURE = _ioc(_IOC_WRITE, 11)
    GET_PERF_LEVEL_INFO = _ioc(_IOC_READ, 12)
    GET_PERF_LEVEL_CPU_MASK = _ioc(_IOC_READ, 13)
    GET_BASE_FREQ_INFO = _ioc(_IOC_READ, 14)
    GET_BASE_FREQ_CPU_MASK = _ioc(_IOC_READ, 15)
    GET_TURBO_FREQ_INFO = _ioc(_IOC_READ, 16)
    GET_PERF_LEVEL_FABRIC_INFO = _ioc(_IOC_READ, 17)


U8 = Annotated[int, ctypes.c_uint8]
U16 = Annotated[int, ctypes.c_uint16]
U32 = Annotated[int, ctypes.c_uint32]
U64 = Annotated[int, ctypes.c_uint64]
Buckets = Annotated["ctypes.Array[ctypes.c_uint16]", ctypes.c_uint16 * MAX_BUCKETS]
Levels = Annotated["ctypes.Array[ctypes.c_uint16]", ctypes.c_uint16 * MAX_LEVELS]
Turbo = Annotated["ctypes.Array[ctypes.Array[ctypes.c_uint16]]", (ctypes.c_uint16 * MAX_BUCKETS) * MAX_LEVELS]
Bytes1 = Annotated["ctypes.Array[ctypes.c_int8]", ctypes.c_int8 * 1]

_S = TypeVar("_S", bound=ctypes.Structure)


def _layout(size: int, *offsets: int) -> Callable[[type[_S]], type[_S]]:
    """
    Make ctypes fields of a class's annotations, and hold them against the kernel's layout.

    Raises ImportError: with a structure laid out otherwise registers would be written that nobody meant.
    """

    def make(structure: type[_S]) -> type[_S]:
        hints = get_type_hints(structure, include_extras=True)
        structure._fields_ = [(name, hint.__metadata__[0]) for name, hint in hints.items()]
        found = tuple(getattr(structure, name).offset for name in hints)
        if ctypes.sizeof(structure) != size or found != offsets:
            raise ImportError(f"{structure.__name__}: {ctypes.sizeof(structure)} bytes {found}, not {size} {offsets}")
        return structure

    return make


@_layout(8, 0, 2, 4, 6, 7)
class PlatformInfo(ctypes.Structure):
    """GET_PLATFORM_INFO."""

    api_version: U16
    driver_version: U16
    max_cmds_per_ioctl: U16
    mbox_supported: U8
    mmio_supported: U8


@_layout(4, 0)
class CommandCount(ctypes.Structure):
    """What stands before the commands of GET_PHY_ID, IO_CMD and MBOX_COMMAND."""

    count: U32


@_layout(8, 0, 4)
class AlignedCommandCount(ctypes.Structure):
    """What stands before the commands of MSR_COMMAND, which hold 64-bit values."""

    count: U32
    pad: U32


@_layout(8, 0, 4)
class CpuMap(ctypes.Structure):
    """A command of GET_PHY_ID."""

    logical_cpu: U32
    physical_cpu: U32


@_layout(16, 0, 4, 8, 12)
class IoReg(ctypes.Structure):
    """A command of IO_CMD: one 32-bit register of the package of ``logical_cpu``; ``read_write`` is 1 to write."""

    read_write: U32
    logical_cpu: U32
    reg: U32
    value: U32


@_layout(24, 0, 4, 8, 12, 16, 18, 20)
class MboxCmd(ctypes.Structure):
    """A command of MBOX_COMMAND."""

    logical_cpu: U32
    parameter: U32
    req_data: U32
    resp_data: U32
    command: U16
    sub_command: U16
    reserved: U32


@_layout(24, 0, 4, 8, 16)
class MsrCmd(ctypes.Structure):
    """A command of MSR_COMMAND; ``read_write`` is 1 to write."""

    read_write: U32
    logical_cpu: U32
    msr: U64
    data: U64


@_layout(4, 0, 1, 2)
class InstanceCount(ctypes.Structure):
    """COUNT_TPMI_INSTANCES: bit n of ``valid_mask`` is power domain n; there are holes, and domains without CPUs."""

    socket_id: U8
    count: U8
    valid_mask: U16


@_layout(6, 0, 1, 2, 3, 4, 5)
class CorePower(ctypes.Structure):
    """CORE_POWER_STATE; ``get_set`` is 1 to set, ``priority_type`` 1 for ordered."""

    get_set: U8
    socket_id: U8
    power_domain_id: U8
    enable: U8
    supported: U8
    priority_type: U8


@_layout(10, 0, 1, 2, 3, 4, 6, 8)
class ClosParam(ctypes.Structure):
    """CLOS_PARAM; MHz, of which the driver keeps whole hundreds."""

    get_set: U8
    socket_id: U8
    power_domain_id: U8
    clos: U8
    min_freq_mhz: U16
    max_freq_mhz: U16
    prop_prio: U8


@_layout(6, 0, 2, 4)
class ClosAssocHeader(ctypes.Structure):
    """What stands before the commands of CLOS_ASSOC. ``punit_cpu_map`` must be 1: the kernel does not map CPUs."""

    count: U16
    get_set: U16
    punit_cpu_map: U16


@_layout(6, 0, 1, 2, 4)
class ClosAssoc(ctypes.Structure):
    """A command of CLOS_ASSOC; ``logical_cpu`` is the punit's number of the core, as ``punit_cpu_map`` is 1."""

    socket_id: U8
    power_domain_id: U8
    logical_cpu: U16
    clos: U16


@_layout(11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
class PerfLevelInfo(ctypes.Structure):
    """PERF_LEVELS; ``feature_state``: bit 0 base-freq, bit 1 turbo-freq."""

    socket_id: U8
    power_domain_id: U8
    max_level: U8
    feature_rev: U8
    level_mask: U8
    current_level: U8
    feature_state: U8
    locked: U8
    enabled: U8
    sst_tf_support: U8
    sst_bf_support: U8


@_layout(3, 0, 1, 2)
class PerfLevelControl(ctypes.Structure):
    """PERF_SET_LEVEL: defined for completeness; nothing in this program sends it."""

    socket_id: U8
    power_domain_id: U8
    level: U8


@_layout(3, 0, 1, 2)
class PerfFeatureControl(ctypes.Structure):
    """PERF_SET_FEATURE; ``feature``: bit 0 base-freq, bit 1 turbo-freq, both set by every call."""

    socket_id: U8
    power_domain_id: U8
    feature: U8


@_layout(154, 0, 1, *range(2, 44, 2), 58)
class PerfLevelData(ctypes.Structure):
    """GET_PERF_LEVEL_INFO."""

    socket_id: U8
    power_domain_id: U8
    level: U16
    tdp_ratio: U16
    base_freq_mhz: U16
    base_freq_avx2_mhz: U16
    base_freq_avx512_mhz: U16
    base_freq_amx_mhz: U16
    thermal_design_power_w: U16
    tjunction_max_c: U16
    max_memory_freq_mhz: U16
    cooling_type: U16
    p0_freq_mhz: U16
    p1_freq_mhz: U16
    pn_freq_mhz: U16
    pm_freq_mhz: U16
    p0_fabric_freq_mhz: U16
    p1_fabric_freq_mhz: U16
    pn_fabric_freq_mhz: U16
    pm_fabric_freq_mhz: U16
    max_buckets: U16
    max_trl_levels: U16
    bucket_core_counts: Buckets
    trl_freq_mhz: Turbo


@_layout(24, 0, 1, 2, 3, 8, 16, 18)
class CpuMask(ctypes.Structure):
    """GET_PERF_LEVEL_CPU_MASK and GET_BASE_FREQ_CPU_MASK; ``mask`` counts the punit's cores."""

    socket_id: U8
    power_domain_id: U8
    level: U8
    punit_cpu_map: U8
    mask: U64
    cpu_buffer_size: U16
    cpu_buffer: Bytes1


@_layout(12, 0, 1, 2, 4, 6, 8, 10)
class BaseFreqInfo(ctypes.Structure):
    """GET_BASE_FREQ_INFO."""

    socket_id: U8
    power_domain_id: U8
    level: U16
    high_base_freq_mhz: U16
    low_base_freq_mhz: U16
    tjunction_max_c: U16
    thermal_design_power_w: U16


@_layout(134, 0, 1, 2, 4, 6, 8, 10, 22, 38)
class TurboFreqInfo(ctypes.Structure):
    """GET_TURBO_FREQ_INFO; an empty bucket has no cores."""

    socket_id: U8
    power_domain_id: U8
    level: U16
    max_clip_freqs: U16
    max_buckets: U16
    max_trl_levels: U16
    lp_clip_freq_mhz: Levels
    bucket_core_counts: Buckets
    trl_freq_mhz: Turbo


@_layout(54, 0, 1, 2, 4, 6, 22, 38)
class PerfLevelFabricInfo(ctypes.Structure):
    """GET_PERF_LEVEL_FABRIC_INFO: kernels since 2025 only."""

    socket_id: U8
    power_domain_id: U8
    level: U16
    max_fabrics: U16
    p0_fabric_freq_mhz: Buckets
    p1_fabric_freq_mhz: Buckets
    pm_fabric_freq_mhz: Buckets
