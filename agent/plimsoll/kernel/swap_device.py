"""
The device that is to hold low-priority memory: which it is, however it was named, and what its header says.

Two names are one device when their numbers are the same, never because they look alike: ``/dev/vdb``, a link in
``/dev/disk`` and what ``/proc/swaps`` prints may differ. Reads only; what the device holds is judged elsewhere
(``kernel/swap_dedication.py``), and so is turning it on (``kernel/swap_activation.py``).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Container, Iterator
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap, read_swaps
from plimsoll.kernel.swap_reason import SwapReason
from plimsoll.model.outcome import Outcome, outcome_of

# union swap_header of include/linux/swap.h: after 1 KiB for boot blocks the version, the last page, the number of bad
# pages, a UUID and a label. The magic ends the first page, in pages of the kernel that is to use it.
HEADER = struct.Struct("=III16s16s")
HEADER_OFFSET = 1024
MAGIC = b"SWAPSPACE2"
# Disks of a large storage node with their partitions.
MAX_DEVICES = 4096
_NUMBER = re.compile(r"(\d+):(\d+)\n?", re.ASCII)
_SECTOR = 512
_PATH = "path"


class Kind(StrEnum):
    """What the device is made of."""

    BLOCK = "block"
    ZRAM = "zram"  # memory, compressed: a page that is swapped out is not saved whole
    FILE = "file"


class Identity(NamedTuple):
    """A block device's number, or a file's device and inode (0 for a block device)."""

    device: int
    inode: int = 0

    def __str__(self) -> str:
        """``MAJOR:MINOR``, as the kernel's files spell it."""
        return f"{os.major(self.device)}:{os.minor(self.device)}"


class Header(NamedTuple):
    """What mkswap wrote. ``size`` is the bytes that can hold pages; ``uuid`` in its usual spelling, in lower case."""

    size: int
    uuid: str
    label: str


class Device(NamedTuple):
    """The one meant. ``path`` is below the host's root; ``header`` is ``None``: none, or nobody looked."""

    path: str
    kind: Kind
    identity: Identity
    header: Header | None


class Unidentified(NamedTuple):
    """Why there is no such device, with a sentence."""

    reason: SwapReason
    detail: str


class Traffic(NamedTuple):
    """Bytes read from and written to a block device since it was there."""

    read: int
    written: int


class DeviceName(NamedTuple):
    """How an administrator named the device: ``by`` is path, UUID or LABEL."""

    by: str
    value: str

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """
        ``/dev/vdb``, ``UUID=...`` or ``LABEL=...``, as in fstab(5). Raises ValueError with a sentence for any other.

        A swap header has room for 16 bytes of label.
        """
        by, found, value = text.partition("=")
        if found and by == "UUID":
            return cls(by, str(UUID(value)))
        if found and by == "LABEL":
            if not value or len(os.fsencode(value)) > 16:
                raise ValueError("a label of a swap device has 1 to 16 bytes")
            return cls(by, value)
        if not text.startswith("/") or "\0" in text or text.endswith("/"):
            raise ValueError("name the device by an absolute path, by UUID=... or by LABEL=...")
        return cls(_PATH, text)

    def matches(self, header: Header) -> bool:
        """Whether a header is the one named."""
        return self.value == (header.uuid if self.by == "UUID" else header.label)


def identify(host: HostFs, name: DeviceName, active: Container[Identity | None] = frozenset()) -> Device | Unidentified:
    """
    Find the device. By UUID or label every block device and active swap file is looked into: not for every tick.

    A UUID or label found twice, as after copying a disk, is AMBIGUOUS: either may be the one in use by somebody else.
    ``active``: devices in use. Of one that is named by its path the header is not read then: a disk that hangs would
    never answer.
    """
    if name.by == _PATH:
        return _by_path(host, name.value, active)
    found: dict[Identity, Device] = {}
    for path in _candidates(host):
        device = _by_path(host, path)
        if isinstance(device, Device) and device.header is not None and name.matches(device.header):
            found[device.identity] = device
    spelled = f"{name.by}={name.value}"
    if not found:
        return Unidentified(SwapReason.DEVICE_MISSING, f"No device carries a swap header with {spelled}.")
    if len(found) > 1:
        paths = ", ".join(sorted(each.path for each in found.values()))
        return Unidentified(SwapReason.DEVICE_AMBIGUOUS, f"Several devices carry {spelled}: {paths}.")
    return next(iter(found.values()))


def identity_of(host: HostFs, path: str) -> Identity | None:
    """Which device or file is called so now; links are followed. ``None``: none, or one that may not be looked at."""
    found = _status(host, path)
    return None if isinstance(found, Outcome) else _identity(found)


