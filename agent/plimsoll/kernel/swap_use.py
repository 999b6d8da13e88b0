"""
Which line of ``/proc/swaps`` is about a device, also where its path leads nowhere.

The kernel prints the path by which swapon was called, as far as it still leads: of a device that a container turned on,
and that container is gone, it is ``/`` or the last part of it. Then the line is told by its kind and size, and by what
the kernel says to whoever would write to the device. Reads only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap
from plimsoll.kernel.swap_device import Device, Header, Kind, active_swap, read_header


def use_of(host: HostFs, swaps: Sequence[Swap], device: Device) -> Swap | None:
    """The device's line; ``None``: it is not in use."""
    known = {each: active_swap(host, each) for each in swaps}
    for each, identity in known.items():
        if identity == device.identity:
            return each
    lost = [each for each, identity in known.items() if identity is None and _alike(each, device)]
    if not lost:
        return None
    header = device.header or read_header(host, device.path)
    if not isinstance(header, Header):
        return None
    # The kernel leaves out the page the header is on, and so does the header.
    found = next((each for each in lost if each.size == header.size), None)
    return found if found is not None and _taken(host, device) else None


def _alike(line: Swap, device: Device) -> bool:
    return (line.kind == "file") is (device.kind is Kind.FILE)


def _taken(host: HostFs, device: Device) -> bool:
    """
    Whether the kernel keeps it from others: ETXTBSY to whoever writes to such a file, were it nothing at all; EBUSY to
    whoever would have such a device alone. Where it cannot be asked, it is taken.
    """
    flags = os.O_WRONLY if device.kind is Kind.FILE else os.O_RDONLY | os.O_EXCL
    try:
        descriptor = host.open(device.path, flags | os.O_NONBLOCK)
        try:
            if device.kind is Kind.FILE:
                host.inject("write", device.path)
                os.pwrite(descriptor, b"", 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.errno in (errno.ETXTBSY, errno.EBUSY, errno.EROFS, errno.EACCES, errno.EPERM)
    return False
