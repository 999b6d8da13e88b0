"""What became of the notices to pods' owners, for those who report it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Channel(StrEnum):
    """How an owner gets to know: label values, keep them stable."""

    EVENT = "event"
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Announcing:
    """
    The state of the notices at one moment; all counts are since start.

    ``channels``: those in use; while none is, ``unavailable`` says why in a word: ``off``, ``read-only`` or
    ``no-api-server``. ``sent``: what the API server took. ``failed``: requests that came to nothing, by (channel,
    reason); the reasons are those of the API server source, and ``gone``. ``suppressed``: notices that were not told,
    or not told again, so that there is no storm. ``waiting``: notices still to be told. ``troubles``: for a channel
    whose last request failed, the reason and a sentence.
    """

    channels: frozenset[Channel] = frozenset()
    unavailable: str = "off"
    sent: Mapping[Channel, int] = field(default_factory=dict)
    failed: Mapping[tuple[Channel, str], int] = field(default_factory=dict)
    suppressed: int = 0
    waiting: int = 0
    troubles: Mapping[Channel, tuple[str, str]] = field(default_factory=dict)
