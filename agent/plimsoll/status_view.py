"""
What ``/status.json`` says, as lines for a terminal: pods by priority with their pressure, and what is missing.

Pure: plain data in, lines out. The data came over HTTP, so every field is checked before it is shown; what is missing
or of another kind is shown as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from plimsoll.model.acting import Mode, Status
from plimsoll.model.pod import Priority
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, PSI_CAUSES, Source
from plimsoll.terminal import Cell, Colour, Column, Style, bar, cells, fit, paint, printable, table

# The causes in the order a narrow terminal keeps them, and words short enough to stand over a column.
_TITLES = {
    "cpu": "cpu",
    "memory": "memory",
    "io": "io",
    "swap": "swap",
    "cpu_cfs_bandwidth": "cfs",
    "cpu_qos": "qos",
    "cgroup_memory_reclaim": "reclaim",
    "global_memory_reclaim": "global",
    "compact": "compact",
    "cgroup_async_memory_reclaim": "async",
    "irq": "irq",
}
_BAR = 3
_FIGURE = 4
_FELT, _HURTS = 0.05, 0.25
_COLOURS = {Priority.HIGH: Colour.BOLD, Priority.LOW: Colour.DIM}
_NODE = "(node)"
_UNKNOWN = "?"
_NONE = "-"


class _Share(NamedTuple):
    value: float | None
    derived: bool


def view(document: Mapping[str, Any], style: Style) -> list[str]:
    """The lines of one picture, none wider than ``style.width``."""
    lines = [_fit(_heading(document), style, Colour.BOLD), ""]
    pods = sorted(_mappings(document.get("pods")), key=_order)
    node = document.get("nodePressure")
    everybody = [*(_pressure(pod.get("pressure")) for pod in pods), _pressure(node)]
    causes = [cause for cause in _TITLES if any(cause in each for each in everybody)]
    columns = [
        Column("pod", 20, 48),
        Column("priority", 8, 8),
        Column("memory", 9, 11, right=True),
        *(Column(_TITLES[cause], _BAR + _FIGURE + 1, _BAR + _FIGURE + 1, optional=True) for cause in causes),
    ]
    rows: list[Sequence[Cell]] = [_row(pod, causes, style) for pod in pods]
    rows.append(
        [
            Cell(_NODE),
            Cell(""),
            Cell(_node_memory(document)),
            *(_bar_cell(_pressure(node).get(cause), style) for cause in causes),
        ]
    )
    shown = table(columns, rows, style)
    lines.extend(shown.lines)
    if not pods:
        lines.append(_fit("no pods", style, Colour.DIM))
    lines.append("")
    for part in (_legend(shown.left_out, everybody), *_notes(document, pods)):
        lines.extend(_wrap(part, style))
    return lines


def _legend(left_out: Sequence[str], everybody: Sequence[Mapping[str, _Share]]) -> str:
    text = "bars: share of time in which a task waited (cfs, qos, irq: all tasks); (node): average of 10 s"
    if any(share.derived for each in everybody for share in each.values()):
        text += "; ~ computed from other counters"
    if left_out:
        text += f"; no room for {', '.join(left_out)}"
    return text


def _heading(document: Mapping[str, Any]) -> str:
    parts = [f"Plimsoll {_text(document.get('version'))} on {_text(document.get('node'))}"]
    tick, uptime = _number(document.get("tick")), _number(document.get("uptimeSeconds"))
    if tick is not None:
        parts.append(f"observation {tick:.0f}")
    if uptime is not None:
        parts.append(f"up {_duration(uptime)}")
    return ", ".join(parts)


def _row(pod: Mapping[str, Any], causes: Sequence[str], style: Style) -> list[Cell]:
    priority = _priority(pod)
    colour = _COLOURS.get(priority, Colour.NONE) if priority is not None else Colour.NONE
    pressures = _pressure(pod.get("pressure"))
    mark = " !" if _mappings(pod.get("ignored")) else ""
    label = priority.value if priority is not None else _UNKNOWN
    if pod.get("managed") is False:
        label = f"({label})"
    return [
        Cell(f"{_text(pod.get('namespace'))}/{_text(pod.get('name'))}{mark}", colour),
        Cell(label, colour),
        Cell(_memory(pod), Colour.NONE),
        *(_bar_cell(pressures.get(cause), style) for cause in causes),
    ]


def _bar_cell(share: _Share | None, style: Style) -> Cell:
    if share is None:
        return Cell(" " * _BAR + _NONE.rjust(_FIGURE + 1), Colour.DIM)
    if share.value is None:
        return Cell(" " * _BAR + _UNKNOWN.rjust(_FIGURE + 1), Colour.DIM)
    colour = Colour.RED if share.value >= _HURTS else Colour.YELLOW if share.value >= _FELT else Colour.GREEN
    # Two readings are never taken at quite the same moments, so a share of time can come out above one. A computed one
    # can be really larger: it is summed over CPUs.
    value = min(share.value, 9.99 if share.derived else 1.0)
    figure = f"{value:.0%}" if value == 0 or value >= 0.005 else "<1%"
    figure = f"~{figure}" if share.derived else figure
    return Cell(bar(share.value, _BAR, style) + figure.rjust(_FIGURE + 1), colour if share.value else Colour.NONE)


def _pressure(value: object) -> dict[str, _Share]:
    if not isinstance(value, Mapping):
        return {}
    known = (*PSI_CAUSES, *PRESSURE_STAT_CAUSES)
    return {cause: _share(value[cause]) for cause in known if isinstance(value.get(cause), Mapping)}


def _share(view: Mapping[str, Any]) -> _Share:
    """What was lost since the last observation; the kernel's own 10 s average where that is not known."""
    line = view.get("some") if isinstance(view.get("some"), Mapping) else view.get("full")
    found = None
    if isinstance(line, Mapping):
        found = _number(line.get("rate"))
        found = _number(line.get("avg10")) if found is None else found
    return _Share(found, view.get("source") == Source.DERIVED)


