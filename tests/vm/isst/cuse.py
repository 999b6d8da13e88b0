"""
A character device served from user space, on raw /dev/cuse; runs in the guest.

Owns the FUSE wire format as far as ioctls need it. It does not know what the ioctls mean: a Device does. Only the
standard library.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from typing import Protocol

_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_INIT_IN, _INIT_OUT = struct.Struct("<4I"), struct.Struct("<8I40x")
_IOCTL_IN, _IOCTL_OUT, _IOVEC = struct.Struct("<QIIQII"), struct.Struct("<iIII"), struct.Struct("<QQ")
_OPEN_OUT = struct.Struct("<QIi")

_OPEN, _RELEASE, _FLUSH, _INTERRUPT, _IOCTL, _CUSE_INIT = 14, 18, 25, 36, 39, 4096
_UNRESTRICTED = 1 << 0
_RETRY = 1 << 2
# The kernel wants room for the largest request it may send.
_BUFFER = 1 << 17
_MAJOR, _MINOR = 7, 31


class Device(Protocol):
    """What answers: see plimsoll.simulator.speed_select.SpeedSelect."""

    def size(self, request: int, start: bytes) -> int:
        """How many bytes at the argument's address are needed to answer, given those already there."""
        ...

    def ioctl(self, request: int, buffer: bytearray, pid: int) -> int:
        """The answer to one ioctl of the process ``pid``, negative for an errno; changes the buffer in place."""
        ...


class Cuse:
    """One device node below /dev, there from the first :meth:`serve` until :meth:`close`."""

    def __init__(self, name: str, device: Device) -> None:
        self._name = name
        self._device = device
        self._file = os.open("/dev/cuse", os.O_RDWR | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._file

    def close(self) -> None:
        """The node vanishes; who has it open gets errors from then on."""
        os.close(self._file)

    def serve(self) -> None:
        """Answer one request; waits for it."""
        message = os.read(self._file, _BUFFER)
        _, opcode, unique, _, _, _, pid, _, _ = _IN.unpack_from(message)
        body = message[_IN.size :]
        if opcode == _CUSE_INIT:
            self._reply(unique, self._init(body))
        elif opcode == _OPEN:
            self._reply(unique, _OPEN_OUT.pack(0, 0, 0))
        elif opcode in {_RELEASE, _FLUSH}:
            self._reply(unique, b"")
        elif opcode == _IOCTL:
            self._reply(unique, self._ioctl(body, pid))
        elif opcode != _INTERRUPT:  # requests are answered one by one: there is nothing to interrupt
            self._reply(unique, b"", errno.ENOSYS)

    def _init(self, body: bytes) -> bytes:
        major, _, _, _ = _INIT_IN.unpack_from(body)
        if major != _MAJOR:
            raise RuntimeError(f"this kernel speaks version {major} of FUSE")
        # Unrestricted: the size in these ioctls' numbers is that of a pointer, not of what it points to.
        out = _INIT_OUT.pack(_MAJOR, _MINOR, 0, _UNRESTRICTED, _BUFFER, _BUFFER // 2, 0, 0)
        return out + f"DEVNAME={self._name}\0".encode()

    def _ioctl(self, body: bytes, pid: int) -> bytes:
        _, _, request, address, given, _ = _IOCTL_IN.unpack_from(body)
        buffer = bytearray(body[_IOCTL_IN.size : _IOCTL_IN.size + given])
        needed = self._device.size(request, bytes(buffer))
        if needed > given:
            # The kernel is to ask again with so much of the caller's memory, and to take as much back.
            return _IOCTL_OUT.pack(0, _RETRY, 1, 1) + 2 * _IOVEC.pack(address, needed)
        # A result below zero is the caller's errno; with an error in the header nothing would be copied back.
        return _IOCTL_OUT.pack(self._device.ioctl(request, buffer, pid), 0, 0, 0) + bytes(buffer)

    def _reply(self, unique: int, body: bytes, error: int = 0) -> None:
        # ENOENT: who asked has been killed meanwhile.
        with suppress(FileNotFoundError):
            os.write(self._file, _OUT.pack(_OUT.size + len(body), -error, unique) + body)
