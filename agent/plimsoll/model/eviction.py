"""
Evictions: what is wished for, what became of it, and why there is one or none. Shares of time are 0 to 1.

Only values: nothing here knows how they were arrived at (``policies/eviction.py``) nor who asks the API server.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.outcome import Outcome


class Resource(StrEnum):
    """What pods wait for: label values, keep them stable. They are also the causes of stock PSI."""

    CPU = "cpu"
    MEMORY = "memory"
    IO = "io"


class Evict(NamedTuple):
    """
    One pod shall be evicted now, once.

    ``pod`` is its UID: another pod of this name is not meant. ``reason`` is a sentence for its owner, so it names no
    other pod. ``sufferer``: ``namespace/name`` of the pod it is done for, for the administrator; empty: the node.
    """

    pod: str
    namespace: str
    name: str
    policy: str
    reason: str
    sufferer: str = ""


class Evicted(NamedTuple):
    """
    What became of an eviction; ``detail`` is a sentence for a person, empty where nothing is to be said.

    OK: the API server has begun to delete the pod; GONE: it was gone already, or is another one by now; BUDGET: a
    PodDisruptionBudget does not let it now; DENIED: the agent lacks the right; REJECTED: the server never takes it;
    HELD: not asked, because another request was under way or it is too early after the last; FAILED: no answer, or the
    server could not, so that perhaps it was evicted nevertheless.
    """

    evict: Evict
    outcome: Outcome
    detail: str = ""


class Attempt(NamedTuple):
    """
    An eviction that was wished for lately. ``at``: monotonic seconds, of the answer.

    While ``outcome`` is ``None`` there is no answer yet, and ``at`` is when it was asked.
    """

    evict: Evict
    outcome: Outcome | None
    at: float


class Pause(StrEnum):
    """Why nobody is evicted although somebody has to wait for too long: label values, keep them stable."""

    NONE = ""
    STARTING = "starting"  # the agent does not know yet what was evicted before it
    ASKED = "asked"  # the API server has not answered
    SETTLING = "settling"  # the last eviction shall show first what it is good for
    TERMINATING = "terminating"  # the last pod evicted is still there
    RATE = "max-per-hour"
    FORBIDDEN = "forbidden"  # the agent lacks the right
    REFUSED = "refused"  # for a moment after the API server did not take one
    NOBODY = "no-candidate"  # no pod that may be evicted has a part in it worth speaking of


class Shortage(NamedTuple):
    """
    A pod, or the node (empty ``pod``), that has to wait for a resource.

    ``share`` of time, smoothed; ``seconds``: for how long by now; ``sustained``: long and hard enough for an eviction.
    """

    resource: Resource
    pod: str
    share: float
    seconds: float
    sustained: bool


@dataclass(frozen=True, slots=True)
class Eviction:
    """
    One decision, for people and metrics: who waits, the worst of each resource first.

    ``lately``: evictions of the last hour, those that would have been included where nothing is carried out.
    """

    shortages: tuple[Shortage, ...] = ()
    pause: Pause = Pause.NONE
    lately: int = 0
