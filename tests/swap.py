"""What mkswap writes, and ``/proc/swaps``: swap devices for tests, as files."""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PAGES = 64
ONE = "5f0c6f0e-1d53-4f4b-9d0e-0a8c3b1d2e4f"
OTHER = "11111111-2222-4333-8444-555555555555"
HEADING = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def header(uuid: str = ONE, label: str = "", *, version: int = 1, magic: bytes = b"SWAPSPACE2") -> bytes:
    """The first page of a swap device, as mkswap(8) makes it."""
    page = bytearray(PAGE)
    struct.pack_into("=III16s16s", page, 1024, version, PAGES - 1, 0, UUID(uuid).bytes, label.encode())
    page[-len(magic) :] = magic
    return bytes(page)


def make(root: Path, path: str, content: bytes) -> None:
    """A device of :data:`PAGES` pages below ``root`` whose first page is ``content``."""
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(content.ljust(PAGES * PAGE, b"\0"))


def swaps(root: Path, *lines: tuple[str, str, int, int]) -> None:
    """``/proc/swaps``: path, kind, and size and used in KiB."""
    text = "".join(f"{path}\t{kind}\t\t{size}\t\t{used}\t\t-2\n" for path, kind, size, used in lines)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/swaps").write_text(HEADING + text, encoding="ascii")


class SwapKernel:
    """
    Turns one device below ``root`` on and off, as the kernel does: ``/proc/swaps`` shows it.

    ``used``: MiB it holds while it is on, of which one call brings back at most ``slice_mib``. ``calls``: the flags of
    each, ``None`` for swapoff. ``code``: what to answer instead.
    """

    def __init__(self, root: Path, path: str = "/swapfile", *, used: int = 0, slice_mib: int = 1 << 20) -> None:
        self.root = root
        self.path = path
        self.used = used
        self.slice_mib = slice_mib
        self.calls: list[int | None] = []
        self.code = 0
        self.priority: int | None = None

    def show(self, priority: int | None = None) -> None:
        """On, with this priority (the kernel's own where there is none)."""
        self.priority = priority
        lines = f"{self.path}\tfile\t\t{1 << 20}\t\t{self.used << 10}\t\t{-2 if priority is None else priority}\n"
        (self.root / "proc").mkdir(exist_ok=True)
        (self.root / "proc/swaps").write_text(HEADING + lines, encoding="ascii")

    def __call__(self, descriptor: int, flags: int | None) -> int:
        assert os.fstat(descriptor).st_ino == (self.root / self.path.lstrip("/")).stat().st_ino
        self.calls.append(flags)
        if self.code:
            return self.code
        if flags is not None:
            self.used = 0
            self.show(flags & 0x7FFF if flags & 0x8000 else None)
            return 0
        self.used -= min(self.used, self.slice_mib)
        if self.used:
            self.show(self.priority)
            return errno.EINTR
        swaps(self.root)
        return 0
