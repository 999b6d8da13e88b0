"""The fields of a document from somebody else: checked before they are shown, and the spelling of their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "?"


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; anything else is left out."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def text(value: object) -> str:
    """A text that is not empty, :data:`UNKNOWN` for anything else."""
    return value if isinstance(value, str) and value else UNKNOWN


def number(value: object) -> float | None:
    """A number from 0 up to a size that can be shown, ``None`` for anything else."""
    # NaN is not between any bounds.
    return (
        float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18 else None
    )


def duration(seconds: float) -> str:
    """Seconds in the two largest units that they fill."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def size(value: float) -> str:
    """Bytes by powers of 1024, short enough for a column."""
    for unit in ("B", "K", "M"):
        if value < 1000:
            return f"{value:.0f}{unit}"
        value /= 1024
    return f"{value:.1f}G" if value < 100 else f"{value:.0f}G"
