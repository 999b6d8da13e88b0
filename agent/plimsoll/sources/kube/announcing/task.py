"""What there is to ask of the API server, and what came of it. Values only."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.announcing import Channel
from plimsoll.sources.kube.announcing.notice import Notice
from plimsoll.sources.kube.announcing.truth import Truth


class EventTask(NamedTuple):
    """Create the event of a notice, or (``repeat``) count it once more: ``times`` in all, if known."""

    notice: Notice
    repeat: bool
    times: int | None

    @property
    def channel(self) -> Channel:
        return Channel.EVENT


class ConditionTask(NamedTuple):
    """Write a condition. ``transition``: its status is another than before."""

    notice: Notice
    truth: Truth
    transition: bool

    @property
    def channel(self) -> Channel:
        return Channel.CONDITION


class ListTask(NamedTuple):
    """Find the conditions that an agent before this one left on the node's pods."""

    @property
    def channel(self) -> Channel:
        return Channel.CONDITION


Task = EventTask | ConditionTask | ListTask


class Found(NamedTuple):
    """A condition that stands on a pod."""

    notice: Notice
    truth: Truth


class Fate(StrEnum):
    """What the answer to a task comes to."""

    DONE = "done"
    EXISTS = "exists"  # the event was created before, by this agent or the one before it
    EXPIRED = "expired"  # the event to be counted is no longer there
    GONE = "gone"  # the pod or its namespace is no longer there, or about to go
    REFUSED = "refused"  # the server will never take it
    FORBIDDEN = "forbidden"  # a right is missing
    FAILED = "failed"  # not now, and perhaps never this one
    AWAY = "away"  # not now, and nothing else either: whatever was asked is not to blame


TROUBLE = frozenset({Fate.REFUSED, Fate.FORBIDDEN, Fate.FAILED, Fate.AWAY})
"""What an administrator may have to do something about."""


class Reply(NamedTuple):
    """
    The answer to a task. ``reason`` and ``message`` say what went wrong; ``retry_after``: seconds the server asked for;
    ``times``: how often a counted event says it was told; ``found``: the answer to a list.
    """

    fate: Fate
    reason: str = ""
    message: str = ""
    retry_after: float | None = None
    times: int | None = None
    found: tuple[Found, ...] = ()
