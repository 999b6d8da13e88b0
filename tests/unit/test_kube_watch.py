"""The list and watch loop in virtual time: hours of a bad day in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from plimsoll.simulator.exchange import status_object, text
from plimsoll.sources.kube.failure import Failure, Reason
from plimsoll.sources.kube.report import Report
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.transport import Query
from plimsoll.sources.kube.watch import PodWatch

POD = {
    "metadata": {"namespace": "shop", "name": "a", "uid": "00000000-0000-0000-0000-000000000001"},
    "spec": {"nodeName": "node-1"},
}
LIST = {"kind": "PodList", "metadata": {"resourceVersion": "10"}, "items": [POD]}
HOUR = 3600.0
HOT_LOOP = 20_000


@dataclass
class Reply:
    """A response; ``lasts``: seconds of virtual time until its stream ends."""

    world: World
    status: int = 200
    retry_after: float | None = None
    content: tuple[bytes, ...] = ()
    lasts: float = 0.0

    def read(self, limit: int, seconds: float) -> bytes:
        return b"".join(self.content)

    def chunks(self) -> Iterator[bytes]:
        yield from self.content
        self.world.now += self.lasts

    def close(self) -> None:
        self.world.closed += 1


Answer = Callable[[bool, Query], Reply]


@dataclass
class World:
    """Clock, stop flag and transport in one: time passes only by waiting and by streams that last."""

    until: float
    answer: Answer = field(init=False)
    now: float = 0.0
    asked: list[tuple[float, bool, dict[str, str]]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    reloads: int = 0
    closed: int = 0

    def get(self, path: str, query: Query, read_seconds: float) -> Reply:
        asked = dict(query)
        self.asked.append((self.now, "watch" in asked, asked))
        return self.answer("watch" in asked, query)

    def reload(self) -> None:
        self.reloads += 1

    def clock(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return self.now >= self.until or len(self.asked) >= HOT_LOOP

    def wait(self, timeout: float) -> bool:
        self.now += timeout
        return self.is_set()

    def json(self, value: object) -> Reply:
        return Reply(self, content=(json.dumps(value).encode(),))

    def run(self, answer: Answer, seed: int = 1) -> None:
        self.answer = answer
        PodWatch(
            "node-1", self, self.reports.append, stop=self, clock=self.clock, random=Random(seed), timing=Timing()
        ).run()
        assert len(self.asked) < HOT_LOOP, "a hot loop"

    def times(self, *, watching: bool) -> list[float]:
        return [at for at, watch, _ in self.asked if watch is watching]


def server(world: World) -> Answer:
    """A good one: each watch lasts as long as it was asked to, with a bookmark at its end."""

    def answer(watching: bool, query: Query) -> Reply:
        if not watching:
            return world.json(LIST)
        mark = text({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "11"}}})
        return Reply(world, content=(mark,), lasts=float(dict(query)["timeoutSeconds"]))

    return answer


def refused(_watching: bool, _query: Query) -> Reply:
    raise Failure(Reason.TRANSPORT, "refused")


def test_a_quiet_day_is_a_few_watches_and_rare_lists() -> None:
    """Watches of 5 to 10 minutes, lists every half hour give or take a fifth, all with the query the server needs."""
    world = World(until=24 * HOUR)
    world.run(server(world))
    lists, watches = world.times(watching=False), world.times(watching=True)
    gaps = [new - old for old, new in pairwise(lists)]
    first = world.asked[1][2]

    assert all(1800 * 0.8 - 1 <= gap <= 1800 * 1.2 + 75 for gap in gaps)
    assert max(gaps) - min(gaps) > 300
    assert 24 * HOUR / 600 <= len(watches) <= 24 * HOUR / 300 + 2 * len(lists)
    assert (
        first.items()
        >= {
            "fieldSelector": "spec.nodeName=node-1",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": "10",
        }.items()
    )
    assert 300 <= int(first["timeoutSeconds"]) <= 600
    assert world.closed == len(world.asked)


def test_a_relist_never_goes_back_in_time() -> None:
    """The first list may be of any age, the later ones are not older than what was seen."""
    world = World(until=2 * HOUR)
    world.run(server(world))

    assert [asked["resourceVersion"] for _, watching, asked in world.asked if not watching][:3] == ["0", "11", "11"]


@pytest.mark.parametrize("seed", range(5))
def test_f23_six_hours_of_outage(seed: int) -> None:
    """The set stays; the server is asked about once in 15 s, at times nobody can foretell; one list at the end."""
    world = World(until=8 * HOUR)
    good = server(world)

    def answer(watching: bool, query: Query) -> Reply:
        if 1 * HOUR <= world.now < 7 * HOUR:
            return refused(watching, query)
        if watching and world.now >= 7 * HOUR and dict(query)["resourceVersion"] == "11" and not healed:
            healed.append(world.now)
            return Reply(world, content=(text({"type": "ERROR", "object": status_object(410, "too old")}),))
        return good(watching, query)

    healed: list[float] = []
    world.run(answer, seed)
    during = [at for at, *_ in world.asked if 1 * HOUR <= at < 7 * HOUR]
    worst = max(world.reports, key=lambda report: report.errors.get("transport", 0))

    assert 6 * HOUR / 30 <= len(during) <= 6 * HOUR / 10
    assert max(new - old for old, new in pairwise(during) if old > 1.1 * HOUR) <= 30.0
    assert all(len(report.objects) == 1 for report in world.reports if report.complete)
    assert world.reports[-1].ok
    assert worst.errors["transport"] == len(during)
    # Within the half hour the periodic list comes as well, hence the window.
    assert len([at for at in world.times(watching=False) if 7 * HOUR <= at < 7 * HOUR + 60]) == 1


@pytest.mark.parametrize(
    ("name", "watch"),
    [
        ("410 as event", lambda world: Reply(world, content=(text({"type": "ERROR", "object": status_object(410)}),))),
        ("410 as status", lambda world: Reply(world, status=410, content=(b"{}",))),
        ("garbage", lambda world: Reply(world, content=(b"garbage\n",))),
        ("ended at once", Reply),
        ("ended after an event", lambda world: Reply(world, content=(text({"type": "ADDED", "object": POD}),))),
        ("401", lambda world: Reply(world, status=401, content=(b"",))),
        ("403", lambda world: Reply(world, status=403, content=(b"",))),
        ("500", lambda world: Reply(world, status=500, content=(b"",))),
    ],
)
def test_no_failure_for_ever_is_a_hot_loop(name: str, watch: Callable[[World], Reply]) -> None:
    """Lists succeed and every watch fails at once, for an hour: at most a few requests a minute in the long run."""
    world = World(until=HOUR)
    world.run(lambda watching, _query: watch(world) if watching else world.json(LIST))
    late = [at for at, *_ in world.asked if at > HOUR / 2]

    assert len(late) <= HOUR / 2 / 5
    assert len(late) >= 1800 / 60
    assert len(world.reports[-1].objects) == 1


def test_403_is_asked_slowly_from_the_start() -> None:
    """Rights are granted by people: 15 to 30 s, not milliseconds."""
    world = World(until=300.0)
    world.run(lambda _watching, _query: Reply(world, status=403, content=(b"",)))
    times = world.times(watching=False)

    assert all(15.0 <= new - old <= 30.0 for old, new in pairwise(times))


def test_401_reloads_the_credentials_each_time() -> None:
    """As often as it is refused, never more often."""
    world = World(until=300.0)
    world.run(lambda _watching, _query: Reply(world, status=401, content=(b"",)))

    assert world.reloads == len(world.asked) > 5


@pytest.mark.parametrize(("asked", "least", "most"), [(7.0, 7.0, 8.0), (1e7, 300.0, 301.0)])
def test_retry_after_is_a_floor_with_a_bound(asked: float, least: float, most: float) -> None:
    """The server's wish counts, but a nonsense value must not switch the source off for months."""
    world = World(until=2.0)
    world.run(lambda _watching, _query: Reply(world, status=429, retry_after=asked, content=(b"",)))

    assert least <= world.now <= most


def test_an_own_mistake_does_not_end_the_loop() -> None:
    """An exception nobody foresaw is counted, the set stays, and the next list works."""
    world = World(until=300.0)
    good = server(world)

    def answer(watching: bool, query: Query) -> Reply:
        if watching and world.now < 1.0:
            raise KeyError("unforeseen")
        return good(watching, query)

    world.run(answer)

    assert world.reports[-1].ok
    assert world.reports[-1].errors["internal"] >= 1
    assert len(world.reports[-1].objects) == 1


def test_a_watch_goes_on_from_the_newest_version_only() -> None:
    """A late event with an old version does not turn the stream back."""
    world = World(until=700.0)

    def answer(watching: bool, _query: Query) -> Reply:
        if not watching:
            return world.json(LIST)
        events = []
        for version in ("30", "20"):
            pod: dict[str, Any] = {**POD, "metadata": {**POD["metadata"], "resourceVersion": version}}
            events.append(text({"type": "MODIFIED", "object": pod}))
        return Reply(world, content=tuple(events), lasts=400.0)

    world.run(answer)

    assert [asked["resourceVersion"] for _, watching, asked in world.asked if watching] == ["10", "30"]
