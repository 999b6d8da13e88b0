"""
The agent's metrics: one collector over the last snapshot. A scrape gets a page that is already made.

Absent data give absent series, never zeros; pods that are gone are gone from the next page. It must not touch the
kernel nor wait for a tick.
"""

from __future__ import annotations

import gzip
import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.exposition import Family, Labels, Renderer, Samples, number, ratio, seconds
from plimsoll.log import Event, Log
from plimsoll.model.pod import Pod
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import PodSample, Snapshot

_POD = ("namespace", "pod", "priority", "cause", "source")
_CONTAINER = ("namespace", "pod", "container", "priority", "cause", "source")
_WINDOW = ("degree", "window")
_WAITING = "Time in which at least one task waited (PSI some), by cause."
_STALLED = "Time in which no task could run for it (PSI full), by cause."
_RATIO = "Share of the window lost to the cause, 0 to 1, averaged by the kernel."

POD_WAITING = Family("plimsoll_pod_pressure_waiting_seconds_total", "counter", _WAITING, _POD)
POD_STALLED = Family("plimsoll_pod_pressure_stalled_seconds_total", "counter", _STALLED, _POD)
POD_RATIO = Family("plimsoll_pod_pressure_ratio", "gauge", _RATIO, (*_POD, *_WINDOW))
POD_EVENTS = Family(
    "plimsoll_pod_pressure_events_total",
    "counter",
    "Kernel events that witness a cause without timing it.",
    ("namespace", "pod", "priority", "cause", "event"),
)
CONTAINER_WAITING = Family("plimsoll_container_pressure_waiting_seconds_total", "counter", _WAITING, _CONTAINER)
CONTAINER_STALLED = Family("plimsoll_container_pressure_stalled_seconds_total", "counter", _STALLED, _CONTAINER)
CONTAINER_RATIO = Family("plimsoll_container_pressure_ratio", "gauge", _RATIO, (*_CONTAINER, *_WINDOW))
POD_MEMORY = Family(
    "plimsoll_pod_memory_bytes", "gauge", "Memory charged to the pod's cgroup.", ("namespace", "pod", "priority")
)
POD_INFO = Family(
    "plimsoll_pod_info",
    "gauge",
    "One per pod: who decided its priority, and whether its cgroup was found.",
    ("namespace", "pod", "uid", "priority", "origin", "qos_class", "managed", "state"),
)
NODE_WAITING = Family("plimsoll_node_pressure_waiting_seconds_total", "counter", _WAITING, ("cause", "source"))
NODE_STALLED = Family("plimsoll_node_pressure_stalled_seconds_total", "counter", _STALLED, ("cause", "source"))
NODE_RATIO = Family("plimsoll_node_pressure_ratio", "gauge", _RATIO, ("cause", "source", *_WINDOW))
CAPABILITY = Family(
    "plimsoll_capability", "gauge", "1 where this node can do it; the reason where not.", ("capability", "reason")
)
INTENT_REJECTED = Family(
    "plimsoll_intent_rejected", "gauge", "Statements of pod owners that are not followed, by reason.", ("reason",)
)
SOURCE_UP = Family("plimsoll_source_up", "gauge", "1 while the source of observations answers.", ("source",))
SOURCE_AGE = Family(
    "plimsoll_source_age_seconds", "gauge", "Time since the source was last known to be good.", ("source",)
)
SOURCE_STUCK = Family(
    "plimsoll_source_stuck_seconds", "gauge", "How long a read has not come back; 0: none hangs.", ("source",)
)
SOURCE_ERRORS = Family(
    "plimsoll_source_errors_total", "counter", "Failures of a source, by reason.", ("source", "reason")
)
READ_ERRORS = Family(
    "plimsoll_read_errors_total", "counter", "Kernel files that could not be read, by outcome.", ("file", "outcome")
)
SERIES_DROPPED = Family("plimsoll_series_dropped", "gauge", "Series left out of this page by pressure.maxSeries.")
BUILD = Family("plimsoll_build_info", "gauge", "The running version.", ("version", "python", "native"))
TICKS = Family("plimsoll_ticks_total", "counter", "Observations since start.")
TICK_SECONDS = Family("plimsoll_tick_seconds_total", "counter", "Time spent observing.")
TICK_LAST = Family("plimsoll_tick_last_seconds", "gauge", "Time the last observation took.")
RELOAD_OK = Family("plimsoll_config_last_reload_successful", "gauge", "0 while the file on disk is refused.")
RELOAD_TIME = Family(
    "plimsoll_config_last_reload_success_timestamp_seconds", "gauge", "When the configuration in force was loaded."
)

