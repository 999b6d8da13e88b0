"""
``/dev/isst_interface`` of a machine that does not exist: the same answers, errors and side effects as the kernel's.

Owns the way of an ioctl: number, count of commands, permission, faults, log, answer. It opens nothing and is the whole
device for whoever calls :meth:`SpeedSelect.ioctl`: a test, the demo, or the server that makes it a real device node.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plimsoll.simulator.speed_select_commands import Commands, failure
from plimsoll.simulator.speed_select_fault import Command, Fault
from plimsoll.simulator.speed_select_hardware import Hardware
from plimsoll.simulator.speed_select_kernel import COMMAND_LIMIT, DRIVER_VERSION, Call, Kernel
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription
from plimsoll.simulator.speed_select_tpmi import Tpmi
from plimsoll.simulator.speed_select_tpmi_info import TpmiInfo

GET_PLATFORM_INFO = 0x8008FE00
_PLATFORM = struct.Struct("<3H2B")
_MAGIC = 0xFE


class Exchange(NamedTuple):
    """One ioctl as it went: its answer (negative: an errno) and the commands that were come to, with their errno."""

    step: int
    request: str
    result: int
    commands: tuple[tuple[Command, int], ...]


class SpeedSelect:
    """
    The device, its registers and its log.

    ``faults`` may be changed at any time; all that strike a command happen to it. ``observe`` is told each exchange
    when it is over, as :attr:`log` keeps it.
    """

    def __init__(
        self,
        machine: MachineDescription,
        *,
        kernel: Kernel | None = None,
        interlocked: bool = True,
        faults: Sequence[Fault] = (),
        observe: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.machine = machine
        self.kernel = kernel or Kernel()
        self.hardware = Hardware(machine, interlocked=interlocked)
        self.faults = list(faults)
        self.log: list[Exchange] = []
        self._observe = observe
        self._begun = 0
        tpmi = Tpmi(self.hardware, self.kernel)
        self._calls = Commands(self.hardware, self.kernel).calls()
        if machine.generation is Generation.TPMI and self.kernel.bound:
            self._calls |= tpmi.calls()
            self._calls |= TpmiInfo(self.hardware, self.kernel, tpmi, self.api_version).calls()

    @property
    def api_version(self) -> int:
        """What GET_PLATFORM_INFO tells: 0 where the device node is there and no backend is."""
        if not self.kernel.bound:
            return 0
        if self.kernel.api_version is not None:
            return self.kernel.api_version
        return 3 if self.machine.generation is Generation.TPMI else 1

    def registers(self) -> Mapping[str, int | str]:
        """Every register that software can change, as speed_select_hardware.Hardware.registers() spells them."""
        return self.hardware.registers()

    def size(self, request: int, start: bytes) -> int:
        """
        How many bytes the kernel would look at, by the ``start`` of the buffer; 0 for no such request.

        Of a request with commands the count is looked at first, and nothing else where it is out of bounds.
        """
        if request == GET_PLATFORM_INFO:
            return _PLATFORM.size
        call = self._calls.get(request)
        if call is None:
            return 0
        width = struct.calcsize(call.count)
        if len(start) < width:
            return max(width, call.head)
        count = _count(call, start)
        return call.head + call.size * count if 0 < count <= COMMAND_LIMIT else len(start)

    def ioctl(self, request: int, buffer: bytearray) -> int:
        """
        As ``fcntl.ioctl(fd, request, buffer, True)`` with a structure in ``buffer``, which is changed in place.

        Raises OSError, and KernelOopsError where a stock kernel would. What lies beyond the buffer is EFAULT.
        """
        request &= 0xFFFFFFFF
        step, self._begun = self._begun, self._begun + 1
        done: list[tuple[Command, int]] = []
        name, result = f"{request:#x}", -errno.EINTR
        try:
            call = self._calls.get(request)
            if request == GET_PLATFORM_INFO:
                name, result = "GET_PLATFORM_INFO", self._platform(buffer)
            elif call is None:
                result = -errno.ENOTTY
            else:
                name = call.name
                result = self._run(call, step, buffer, done)
                if call.folded and self.kernel.folded and result < 0:
                    result = -errno.ENOTTY
        finally:
            exchange = Exchange(step, name, result, tuple(done))
            self.log.append(exchange)
            if self._observe is not None:
                self._observe(exchange)
        if result < 0:
            raise failure(-result)
        return result

    def _platform(self, buffer: bytearray) -> int:
        if len(buffer) < _PLATFORM.size:
            return -errno.EFAULT
        generation, bound = self.machine.generation, self.kernel.bound
        mailbox = bound and generation is not Generation.TPMI
        mmio = bound and generation is Generation.MMIO
        _PLATFORM.pack_into(buffer, 0, self.api_version, DRIVER_VERSION, COMMAND_LIMIT, mailbox, mmio)
        return 0

    def _run(self, call: Call, step: int, buffer: bytearray, done: list[tuple[Command, int]]) -> int:
        if len(buffer) < struct.calcsize(call.count):
            return -errno.EFAULT
        # The count is read by itself, before anything else is.
        count = _count(call, bytes(buffer))
        if not 0 < count <= COMMAND_LIMIT:
            return -errno.EINVAL
        if len(buffer) < call.head:
            return -errno.EFAULT
        head = bytes(buffer[: call.head])
        for position in range(count):
            offset = call.head + position * call.size
            raw = bytes(buffer[offset : offset + call.size])
            error, answer = errno.EFAULT, None
            if len(raw) == call.size:
                command = Command(step, position, call.name, *call.decode(head, raw))
                error, answer = self._one(call, command, head, raw)
                done.append((command, error))
            if error:
                return position if call.partial and position else -error
            if answer is not None:
                buffer[offset : offset + call.size] = answer
        return count if call.partial else 0

    def _one(self, call: Call, command: Command, head: bytes, raw: bytes) -> tuple[int, bytes | None]:
        """The errno of one command, 0 when it is done, and what is copied back."""
        # Each is asked, also when another has struck already: some count the commands they see.
        struck = [each for each in self.faults if each.strikes(command)]
        for fault in struck:
            if fault.act is not None:
                fault.act()
        error = next((fault.error for fault in struck if fault.error), 0)
        if error or any(fault.lost for fault in struck):
            return error, None
        try:
            return 0, call.execute(head, raw)
        except OSError as problem:
            return problem.errno or errno.EIO, None


def _count(call: Call, start: bytes) -> int:
    if not call.count:
        return 1
    (count,) = struct.unpack_from(call.count, start)
    return int(count)
