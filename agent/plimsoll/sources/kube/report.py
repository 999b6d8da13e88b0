"""What is known of this node's pods at one moment: the value that the background thread hands to the daemon's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll.model.pod import PodObject
from plimsoll.sources.kube.table import Poison

NAME = "api-server"
"""The name of the source, in metrics and logs."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known now. ``good``: when the known set was last confirmed, by the clock; ``None``: never."""

    objects: tuple[PodObject, ...] = ()
    poison: tuple[Poison, ...] = ()
    ok: bool = False
    complete: bool = False
    good: float | None = None
    detail: str = "the API server has not answered yet"
    errors: Mapping[str, int] = field(default_factory=dict)
