"""
The node's own figures from ``/proc``: pressure, memory, swap devices, CPUs, and which boot of which kernel this is.

Reads and parses; keeps nothing between calls and must not judge. What a kernel does not print is ``None``, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.pressure import parse_pressure_stat, parse_psi
from plimsoll.model.outcome import Outcome
from plimsoll.model.pressure import PSI_CAUSES, Pressure, Source

PRESSURE_DIRECTORY = "proc/pressure"
_KIB = 1024
_MEMINFO = re.compile(r"^(\w+):\s+(\d+) kB$", re.ASCII | re.MULTILINE)
_SWAPPED = re.compile(r"^(pswpin|pswpout) (\d+)$", re.ASCII | re.MULTILINE)
_IN_AND_OUT = 2
_CPU_LINE = re.compile(r"^cpu\d+ ", re.ASCII | re.MULTILINE)
_BLANK = re.compile(r"[ \t]+", re.ASCII)
# /proc/swaps writes space, tab, newline and backslash of a path as octal.
_OCTAL = re.compile(r"\\([0-7]{3})", re.ASCII)


class NodePressure(NamedTuple):
    """The node's pressures, and per file name (``cpu`` ... ``irq``, ``stat``) what reading it came to."""

    pressures: tuple[Pressure, ...]
    outcomes: Mapping[str, Outcome]


class Meminfo(NamedTuple):
    """Bytes; ``None`` where this kernel does not print the line (``MemAvailable``: before 3.14)."""

    total: int | None = None
    available: int | None = None
    swap_total: int | None = None
    swap_free: int | None = None
    swap_cached: int | None = None


class Swap(NamedTuple):
    """One line of ``/proc/swaps``; ``size`` and ``used`` in bytes, ``kind`` is ``partition`` or ``file``."""

    path: str
    kind: str
    size: int
    used: int
    priority: int


def read_pressure(host: HostFs) -> NodePressure:
    """
    The node-wide pressures: the four resources, and openEuler's causes where ``/proc/pressure/stat`` is.

    The node has no cpu ``full``: some task always runs while CPU is what is short. Kernels from 5.13 print it as zeros
    so that parsers do not stumble (Documentation/accounting/psi.rst); it is dropped here.
    """
    pressures: list[Pressure] = []
    outcomes: dict[str, Outcome] = {}
    for name in (*PSI_CAUSES, "stat"):
        reading = host.read(f"{PRESSURE_DIRECTORY}/{name}")
        text, outcomes[name] = reading.text(), reading.outcome
        if text is None:
            continue
        try:
            pressures.extend(parse_pressure_stat(text) if name == "stat" else _psi(name, text))
        except ValueError:
            outcomes[name] = Outcome.MALFORMED
    return NodePressure(tuple(pressures), outcomes)


def _psi(cause: str, text: str) -> tuple[Pressure, ...]:
    some, full = parse_psi(text)
    if cause == "cpu":
        full = None
    return (Pressure(cause, Source.PSI, some, full),) if some is not None or full is not None else ()


def parse_meminfo(text: str) -> Meminfo:
    """``/proc/meminfo``; its ``kB`` are KiB."""
    found = {key: int(value) * _KIB for key, value in _MEMINFO.findall(text)}
    return Meminfo(
        found.get("MemTotal"),
        found.get("MemAvailable"),
        found.get("SwapTotal"),
        found.get("SwapFree"),
        found.get("SwapCached"),
    )


def read_meminfo(host: HostFs) -> Meminfo:
    """The node's memory; every field ``None`` when the file cannot be read."""
    return parse_meminfo(host.read("proc/meminfo").text() or "")


def read_swapped(host: HostFs) -> tuple[int, int] | None:
    """Pages read from and written to swap since boot, on whatever device; what zswap took is not among them."""
    text = host.read("proc/vmstat").text() or ""
    found = {key: int(value) for key, value in _SWAPPED.findall(text)}
    return (found["pswpin"], found["pswpout"]) if len(found) == _IN_AND_OUT else None


def parse_cpu_count(text: str) -> int | None:
    """The online CPUs: ``/proc/stat`` has one ``cpuN`` line for each."""
    return len(_CPU_LINE.findall(text)) or None


def read_cpu_count(host: HostFs) -> int | None:
    return parse_cpu_count(host.read("proc/stat").text() or "")


def parse_swaps(text: str) -> tuple[Swap, ...]:
    """``/proc/swaps`` without its heading; lines of another shape are left out."""
    swaps = []
    for line in text.split("\n")[1:]:
        fields = _BLANK.split(line.rstrip())
        # A device removed while in use carries the extra word `(deleted)` before its kind.
        if len(fields) < 5 or not all(_integer(field) for field in fields[-3:]):
            continue
        size, used, priority = (int(field) for field in fields[-3:])
        path = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[0])
        swaps.append(Swap(path, fields[-4], size * _KIB, used * _KIB, priority))
    return tuple(swaps)


def read_swaps(host: HostFs) -> tuple[Swap, ...] | None:
    """The active swap devices; empty when there are none, ``None`` when that cannot be known."""
    text = host.read("proc/swaps").text()
    return None if text is None else parse_swaps(text)


def read_os_release(host: HostFs) -> str | None:
    """The running kernel's release, as ``uname -r`` prints it."""
    return _line(host, "proc/sys/kernel/osrelease")


def read_boot_id(host: HostFs) -> str | None:
    """A random UUID of this boot: what was written before another boot is void."""
    return _line(host, "proc/sys/kernel/random/boot_id")


def read_command_line(host: HostFs) -> tuple[str, ...] | None:
    """The kernel's boot arguments."""
    text = host.read("proc/cmdline").text()
    return None if text is None else tuple(text.split())


def _line(host: HostFs, path: str) -> str | None:
    text = host.read(path).text()
    return (text.strip() or None) if text is not None else None


def _integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()
