"""One picture: heading, table, notes, none wider than the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plimsoll.status_view.fields import duration, number, text
from plimsoll.status_view.notes import notes
from plimsoll.status_view.pods import in_order, pods_table
from plimsoll.terminal import Colour, Style, cells, fit, paint, printable


def view(document: Mapping[str, Any], style: Style) -> list[str]:
    """The lines of one picture, none wider than ``style.width``."""
    pods = in_order(document)
    table, legend = pods_table(document, pods, style)
    lines = [_fit(_heading(document), style, Colour.BOLD), "", *table]
    if not pods:
        lines.append(_fit("no pods", style, Colour.DIM))
    lines.append("")
    for part in (legend, *notes(document, pods)):
        lines.extend(_wrap(part, style))
    return lines


def _heading(document: Mapping[str, Any]) -> str:
    parts = [f"Plimsoll {text(document.get('version'))} on {text(document.get('node'))}"]
    tick, uptime = number(document.get("tick")), number(document.get("uptimeSeconds"))
    if tick is not None:
        parts.append(f"observation {tick:.0f}")
    if uptime is not None:
        parts.append(f"up {duration(uptime)}")
    return ", ".join(parts)


def _fit(line: str, style: Style, colour: Colour = Colour.NONE) -> str:
    return paint(fit(printable(line, style), style.width, style).rstrip(), colour, style)


def _wrap(note: str, style: Style) -> Iterator[str]:
    """Break at blanks; what follows the first line is set in by two."""
    line = ""
    for word in printable(note, style).split(" "):
        longer = f"{line} {word}" if line.strip() else line + word
        if cells(longer) > style.width and line.strip():
            yield fit(line, style.width, style).rstrip()
            longer = f"  {word}"
        line = longer
    yield fit(line, style.width, style).rstrip()
