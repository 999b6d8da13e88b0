"""What mkswap writes, and ``/proc/swaps``: swap devices for tests, as files."""

from __future__ import annotations

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
