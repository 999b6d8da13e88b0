"""
The ioctls of the TPMI generation that only tell: which power domains there are, and what each level offers.

Owns the layout of these structures. It changes nothing; what the driver does not fill is left as the caller had it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from plimsoll.simulator.speed_select_commands import failure
from plimsoll.simulator.speed_select_hardware import Domain, Hardware
from plimsoll.simulator.speed_select_kernel import Call, Kernel, Target
from plimsoll.simulator.speed_select_machine import BUCKETS, LEVELS, BaseFrequency, PerfLevel, TurboFrequency
from plimsoll.simulator.speed_select_tpmi import Tpmi

COUNT_TPMI_INSTANCES, PERF_LEVELS = 0x8008FE05, 0xC008FE09
GET_PERF_LEVEL_INFO, GET_PERF_LEVEL_CPU_MASK = 0x8008FE0C, 0x8008FE0D
GET_BASE_FREQ_INFO, GET_BASE_FREQ_CPU_MASK, GET_TURBO_FREQ_INFO = 0x8008FE0E, 0x8008FE0F, 0x8008FE10
_COUNT, _PERF_LEVELS = struct.Struct("<2BH"), struct.Struct("<11B")
_MASK_SIZE, _MASK_OFFSET = 24, 8
_INFO, _BASE, _TURBO = struct.Struct("<2B76H"), struct.Struct("<2B5H"), struct.Struct("<2B66H")
_PN_FABRIC = 18  # the field's index in _INFO: 6.12 has no register for it
_MHZ = 100
# Interface revisions: 1 tells whether a feature is there at the current level, later ones a bit for each level.
_MASKS_SINCE = 3
_NO_TURBO = TurboFrequency((0,) * BUCKETS, ((0,) * BUCKETS,) * LEVELS, (0,) * LEVELS)
_NO_BASE = BaseFrequency(0, 0, frozenset(), 0, 0)


class TpmiInfo:
    """The requests of one machine under one kernel."""

    def __init__(self, hardware: Hardware, kernel: Kernel, tpmi: Tpmi, api_version: int) -> None:
        self._hardware = hardware
        self._machine = hardware.machine
        self._kernel = kernel
        self._tpmi = tpmi
        self._api_version = api_version

    def calls(self) -> dict[int, Call]:
        """By request number."""
        told: dict[int, tuple[str, int, Callable[[bytes, bytes], bytes]]] = {
            COUNT_TPMI_INSTANCES: ("COUNT_TPMI_INSTANCES", _COUNT.size, self._count),
            PERF_LEVELS: ("PERF_LEVELS", _PERF_LEVELS.size, self._perf_levels),
            GET_PERF_LEVEL_INFO: ("GET_PERF_LEVEL_INFO", _INFO.size, self._level_info),
            GET_PERF_LEVEL_CPU_MASK: ("GET_PERF_LEVEL_CPU_MASK", _MASK_SIZE, self._level_mask),
            GET_BASE_FREQ_INFO: ("GET_BASE_FREQ_INFO", _BASE.size, self._base_info),
            GET_BASE_FREQ_CPU_MASK: ("GET_BASE_FREQ_CPU_MASK", _MASK_SIZE, self._base_mask),
            GET_TURBO_FREQ_INFO: ("GET_TURBO_FREQ_INFO", _TURBO.size, self._turbo_info),
        }
        return {
            number: Call(name, 0, size, _target(name), execute, folded=True)
            for number, (name, size, execute) in told.items()
        }

    def _count(self, _head: bytes, raw: bytes) -> bytes:
        package, _, _ = _COUNT.unpack(raw)
        if package >= self._machine.packages:
            raise failure(errno.EINVAL)
        return _COUNT.pack(package, self._machine.domain_count, sum(1 << each for each in self._machine.domains))

    def _perf_levels(self, _head: bytes, raw: bytes) -> bytes:
        domain = self._tpmi.domain(raw[0], raw[1])
        self._tpmi.settle(domain)
        levels = self._machine.levels
        present = {number: level for number, level in enumerate(levels) if level is not None}
        if self._api_version >= _MASKS_SINCE:
            turbo = sum(1 << number for number, level in present.items() if level.turbo)
            basic = sum(1 << number for number, level in present.items() if level.basic)
        else:
            current = present[domain.level]
            turbo, basic = int(current.turbo is not None), int(current.basic is not None)
        mask = sum(1 << number for number in present)
        return _PERF_LEVELS.pack(
            *raw[:2],
            *(len(levels) - 1, 2, mask, domain.level, domain.features, self._machine.locked, True, turbo, basic),
        )

    def _level_info(self, _head: bytes, raw: bytes) -> bytes:
        given = _INFO.unpack(raw)
        _, level = self._level(given[0], given[1], given[2])
        p0, p1, _, pm = level.fabric
        return _INFO.pack(
            *given[:3],
            level.base[0],
            *_mhz(level.base),
            *(level.watts, level.celsius, level.memory * _MHZ, 0),
            *_mhz(level.core),
            *(p0 * _MHZ, p1 * _MHZ, given[_PN_FABRIC], pm * _MHZ),
            *(BUCKETS, LEVELS),
            *level.counts,
            *_table(level.limits),
        )

    def _level_mask(self, _head: bytes, raw: bytes) -> bytes:
        self._level(raw[0], raw[1], raw[2])
        cores = (core for core in self._machine.cores if (core.package, core.domain) == (raw[0], raw[1]))
        return _masked(raw, sum(1 << core.core for core in cores))

    def _base_info(self, _head: bytes, raw: bytes) -> bytes:
        package, number, level, *_ = _BASE.unpack(raw)
        basic = self._level(package, number, level)[1].basic or _NO_BASE
        return _BASE.pack(*(package, number, level, basic.high * _MHZ, basic.low * _MHZ), *(basic.celsius, basic.watts))

    def _base_mask(self, _head: bytes, raw: bytes) -> bytes:
        basic = self._level(raw[0], raw[1], raw[2])[1].basic or _NO_BASE
        return _masked(raw, sum(1 << core for core in basic.cores))

    def _turbo_info(self, _head: bytes, raw: bytes) -> bytes:
        package, number, level, *_ = _TURBO.unpack(raw)
        turbo = self._level(package, number, level)[1].turbo or _NO_TURBO
        return _TURBO.pack(
            *(package, number, level, LEVELS, BUCKETS, LEVELS),
            *_mhz(turbo.clip),
            *turbo.counts,
            *_table(turbo.ratios),
        )

    def _level(self, package: int, number: int, level: int) -> tuple[Domain, PerfLevel]:
        domain = self._tpmi.domain(package, number)
        found = self._hardware.perf_level(level)
        if found is None:
            raise failure(errno.EINVAL)
        return domain, found


def _target(name: str) -> Callable[[bytes, bytes], Target]:
    def target(_head: bytes, raw: bytes) -> Target:
        domain = -1 if name == "COUNT_TPMI_INSTANCES" else raw[1]
        return Target(raw[0], domain, f"info/{name.lower()}", write=False)

    return target


def _masked(raw: bytes, mask: int) -> bytes:
    if not raw[3]:
        raise failure(errno.EOPNOTSUPP)
    answer = bytearray(raw)
    struct.pack_into("<Q", answer, _MASK_OFFSET, mask)
    return bytes(answer)


def _mhz(ratios: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(ratio * _MHZ for ratio in ratios)


def _table(rows: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(ratio * _MHZ for row in rows for ratio in row)
