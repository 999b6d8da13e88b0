"""
What a cgroup and all below it have read from and written to each disk: ``io.stat``, on cgroup v1 blkio's own file.

Reads one cgroup at a time; what the figures mean for whom is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.model.disk import is_number

_V2, _V1 = "io.stat", "blkio.throttle.io_service_bytes_recursive"
_BYTES = ("rbytes=", "wbytes=")
_OPERATIONS = frozenset({"Read", "Write"})
# More digits than the kernel's 64 bits have are none of its figures.
_DIGITS = 20


class IoTraffic:
    """Of the cgroups of one host."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        blkio = hierarchies.v1.get("blkio")
        self._directory = hierarchies.directory("io") if blkio is None else blkio
        self._file = _V2 if blkio is None else _V1

    def read(self, path: str) -> Mapping[str, int] | None:
        """
        Bytes since the cgroup was made, by ``MAJOR:MINOR``; ``None`` where the kernel does not say.

        What goes through a device mapper is counted at the mapped device and once more at the disk below.
        """
        if self._directory is None:
            return None
        text = self._directory.read(f"{path}/{self._file}").text()
        if text is None:
            return None
        found: dict[str, int] = {}
        for number, size in _figures(text) if self._file == _V2 else _figures_v1(text):
            found[number] = found.get(number, 0) + size
        return found


def _figures(text: str) -> Iterator[tuple[str, int]]:
    # Word by word: some kernels leave out the end of the line behind a disk that has no figures.
    number = ""
    for word in text.split():
        if is_number(word):
            number = word
        elif number and word.startswith(_BYTES):
            yield number, _size(word.partition("=")[2])


def _figures_v1(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        words = line.split()
        # The last line is the sum of all, and has no disk.
        if len(words) == 3 and is_number(words[0]) and words[1] in _OPERATIONS:
            yield words[0], _size(words[2])


def _size(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else 0
