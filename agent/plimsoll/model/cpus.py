"""Sets of CPUs in the kernel's spelling: ``0-3,8``. It must not know which CPUs there are."""

from __future__ import annotations

import re
from collections.abc import Iterable

CpuSet = frozenset[int]

# A kernel is built for at most 8,192 CPUs; a longer list is no list of CPUs.
MAX_CPUS = 8192
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)


def parse_cpus(text: str) -> CpuSet:
    """The CPUs of a list as cpuset and sysfs print it; empty text is no CPU. Raises ValueError."""
    found: set[int] = set()
    stripped = text.strip()
    for part in stripped.split(",") if stripped else ():
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"not a list of CPUs: {text[:80]!r}")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or last >= MAX_CPUS:
            raise ValueError(f"not a list of CPUs: {text[:80]!r}")
        found.update(range(first, last + 1))
    return frozenset(found)


def format_cpus(cpus: Iterable[int]) -> str:
    """The shortest spelling, as the kernel prints it; no CPU is empty text."""
    parts: list[str] = []
    ordered = sorted(set(cpus))
    begin = 0
    for index, cpu in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1] == cpu + 1:
            continue
        first = ordered[begin]
        parts.append(str(first) if first == cpu else f"{first}-{cpu}")
        begin = index + 1
    return ",".join(parts)