_WINDOW_INDEX = {"10s": 0, "60s": 1, "300s": 2}


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the daemon knows of itself. Times are monotonic seconds, but for ``config_reload_unix``."""

    version: str
    started: float
    heartbeat: float
    interval: float
    tick_seconds: float = 0.0
    tick_seconds_total: float = 0.0
    config_reload_ok: bool = True
    config_reload_unix: float = 0.0
    config_problems: tuple[str, ...] = ()
    native: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What is served until the next tick: made once, swapped in whole."""

    snapshot: Snapshot
    agent: AgentFacts
    text: bytes


class Exporter:
    """Makes a page of every snapshot."""

    def __init__(self, pressure: PressureSection) -> None:
        self._pressure = pressure
        self._renderer = Renderer()
        self._read_errors: Counter[tuple[str, str]] = Counter()
        # A registry of our own: the library's global one would bring its users' metrics along.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._page: Page | None = None
        self._zipped: tuple[Page, bytes] | None = None

    def reconfigure(self, pressure: PressureSection) -> None:
        """From the next page on."""
        self._pressure = pressure

    def observe(self, snapshot: Snapshot, agent: AgentFacts) -> None:
        """Make the page of a tick."""
        for sample in snapshot.pods:
            self._read_errors.update((file, outcome.value) for file, outcome in sample.errors.items())
        text = self._renderer.render(self.families(snapshot, agent)) + generate_latest(self._registry)
        self._page = Page(snapshot, agent, text)

    @property
    def page(self) -> Page | None:
        """The last page, ``None`` before the first tick."""
        return self._page

    def text(self) -> bytes:
        """The last page as text; empty before the first tick."""
        return b"" if self._page is None else self._page.text

    def zipped(self) -> bytes:
        """The last page compressed, once per tick and only when somebody asks."""
        page, zipped = self._page, self._zipped
        if page is None:
            return gzip.compress(b"", 1)
        if zipped is None or zipped[0] is not page:
            zipped = (page, gzip.compress(page.text, 1))
            self._zipped = zipped
        return zipped[1]

    def families(self, snapshot: Snapshot, agent: AgentFacts) -> Iterator[tuple[Family, Samples]]:
        """Every family with its samples, in the order of the page."""
        yield from self._pods(snapshot)
        node = [each for each in snapshot.node.pressures if self._wanted(each)]
        yield NODE_WAITING, [((each.cause, each.source), seconds(each.some.total_us)) for each in node if each.some]
        yield NODE_STALLED, [((each.cause, each.source), seconds(each.full.total_us)) for each in node if each.full]
        yield NODE_RATIO, [each for pressure in node for each in self._ratios((), pressure)]
        yield CAPABILITY, [((each.name, each.reason), str(int(each.available))) for each in snapshot.capabilities]
        rejected = Counter(each.reason for sample in snapshot.pods for each in sample.pod.intent.rejected)
        yield INTENT_REJECTED, [((reason,), str(count)) for reason, count in sorted(rejected.items())]
        sources = snapshot.sources
        yield SOURCE_UP, [((each.name,), str(int(each.ok))) for each in sources]
        yield SOURCE_AGE, [((each.name,), number(each.age_seconds)) for each in sources if each.age_seconds is not None]
        yield SOURCE_STUCK, [((each.name,), number(each.stuck_seconds)) for each in sources]
        yield SOURCE_ERRORS, [((each.name, why), str(count)) for each in sources for why, count in each.errors.items()]
        yield READ_ERRORS, [(key, str(count)) for key, count in sorted(self._read_errors.items())]
        yield BUILD, [((agent.version, platform.python_version(), str(agent.native).lower()), "1")]
        yield TICKS, [((), str(snapshot.sequence))]
        yield TICK_SECONDS, [((), number(agent.tick_seconds_total))]
        yield TICK_LAST, [((), number(agent.tick_seconds))]
        yield RELOAD_OK, [((), str(int(agent.config_reload_ok)))]
        yield RELOAD_TIME, [((), number(agent.config_reload_unix))]

    def _pods(self, snapshot: Snapshot) -> Iterator[tuple[Family, Samples]]:
        # What matters least comes last and is dropped first, in an order that is the same from tick to tick.
        pods = sorted(snapshot.pods, key=lambda each: (each.pod.namespace, each.pod.name, each.pod.uid))
        pods = list({(each.pod.namespace, each.pod.name): each for each in pods}.values())
        budget = self._pressure.max_series
        dropped = 0
        for family, samples in self._pod_families(pods):
            kept = samples[: max(0, budget)]
            budget -= len(kept)
            dropped += len(samples) - len(kept)
            yield family, kept
        if dropped:
            _log.warning(Event.SERIES_DROPPED, dropped=dropped, cap=self._pressure.max_series, limit="cap")
        yield SERIES_DROPPED, [((), str(dropped))]

    def _pod_families(self, pods: list[PodSample]) -> Iterator[tuple[Family, Samples]]:
        yield POD_INFO, [(_info(each), "1") for each in pods]
        lines = [
            (_labels(each.pod, pressure), pressure)
            for each in pods
            for pressure in each.pressures
            if self._wanted(pressure)
        ]
        yield POD_WAITING, [(labels, seconds(each.some.total_us)) for labels, each in lines if each.some]
        yield POD_STALLED, [(labels, seconds(each.full.total_us)) for labels, each in lines if each.full]
        yield (
            POD_EVENTS,
            [
                ((each.pod.namespace, each.pod.name, each.pod.priority, event.cause, event.event), str(event.total))
                for each in pods
                for event in each.events
                if self._named(event.cause)
            ],
        )
        yield (
            POD_MEMORY,
            [
                ((each.pod.namespace, each.pod.name, each.pod.priority), str(each.memory_bytes))
                for each in pods
                if each.memory_bytes is not None
            ],
        )
        yield POD_RATIO, [each for labels, pressure in lines for each in self._ratios(labels[:3], pressure)]
        containers = [
            ((each.pod.namespace, each.pod.name, container.container.name, each.pod.priority), pressure)
            for each in pods
            for container in each.containers
            for pressure in container.pressures
            if self._wanted(pressure)
        ]
        yield (
            CONTAINER_WAITING,
            [
                ((*owner, each.cause, each.source), seconds(each.some.total_us))
                for owner, each in containers
                if each.some
            ],
        )
        yield (
            CONTAINER_STALLED,
            [
                ((*owner, each.cause, each.source), seconds(each.full.total_us))
                for owner, each in containers
                if each.full
            ],
        )
        yield CONTAINER_RATIO, [each for owner, pressure in containers for each in self._ratios(owner, pressure)]

    def _wanted(self, pressure: Pressure) -> bool:
        return self._named(pressure.cause) and (self._pressure.derived or pressure.source is not Source.DERIVED)

    def _named(self, cause: str) -> bool:
        return any(fnmatchcase(cause, pattern) for pattern in self._pressure.causes)

    def _ratios(self, owner: Labels, pressure: Pressure) -> Iterable[tuple[Labels, str]]:
        for degree, line in (("some", pressure.some), ("full", pressure.full)):
            if line is None:
                continue
            for window in self._pressure.windows:
                average = _average(line, window)
                if average is not None:
                    yield (*owner, pressure.cause, pressure.source, degree, window), ratio(average)


def _average(line: PressureLine, window: str) -> int | None:
    return line[_WINDOW_INDEX[window]]


def _labels(pod: Pod, pressure: Pressure) -> Labels:
    return (pod.namespace, pod.name, pod.priority, pressure.cause, pressure.source)


def _info(sample: PodSample) -> Labels:
    pod = sample.pod
    return (
        pod.namespace,
        pod.name,
        pod.uid,
        pod.priority,
        pod.intent.origin,
        pod.object.qos_class,
        str(pod.intent.managed).lower(),
        sample.state,
    )


_log = Log("exporter")
