"""
The families of frequency groups and their samples: what the groups are, how fast they run, what the packages take.

It must not know the text format, nor how the figures were arrived at.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.exporter.exposition import Family, Sampled
from plimsoll.model.acting import Acting
from plimsoll.model.frequency import Backend, FrequencySample
from plimsoll.model.frequency_groups import FrequencyGroups
from plimsoll.model.snapshot import Snapshot

_HERTZ = 1e6

BACKEND = Family("plimsoll_frequency_backend", "gauge", "1 for what sets this node's frequencies.", ("backend",))
HELD = Family(
    "plimsoll_frequency_held_seconds", "gauge", "How old what stands in for a read that failed is; 0: nothing does."
)
POWER = Family("plimsoll_package_power_watts", "gauge", "What each package takes, since the last tick.", ("package",))
GROUP_UNITS = Family("plimsoll_frequency_group_units", "gauge", "Cores of each group.", ("group",))
GROUP_CPUS = Family("plimsoll_frequency_group_cpus", "gauge", "CPUs of each group.", ("group",))
GROUP_HERTZ = Family(
    "plimsoll_frequency_group_hertz", "gauge", "What the group's CPUs really ran at while not idle, mean.", ("group",)
)
ASTRAY = Family(
    "plimsoll_frequency_astray_cpus",
    "gauge",
    "CPUs that run slower (high group) or faster (low group) than they should, while the policy enforces.",
    ("group",),
)
TARGET = Family("plimsoll_frequency_target_cpus", "gauge", "CPUs the high group shall have at least.")
DEMAND = Family("plimsoll_frequency_demand_cpus", "gauge", "CPUs' worth that high-priority pods use.")
MOVES = Family("plimsoll_frequency_moves_total", "counter", "Cores that joined or left the high group.")
CAUSE = Family("plimsoll_frequency_last_change", "gauge", "1 for why the high group changed last.", ("reason",))

FREQUENCY_FAMILIES = (
    *(BACKEND, HELD, POWER),
    *(GROUP_UNITS, GROUP_CPUS, GROUP_HERTZ, ASTRAY, TARGET, DEMAND, MOVES, CAUSE),
)
"""In the order of the page."""


def frequency_samples(snapshot: Snapshot, acting: Acting) -> Iterator[Sampled]:
    """Every family there is something to say of; nothing where frequencies are not observed."""
    if snapshot.node.frequency is not None and snapshot.node.frequency.backend is not Backend.NONE:
        yield from _observed(snapshot.node.frequency)
    found = next((each.frequency for each in acting.reports if each.frequency is not None), None)
    if found is not None:
        yield from _decided(found)


def _observed(sample: FrequencySample) -> Iterator[Sampled]:
    yield BACKEND, [((sample.backend.value,), 1)]
    yield HELD, [((), sample.held_seconds)]
    yield POWER, [((str(package),), watts) for package, watts in sorted(sample.watts.items())]


def _decided(found: FrequencyGroups) -> Iterator[Sampled]:
    groups = sorted(found.groups.items())
    yield GROUP_UNITS, [((group.value,), each.units) for group, each in groups]
    yield GROUP_CPUS, [((group.value,), len(each.cpus)) for group, each in groups]
    yield (
        GROUP_HERTZ,
        [((group.value,), each.megahertz * _HERTZ) for group, each in groups if each.megahertz is not None],
    )
    yield ASTRAY, [((group.value,), len(each.astray)) for group, each in groups if each.astray is not None]
    yield TARGET, [((), found.target)]
    yield DEMAND, [] if found.demand is None else [((), found.demand)]
    yield MOVES, [((), found.moves)]
    yield CAUSE, [] if found.cause is None else [((found.cause.value,), 1)]