def identity_of_descriptor(descriptor: int) -> Identity | None:
    """Which device or file is open there."""
    return _identity(os.fstat(descriptor))


def active_swap(host: HostFs, swap: Swap) -> Identity | None:
    """Which device a line of ``/proc/swaps`` is about."""
    return identity_of(host, swap.path) if swap.kind != "partition" else identity_by_kernel(host, swap.path)


def identity_by_kernel(host: HostFs, path: str) -> Identity | None:
    """Which device the kernel means by a path it prints."""
    found = identity_of(host, path)
    if found is not None:
        return found
    # A container may have no node for it in /dev. sysfs knows the kernel's names, which it mostly prints.
    number = _NUMBER.fullmatch(host.read(f"sys/class/block/{path.rpartition('/')[2]}/dev").text() or "")
    return None if number is None else Identity(os.makedev(int(number[1]), int(number[2])))


def read_header(host: HostFs, path: str) -> Header | Outcome:
    """The swap header of a device or file. MALFORMED: it has none, or one for a kernel with pages of another size."""
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        descriptor = host.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            host.inject("read", path)
            data = os.pread(descriptor, page, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        return outcome_of(error.errno or errno.EIO)
    if len(data) < page or not data.endswith(MAGIC):
        return Outcome.MALFORMED
    version, last_page, _, uuid, label = HEADER.unpack_from(data, HEADER_OFFSET)
    if version != 1:
        # mkswap of a machine with the other byte order; the kernel would take it, and nobody has one.
        return Outcome.MALFORMED
    # The first page is the header.
    return Header(last_page * page, str(UUID(bytes=uuid)), os.fsdecode(label.rstrip(b"\0")))


def read_traffic(host: HostFs, device: Device) -> Traffic | None:
    """What has gone to and come from a block device; of a file nobody counts it (its disk holds more)."""
    if device.kind is Kind.FILE:
        return None
    # Documentation/block/stat.rst: reads, merges, sectors, ms, writes, merges, sectors, ... of 512 bytes on any disk.
    fields = (host.read(f"sys/dev/block/{device.identity}/stat").text() or "").split()
    if len(fields) < 7 or not all(each.isdecimal() for each in fields[:7]):
        return None
    return Traffic(int(fields[2]) * _SECTOR, int(fields[6]) * _SECTOR)


def read_in_memory(host: HostFs, device: Device) -> int | None:
    """Bytes of memory that a compressing device takes for all it holds (Documentation: mm_stat, mem_used_total)."""
    if device.kind is not Kind.ZRAM:
        return None
    fields = (host.read(f"sys/dev/block/{device.identity}/mm_stat").text() or "").split()
    return int(fields[2]) if len(fields) > 2 and fields[2].isdecimal() else None


def _by_path(host: HostFs, path: str, active: Container[Identity | None] = frozenset()) -> Device | Unidentified:
    found = _status(host, path)
    if isinstance(found, Outcome):
        reason = SwapReason.DEVICE_MISSING if found is Outcome.MISSING else SwapReason.DEVICE_UNREADABLE
        return Unidentified(reason, f"{path}: {found.value}.")
    identity = _identity(found)
    if identity is None:
        return Unidentified(SwapReason.NOT_SWAP, f"{path} is neither a block device nor a file.")
    kind = Kind.FILE
    if not identity.inode:
        kind = Kind.ZRAM if host.exists(f"sys/dev/block/{identity}/mm_stat") else Kind.BLOCK
    header = None if identity in active else read_header(host, path)
    return Device(path, kind, identity, header if isinstance(header, Header) else None)


def _status(host: HostFs, path: str) -> os.stat_result | Outcome:
    try:
        descriptor = host.open(path, os.O_PATH)
    except OSError as error:
        return outcome_of(error.errno or errno.EIO)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> Identity | None:
    if stat.S_ISBLK(found.st_mode):
        return Identity(found.st_rdev)
    return Identity(found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _candidates(host: HostFs) -> Iterator[str]:
    """Whatever may carry a swap header: block devices with something in them, and the swap that is active."""
    for name in host.names("sys/class/block").names[:MAX_DEVICES]:
        about = f"sys/class/block/{name}"
        # An empty drive, and one that may be: looking into it takes seconds.
        if (host.read(f"{about}/size").data or b"0\n") == b"0\n" or host.read(f"{about}/removable").data == b"1\n":
            continue
        # A path to a disk, or a part of one, shows what the device made of it shows.
        if not host.names(f"{about}/holders").names:
            yield f"/dev/{name.replace('!', '/')}"
    for swap in read_swaps(host) or ():
        yield swap.path
