"""
The firmware behind the mailbox and the memory-mapped registers, of the generations before TPMI.

Owns the meaning of commands and of register offsets. Which commands the kernel lets through, and who may send them, is
for speed_select_commands.py.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.simulator.speed_select_hardware import (
    BASE_FREQUENCY,
    CLASSES,
    SLOTS,
    TURBO_FREQUENCY,
    Domain,
    Hardware,
    packed,
)
from plimsoll.simulator.speed_select_machine import BaseFrequency, PerfLevel, TurboFrequency

CONFIG_TDP, CONFIG_CLOS, READ_PM_CONFIG, WRITE_PM_CONFIG = 0x7F, 0xD0, 0x94, 0x95
PQR_ASSOC, PM_CLOS, PM_QOS_CONFIG, CLOS_STATUS = 0, 1, 2, 3
SET_TDP_CONTROL, SET_LEVEL = 0x02, 0x08
# Bit 8 of the parameter asks for a write; the interface register has it at bit 24.
WRITE = 0x100

MMIO_QOS, MMIO_CLOS, MMIO_ASSOC = 0x04, 0x08, 0x20
MAILBOX_LEVELS = 3  # instruction set levels of a turbo table that the mailbox tells
_WORD = 0xFFFFFFFF


class RejectedError(Exception):
    """The firmware's error byte is not 0: no such command, level or state."""


class Request(NamedTuple):
    """A mailbox command: ``sub`` of ``command``, its parameter and its data."""

    command: int
    sub: int
    parameter: int
    data: int

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        if self.command == CONFIG_CLOS:
            return bool(self.parameter & WRITE)
        if self.command == CONFIG_TDP:
            return self.sub in {SET_TDP_CONTROL, SET_LEVEL}
        return self.command == WRITE_PM_CONFIG

    @property
    def register(self) -> str:
        """The register's name in the log."""
        if self.command == CONFIG_CLOS:
            names = (f"assoc/{self.parameter & 0xFF}", f"clos/{self.parameter & 3}", "qos", "excursions")
            return names[self.sub & 3]
        if self.command in {READ_PM_CONFIG, WRITE_PM_CONFIG}:
            return "core-power"
        names_of = {SET_TDP_CONTROL: "features", SET_LEVEL: "level"}
        return names_of.get(self.sub, f"info/{self.command:02x}/{self.sub:02x}")


