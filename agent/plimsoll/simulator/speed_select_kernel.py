"""
The ``isst_if`` driver of a kernel, as settings, and the form in which its ioctls are described.

Owns what depends on the kernel and on who asks rather than on the machine. It executes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

COMMAND_LIMIT = 64
DRIVER_VERSION = 1


class KernelOopsError(RuntimeError):
    """What was asked makes a stock kernel follow a null pointer: the caller is killed and the driver stays locked."""


@dataclass(slots=True)
class Kernel:
    """
    ``api_version``: ``None`` for the one the generation has (1 before TPMI, 3 with it). ``bound``: a backend's module
    found its hardware; without one 6.12 has the device node all the same, and answers with version 0.

    ``sys_admin``: the caller has CAP_SYS_ADMIN. ``hwp``: hardware P-states are on, which TPMI's switches need.
    ``write_blocked``: the firmware blocks writes through TPMI. ``folded``: 6.12 answers every failing TPMI request with
    ENOTTY. ``lag``: after a TPMI switch so many reads still show the state before. ``offline``: CPUs that are not
    online; their identification is kept from when they were. ``never_online``: they have none.
    """

    api_version: int | None = None
    bound: bool = True
    sys_admin: bool = True
    hwp: bool = True
    write_blocked: bool = False
    folded: bool = True
    lag: int = 0
    offline: frozenset[int] = frozenset()
    never_online: frozenset[int] = frozenset()


class Target(NamedTuple):
    """What one command addresses, before anything is checked; the fields of a speed_select_fault.Command."""

    package: int
    domain: int
    register: str
    write: bool
    value: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """
    One request: where its commands lie in the buffer, what they mean, what they do.

    ``head`` bytes come before the first command of ``size`` bytes; ``count`` is the struct format of their number at
    the beginning, empty where there is one command without a number. ``decode`` and ``execute`` are given the head and
    one command; ``execute`` gives what is copied back, ``None`` for nothing, and raises OSError. ``partial``: an error
    after the first command becomes the number of commands that were done.
    """

    name: str
    head: int
    size: int
    decode: Callable[[bytes, bytes], Target]
    execute: Callable[[bytes, bytes], bytes | None]
    count: str = ""
    partial: bool = False
    folded: bool = False
