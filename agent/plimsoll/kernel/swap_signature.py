"""
What else than swap a device may hold, by the marks that filesystems, volumes and partition tables leave on it.

Owns the marks. Whoever made swap of a device has wiped them (mkswap does), so one that is there says that the device,
or a part of it, is somebody's. Reads only, and never more than the first blocks.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome, outcome_of


class Mark(NamedTuple):
    """``text`` at ``offset`` bytes says that the device holds ``what``."""

    what: str
    offset: int
    text: bytes


# libblkid's, of what is likely on a node's disk. No MBR: its mark is any boot loader's, too.
MARKS = (
    Mark("an ext filesystem", 1080, b"\x53\xef"),
    Mark("an XFS filesystem", 0, b"XFSB"),
    Mark("a Btrfs filesystem", 0x10040, b"_BHRfS_M"),
    Mark("an encrypted volume (LUKS)", 0, b"LUKS\xba\xbe"),
    # In one of the first four sectors; the third is where a swap header is.
    *(Mark("a volume of LVM", 512 * sector, b"LABELONE") for sector in (0, 1, 3)),
    Mark("a GUID partition table", 512, b"EFI PART"),
    Mark("a RAID member", 4096, b"\xfc\x4e\x2b\xa9"),
    Mark("a bcache device", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
)
_READ = max(each.offset + len(each.text) for each in MARKS)


def foreign(host: HostFs, path: str) -> str | Outcome:
    """What else the device holds, empty if nothing is known; an outcome where it cannot be read."""
    try:
        descriptor = host.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            data = os.pread(descriptor, _READ, 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        return outcome_of(error.errno or errno.EIO)
    return next((each.what for each in MARKS if data[each.offset :].startswith(each.text)), "")
