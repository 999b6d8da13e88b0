"""
Which units the high group is made of: near the memory of its pods, and changed by as few units as can be.

Growing only adds and shrinking only removes. It must not know why a size is wanted, nor how a unit is made fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Bucket, Unit
from plimsoll.policies.frequency_roles import node_of


class Site(NamedTuple):
    """
    Where a group may be.

    ``units``: all that can be in it, in order; ``fixed``: names of those that must; ``closed``: of those that must not
    be added now; ``ready``: of those that are fast already. ``taken``: CPUs the group's pods cannot use. ``pull``: what
    is used on each NUMA node where the group may be; ``least``: CPUs each node must have in any case; ``least_units``:
    units each node in ``pull`` must have. ``most``: units in all, ``fixed`` among them. ``buckets``: of turbo
    frequency, by package.
    """

    units: Sequence[Unit]
    fixed: frozenset[str]
    closed: frozenset[str]
    ready: frozenset[str]
    taken: CpuSet
    pull: Mapping[int, float]
    least: Mapping[int, float]
    least_units: int
    most: int
    buckets: Mapping[int, tuple[Bucket, ...]]

    def cpus(self, names: Iterable[str]) -> CpuSet:
        """Those that pods of a group of these units may use."""
        chosen = frozenset(names)
        return frozenset().union(*(each.cpus for each in self.units if each.name in chosen)) - self.taken


def place(current: frozenset[str], wanted: float, site: Site) -> frozenset[str]:
    """The group: ``current`` as far as it can be, with at least ``wanted`` CPUs, or as many as may be."""
    names = frozenset(each.name for each in site.units)
    group = _Group(site, (current | site.fixed) & names)
    group.shed()
    group.shrink(wanted)
    group.grow(wanted)
    return frozenset(each.name for each in group.members)


def crossing(current: frozenset[str], site: Site) -> bool:
    """Whether one unit more, in whatever package, would take turbo frequency from all of that package."""
    packages = {each.package for each in site.units if each.name not in current and each.name not in site.closed}
    counts = Counter(each.package for each in site.units if each.name in current)
    return bool(packages) and all(_crosses(site.buckets.get(each, ()), counts[each]) for each in packages)


def _crosses(buckets: Sequence[Bucket], units: int) -> bool:
    return any(each.units == units for each in buckets)


class _Group:
    """A group while it is being changed, with its counts."""

    def __init__(self, site: Site, names: frozenset[str]) -> None:
        self._site = site
        self._index = {each.name: place for place, each in enumerate(site.units)}
        self.members = [each for each in site.units if each.name in names]
        self._count()

    def _count(self) -> None:
        self._cpus: Counter[int] = Counter()
        self._units: Counter[int] = Counter()
        self._packages: Counter[int] = Counter()
        self._domains: Counter[tuple[int, int]] = Counter()
        self._caches: Counter[tuple[int, int | None]] = Counter()
        for each in self.members:
            self._add(each, 1)

    def _add(self, unit: Unit, sign: int) -> None:
        node = node_of(unit)
        self._cpus[node] += sign * self._yield(unit)
        self._units[node] += sign
        self._packages[unit.package] += sign
        self._domains[unit.package, unit.domain] += sign
        self._caches[unit.package, unit.cache] += sign

    def _yield(self, unit: Unit) -> int:
        return len(unit.cpus - self._site.taken)

    def shed(self) -> None:
        """Give up what is beyond the ceiling, whatever is wanted."""
        while len(self.members) > self._site.most:
            movable = [each for each in self.members if each.name not in self._site.fixed]
            if not movable:
                return
            self._remove(max(movable, key=self._spare))

    def shrink(self, wanted: float) -> None:
        """Give up what is not needed for ``wanted`` CPUs, nor for any node's minimum."""
        while True:
            total = self._cpus.total()
            movable = [
                each
                for each in self.members
                if each.name not in self._site.fixed and total - self._yield(each) >= wanted and self._dispensable(each)
            ]
            if not movable:
                return
            self._remove(max(movable, key=self._spare))

    def grow(self, wanted: float) -> None:
        """Add until there is enough, everywhere, or nothing is left to add."""
        while len(self.members) < self._site.most:
            here = {each.name for each in self.members}
            able = [
                each
                for each in self._site.units
                # On a node where none of its pods can run a unit is no use.
                if node_of(each) in self._site.pull and each.name not in here and each.name not in self._site.closed
            ]
            short = [each for each in able if self._short(node_of(each))]
            if not able or (not short and self._cpus.total() >= wanted):
                return
            chosen = min(short or able, key=self._distance)
            self.members.append(chosen)
            self._add(chosen, 1)

    def _remove(self, unit: Unit) -> None:
        self.members.remove(unit)
        self._add(unit, -1)

    def _short(self, node: int) -> bool:
        few = node in self._site.pull and self._units[node] < self._site.least_units
        return few or self._cpus[node] < self._site.least.get(node, 0.0)

    def _dispensable(self, unit: Unit) -> bool:
        node = node_of(unit)
        if node in self._site.pull and self._units[node] - 1 < self._site.least_units:
            return False
        return self._cpus[node] - self._yield(unit) >= self._site.least.get(node, 0.0)

    def _distance(self, unit: Unit) -> tuple[bool, float, bool, int, int, int]:
        """
        Least is best: no loss of turbo frequency; where most is used of what there is; fast already; beside others in
        a last-level cache; spread over the power domains; then as the kernel numbers them.
        """
        node = node_of(unit)
        return (
            _crosses(self._site.buckets.get(unit.package, ()), self._packages[unit.package]),
            -self._load(node),
            unit.name not in self._site.ready,
            -self._caches[unit.package, unit.cache],
            self._domains[unit.package, unit.domain],
            self._index[unit.name],
        )

    def _spare(self, unit: Unit) -> tuple[float, int, int, int]:
        """The other way round."""
        return (
            -self._load(node_of(unit)),
            -self._caches[unit.package, unit.cache],
            self._domains[unit.package, unit.domain],
            self._index[unit.name],
        )

    def _load(self, node: int) -> float:
        pull = self._site.pull.get(node, 0.0)
        return pull / self._cpus[node] if self._cpus[node] > 0 else pull * float(1 << 20)