class Firmware:
    """Answers for one machine; a package has one domain, number 0."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware

    def answer(self, package: int, request: Request) -> int:
        """The response's data. Raises RejectedError."""
        domain = self._hardware.domains[package, 0]
        if request.command == CONFIG_CLOS:
            return self._clos(domain, request)
        if request.command == READ_PM_CONFIG:
            return self._hardware.machine.core_power | domain.enabled << 16
        if request.command == WRITE_PM_CONFIG:
            self._core_power(domain, enabled=bool(request.data & 1 << 16), qos=domain.qos)
            return 0
        return self._tdp(package, domain, request)

    def read(self, package: int, offset: int) -> int:
        """A memory-mapped register; holes read as 0."""
        domain = self._hardware.domains[package, 0]
        if offset == MMIO_QOS:
            return domain.qos
        if MMIO_CLOS <= offset < MMIO_CLOS + 4 * CLASSES:
            return domain.clos[(offset - MMIO_CLOS) // 4]
        if offset >= MMIO_ASSOC:
            return domain.assoc[(offset - MMIO_ASSOC) // 4]
        return 0

    def write(self, package: int, offset: int, value: int) -> None:
        """Write one; a hole swallows it, and so does a state the hardware does not take."""
        domain = self._hardware.domains[package, 0]
        if offset == MMIO_QOS:
            self._hardware.set_core_power(domain, enabled=domain.enabled, ordered=False, qos=value)
        elif MMIO_CLOS <= offset < MMIO_CLOS + 4 * CLASSES:
            domain.clos[(offset - MMIO_CLOS) // 4] = value
        elif offset >= MMIO_ASSOC:
            domain.assoc[(offset - MMIO_ASSOC) // 4] = value

    def _clos(self, domain: Domain, request: Request) -> int:
        value = request.data if request.writes else None
        if request.sub == PM_QOS_CONFIG:
            if value is not None:
                self._core_power(domain, enabled=domain.enabled, qos=value & 0xF)
            return domain.qos
        words, limit = {
            PQR_ASSOC: (domain.assoc, SLOTS),
            PM_CLOS: (domain.clos, CLASSES),
            CLOS_STATUS: (domain.excursions, CLASSES),
        }[request.sub]
        index = request.parameter & 0xFF
        if index >= limit:
            raise RejectedError
        if value is not None:
            words[index] = value
        return words[index]

    def _core_power(self, domain: Domain, *, enabled: bool, qos: int) -> None:
        if not self._hardware.set_core_power(domain, enabled=enabled, ordered=False, qos=qos):
            raise RejectedError

    def _tdp(self, package: int, domain: Domain, request: Request) -> int:
        machine, sub = self._hardware.machine, request.sub
        if sub == 0x00:
            return (
                3 | (len(machine.levels) - 1) << 8 | domain.level << 16 | machine.locked << 24 | 1 << 31
            )  # interface version 3, dynamic levels enabled
        if sub == SET_TDP_CONTROL:
            turbo, base = request.data >> 16 & 1, request.data >> 17 & 1
            if not self._hardware.set_features(domain, turbo * TURBO_FREQUENCY | base * BASE_FREQUENCY):
                raise RejectedError
            return 0
        number = request.data & 0xFF
        if sub == SET_LEVEL:
            if not self._hardware.set_level(package, domain, number):
                raise RejectedError
            return 0
        level = self._hardware.perf_level(number)
        if level is None:
            raise RejectedError
        if sub == 0x01:
            features = domain.features if number == domain.level else 0
            return (
                (level.turbo is not None)
                | (level.basic is not None) << 1
                | bool(features & TURBO_FREQUENCY) << 16
                | bool(features & BASE_FREQUENCY) << 17
            )
        return _level_info(level, sub, request.data, self._core_mask(package))

    def _core_mask(self, package: int) -> int:
        return sum(1 << core.core for core in self._hardware.machine.cores if core.package == package)


def _level_info(level: PerfLevel, sub: int, data: int, cores: int) -> int:
    word, isa = data >> 8 & 0xFF, data >> 16 & 0xFF
    p0, p1, pn, pm = level.fabric
    fixed = {
        0x03: level.watts | level.base[0] << 16,
        0x04: level.watts | level.watts // 2 << 16,
        0x05: level.celsius,
        0x09: p0 | p1 << 8,
        0x0A: packed(level.base),
        0x0B: level.memory,
        # With bit 16 of the request the uncore's ratios, else the cores'.
        0x0C: packed((p0, p1, pn, pm)) if data & 1 << 16 else packed(level.core),
    }
    if sub in fixed:
        return fixed[sub]
    if sub == 0x06:
        return cores >> 32 * word & _WORD
    if sub == 0x07:
        return _half(_row(level.limits, isa), word)
    if sub in {0x10, 0x11, 0x12}:
        return _turbo_info(level.turbo, sub, word, isa)
    if sub in {0x20, 0x21, 0x22, 0x23}:
        return _base_info(level.basic, sub, word)
    raise RejectedError


def _turbo_info(turbo: TurboFrequency | None, sub: int, word: int, isa: int) -> int:
    if turbo is None:
        raise RejectedError
    if sub == 0x10:
        return _half(turbo.counts, word)
    if sub == 0x11:
        return _half(_row(turbo.ratios, isa), word)
    return packed(turbo.clip[:MAILBOX_LEVELS])


def _base_info(basic: BaseFrequency | None, sub: int, word: int) -> int:
    if basic is None:
        raise RejectedError
    if sub == 0x20:
        return sum(1 << core for core in basic.cores) >> 32 * word & _WORD
    if sub == 0x21:
        return basic.low | basic.high << 8
    return basic.celsius if sub == 0x22 else basic.watts


def _row(table: tuple[tuple[int, ...], ...], isa: int) -> tuple[int, ...]:
    if isa >= MAILBOX_LEVELS:
        raise RejectedError
    return table[isa]


def _half(values: tuple[int, ...], word: int) -> int:
    """Four bytes of eight: the first four for word 0, the last four for word 1."""
    if word > 1:
        raise RejectedError
    return packed(values) >> 32 * word & _WORD
