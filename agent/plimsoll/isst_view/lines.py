"""What Speed Select says of a machine, as lines for a person. It must not know the data for programs."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence

from plimsoll.kernel.isst.spelling import format_core_power
from plimsoll.kernel.isst.state import PerfLevel, TurboRatioLimits
from plimsoll.kernel.isst.survey import DomainSurvey, Failure, Survey
from plimsoll.kernel.psi_support import Absence
from plimsoll.model.cpus import format_cpus
from plimsoll.terminal import Cell, Column, Style, table

_UNKNOWN = "?"
_NONE = "-"


def isst_lines(found: Survey | Absence, style: Style) -> Iterator[str]:
    """The machine by power domain (``PACKAGE/DOMAIN``), or the reason why there is no Speed Select, and its cure."""
    if isinstance(found, Absence):
        yield f"no Speed Select: {found.detail}"
        yield f"cure: {found.cure}"
        return
    units = sum(len(each.units) for each in found.domains)
    yield (
        f"Speed Select by {found.generation} (interface {found.info.api_version}, driver {found.info.driver_version}): "
        f"power domains: {len(found.domains)}, units: {units}"
    )
    for title, lines in (
        ("Performance levels (* current)", _levels(found, style)),
        ("Classes of service", _classes(found, style)),
        ("Turbo-freq: MHz of high-priority cores by instruction set", _turbo_freq(found, style)),
        ("Base-freq", _base_freq(found, style)),
        ("Turbo ratio limits", _limits(found.limits)),
        ("Not known", [_failure(each) for each in found.failures]),
    ):
        if lines:
            yield ""
            yield title
            yield from (f"  {line}" for line in lines)
    if found.unmapped:
        yield ""
        yield f"Not placed by the driver: CPUs {format_cpus(found.unmapped)}"


def _levels(found: Survey, style: Style) -> Sequence[str]:
    columns = ("domain", "level", "TDP W", "base MHz", "max MHz", "cores", "turbo-freq", "base-freq", "lock")
    rows = [
        [
            each.domain.name,
            f"{level.level}{'*' if each.levels.current == level.level else ''}",
            str(level.tdp),
            _listed(level.base),
            _text(level.highest),
            _UNKNOWN if level.cores is None else str(len(level.cores)),
            _feature(each, level, each.levels.turbo_freq, on=each.levels.turbo_freq_on),
            _feature(each, level, each.levels.base_freq, on=each.levels.base_freq_on),
            "locked" if each.levels.locked else "open",
        ]
        for each in found.domains
        if each.levels is not None
        for level in each.details
    ]
    return _table(columns, rows, style)


def _feature(domain: DomainSurvey, level: PerfLevel, having: frozenset[int], *, on: bool) -> str:
    if level.level not in having:
        return _NONE
    if domain.levels is None or domain.levels.current != level.level:
        return "can"
    return "on" if on else "off"


def _classes(found: Survey, style: Style) -> Sequence[str]:
    columns = ("domain", "core-power", "class", "prio", "min MHz", "max MHz", "EPP", "desired MHz", "CPUs")
    rows = [
        [
            each.domain.name,
            _core_power(each),
            str(clos),
            str(param.priority),
            str(param.minimum),
            "none" if param.maximum is None else str(param.maximum),
            _NONE if param.epp is None else str(param.epp),
            _NONE if param.desired is None else str(param.desired),
            str(len(each.members.get(clos, ()))),
        ]
        for each in found.domains
        for clos, param in sorted(each.classes.items())
    ]
    # Lists of CPUs are never cut: the terminal may break them.
    members = [
        f"{each.domain.name} class {clos}: CPUs {format_cpus(cpus)}"
        for each in found.domains
        for clos, cpus in each.members.items()
    ]
    return [*_table(columns, rows, style), *members]


def _core_power(each: DomainSurvey) -> str:
    if each.core_power is None:
        return _UNKNOWN
    return format_core_power(each.core_power) if each.core_power.supported else "none"


def _turbo_freq(found: Survey, style: Style) -> Sequence[str]:
    rows = [
        [
            each.domain.name,
            str(info.level),
            str(cores),
            _listed([row[bucket] for row in info.buckets.ratios]),
            _listed(info.low_priority),
        ]
        for each in found.domains
        for info in each.turbo_freq
        for bucket, cores in enumerate(info.buckets.cores)
    ]
    return _table(("domain", "level", "cores up to", "high-priority MHz", "others MHz"), rows, style)


def _base_freq(found: Survey, style: Style) -> Sequence[str]:
    rows = [
        [
            each.domain.name,
            str(info.level),
            str(info.high),
            str(info.low),
            _text(info.tdp),
            _UNKNOWN if info.cores is None else format_cpus(each.cpus_of(info.cores)),
        ]
        for each in found.domains
        for info in each.base_freq
    ]
    return _table(("domain", "level", "high MHz", "low MHz", "TDP W", "high CPUs"), rows, style)


def _limits(limits: Mapping[int, TurboRatioLimits]) -> list[str]:
    lines = []
    for package, each in sorted(limits.items()):
        counts = each.core_counts
        cores = "" if counts is None else f" with up to {_listed(counts)} cores"
        lines.append(f"package {package}: {_listed(each.megahertz)} MHz{cores} (0x{each.word:016x})")
    return lines


def _failure(each: Failure) -> str:
    code = errno.errorcode.get(each.errno, "")
    return f"{each.place} {each.what}: {each.outcome}{' ' if code else ''}{code}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> Sequence[str]:
    if not rows:
        return ()
    columns = [Column(title, len(title), style.width) for title in titles]
    inside = style._replace(width=style.width - 2)
    return table(columns, ([Cell(text) for text in row] for row in rows), inside).lines


def _listed(values: Sequence[int]) -> str:
    return "/".join(str(value) for value in values) or _UNKNOWN


def _text(value: int | None) -> str:
    return _UNKNOWN if value is None else str(value)
