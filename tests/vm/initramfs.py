"""The guest's initramfs: a busybox, the drivers of QEMU's virtio devices and guest/init.

Owns the archive's format and the drivers' order. Made here and not by initramfs-tools, which would generate one in the
guest for a quarter of a minute and bring a hundred files that QEMU's devices do not need.
"""

from __future__ import annotations

import lzma
import stat
from pathlib import Path

# What QEMU gives the guest, and what its root needs; a kernel may have some of them built in.
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "crc32c_generic", "ext4")
FOLDERS = ("bin", "dev", "modules", "proc", "root", "sys")


class InitramfsError(RuntimeError):
    """The kernel has no such driver."""


def initramfs(modules: Path, busybox: bytes, init: bytes) -> bytes:
    """
    The archive for the kernel whose modules lie in ``modules`` (``lib/modules/<version>``, with depmod's files).

    Raises InitramfsError for a driver that is neither there nor built in.
    """
    archive = Archive()
    for name in FOLDERS:
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox)
    archive.add("init", stat.S_IFREG | 0o755, init)
    order = load_order(modules)
    for path in order:
        data = (modules / path).read_bytes()
        archive.add(
            f"modules/{_name(path)}", stat.S_IFREG | 0o644, lzma.decompress(data) if path.endswith(".xz") else data
        )
    archive.add("modules/order", stat.S_IFREG | 0o644, "".join(f"{_name(path)}\n" for path in order).encode())
    return archive.close()


def load_order(modules: Path) -> list[str]:
    """Paths of the drivers' modules below ``modules``, each after those it needs."""
    needs = {
        path: rest.split()
        for path, _, rest in (line.partition(":") for line in (modules / "modules.dep").read_text().splitlines())
    }
    by_name = {_name(path): path for path in needs}
    built_in = {_name(line) for line in (modules / "modules.builtin").read_text().splitlines()}
    order: list[str] = []
    for driver in DRIVERS:
        if driver in built_in:
            continue
        if driver not in by_name:
            raise InitramfsError(f"{modules.name} has no driver {driver}")
        path = by_name[driver]
        # depmod names the nearest need first: the farthest is loaded first.
        order += [each for each in (*reversed(needs[path]), path) if each not in order]
    return order


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


class Archive:
    """A cpio archive of the kind the kernel unpacks ("newc")."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """Append one file, owned by root."""
        self._inode += 1
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device x4, length of the name, checksum (unused)
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % each for each in fields) + encoded
        self._pad()
        self._data += content
        self._pad()

    def close(self) -> bytes:
        """The whole archive."""
        self.add("TRAILER!!!", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
