"""
Sending requests to ``/dev/isst_interface``: in batches, with every quirk of its answers made into an outcome.

The node is opened for one ioctl and closed again: an open one keeps the kernel from loading another back-end and pins
its modules. This module knows requests and errno, not what a register means.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.state import Answer
from plimsoll.model.outcome import Outcome, outcome_of

PATH: Final = "dev/isst_interface"
Pause = Callable[[float], None]

# EBUSY: the mailbox runs another command (the kernel waits 1 ms). ENXIO: the firmware answered with an error.
_PASSING = frozenset({errno.EBUSY, errno.ENXIO})
_RETRIES = 3
_PAUSE = 0.001

_C = TypeVar("_C", bound=ctypes.Structure)
_Head = abi.CommandCount | abi.AlignedCommandCount


class Transport(Protocol):
    """Whatever takes an ioctl as ``fcntl.ioctl(fd, request, buffer, True)`` does: in place, OSError when it fails."""

    def ioctl(self, request: int, buffer: bytearray) -> int:
        """Send one request; ``buffer`` is the whole structure, all commands included."""


class IsstInterface:
    """The device node below a host's root. The host's fault hook sees operation ``ioctl``, path ``...#NUMBER``."""

    def __init__(self, host: HostFs) -> None:
        self._host = host

    def ioctl(self, request: int, buffer: bytearray) -> int:
        """Open, send, close. Raises OSError."""
        descriptor = self._host.open(PATH, os.O_RDWR | os.O_NONBLOCK)
        try:
            self._host.inject("ioctl", f"{PATH}#{request & 0xFF}")
            # Not libc.ioctl through ctypes: that one would not be caught by a preloaded shim.
            return int(fcntl.ioctl(descriptor, request, buffer, True))
        finally:
            os.close(descriptor)


class Device:
    """
    Typed requests over a :class:`Transport`.

    ``pause`` waits between tries and before a register is read again; ``limit`` is how many commands go in one ioctl.
    """

    def __init__(self, transport: Transport, pause: Pause, limit: int = abi.MAX_COMMANDS) -> None:
        self._transport = transport
        self._pause = pause
        self._limit = min(max(1, limit), abi.MAX_COMMANDS)

    def one(self, request: Request, structure: _C) -> Answer[_C]:
        """Send one structure and give it as the kernel left it."""
        code, buffer = self._patiently(request, bytes(structure))
        if code:
            return Answer(None, _outcome(request, code), code)
        return Answer(type(structure).from_buffer_copy(buffer))

    def associations(self, commands: Sequence[abi.ClosAssoc], *, write: bool = False) -> list[Answer[abi.ClosAssoc]]:
        """
        Send commands of CLOS_ASSOC; one answer for each, in order.

        This request counts nothing: it fails as a whole, with what went before done. So after a failure every command
        is sent by itself.
        """
        answers: list[Answer[abi.ClosAssoc]] = []
        for begin in range(0, len(commands), self._limit):
            batch = commands[begin : begin + self._limit]
            sent = self._associations(batch, write=write)
            if isinstance(sent, Answer):
                sent_alone = (self._associations([each], write=write) for each in batch)
                answers.extend(each if isinstance(each, Answer) else Answer(each[0]) for each in sent_alone)
            else:
                answers.extend(Answer(each) for each in sent)
        return answers

    def _associations(
        self, commands: Sequence[abi.ClosAssoc], *, write: bool
    ) -> list[abi.ClosAssoc] | Answer[abi.ClosAssoc]:
        head = abi.ClosAssocHeader(len(commands), int(write), 1)
        code, buffer = self._patiently(Request.CLOS_ASSOC, bytes(head) + b"".join(bytes(each) for each in commands))
        if code:
            return Answer(None, _outcome(Request.CLOS_ASSOC, code), code)
        return _taken(abi.ClosAssoc, buffer, ctypes.sizeof(head), len(commands))

    def commands(self, request: Request, commands: Sequence[_C], *, stop: bool = False) -> list[Answer[_C]]:
        """
        Send commands of GET_PHY_ID, IO_CMD, MBOX_COMMAND or MSR_COMMAND; one answer for each, in order.

        The kernel stops at the first command that fails and gives how many went before; only a failure of the first
        gives its errno. So what is left is sent again: the one that failed then comes first. With ``stop`` (what
        follows makes no sense without it) nothing is sent after a failure, and the rest is HELD.
        """
        answers: list[Answer[_C]] = []
        tries = 0
        while len(answers) < len(commands):
            rest = commands[len(answers) : len(answers) + self._limit]
            done, code, sent = self._batch(request, rest)
            if done:
                answers.extend(Answer(each) for each in sent[:done])
                tries = 0
                continue
            if code in _PASSING and tries < _RETRIES:
                tries += 1
                self._pause(_PAUSE)
                continue
            answers.append(Answer(None, _outcome(request, code), code))
            tries = 0
            if stop:
                break
        return answers + [Answer(None, Outcome.HELD)] * (len(commands) - len(answers))

    def settle(self, settled: Callable[[], bool]) -> bool:
        """Wait for a register whose reading follows its setting late. Whether it did within a few milliseconds."""
        for _ in range(10):
            if settled():
                return True
            self._pause(_PAUSE)
        return settled()

    def _batch(self, request: Request, commands: Sequence[_C]) -> tuple[int, int, list[_C]]:
        """How many commands went through, the errno if none did, and the commands as the kernel left them."""
        head: _Head = abi.AlignedCommandCount() if request is Request.MSR_COMMAND else abi.CommandCount()
        head.count = len(commands)
        buffer = bytearray(bytes(head) + b"".join(bytes(each) for each in commands))
        done, code = self._send(request, buffer)
        if not code and not 0 < done <= len(commands):
            # A count that cannot be: nothing of this answer is believed.
            done, code = 0, errno.EIO
        return done, code, _taken(type(commands[0]), buffer, ctypes.sizeof(head), done)

    def _patiently(self, request: Request, content: bytes) -> tuple[int, bytearray]:
        """Send once, and again after an errno that may pass. The errno, 0 for none, and what came back."""
        tries = 0
        while True:
            # A failed try may have left half an answer: each starts from what was asked.
            buffer = bytearray(content)
            code = self._send(request, buffer)[1]
            if code not in _PASSING or tries == _RETRIES:
                return code, buffer
            tries += 1
            self._pause(_PAUSE)

    def _send(self, request: Request, buffer: bytearray) -> tuple[int, int]:
        try:
            return self._transport.ioctl(int(request), buffer), 0
        except OSError as error:
            return 0, error.errno or errno.EIO


def _taken(kind: type[_C], buffer: bytearray, begin: int, count: int) -> list[_C]:
    size = ctypes.sizeof(kind)
    return [kind.from_buffer_copy(buffer, begin + size * index) for index in range(count)]


def _outcome(request: Request, code: int) -> Outcome:
    """
    What an errno stands for here.

    ENOTTY of a request of the TPMI generation is any refusal: the kernel (6.12) loses the errno behind it. Of the
    others it says that the back-end is not there.
    """
    if code == errno.ENOTTY:
        return Outcome.REJECTED if (request & 0xFF) >= (Request.COUNT_TPMI_INSTANCES & 0xFF) else Outcome.UNSUPPORTED
    # The firmware's error byte: the command is unknown to it, or the value illegal.
    return Outcome.REJECTED if code == errno.ENXIO else outcome_of(code)
