"""
The series of pods, their containers and the node, kept from tick to tick while what they describe is there.

Making a series costs ten times its sample, so it is made once. What matters least comes last and is dropped first, in
an order that does not change from tick to tick. It must not know the text format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.exposition import Family, Labels, Samples, Series
from plimsoll.exporter.families import (
    CONTAINER_RATIO,
    CONTAINER_STALLED,
    CONTAINER_WAITING,
    NODE_RATIO,
    NODE_STALLED,
    NODE_WAITING,
    POD_EVENTS,
    POD_INFO,
    POD_MEMORY,
    POD_RATIO,
    POD_STALLED,
    POD_WAITING,
)
from plimsoll.model.pressure import WINDOWS, Pressure, PressureLine, Source
from plimsoll.model.snapshot import PodSample

_Sampled = list[Series]


class Level(NamedTuple):
    """The three families of pods, of containers, or of the node."""

    waiting: Family
    stalled: Family
    ratio: Family


POD = Level(POD_WAITING, POD_STALLED, POD_RATIO)
CONTAINER = Level(CONTAINER_WAITING, CONTAINER_STALLED, CONTAINER_RATIO)
NODE = Level(NODE_WAITING, NODE_STALLED, NODE_RATIO)


class PressureSamples:
    """The samples of one level, in the order of its families."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self.waiting: _Sampled = []
        self.stalled: _Sampled = []
        self.ratios: _Sampled = []

    def families(self) -> tuple[tuple[Family, Samples], ...]:
        """Waiting, stalled, ratio."""
        return tuple(zip(self._level, (self.waiting, self.stalled, self.ratios), strict=True))


class _Degree(NamedTuple):
    """The series of one line. ``averages``: for each window wanted, its place in the line and its series."""

    total: Series
    averages: tuple[tuple[int, Series], ...]

    def add(self, line: PressureLine, totals: _Sampled, ratios: _Sampled) -> None:
        total, averages = self
        total.value = line.total_us
        totals.append(total)
        for place, series in averages:
            if (average := line[place]) is not None:
                series.value = average
                ratios.append(series)


class _Cause(NamedTuple):
    """The series of one cause."""

    source: Source
    wanted: bool
    some: _Degree
    full: _Degree


class PressureSeries:
    """The series of one owner of pressure, by cause. ``owner``: the label values that stand before the cause."""

    def __init__(self, level: Level, owner: Labels, section: PressureSection) -> None:
        self._level = level
        self._owner = owner
        self._section = section
        self._causes: dict[str, _Cause] = {}

    def add(self, pressures: Iterable[Pressure], to: PressureSamples) -> None:
        """Add this tick's samples."""
        for name, source, some, full in pressures:
            cause = self._causes.get(name)
            if cause is None or cause.source is not source:
                cause = self._causes[name] = self._cause(name, source)
            if not cause.wanted:
                continue
            if some is not None:
                cause.some.add(some, to.waiting, to.ratios)
            if full is not None:
                cause.full.add(full, to.stalled, to.ratios)

    def _cause(self, name: str, source: Source) -> _Cause:
        labels = (*self._owner, name, source.value)

        def degree(family: Family, name: str) -> _Degree:
            averages = (
                (WINDOWS.index(window), Series(self._level.ratio, (*labels, name, window)))
                for window in self._section.windows
            )
            return _Degree(Series(family, labels), tuple(averages))

        wanted = cause_wanted(name, self._section) and (self._section.derived or source is not Source.DERIVED)
        return _Cause(source, wanted, degree(self._level.waiting, "some"), degree(self._level.stalled, "full"))


def cause_wanted(cause: str, section: PressureSection) -> bool:
    """Whether the administrator's globs choose this cause."""
    return any(fnmatchcase(cause, pattern) for pattern in section.causes)


class _PodEntry:
    """What is kept of one pod."""

    def __init__(self, owner: Labels, section: PressureSection) -> None:
        self.owner = owner
        self.info = Series(POD_INFO, ("",) * len(POD_INFO.labels))
        self.memory = Series(POD_MEMORY, owner)
        self.pressure = PressureSeries(POD, owner, section)
        self.containers: dict[str, PressureSeries] = {}
        self.events: dict[tuple[str, str], Series | None] = {}  # None: a cause that is not wanted


class PodSeries:
    """The series of the pods seen in the last tick, and only those."""

    def __init__(self, section: PressureSection) -> None:
        self._section = section
        self._entries: dict[str, _PodEntry] = {}

    def families(self, pods: Iterable[PodSample]) -> Iterator[tuple[Family, Samples]]:
        """Every family of pods and containers, before the cap."""
        before, self._entries = self._entries, {}
        info: _Sampled = []
        events: _Sampled = []
        memory: _Sampled = []
        pressure, containers = PressureSamples(POD), PressureSamples(CONTAINER)
        for sample in _unique(pods):
            pod = sample.pod
            owner = (pod.namespace, pod.name, pod.priority.value)
            entry = before.get(pod.uid)
            if entry is None or entry.owner != owner:
                entry = _PodEntry(owner, self._section)
            self._entries[pod.uid] = entry
            labels = _info(sample)
            if entry.info.labels != labels:
                entry.info = Series(POD_INFO, labels, 1)
            info.append(entry.info)
            entry.pressure.add(sample.pressures, pressure)
            self._add_events(entry, sample, events)
            if sample.memory_bytes is not None:
                entry.memory.value = sample.memory_bytes
                memory.append(entry.memory)
            self._add_containers(entry, sample, containers)
        waiting, stalled, ratios = pressure.families()
        yield POD_INFO, info
        yield waiting
        yield stalled
        yield POD_EVENTS, events
        yield POD_MEMORY, memory
        yield ratios
        yield from containers.families()

    def _add_events(self, entry: _PodEntry, sample: PodSample, to: _Sampled) -> None:
        for cause, event, total in sample.events:
            key = (cause, event)
            if key not in entry.events:
                wanted = cause_wanted(cause, self._section)
                entry.events[key] = Series(POD_EVENTS, (*entry.owner, cause, event)) if wanted else None
            series = entry.events[key]
            if series is not None:
                series.value = total
                to.append(series)

    def _add_containers(self, entry: _PodEntry, sample: PodSample, to: PressureSamples) -> None:
        before, entry.containers = entry.containers, {}
        for container, pressures in ((each.container, each.pressures) for each in sample.containers):
            namespace, pod, priority = entry.owner
            kept = before.get(container.name)
            if kept is None:
                kept = PressureSeries(CONTAINER, (namespace, pod, container.name, priority), self._section)
            entry.containers[container.name] = kept
            kept.add(pressures, to)


def _unique(pods: Iterable[PodSample]) -> Iterable[PodSample]:
    """In a lasting order. Two pods of one name, one of them on its way out, would give the same series twice."""
    ordered = sorted(pods, key=lambda each: (each.pod.namespace, each.pod.name, each.pod.uid))
    return {(each.pod.namespace, each.pod.name): each for each in ordered}.values()


def _info(sample: PodSample) -> Labels:
    pod = sample.pod
    return (
        pod.namespace,
        pod.name,
        pod.uid,
        pod.priority.value,
        pod.intent.origin,
        pod.object.qos_class.value,
        "true" if pod.intent.managed else "false",
        sample.state.value,
    )
