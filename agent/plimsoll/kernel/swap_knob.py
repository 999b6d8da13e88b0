"""
Whether a device is in use as swap, in the shape of a knob: what is held, read and written like a control file.

``off``; or the priority it is used with, ``auto`` for the kernel's own. It must not know why a device is wanted, or
wanted no more.
"""

from __future__ import annotations

import errno
import re

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import HostFs, Reading
from plimsoll.kernel.proc import read_swaps
from plimsoll.kernel.swap_activation import MAX_PRIORITY, swapoff, swapon
from plimsoll.kernel.swap_call import SwapCall
from plimsoll.kernel.swap_device import DeviceName, Identity, Unidentified, identify, identity_of
from plimsoll.kernel.swap_room import floor
from plimsoll.kernel.swap_use import use_of
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import SWAP_AUTO, SWAP_OFF, Knob, Target, TargetKind

_PRIORITY = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)


class SwapKnob(Closing):
    """
    One device. ``identity`` is its number, or the inode of a file: a disk in the place of another is another one.

    Nothing is held open between two calls.
    """

    __slots__ = ("_call", "_device", "_hierarchies", "_host", "_path", "identity")

    def __init__(self, host: HostFs, hierarchies: Hierarchies, path: str, device: Identity, call: SwapCall) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._path = path
        self._device = device
        self._call = call
        self.identity = device.inode or device.device

    @classmethod
    def of(
        cls, host: HostFs, hierarchies: Hierarchies, target: Target, knob: Knob, call: SwapCall
    ) -> SwapKnob | Outcome:
        """The device of this name; GONE where there is none, MISSING for a target that is no device."""
        if target.kind is not TargetKind.SWAP or knob is not Knob.SWAP:
            return Outcome.MISSING
        device = identity_of(host, target.path)
        return Outcome.GONE if device is None else cls(host, hierarchies, target.path, device, call)

    def close(self) -> None:
        """There is nothing to let go of."""

    def read(self) -> Reading:
        """Whether it is in use now, and how."""
        swaps = read_swaps(self._host)
        if swaps is None:
            return Reading(None, Outcome.FAILED)
        # The header of one that is in use is of no interest, and reading it may take for ever.
        found = identify(self._host, DeviceName("path", self._path), frozenset({self._device}))
        if isinstance(found, Unidentified) or found.identity != self._device:
            return Reading(None, Outcome.GONE, errno.ENODEV)
        line = use_of(self._host, swaps, found)
        return Reading(f"{_spelled(None if line is None else line.priority)}\n".encode("ascii"), Outcome.OK)

    def write(self, text: str) -> tuple[Outcome, int]:
        """
        Turn it on, or off for at most some seconds: BUSY when that was not enough, and some of it done.

        HELD where it must not be done: see ``kernel/swap_activation.py``.
        """
        value = text.removesuffix("\n")
        if value not in (SWAP_OFF, SWAP_AUTO) and (_PRIORITY.fullmatch(value) is None or int(value) > MAX_PRIORITY):
            return Outcome.REJECTED, errno.EINVAL
        turning_off = value == SWAP_OFF
        # The header of one that is in use is of no interest, and reading it may take for ever.
        active = frozenset({self._device}) if turning_off else frozenset()
        found = identify(self._host, DeviceName("path", self._path), active)
        if isinstance(found, Unidentified) or found.identity != self._device:
            return Outcome.GONE, errno.ENODEV
        if turning_off:
            done = swapoff(self._host, self._hierarchies, found, floor=floor(self._host), call=self._call)
        else:
            priority = None if value == SWAP_AUTO else int(value)
            done = swapon(self._host, found, priority=priority, call=self._call)
        # So it was already: the knob's own reading tells the rest.
        return (Outcome.OK if done.outcome is Outcome.UNCHANGED else done.outcome), done.errno


def _spelled(priority: int | None) -> str:
    """What ``/proc/swaps`` says of a device as the knob's value. The kernel's own are negative, and vary."""
    if priority is None:
        return SWAP_OFF
    return str(priority) if priority >= 0 else SWAP_AUTO
