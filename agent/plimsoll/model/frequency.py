"""
What can be known and decided about CPU frequencies on one node, whatever the hardware calls it.

A *unit* is what one decision addresses: a core of Speed Select (with its SMT siblings; a module on Atom Xeons) or one
cpufreq policy. Frequencies are MHz. Nothing here knows ioctls, files or why a unit is fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet


class Backend(StrEnum):
    """What sets frequencies on this node. The values are label values."""

    TPMI = "tpmi"  # Speed Select of Granite Rapids, Sierra Forest and later
    MAILBOX = "mailbox"  # Speed Select of Cascade Lake to Emerald Rapids
    CPUFREQ = "cpufreq"
    NONE = "none"


class Unit(NamedTuple):
    """
    ``name`` is unique on the node: ``PACKAGE/DOMAIN/CORE``, or that of its first cpufreq policy, ``policyN``.

    ``targets`` are the paths of what is written to change it, the name alone if there are none: SMT siblings may have a
    cpufreq policy each. ``cpus`` are those online. ``numa`` and ``cache`` (the last-level cache's id) are ``None``
    where the kernel does not say. ``lowest``/``base``/``highest``: MHz, ``None`` when unknown; ``highest`` is with
    turbo. ``steps``: the only frequencies there are, ascending, where cpufreq knows a table.
    """

    name: str
    package: int
    domain: int
    cpus: CpuSet
    numa: int | None = None
    cache: int | None = None
    lowest: int | None = None
    base: int | None = None
    highest: int | None = None
    targets: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()


class Bucket(NamedTuple):
    """With at most ``units`` fast units in a package each of them may reach ``mhz``."""

    units: int
    mhz: int


@dataclass(frozen=True, slots=True)
class FrequencySample:
    """
    One observation of the node's frequencies.

    ``units`` are in the order of (package, domain, first CPU). ``classes``: by unit, the class of service (0..3) its
    hardware is in now, where there is such a thing. ``prioritised``: by package, whether the hardware heeds classes.
    ``foreign``: why somebody else seems to manage Speed Select, empty if nobody does. ``buckets``: by package, of turbo
    frequency, smallest first. ``turbo_frequency``: by package, whether it is on. ``limits``: by unit, the ceiling
    (MHz) cpufreq has now. ``megahertz``: by CPU, what it really ran at since the last observation while not idle.
    ``watts``: by package. What could not be read is absent; but what could not be read for the first time is as it was
    before, ``held_seconds`` ago where that is not 0.
    """

    backend: Backend = Backend.NONE
    units: tuple[Unit, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    prioritised: Mapping[int, bool] = field(default_factory=dict)
    turbo_frequency: Mapping[int, bool] = field(default_factory=dict)
    foreign: str = ""
    buckets: Mapping[int, tuple[Bucket, ...]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    megahertz: Mapping[int, float] = field(default_factory=dict)
    watts: Mapping[int, float] = field(default_factory=dict)
    held_seconds: float = 0.0
