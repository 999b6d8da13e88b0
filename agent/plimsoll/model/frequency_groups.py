"""
What the frequency policy came to in one decision, for people and metrics. CPUs, MHz.

Only results: nothing here knows how they were arrived at (``policies/frequency.py``). Unknown is ``None``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Backend


class Group(StrEnum):
    """Where a unit is: label values, keep them stable."""

    HIGH = "high"
    LOW = "low"
    NEITHER = "neither"  # about to leave the high group, or nobody's: fast


class Cause(StrEnum):
    """Why the high group is as large as it is: label values, keep them stable."""

    START = "start"  # what is needed is not known yet
    FULL = "full"  # it was full, which hides what is needed
    USED = "used"  # most of it was used
    UNUSED = "unused"  # less was used than it was made for
    REQUESTS = "requests"  # requests and the configured minimum
    NO_FIGURES = "no-figures"  # not all use is known
    FITS = "fits"  # its size is right; the units may be others than before


class GroupFigures(NamedTuple):
    """
    ``megahertz``: what its CPUs that were not idle ran at, on the average. ``astray``: those of them that ran slower
    than they should (of the high group) or faster (of the low one), ``None`` where nothing is written.
    """

    units: int
    cpus: CpuSet
    megahertz: float | None = None
    astray: CpuSet | None = None


@dataclass(frozen=True, slots=True)
class FrequencyGroups:
    """
    ``target``: CPUs the high group shall have at least; ``demand``: CPUs' worth high-priority pods use; ``moves``:
    units that joined or left the high group since the policy began; ``cause``: of its last change.
    """

    backend: Backend = Backend.NONE
    groups: Mapping[Group, GroupFigures] = field(default_factory=dict)
    target: float = 0.0
    demand: float | None = None
    moves: int = 0
    cause: Cause | None = None
