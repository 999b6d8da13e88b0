"""The pods of the document as a table: priority, memory, and a bar for each cause of pressure that somebody has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from plimsoll.model.pod import Priority
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, PSI_CAUSES, Source
from plimsoll.status_view.fields import UNKNOWN, mappings, number, size, text
from plimsoll.terminal import Cell, Colour, Column, Style, bar, table

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
_NONE = "-"


class _Share(NamedTuple):
    value: float | None
    derived: bool


def in_order(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pods, the most important first."""
    return sorted(mappings(document.get("pods")), key=_order)


def pods_table(
    document: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], style: Style
) -> tuple[Sequence[str], str]:
    """The lines of the table, the node's last, and its legend, which also names what the terminal has no room for."""
    node = _pressure(document.get("nodePressure"))
    everybody = [*(_pressure(pod.get("pressure")) for pod in pods), node]
    causes = [cause for cause in _TITLES if any(cause in each for each in everybody)]
    columns = [
        Column("pod", 20, 48),
        Column("priority", 8, 8),
        Column("memory", 9, 11, right=True),
        *(Column(_TITLES[cause], _BAR + _FIGURE + 1, _BAR + _FIGURE + 1, optional=True) for cause in causes),
    ]
    rows: list[Sequence[Cell]] = [_row(pod, causes, style) for pod in pods]
    bars = (_bar_cell(node.get(cause), style) for cause in causes)
    rows.append([Cell(_NODE), Cell(""), Cell(_node_memory(document)), *bars])
    shown = table(columns, rows, style)
    return shown.lines, _legend(shown.left_out, everybody)


def _legend(left_out: Sequence[str], everybody: Sequence[Mapping[str, _Share]]) -> str:
    legend = "bars: share of time in which a task waited (cfs, qos, irq: all tasks); (node): average of 10 s"
    if any(share.derived for each in everybody for share in each.values()):
        legend += "; ~ computed from other counters"
    if left_out:
        legend += f"; no room for {', '.join(left_out)}"
    return legend


def _row(pod: Mapping[str, Any], causes: Sequence[str], style: Style) -> list[Cell]:
    priority = _priority(pod)
    colour = _COLOURS.get(priority, Colour.NONE) if priority is not None else Colour.NONE
    pressures = _pressure(pod.get("pressure"))
    mark = " !" if mappings(pod.get("ignored")) else ""
    label = priority.value if priority is not None else UNKNOWN
    if pod.get("managed") is False:
        label = f"({label})"
    return [
        Cell(f"{text(pod.get('namespace'))}/{text(pod.get('name'))}{mark}", colour),
        Cell(label, colour),
        Cell(_memory(pod), Colour.NONE),
        *(_bar_cell(pressures.get(cause), style) for cause in causes),
    ]


def _bar_cell(share: _Share | None, style: Style) -> Cell:
    if share is None:
        return Cell(" " * _BAR + _NONE.rjust(_FIGURE + 1), Colour.DIM)
    if share.value is None:
        return Cell(" " * _BAR + UNKNOWN.rjust(_FIGURE + 1), Colour.DIM)
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
        found = number(line.get("rate"))
        found = number(line.get("avg10")) if found is None else found
    return _Share(found, view.get("source") == Source.DERIVED)


def _memory(pod: Mapping[str, Any]) -> str:
    if pod.get("state") != "found":
        return text(pod.get("state"))
    used, limit = number(pod.get("memoryBytes")), number(pod.get("memoryLimitBytes"))
    if used is None:
        return UNKNOWN
    return size(used) if limit is None else f"{size(used)}/{size(limit)}"


def _node_memory(document: Mapping[str, Any]) -> str:
    total, available = (number(document.get(f"memory{each}Bytes")) for each in ("Total", "Available"))
    if total is None:
        return ""
    used = UNKNOWN if available is None else size(total - available)
    return f"{used}/{size(total)}"


def _order(pod: Mapping[str, Any]) -> tuple[int, str, str]:
    priority = _priority(pod)
    return (-priority.rank if priority is not None else 1, text(pod.get("namespace")), text(pod.get("name")))


def _priority(pod: Mapping[str, Any]) -> Priority | None:
    value = pod.get("priority")
    return Priority(value) if isinstance(value, str) and value in set(Priority) else None
