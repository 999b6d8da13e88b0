"""
The ioctls with up to 64 commands: CPU identification, memory-mapped registers, mailbox and model-specific registers.

Owns the kernel's own checks and their order, as the driver of 6.12 has them. Struct formats are spelled out here and
nowhere shared with the product's bindings: an error in one of the two is then seen.
"""

from __future__ import annotations

import errno
import os
import struct

from plimsoll.simulator.speed_select_hardware import (
    CONFIG_TDP_CONTROL,
    TURBO_RATIO_COUNTS,
    TURBO_RATIO_LIMIT,
    TURBO_RATIO_LIMIT2,
    Hardware,
)
from plimsoll.simulator.speed_select_kernel import Call, Kernel, Target
from plimsoll.simulator.speed_select_machine import Generation
from plimsoll.simulator.speed_select_mailbox import MMIO_ASSOC, MMIO_CLOS, Firmware, RejectedError, Request

GET_PHY_ID, IO_CMD, MBOX_COMMAND, MSR_COMMAND = 0xC008FE01, 0x4008FE02, 0xC008FE03, 0xC008FE04
_MAP, _IO, _MBOX, _MSR = struct.Struct("<II"), struct.Struct("<IIII"), struct.Struct("<IIIIHHI"), struct.Struct("<IIQQ")

PM_LOGICAL_ID = 0x54
_MSRS = (TURBO_RATIO_LIMIT, TURBO_RATIO_COUNTS, TURBO_RATIO_LIMIT2, CONFIG_TDP_CONTROL, PM_LOGICAL_ID)
_MAILBOX_COMMANDS = {
    0xD0: ((0x00, 0x03),),
    0x7F: ((0x00, 0x0C), (0x10, 0x12), (0x20, 0x23)),
    0x94: ((0x03, 0x03),),
    0x95: ((0x03, 0x03),),
}
# What the kernel takes for a write, by command, sub-command and *whole* parameter. Clients set bit 8 of the parameter
# for a write, the kernel's table has the bit's number there: so most writes need no capability.
_GUARDED = {(0xD0, sub, 0x08) for sub in range(4)} | {(0x7F, 0x02, 0), (0x7F, 0x08, 0), (0x95, 0x03, 0x03)}
# The smaller of the two PCI devices with memory-mapped registers has associations of so many cores.
_SMALL_CORES = 45


def failure(code: int) -> OSError:
    """The error a system call ends with."""
    return OSError(code, os.strerror(code))


