"""The node's disks and how much of one a pod may have. Nothing here knows files or who asked."""

from __future__ import annotations

import re
from typing import NamedTuple

# The kernel keeps each of the four in 64 bits; it prints one that is as large as ``max``.
MOST = (1 << 63) - 1
_FIELDS = ("rbps", "wbps", "riops", "wiops")
_NUMBER = re.compile(r"[0-9]{1,4}:[0-9]{1,7}", re.ASCII)


class Disk(NamedTuple):
    """
    A whole block device: ``number`` as ``MAJOR:MINOR``, ``names`` below /dev (``sda``, ``mapper/data``).

    ``parts`` are the names of its partitions. ``system``: it carries the node's root file system, or the kubelet's.
    """

    number: str
    names: tuple[str, ...]
    parts: tuple[str, ...] = ()
    system: bool = False


class IoRate(NamedTuple):
    """At most so many bytes and requests per second, read and written; ``None``: as many as there are."""

    rbps: int | None = None
    wbps: int | None = None
    riops: int | None = None
    wiops: int | None = None

    @classmethod
    def parse(cls, text: str) -> IoRate:
        """The part of a line of ``io.max`` behind the number. Raises ValueError."""
        found: dict[str, int | None] = {}
        for word in text.split():
            name, separator, value = word.partition("=")
            if name not in _FIELDS or not separator or name in found:
                raise ValueError(f"not a field of io.max: {word[:40]!r}")
            if value != "max" and not (value.isascii() and value.isdigit() and len(value) <= 20):
                raise ValueError(f"not a rate: {word[:40]!r}")
            found[name] = None if value == "max" else int(value)
        return cls(**found)

    def __str__(self) -> str:
        """As the kernel prints it: ``rbps=max wbps=1048576 riops=max wiops=max``."""
        return " ".join(
            f"{name}={'max' if value is None else value}" for name, value in zip(_FIELDS, self, strict=True)
        )


class IoLimit(NamedTuple):
    """A pod's share of one disk, which is named as its owner did: a path in /dev or ``MAJOR:MINOR``."""

    device: str
    rate: IoRate


def is_number(text: str) -> bool:
    """Whether this is a ``MAJOR:MINOR``."""
    return _NUMBER.fullmatch(text) is not None
