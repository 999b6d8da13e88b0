"""
A guest whose CPUs have frequencies, so that the kernel's own acpi-cpufreq driver sets them.

QEMU's firmware tells nothing of performance states. An ACPI table given to it does: _PCT, _PSS, _PSD and _PPC of each
CPU, with QEMU's test device as the register the driver writes a state to. Owns the table's bytes and QEMU's options. No
clock follows what is written there; everything else, limits, governors, heat and hotplug, is the kernel's.
"""

from __future__ import annotations

import struct
from pathlib import Path

# A port of four bytes that reads back what was written there (hw/misc/pc-testdev.c).
_PORT = 0xE0
_SYSTEM_IO = 1
_HARDWARE_COORDINATED = 0xFE
# Any Intel of ACPI's time that intel_pstate does not know: it would be there first.
_PROCESSOR = "max,vendor=GenuineIntel,family=6,model=26,stepping=5"

MHZ = (2900, 2400, 2000, 1600, 1200, 800)
"""The states, the fastest first."""
DRIVER = "acpi-cpufreq"


def processor(folder: Path, packages: int = 2, cores: int = 2, threads: int = 2) -> tuple[str, ...]:
    """QEMU's options for so many packages of so many cores; the table is put into ``folder``."""
    table = folder / "performance-states.aml"
    cpus = packages * cores * threads
    table.write_bytes(ssdt(cpus))
    topology = ("-smp", f"{cpus},sockets={packages},cores={cores},threads={threads}")
    return "-cpu", _PROCESSOR, *topology, "-acpitable", f"file={table}", "-device", "pc-testdev"


def ssdt(cpus: int) -> bytes:
    """The table; QEMU calls its CPUs ``\\_SB.CPUS.C000`` and so on."""
    body = b"".join(_cpu(number) for number in range(cpus))
    header = struct.pack("<4sIBB6s8sI4sI", b"SSDT", 36 + len(body), 2, 0, b"PLIMSL", b"CPUFREQ ", 1, b"PLIM", 1)
    table = bytearray(header + body)
    # All bytes of a table add up to 0.
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def _cpu(number: int) -> bytes:
    # Generic Register Descriptor: system I/O, 32 bits.
    register = _buffer(struct.pack("<BHBBBBQ", 0x82, 12, _SYSTEM_IO, 32, 0, 0, _PORT) + b"\x79\x00")
    # MHz, mW, latency and bus master latency in us, what to write for it, what is read then.
    states = [_package(*map(_integer, (mhz, 10 * mhz, 10, 10, index, index))) for index, mhz in enumerate(MHZ, start=1)]
    # Each CPU is a domain of its own: entries, revision, domain, coordination, CPUs.
    domain = _package(*map(_integer, (5, 0, number, _HARDWARE_COORDINATED, 1)))
    named = {
        "_PCT": _package(register, register),
        "_PSS": _package(*states),
        "_PSD": _package(domain),
        "_PPC": _integer(0),
    }
    names = b"".join(b"\x08" + name.encode("ascii") + value for name, value in named.items())
    # Scope (\_SB.CPUS.Cnnn)
    return b"\x10" + _sized(b"\\\x2f\x03" + f"_SB_CPUSC{number:03X}".encode("ascii") + names)


def _sized(content: bytes) -> bytes:
    """With a PkgLength before it, which counts itself."""
    if len(content) + 1 < 1 << 6:
        return bytes([len(content) + 1]) + content
    extra = 1 if len(content) + 2 < 1 << 12 else 2
    total = len(content) + 1 + extra
    return bytes([extra << 6 | total & 0xF]) + (total >> 4).to_bytes(extra, "little") + content


def _package(*elements: bytes) -> bytes:
    return b"\x12" + _sized(bytes([len(elements)]) + b"".join(elements))


def _buffer(data: bytes) -> bytes:
    return b"\x11" + _sized(_integer(len(data)) + data)


def _integer(value: int) -> bytes:
    if value < 2:
        return bytes([value])
    return b"\x0a" + bytes([value]) if value < 1 << 8 else b"\x0b" + struct.pack("<H", value)
