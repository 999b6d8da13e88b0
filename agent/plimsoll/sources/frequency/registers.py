"""
What Speed Select's registers show: classes, switches and turbo buckets.

Reads as much as each figure is worth: an association may change every second, a switch hardly ever. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plimsoll.kernel.isst.binding import Slot
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import Domain, TurboFreqInfo
from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Bucket


@dataclass(frozen=True, slots=True)
class Switches:
    """By package: whether the hardware heeds classes, whether turbo frequency is on, and its buckets."""

    prioritised: Mapping[int, bool] = field(default_factory=dict)
    turbo_frequency: Mapping[int, bool] = field(default_factory=dict)
    buckets: Mapping[int, tuple[Bucket, ...]] = field(default_factory=dict)


def read_classes(platform: Platform) -> dict[str, int]:
    """By unit, the class of service it is in; without those that could not be read. One ioctl for 64 units."""
    domains = {(each.package, each.domain): each for each in platform.domains}
    slots = [Slot(domains[unit.package, unit.domain], unit.core) for unit in platform.units]
    answers = zip(platform.units, platform.binding.associations(slots), strict=True)
    return {unit.name: answer.value for unit, answer in answers if answer.value is not None}


def read_switches(platform: Platform, cores: Mapping[int, CpuSet]) -> Switches:
    """
    The switches of every package with CPUs; what could not be read of one of its domains is absent.

    ``cores``: by CPU, its siblings on the same core.
    """
    prioritised: dict[int, bool] = {}
    turbo_frequency: dict[int, bool] = {}
    buckets: dict[int, tuple[Bucket, ...]] = {}
    for package in platform.packages:
        domains = [each for each in platform.of_package(package) if each.cpu is not None]
        powers = [platform.binding.core_power(each).value for each in domains]
        known = [each.effective for each in powers if each is not None]
        if len(known) == len(domains) and known:
            prioritised[package] = any(known)
        levels = [platform.binding.perf_levels(each).value for each in domains]
        features = [each for each in levels if each is not None]
        if len(features) != len(domains) or not features:
            continue
        turbo_frequency[package] = any(each.turbo_freq_on for each in features)
        infos = [
            platform.binding.turbo_freq_info(domain, each.current).value
            for domain, each in zip(domains, features, strict=True)
            if each.current in each.turbo_freq
        ]
        offered = [each for each in infos if each is not None]
        if len(offered) == len(domains):
            buckets[package] = _buckets(offered, _width(platform, domains, cores))
    return Switches(prioritised, turbo_frequency, buckets)


def _width(platform: Platform, domains: Sequence[Domain], cores: Mapping[int, CpuSet]) -> int:
    """How many cores the largest unit has: on Atom Xeons it is a module of several."""
    places = {(each.package, each.domain) for each in domains}
    units = [each for each in platform.units if (each.package, each.domain) in places]
    return max(len({cores.get(cpu, frozenset({cpu})) for cpu in each.cpus}) for each in units)


def _buckets(infos: Sequence[TurboFreqInfo], width: int) -> tuple[Bucket, ...]:
    """
    What a package is sure to have, in units.

    Whether each power domain has what its register says, or all of them together, is told differently by different
    people: it is taken to be together. The frequencies are those of the lightest instruction set.
    """
    found: list[Bucket] = []
    tables = [(each.buckets.cores, next(iter(each.buckets.ratios), ())) for each in infos]
    for index in range(min(min(len(counts), len(ratios)) for counts, ratios in tables)):
        units = min(counts[index] for counts, _ in tables) // width
        if units > 0:
            found.append(Bucket(units, min(ratios[index] for _, ratios in tables)))
    return tuple(sorted(found))
