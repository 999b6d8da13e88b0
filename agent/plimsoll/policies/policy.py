"""
What a policy is: a name, what it may write, and a pure function of (snapshot, its configuration, its state).

Which policies there are and how they are kept from harm is the registry's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from plimsoll.model.acting import Note
from plimsoll.model.eviction import Evict, Eviction
from plimsoll.model.frequency_groups import FrequencyGroups
from plimsoll.model.overcommit import Overcommit
from plimsoll.model.plan import Knob, Reclaim, Watch, Write
from plimsoll.model.snapshot import Snapshot

C = TypeVar("C")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Decision(Generic[S]):
    """
    What one policy wants now: *all* it wants, not what changed. What it no longer lists is put back.

    ``lacking`` names capabilities this node does not have and that would have made a difference. ``watches`` stand like
    writes until the next decision; ``reclaims`` and ``evictions`` are for now, once. ``overcommit``, ``eviction``,
    ``frequency``: figures for people and metrics.
    """

    writes: tuple[Write, ...]
    state: S
    notes: tuple[Note, ...] = ()
    lacking: tuple[str, ...] = ()
    watches: tuple[Watch, ...] = ()
    reclaims: tuple[Reclaim, ...] = ()
    overcommit: Overcommit | None = None
    evictions: tuple[Evict, ...] = ()
    eviction: Eviction | None = None
    frequency: FrequencyGroups | None = None


@dataclass(frozen=True, slots=True)
class Policy(Generic[C, S]):
    """
    ``interval``: seconds between two decisions, 0 for every tick; between them the last one stands.
    ``needs``: capabilities without which there is nothing to decide. ``bounds``: the knobs it may write.
    ``initial``: its state before the first decision; states are immutable values. ``reclaims``: whether it may have
    memory watched and reclaimed; ``evicts``: whether it may have pods evicted.
    """

    name: str
    interval: float
    needs: tuple[str, ...]
    bounds: frozenset[Knob]
    initial: S
    decide: Callable[[Snapshot, C, S], Decision[S]]
    reclaims: bool = False
    evicts: bool = False
