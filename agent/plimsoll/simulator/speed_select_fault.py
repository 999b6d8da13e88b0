"""
What can go wrong on the way to a Speed Select register, scripted: errors, lost writes, foreign hands, a sudden end.

Owns the form of a command as faults and the log see it, and the faults. It changes no register itself: a fault that
does (a foreign writer, a change of level) is a callback of whoever scripts it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Command(NamedTuple):
    """
    One decoded command of an ioctl: the one at ``position`` in the ``step``-th ioctl, both counted from 0.

    ``register`` names what it addresses: ``assoc/5``, ``clos/3``, ``core-power``, ``features``, ``msr/0x1ad``,
    ``info/7f/01``. ``package`` and ``domain`` are -1 where they have no meaning. ``value`` is what is written, 0 in a
    read.
    """

    step: int
    position: int
    request: str
    package: int
    domain: int
    register: str
    write: bool
    value: int = 0


@dataclass(slots=True)
class Fault:
    """
    Something that happens to the commands ``when`` holds for, at most ``times`` times (``None``: always).

    First ``act`` is called: it may change registers, or raise to end the caller, as a kill would. Then the command
    fails with ``error`` where that is not 0; or, ``lost``, it is answered with success and does nothing.
    """

    when: Callable[[Command], bool]
    error: int = 0
    lost: bool = False
    act: Callable[[], None] | None = None
    times: int | None = 1

    def strikes(self, command: Command) -> bool:
        """Whether it happens to this command; counts."""
        if self.times == 0 or not self.when(command):
            return False
        if self.times is not None:
            self.times -= 1
        return True


def busy(times: int = 1) -> Fault:
    """The mailbox is still running another's command (EBUSY)."""
    return Fault(lambda command: command.request == "MBOX_COMMAND", error=errno.EBUSY, times=times)


def rejected(times: int = 1) -> Fault:
    """The firmware answers a mailbox command with an error byte (ENXIO)."""
    return Fault(lambda command: command.request == "MBOX_COMMAND", error=errno.ENXIO, times=times)


def refused(package: int) -> Fault:
    """Every write to one package is refused (EPERM)."""
    return Fault(lambda command: command.write and command.package == package, error=errno.EPERM, times=None)


def lost(register: str, times: int = 1) -> Fault:
    """A write to a register (by the beginning of its name) is confirmed, and nothing has changed."""
    return Fault(lambda command: command.write and command.register.startswith(register), lost=True, times=times)


def short(count: int, error: int = errno.EIO, times: int = 1) -> Fault:
    """An ioctl of several commands stops after ``count`` of them: the errno is lost, the count is the answer."""
    return Fault(lambda command: command.position == count, error=error, times=times)


def at(step: int, act: Callable[[], None]) -> Fault:
    """Call ``act`` before the ``step``-th ioctl's first command: a foreign writer, a change of level, a kill."""
    return Fault(lambda command: command.step == step and command.position == 0, act=act)


def at_write(number: int, act: Callable[[], None]) -> Fault:
    """Call ``act`` before the ``number``-th command (from 0) that writes, in whichever ioctl it is."""
    seen = iter(range(number + 1))

    def due(command: Command) -> bool:
        return command.write and next(seen, None) == number

    return Fault(due, act=act)
