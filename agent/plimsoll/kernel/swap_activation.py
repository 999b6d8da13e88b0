"""
Turning a swap device on and off: swapon(2) and swapoff(2).

Neither is done unasked: whoever calls this has been told to by an administrator. swapoff reads everything back into
memory and is refused where it would not fit. Both may take long in the kernel, so the caller is a thread that may wait.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_swaps
from plimsoll.kernel.swap_call import SwapCall, swap_call
from plimsoll.kernel.swap_device import Device, identity_of_descriptor
from plimsoll.kernel.swap_room import lacking
from plimsoll.kernel.swap_signature import foreign
from plimsoll.kernel.swap_use import use_of
from plimsoll.model.outcome import Outcome, outcome_of

# SWAP_FLAG_PREFER of include/linux/swap.h; the priority is in the low 15 bits.
_PREFER = 0x8000
MAX_PRIORITY = 0x7FFF


class Activation(NamedTuple):
    """
    What came of it. OK; UNCHANGED: it was so already; HELD: not tried, ``detail`` says why.

    BUSY from swapoff: a signal came; what was read back until then stays there, and it may be asked again.
    """

    outcome: Outcome
    errno: int = 0
    detail: str = ""


def swapon(host: HostFs, device: Device, *, priority: int | None = None, call: SwapCall = swap_call) -> Activation:
    """
    Use the device as swap. ``priority`` 0..32767, ``None``: the kernel's own, below every one that was asked for.

    HELD without a swap header, and with something else's beside it: only an administrator runs mkswap, as it destroys
    what the device holds.
    """
    if priority is not None and not 0 <= priority <= MAX_PRIORITY:
        raise ValueError(f"a swap priority is 0 to {MAX_PRIORITY}")
    if device.header is None:
        return Activation(Outcome.HELD, detail=f"{device.path} has no swap header; run mkswap on it.")
    active = _used(host, device)
    if isinstance(active, Outcome):
        return Activation(active, detail="The active swap (/proc/swaps) cannot be read.")
    if active is not None:
        return Activation(Outcome.UNCHANGED)
    other = foreign(host, device.path)
    if isinstance(other, Outcome):
        return Activation(other, detail=f"{device.path}: {other.value}.")
    if other:
        return Activation(Outcome.HELD, detail=f"{device.path} carries {other} as well; wipefs shows all of it.")
    return _called(host, device, call, 0 if priority is None else _PREFER | priority)


def swapoff(
    host: HostFs, hierarchies: Hierarchies, device: Device, *, floor: int, call: SwapCall = swap_call
) -> Activation:
    """
    Take the device out of use. ``floor``: bytes of memory that must be left when all of it has come back.

    HELD where less would be left, where a cgroup has no room for its part, or where that cannot be known: the OOM
    killer would choose who pays.
    """
    used = _used(host, device)
    if isinstance(used, Outcome):
        return Activation(used, detail="The active swap (/proc/swaps) cannot be read.")
    if used is None:
        return Activation(Outcome.UNCHANGED)
    reason = lacking(host, hierarchies, used, floor)
    return Activation(Outcome.HELD, detail=reason) if reason else _called(host, device, call, None)


def _used(host: HostFs, device: Device) -> int | Outcome | None:
    """How much of it is in use; ``None``: it is not active."""
    swaps = read_swaps(host)
    if swaps is None:
        return Outcome.FAILED
    line = use_of(host, swaps, device)
    return None if line is None else line.used


def _called(host: HostFs, device: Device, call: SwapCall, flags: int | None) -> Activation:
    try:
        descriptor = host.open(device.path, os.O_PATH)
    except OSError as error:
        return Activation(outcome_of(error.errno or errno.EIO), error.errno or errno.EIO)
    try:
        if identity_of_descriptor(descriptor) != device.identity:
            return Activation(Outcome.GONE, detail=f"{device.path} is another device by now.")
        code = call(descriptor, flags)
    finally:
        os.close(descriptor)
    return Activation(outcome_of(code), code)
