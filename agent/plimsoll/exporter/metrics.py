"""
The agent's metrics: one collector over the last snapshot. A scrape gets a page that is already made.

Absent data give absent series, never zeros; pods that are gone are gone from the next page. It must not touch the
kernel nor wait for a tick.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.acting_series import acting_samples
from plimsoll.exporter.changes import Change, Owners, Recent
from plimsoll.exporter.eviction_series import eviction_samples
from plimsoll.exporter.exposition import Family, Labels, Sampled, Samples, Series, render
from plimsoll.exporter.families import (
    AUDIT_LOST,
    BUILD,
    CAPABILITY,
    INTENT_REJECTED,
    NOTICES_FAILED,
    NOTICES_SENT,
    NOTICES_SUPPRESSED,
    NOTICES_WAITING,
    READ_ERRORS,
    RELOAD_OK,
    RELOAD_TIME,
    SERIES_DROPPED,
    SOURCE_AGE,
    SOURCE_ERRORS,
    SOURCE_STUCK,
    SOURCE_UP,
    TICK_LAST,
    TICK_SECONDS,
    TICKS,
    TLS_OK,
    TLS_TIME,
)
from plimsoll.exporter.frequency_series import frequency_samples
from plimsoll.exporter.overcommit_series import overcommit_samples, publishing_samples
from plimsoll.exporter.pod_series import NODE, PodSeries, PressureSamples, PressureSeries
from plimsoll.exporter.tls import TlsState
from plimsoll.log import Event, Log
from plimsoll.model.acting import Acting
from plimsoll.model.announcing import Announcing
from plimsoll.model.publishing import Publishing
from plimsoll.model.snapshot import Snapshot

# The library counts our descriptors one by one, and we hold a few for every pod.
PROCESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """
    What the daemon knows of itself. Times are monotonic seconds, but for ``config_reload_unix``.

    ``audit_lines_lost`` is ``None`` where no audit log is kept, ``announcing`` where pods' owners are told nothing,
    ``publishing`` where nothing can be published.
    """

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
    audit_lines_lost: int | None = None
    announcing: Announcing | None = None
    publishing: Publishing | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """
    What is served until the next tick: made once, swapped in whole.

    ``acting`` is ``None`` where nothing decides or acts; ``recent`` are the last changes, the newest first.
    """

    snapshot: Snapshot
    agent: AgentFacts
    text: bytes
    tls: TlsState | None = None
    acting: Acting | None = None
    recent: tuple[Change, ...] = ()


class Exporter:
    """Makes a page of every snapshot."""

    def __init__(self, pressure: PressureSection) -> None:
        self._read_errors: Counter[tuple[str, str]] = Counter()
        # A registry of our own: the library's global one would bring its users' metrics along.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._process = b""
        self._process_read = float("-inf")
        self._page: Page | None = None
        self._recent = Recent()
        self.tls: TlsState | None = None
        """Told by the endpoint, from its own thread; on the page with the next tick. ``None``: plain HTTP."""
        self.reconfigure(pressure)

    def reconfigure(self, pressure: PressureSection) -> None:
        """From the next page on."""
        self._pressure = pressure
        self._pods = PodSeries(pressure)
        self._node = PressureSeries(NODE, (), pressure)

    def observe(self, snapshot: Snapshot, agent: AgentFacts, acting: Acting | None = None) -> None:
        """Make the page of a tick."""
        if acting is not None:
            self._recent.add(snapshot, acting)
        for sample in snapshot.pods:
            if sample.errors:
                self._read_errors.update((file, outcome.value) for file, outcome in sample.errors.items())
        tls = self.tls
        if snapshot.monotonic - self._process_read >= PROCESS_SECONDS:
            self._process_read = snapshot.monotonic
            self._process = generate_latest(self._registry)
        text = render(self.families(snapshot, agent, tls, acting)) + self._process
        self._page = Page(snapshot, agent, text, tls, acting, self._recent.newest_first())

    @property
    def owners(self) -> Owners:
        """Whose cgroups those of the last two ticks with an ``acting`` are."""
        return self._recent.owners

    @property
    def page(self) -> Page | None:
        """The last page, ``None`` before the first tick."""
        return self._page

    def text(self) -> bytes:
        """The last page as text; empty before the first tick."""
        return b"" if self._page is None else self._page.text

    def families(
        self, snapshot: Snapshot, agent: AgentFacts, tls: TlsState | None = None, acting: Acting | None = None
    ) -> Iterator[tuple[Family, Samples]]:
        """Every family with its samples, in the order of the page."""
        yield from self._capped(self._pods.families(snapshot.pods))
        node = PressureSamples(NODE)
        self._node.add(snapshot.node.pressures, node)
        yield from node.families()
        yield _family(CAPABILITY, [((each.name, each.reason), int(each.available)) for each in snapshot.capabilities])
        rejected = Counter(each.reason for sample in snapshot.pods for each in sample.pod.intent.rejected)
        yield _family(INTENT_REJECTED, [((reason,), count) for reason, count in sorted(rejected.items())])
        sources = snapshot.sources
        yield _family(SOURCE_UP, [((each.name,), int(each.ok)) for each in sources])
        yield _family(
            SOURCE_AGE, [((each.name,), each.age_seconds) for each in sources if each.age_seconds is not None]
        )
        yield _family(SOURCE_STUCK, [((each.name,), each.stuck_seconds) for each in sources])
        yield _family(
            SOURCE_ERRORS, [((each.name, why), count) for each in sources for why, count in each.errors.items()]
        )
        yield _family(READ_ERRORS, sorted(self._read_errors.items()))
        if acting is not None:
            for family, samples in _acting(snapshot, acting):
                yield _family(family, samples)
        if agent.audit_lines_lost is not None:
            yield _family(AUDIT_LOST, [((), agent.audit_lines_lost)])
        yield from _notices(agent.announcing)
        for family, samples in publishing_samples(agent.publishing):
            yield _family(family, samples)
        yield _family(BUILD, [((agent.version, platform.python_version(), str(agent.native).lower()), 1)])
        yield _family(TICKS, [((), snapshot.sequence)])
        yield _family(TICK_SECONDS, [((), agent.tick_seconds_total)])
        yield _family(TICK_LAST, [((), agent.tick_seconds)])
        yield _family(RELOAD_OK, [((), int(agent.config_reload_ok))])
        yield _family(RELOAD_TIME, [((), agent.config_reload_unix)])
        if tls is not None:
            yield _family(TLS_OK, [((), int(tls.ok))])
            yield _family(TLS_TIME, [((), tls.loaded_unix)])

    def _capped(self, families: Iterable[tuple[Family, Samples]]) -> Iterator[tuple[Family, Samples]]:
        budget = self._pressure.max_series
        dropped = 0
        for family, samples in families:
            kept = samples[:budget]
            budget -= len(kept)
            dropped += len(samples) - len(kept)
            yield family, kept
        if dropped:
            _log.warning(Event.SERIES_DROPPED, dropped=dropped, cap=self._pressure.max_series, limit="cap")
        yield _family(SERIES_DROPPED, [((), dropped)])


def _acting(snapshot: Snapshot, acting: Acting) -> Iterator[Sampled]:
    yield from acting_samples(acting)
    yield from overcommit_samples(snapshot, acting)
    yield from eviction_samples(acting)
    yield from frequency_samples(snapshot, acting)


def _notices(announcing: Announcing | None) -> Iterator[tuple[Family, Samples]]:
    if announcing is None or not announcing.channels:
        return
    yield _family(NOTICES_SENT, sorted(((each,), count) for each, count in announcing.sent.items()))
    yield _family(NOTICES_FAILED, sorted(announcing.failed.items()))
    yield _family(NOTICES_SUPPRESSED, [((), announcing.suppressed)])
    yield _family(NOTICES_WAITING, [((), announcing.waiting)])


def _family(family: Family, samples: Iterable[tuple[Labels, float]]) -> tuple[Family, Samples]:
    return family, [Series(family, labels, value) for labels, value in samples]


_log = Log("exporter")
