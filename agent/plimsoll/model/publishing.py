"""What the node offers to low-priority pods beside its own memory, and what became of telling the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RESOURCE = "plimsoll.io/low-memory"
"""The node's extended resource, in bytes."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """
    ``wanted``: bytes that shall stand on the node, ``None``: none. ``stands``: what the API server took last;
    ``known``: whether it took anything yet. ``sent`` and ``failed`` (by reason) count requests since start;
    ``trouble``: the reason and a sentence while the last one failed.
    """

    wanted: int | None = None
    stands: int | None = None
    known: bool = False
    sent: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    trouble: tuple[str, str] | None = None
