"""A file with an ext4 file system of a folder's content: a disk for a guest. No loop device, no mount."""

from __future__ import annotations

from pathlib import Path

from tests.debian import run


def ext4(root: Path, target: Path, *, spare_mb: int = 0) -> None:
    """Write ``target``, sparse, with all of ``root`` and so much free space. Raises ImageError."""
    used = sum(path.lstat().st_size + 4096 for path in root.rglob("*"))
    size = used * 11 // 10 + (16 << 20) + (spare_mb << 20)
    with target.open("wb") as file:
        file.truncate(size - size % 4096)
    # No journal: every boot starts from the same bytes again.
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root), str(target)])
