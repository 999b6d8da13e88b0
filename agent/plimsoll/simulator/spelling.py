"""
The kernel's spellings of changing files, each of one length for life: numbers are filled up with leading zeros.

That is the one liberty taken (``simulator/tree.py`` says why); order, keys and punctuation are the kernel's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.model.pressure import PressureLine
from plimsoll.simulator.psi import PsiGroup

_WIDTH = 16  # bytes, nanoseconds and events of years
# 100.00 three times and ten million seconds of microseconds; the parsers take totals of up to 19 digits.
_LINE = len("full avg10=100.00 avg60=100.00 avg300=100.00 total=") + 13


def number(value: float) -> str:
    """A file of one number."""
    return f"{int(value):0{_WIDTH}d}\n"


def keyed(values: Mapping[str, float]) -> str:
    """Lines of ``key number``."""
    return "".join(f"{key} {number(value)}" for key, value in values.items())


# The node's one disk, as virtio numbers it.
_DISK = "253:0"


def io_stat(size: float) -> str:
    """``io.stat`` of a cgroup that has read so many bytes and written none."""
    return f"{_DISK} rbytes={int(size):0{_WIDTH}d} wbytes=0 rios={int(size / 4096):0{_WIDTH}d} wios=0 dbytes=0 dios=0\n"


def service_bytes(size: float) -> str:
    """The same on cgroup v1: ``blkio.throttle.io_service_bytes_recursive``."""
    read = f"{int(size):0{_WIDTH}d}"
    figures = {"Read": read, "Write": "0", "Sync": read, "Async": "0", "Discard": "0", "Total": read}
    return "".join(f"{_DISK} {name} {figure}\n" for name, figure in figures.items()) + f"Total {read}\n"


def psi_line(degree: str, line: PressureLine) -> str:
    averages = " ".join(
        f"{name}={(value or 0) // 100}.{(value or 0) % 100:02d}"
        for name, value in (("avg10", line.avg10), ("avg60", line.avg60), ("avg300", line.avg300))
    )
    head = f"{degree} {averages} total="
    return f"{head}{line.total_us:0{_LINE - len(head)}d}\n"


def psi(group: PsiGroup, cause: str) -> str:
    """A ``*.pressure`` file: ``some`` where there is one, then ``full``."""
    some, full = group.lines(cause)
    return ("" if some is None else psi_line("some", some)) + psi_line("full", full)


def pressure_stat(group: PsiGroup, causes: Iterable[str]) -> str:
    """A ``pressure.stat`` file of these causes."""
    return "".join(f"{cause}\n{psi(group, cause)}" for cause in causes)


def meminfo(values: Mapping[str, int]) -> str:
    """``/proc/meminfo`` of ``values`` in bytes: the kernel itself fills these up with blanks."""
    return "".join(f"{key + ':':<15} {value // 1024:>8} kB\n" for key, value in values.items())


def stat(cpus: int, busy_seconds: float, up_seconds: float) -> str:
    """``/proc/stat``: the CPUs are alike. Ticks are hundredths of a second."""

    def line(name: str, count: int) -> str:
        busy = int(busy_seconds * 100 * count / cpus)
        idle = max(0, int(up_seconds * 100 * count) - busy)
        return f"{name} {busy:012d} 0 0 {idle:012d} 0 0 0 0 0 0\n"

    return line("cpu ", cpus) + "".join(line(f"cpu{each}", 1) for each in range(cpus)) + "intr 0\nctxt 0\n"