def _memory(pod: Mapping[str, Any]) -> str:
    if pod.get("state") != "found":
        return _text(pod.get("state"))
    used, limit = _number(pod.get("memoryBytes")), _number(pod.get("memoryLimitBytes"))
    if used is None:
        return _UNKNOWN
    return _bytes(used) if limit is None else f"{_bytes(used)}/{_bytes(limit)}"


def _node_memory(document: Mapping[str, Any]) -> str:
    total, available = (_number(document.get(f"memory{each}Bytes")) for each in ("Total", "Available"))
    if total is None:
        return ""
    used = _UNKNOWN if available is None else _bytes(total - available)
    return f"{used}/{_bytes(total)}"


def _notes(document: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    sources = []
    for each in _mappings(document.get("sources")):
        age = _number(each.get("ageSeconds"))
        state = "good" if each.get("ok") is True else f"NOT GOOD ({_text(each.get('detail'))})"
        sources.append(f"{_text(each.get('name'))} {state}, {_UNKNOWN if age is None else _duration(age)} old")
    if sources:
        yield f"sources: {'; '.join(sources)}"
    for name in ("config", "tls"):
        section = document.get(name)
        if isinstance(section, Mapping) and section.get("reloadOk") is False:
            problems = section.get("problems")
            details = "; ".join(_text(each) for each in problems) if isinstance(problems, list) else ""
            yield f"{name}: NOT TAKEN, the last good one is in force: {details}"
    yield from _acting(document)
    for each in _mappings(document.get("capabilities")):
        if each.get("available") is False:
            yield f"missing: {_text(each.get('name'))} ({_text(each.get('reason'))}): {_text(each.get('detail'))}"
    for pod in pods:
        for each in _mappings(pod.get("ignored")):
            where = f"{_text(pod.get('namespace'))}/{_text(pod.get('name'))}"
            yield f"ignored: {where}: {_text(each.get('key'))}: {_text(each.get('message'))}"
    for each in _mappings(document.get("unreadable")):
        yield f"left out: {_text(each.get('pod'))}: {_text(each.get('message'))}"


def _acting(document: Mapping[str, Any]) -> Iterator[str]:
    """A line for each policy, and one for each thing that keeps them from acting."""
    for each in _mappings(document.get("policies")):
        yield _policy(each)
    acting = document.get("acting")
    if not isinstance(acting, Mapping):
        return
    if acting.get("journalOk") is False:
        yield f"journal: NOT WRITABLE ({_text(acting.get('journal'))}), no knob is touched for the first time"
    for each in _mappings(acting.get("disabled")):
        yield f"knob: {_text(each.get('knob'))} GIVEN UP for now ({_text(each.get('errno'))})"
    if stuck := _number(acting.get("stuckSeconds")):
        yield f"writes: STUCK for {_duration(stuck)}"
    if lost := _number(acting.get("auditLinesLost")):
        yield f"audit: {lost:.0f} lines LOST"


def _policy(policy: Mapping[str, Any]) -> str:
    mode, status = policy.get("mode"), policy.get("status")
    line = f"policy: {_text(policy.get('policy'))}: {_text(mode)}"
    if mode == Mode.OFF:
        return line
    wants, would = _number(policy.get("writes")), _number(policy.get("wouldChange"))
    if wants is not None:
        line += f", wants {wants:.0f} values"
    if would is not None:
        line += f", would change {would:.0f} now"
    if status != Status.OK:
        name = _text(status)
        line += f", {name.upper() if name == Status.SKIPPED else name} ({_text(policy.get('reason'))})"
        line += f": {_text(policy.get('detail'))}"
    return line


def _order(pod: Mapping[str, Any]) -> tuple[int, str, str]:
    priority = _priority(pod)
    return (-priority.rank if priority is not None else 1, _text(pod.get("namespace")), _text(pod.get("name")))


def _priority(pod: Mapping[str, Any]) -> Priority | None:
    value = pod.get("priority")
    return Priority(value) if isinstance(value, str) and value in set(Priority) else None


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) and value else _UNKNOWN


def _number(value: object) -> float | None:
    # NaN is not between any bounds.
    return (
        float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18 else None
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _bytes(value: float) -> str:
    for unit in ("B", "K", "M"):
        if value < 1000:
            return f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}G" if value < 100 else f"{value:.0f}G"


def _fit(text: str, style: Style, colour: Colour = Colour.NONE) -> str:
    return paint(fit(printable(text, style), style.width, style).rstrip(), colour, style)


def _wrap(text: str, style: Style) -> Iterator[str]:
    """Break at blanks; what follows the first line is set in by two."""
    line = ""
    for word in printable(text, style).split(" "):
        longer = f"{line} {word}" if line.strip() else line + word
        if cells(longer) > style.width and line.strip():
            yield fit(line, style.width, style).rstrip()
            longer = f"  {word}"
        line = longer
    yield fit(line, style.width, style).rstrip()