class Commands:
    """The requests of one machine under one kernel."""

    def __init__(self, hardware: Hardware, kernel: Kernel) -> None:
        self._hardware = hardware
        self._machine = hardware.machine
        self._kernel = kernel
        self._firmware = Firmware(hardware)
        self._cpus = self._machine.cpus
        highest = max((core.core for core in self._machine.cores), default=0)
        self._last_offset = MMIO_ASSOC + 4 * ((_SMALL_CORES if highest < _SMALL_CORES else 64) - 1)

    def calls(self) -> dict[int, Call]:
        """By request number, those for which this machine has hardware."""
        found = {
            GET_PHY_ID: Call("GET_PHY_ID", 4, _MAP.size, self._map_target, self._map, "<I", partial=True),
            MSR_COMMAND: Call("MSR_COMMAND", 8, _MSR.size, self._msr_target, self._msr, "<I", partial=True),
        }
        if self._kernel.bound and self._machine.generation is not Generation.TPMI:
            found[MBOX_COMMAND] = Call(
                "MBOX_COMMAND", 4, _MBOX.size, self._mailbox_target, self._mailbox, "<I", partial=True
            )
        if self._kernel.bound and self._machine.generation is Generation.MMIO:
            found[IO_CMD] = Call("IO_CMD", 4, _IO.size, self._io_target, self._io, "<I", partial=True)
        return found

    def _package(self, cpu: int) -> int:
        core = self._machine.core_of(cpu)
        return -1 if core is None else core.package

    def _possible(self, cpu: int) -> bool:
        return cpu <= self._cpus[-1]

    def _map_target(self, _head: bytes, raw: bytes) -> Target:
        cpu, _ = _MAP.unpack(raw)
        return Target(self._package(cpu), -1, f"id/{cpu}", write=False)

    def _map(self, _head: bytes, raw: bytes) -> bytes:
        cpu, _ = _MAP.unpack(raw)
        if not self._possible(cpu):
            raise failure(errno.EINVAL)
        return _MAP.pack(cpu, 0 if cpu in self._kernel.never_online else self._machine.physical_id(cpu))

    def _io_target(self, _head: bytes, raw: bytes) -> Target:
        write, cpu, offset, value = _IO.unpack(raw)
        if offset >= MMIO_ASSOC:
            register = f"assoc/{(offset - MMIO_ASSOC) // 4}"
        elif offset >= MMIO_CLOS:
            register = f"clos/{(offset - MMIO_CLOS) // 4}"
        else:
            register = "qos"
        return Target(self._package(cpu), 0, register, bool(write), value if write else 0)

    def _io(self, _head: bytes, raw: bytes) -> bytes | None:
        write, cpu, offset, value = _IO.unpack(raw)
        if offset % 4:
            raise failure(errno.EINVAL)
        if write and not self._kernel.sys_admin:
            raise failure(errno.EPERM)
        package = self._package(cpu)
        # Only the two ends are checked, not the hole between the classes and the associations.
        if package < 0 or not 0x04 <= offset <= self._last_offset:
            raise failure(errno.EINVAL)
        if write:
            self._firmware.write(package, offset, value)
            return None
        return _IO.pack(write, cpu, offset, self._firmware.read(package, offset))

    def _mailbox_target(self, _head: bytes, raw: bytes) -> Target:
        cpu, parameter, data, _, command, sub, _ = _MBOX.unpack(raw)
        request = Request(command, sub, parameter, data)
        return Target(self._package(cpu), 0, request.register, request.writes, data if request.writes else 0)

    def _mailbox(self, _head: bytes, raw: bytes) -> bytes:
        cpu, parameter, data, _, command, sub, reserved = _MBOX.unpack(raw)
        ranges = _MAILBOX_COMMANDS.get(command, ())
        if not self._possible(cpu) or not any(first <= sub <= last for first, last in ranges):
            raise failure(errno.EINVAL)
        if (command, sub, parameter) in _GUARDED and not self._kernel.sys_admin:
            raise failure(errno.EPERM)
        package = self._package(cpu)
        if package < 0:
            raise failure(errno.EINVAL)
        # The mailbox behind an MSR is reached by an interrupt to that CPU, the one behind PCI is not.
        if self._machine.generation is Generation.MAILBOX:
            self._check_online(cpu)
        # The interface register has 14 bits for the parameter.
        request = Request(command, sub, parameter & 0x3FFF, data)
        try:
            response = self._firmware.answer(package, request)
        except RejectedError:
            raise failure(errno.ENXIO) from None
        return _MBOX.pack(cpu, parameter, data, response, command, sub, reserved)

    def _msr_target(self, _head: bytes, raw: bytes) -> Target:
        write, cpu, msr, data = _MSR.unpack(raw)
        return Target(self._package(cpu), -1, f"msr/{msr:#x}", bool(write), data if write else 0)

    def _msr(self, _head: bytes, raw: bytes) -> bytes | None:
        write, cpu, msr, data = _MSR.unpack(raw)
        if msr not in _MSRS or not self._possible(cpu):
            raise failure(errno.EINVAL)
        if write and not self._kernel.sys_admin:
            raise failure(errno.EPERM)
        self._check_online(cpu)
        registers = self._hardware.msrs[self._package(cpu)]
        if write:
            # The processor refuses to write the others.
            if msr != TURBO_RATIO_LIMIT:
                raise failure(errno.EIO)
            registers[msr] = data
            return None
        if msr == PM_LOGICAL_ID:
            if self._machine.generation is not Generation.TPMI:
                raise failure(errno.EIO)
            return _MSR.pack(write, cpu, msr, self._machine.physical_id(cpu))
        return _MSR.pack(write, cpu, msr, registers[msr])

    def _check_online(self, cpu: int) -> None:
        if self._package(cpu) < 0 or cpu in self._kernel.offline | self._kernel.never_online:
            raise failure(errno.ENXIO)
