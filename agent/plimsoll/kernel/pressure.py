"""
The text of pressure files: ``*.pressure`` (PSI) and ``pressure.stat`` (openEuler), parsed and formatted.

Only text is handled here; who reads which file is ``kernel/batch.py``'s and ``kernel/proc.py``'s business. What is not
in the text is absent, never zero; what is torn is an error, never a smaller number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from plimsoll.model.pressure import Pressure, PressureLine, Source

# Format of the kernel: seq_printf "%s avg10=%lu.%02lu avg60=%lu.%02lu avg300=%lu.%02lu total=%llu\n" (psi.c, psi_show).
_LINE = re.compile(
    r"(some|full) avg10=(\d{1,9})\.(\d\d) avg60=(\d{1,9})\.(\d\d) avg300=(\d{1,9})\.(\d\d) total=(\d{1,19})", re.ASCII
)
_SECTION = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
# The kernel prints seven sections; a later one may have more, but not any number.
MAX_SECTIONS = 32
MAX_TOTAL = (1 << 63) - 1

Lines = tuple[PressureLine | None, PressureLine | None]


def parse_line(line: str) -> tuple[str, PressureLine]:
    """Parse one ``some``/``full`` line to its degree and figures. Raises ValueError for anything else."""
    match = _LINE.fullmatch(line.rstrip(" "))
    if match is None:
        raise ValueError(f"not a pressure line: {line[:80]!r}")
    degree, *figures = match.groups()
    whole10, part10, whole60, part60, whole300, part300, total = (int(figure) for figure in figures)
    if total > MAX_TOTAL:
        raise ValueError(f"total out of range: {line[:80]!r}")
    return degree, PressureLine(whole10 * 100 + part10, whole60 * 100 + part60, whole300 * 100 + part300, total)


def _lines(text: str) -> list[str]:
    if not text:
        raise ValueError("empty pressure file")
    # The kernel ends every line; one that is not ended was cut off and its number may be too.
    if not text.endswith("\n"):
        raise ValueError("pressure file ends within a line")
    return text[:-1].split("\n")


def parse_psi(text: str) -> Lines:
    """
    Parse a ``*.pressure`` file to (some, full).

    Either may be missing: old kernels have no ``full`` for cpu, ``irq.pressure`` has no ``some``. Raises ValueError.
    """
    found: dict[str, PressureLine] = {}
    for line in _lines(text):
        degree, figures = parse_line(line)
        if degree in found:
            raise ValueError(f"{degree} stands twice")
        found[degree] = figures
    return found.get("some"), found.get("full")


def parse_pressure_stat(text: str) -> tuple[Pressure, ...]:
    """
    Parse ``pressure.stat`` in the order of the kernel.

    A section is its bare name on a line, then one or two pressure lines. Sections a kernel leaves out are absent; names
    unknown to us are passed on as they are. Raises ValueError.
    """
    sections: dict[str, dict[str, PressureLine]] = {}
    current: dict[str, PressureLine] | None = None
    for line in _lines(text):
        if line.startswith(("some ", "full ")):
            degree, figures = parse_line(line)
            if current is None:
                raise ValueError("a pressure line stands before the first section")
            if degree in current:
                raise ValueError(f"{degree} stands twice in one section")
            current[degree] = figures
            continue
        name = line.rstrip(" ")
        if _SECTION.fullmatch(name) is None:
            raise ValueError(f"not a section name: {line[:80]!r}")
        if name in sections:
            raise ValueError(f"section {name} stands twice")
        if len(sections) == MAX_SECTIONS:
            raise ValueError(f"more than {MAX_SECTIONS} sections")
        current = sections[name] = {}
    if not all(sections.values()):
        raise ValueError("a section has no pressure line")
    return tuple(
        Pressure(name, Source.PRESSURE_STAT, lines.get("some"), lines.get("full")) for name, lines in sections.items()
    )


def format_line(degree: str, line: PressureLine) -> str:
    """The kernel's spelling of one line, without the newline; a line without averages has no such spelling."""
    if line.avg10 is None or line.avg60 is None or line.avg300 is None:
        raise ValueError("a pressure line of the kernel always has its averages")
    averages = " ".join(
        f"{name}={value // 100}.{value % 100:02d}"
        for name, value in (("avg10", line.avg10), ("avg60", line.avg60), ("avg300", line.avg300))
    )
    return f"{degree} {averages} total={line.total_us}"


def format_psi(some: PressureLine | None, full: PressureLine | None) -> str:
    """The text of a ``*.pressure`` file."""
    lines = (("some", some), ("full", full))
    return "".join(f"{format_line(degree, line)}\n" for degree, line in lines if line is not None)


def format_pressure_stat(pressures: Iterable[Pressure]) -> str:
    """The text of a ``pressure.stat`` file."""
    return "".join(f"{each.cause}\n{format_psi(each.some, each.full)}" for each in pressures)
