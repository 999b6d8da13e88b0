"""Notices on bad days: an API server that refuses, breaks off, hangs or is away, and a tick that never waits for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plimsoll.config.report_section import NoticesSection
from plimsoll.config.schema import PrioritySection
from plimsoll.model.announcing import Channel
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.exchange import Exchange
from plimsoll.sources.kube.announcing import Announcer
from tests.fault.kube_day import NODE, QUICK, Step, day, manifest
from tests.telling import BOTH, BRISK, CONDITION, CONDITIONS, EVENTS, MESSAGE, REASON, Json, Telling, note


@dataclass
class Script:
    """The first requests that ask for something, one step each; ``None`` and what follows are the server's own."""

    steps: list[Step] = field(default_factory=list)
    seen: list[tuple[float, Exchange]] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> bool:
        self.seen.append((time.monotonic(), exchange))
        step = self.steps.pop(0) if self.steps else None
        if step is None:
            return False
        step(exchange)
        return True

    def asked(self) -> list[tuple[str, str]]:
        return [(exchange.method, exchange.path) for _, exchange in self.seen]


@dataclass(kw_only=True)
class Office(Telling):
    """An announcer, the server it tells, and a pod."""

    server: ApiServer
    script: Script
    kubeconfig: Path
    pod: Json

    def say(self) -> None:
        self.tick(self.pod, notes=(note(self.pod),))

    def conditions(self) -> dict[str, str]:
        (stored,) = self.server.pods
        return {each["type"]: each["status"] for each in stored["status"].get("conditions", ())}


@contextmanager
def office(
    folder: Path, *steps: Step, section: NoticesSection = EVENTS, limits: dict[str, float] | None = None
) -> Iterator[Office]:
    """A running server with one pod, and an announcer that was just started."""
    script = Script(list(steps))
    server = ApiServer(script=script)
    server.start()
    try:
        pod = server.put_pod(manifest("a"))
        kubeconfig = folder / "kubeconfig"
        announcer = Announcer(
            NODE,
            section,
            kubeconfig=server.write_kubeconfig(kubeconfig),
            limits=BRISK._replace(**(limits or {})),
            timing=QUICK,
        )
        try:
            announcer.start()
            yield Office(announcer=announcer, server=server, script=script, kubeconfig=kubeconfig, pod=pod)
        finally:
            announcer.stop()
    finally:
        server.stop()


def refuse(code: int, **headers: str) -> Step:
    return lambda exchange: exchange.status(
        code, "so it is", {key.replace("_", "-"): value for key, value in headers.items()}
    )


def page(code: int) -> Step:
    return lambda exchange: exchange.body(code, b"<html>bad gateway</html>", {"Location": "http://127.0.0.1:9/"})


def cut(exchange: Exchange) -> None:
    """Half an answer, then the connection is gone."""
    exchange.body(201, b'{"kind": "Ev', length=4000)
    exchange.abort()


def test_event_and_condition_arrive_whole(tmp_path: Path) -> None:
    """The simulated server has them as the real one would: once, however often they are said."""
    with office(tmp_path, section=BOTH) as today:
        for _ in range(20):
            today.say()
        today.until_sent(Channel.EVENT, 1)
        today.until_sent(Channel.CONDITION, 1)
        today.say()
        (event,) = today.server.events

        assert (event["reason"], event["message"], event["count"]) == (REASON, MESSAGE, 1)
        assert event["involvedObject"]["uid"] == today.pod["metadata"]["uid"]
        assert today.conditions() == {CONDITION: "True"}
        assert today.announcer.state.failed == {}
        assert len(today.script.seen) == 3


def test_a_restarted_agent_finds_what_it_has_told(tmp_path: Path) -> None:
    """The event is there already: that is no failure, and the event is left as it is."""
    with office(tmp_path) as today:
        today.say()
        today.until_sent(Channel.EVENT, 1)
        (event,) = today.server.events
        successor = Announcer(NODE, EVENTS, kubeconfig=str(today.kubeconfig), limits=BRISK)
        telling = Telling(successor)
        successor.start()
        try:
            telling.tick(today.pod, notes=(note(today.pod),))
            telling.until(lambda: successor.state.suppressed == 1, "found")
            assert successor.state.failed == {}
            assert successor.state.waiting == 0
        finally:
            successor.stop()

        assert today.server.events == (event,)


def test_an_owners_mistake_is_told_from_pod_to_event(tmp_path: Path) -> None:
    """A value that is none in the pod's annotation, seen by the source, ends as an event with the cure."""
    with day(tmp_path) as today:
        today.server.put_pod(manifest("a", **{"plimsoll.io/qos-priority": "hihg"}))
        today.until_names("a")
        announcer = Announcer(NODE, EVENTS, kubeconfig=str(today.kubeconfig), limits=BRISK)
        telling = Telling(announcer)
        announcer.start()
        try:
            telling.hear(today.source.observe(PrioritySection()).pods)
            telling.until_sent(Channel.EVENT, 1)
        finally:
            announcer.stop()
        (event,) = today.server.events

    assert event["reason"] == "IntentRejected"
    assert event["type"] == "Warning"
    assert event["message"].startswith("plimsoll.io/qos-priority: 'hihg' is not a value; did you mean high?")


@pytest.mark.parametrize(("code", "reason"), [(429, "throttled"), (503, "server")])
def test_f27_retry_after_is_honoured(tmp_path: Path, code: int, reason: str) -> None:
    """The server asks for a second: nothing is sent before it is over, though there is more to tell by then."""
    with office(tmp_path, refuse(code, Retry_After="1")) as today:
        today.say()
        today.until(lambda: today.failed(Channel.EVENT, reason) == 1, "refused")
        other = today.server.put_pod(manifest("b"))
        today.tick(today.pod, other, notes=(note(today.pod), note(other)))
        today.until_sent(Channel.EVENT, 2)
        (first, _), (second, _) = today.script.seen[:2]

        assert second - first >= 1.0
        assert today.announcer.state.troubles == {}


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (refuse(500), "server"),
        (page(502), "server"),
        (lambda exchange: exchange.abort(), "transport"),
    ],
    ids=["500", "502", "reset"],
)
def test_f27_what_fails_now_is_told_later(tmp_path: Path, step: Step, reason: str) -> None:
    """Errors with and without a Status object, and a connection that is closed: counted, tried again, told."""
    with office(tmp_path, step, step) as today:
        today.say()
        today.until_sent(Channel.EVENT, 1)

        assert today.announcer.state.failed == {(Channel.EVENT, reason): 2}
        assert len(today.server.events) == 1


@pytest.mark.parametrize("step", [refuse(400), refuse(422), page(302), page(404)], ids=["400", "422", "302", "404"])
def test_f27_what_is_refused_is_not_asked_again(tmp_path: Path, step: Step) -> None:
    """An answer that will not change: one request, no redirect followed, and the next notice is told."""
    with office(tmp_path, step) as today:
        today.say()
        today.until(lambda: sum(today.announcer.state.failed.values()) == 1, "refused")
        other = today.server.put_pod(manifest("b"))
        for _ in range(20):
            today.tick(today.pod, other, notes=(note(today.pod), note(other)))
        today.until_sent(Channel.EVENT, 1)

        assert len(today.script.seen) == 2
        assert [event["involvedObject"]["name"] for event in today.server.events] == ["b"]


def test_an_answer_that_breaks_off_was_an_answer(tmp_path: Path) -> None:
    """201 and half a body: it is created, and not created again."""
    with office(tmp_path, cut) as today:
        for _ in range(5):
            today.say()
        today.until_sent(Channel.EVENT, 1)
        today.say()

        assert today.announcer.state.failed == {}
        assert len(today.script.seen) == 1


def test_f23_an_outage_is_waited_for(tmp_path: Path) -> None:
    """While nobody listens nothing is lost but time."""
    with office(tmp_path) as today:
        today.server.stop()
        today.say()
        today.until(lambda: today.failed(Channel.EVENT, "transport") >= 1, "failed")
        today.server.start()
        today.until_sent(Channel.EVENT, 1)

        assert len(today.server.events) == 1


def test_f27_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    """401 with the old token; a kubeconfig that is broken meanwhile is counted, a good one taken, nothing is lost."""
    with office(tmp_path) as today:
        today.server.token = "rotated"
        good = today.kubeconfig.read_text()
        today.kubeconfig.write_text("not: [closed")
        today.say()
        today.until(lambda: today.failed(Channel.EVENT, "credentials") >= 1, "not readable")
        today.kubeconfig.write_text(good)
        today.until(lambda: today.failed(Channel.EVENT, "unauthorized") >= 1, "refused")
        today.server.write_kubeconfig(today.kubeconfig)
        today.until_sent(Channel.EVENT, 1)

        assert today.announcer.state.troubles == {}


def test_a_server_that_hangs_holds_up_neither_tick_nor_stop(tmp_path: Path) -> None:
    """No answer at all: a thousand ticks go by, then the thread ends at once; none is left."""
    with office(tmp_path, lambda exchange: exchange.hang(), section=BOTH) as today:
        today.say()
        today.until(lambda: bool(today.script.seen), "asked")
        done = threading.Event()

        def ticks() -> None:
            for _ in range(1000):
                today.say()
            done.set()

        threading.Thread(target=ticks, daemon=True).start()
        assert done.wait(30)
        assert len(today.script.seen) == 1
        begun = time.monotonic()
        today.announcer.stop()

        assert time.monotonic() - begun < 10
        assert "notices" not in {thread.name for thread in threading.enumerate()}


def test_what_is_off_asks_nothing(tmp_path: Path) -> None:
    """By default no request is sent; turned on by a new configuration, the next tick is told; turned off again, not."""
    with office(tmp_path, section=NoticesSection()) as today:
        today.say()
        assert today.announcer.state.channels == frozenset()
        assert today.announcer.state.unavailable == "off"
        today.announcer.reconfigure(EVENTS)
        today.say()
        today.until_sent(Channel.EVENT, 1)
        assert today.script.asked() == [("POST", "/api/v1/namespaces/shop/events")]
        today.announcer.reconfigure(NoticesSection())
        other = today.server.put_pod(manifest("b"))
        for _ in range(20):
            today.tick(other, notes=(note(other),))
        today.announcer.stop()

        assert len(today.script.seen) == 1


def test_stopping_without_a_start_is_allowed(tmp_path: Path) -> None:
    """The daemon stops whatever it has made; stopping twice is nothing either."""
    server = ApiServer()
    server.start()
    announcer = Announcer(NODE, BOTH, kubeconfig=server.write_kubeconfig(tmp_path / "kubeconfig"))
    server.stop()

    announcer.stop()
    announcer.stop()


def odd_list(exchange: Exchange) -> None:
    """Pods among which are some that nobody should have to read."""
    (pod,) = json.loads(json.dumps([manifest("a", uid="00000000-0000-0000-0000-000000000001")]))
    pod["status"]["conditions"] = [None, {"type": CONDITION, "status": ["True"]}]
    exchange.json({"kind": "PodList", "metadata": {}, "items": [None, {"status": []}, pod]})


@pytest.mark.parametrize(
    "step",
    [refuse(500), page(200), lambda exchange: exchange.abort(), odd_list],
    ids=["500", "html", "reset", "odd"],
)
def test_conditions_wait_for_the_list_and_survive_it(tmp_path: Path, step: Step) -> None:
    """What stands is asked for until there is an answer; odd objects in it hurt nobody."""
    with office(tmp_path, step, section=CONDITIONS) as today:
        today.say()
        today.until_sent(Channel.CONDITION, 1)

        assert today.conditions() == {CONDITION: "True"}
        assert today.script.asked()[0] == ("GET", "/api/v1/pods")


def test_a_name_that_is_used_again_is_another_pod(tmp_path: Path) -> None:
    """A StatefulSet's pod was replaced and the agent does not know yet: the new one gets no condition of the old."""
    with office(tmp_path, section=CONDITIONS) as today:
        old = today.pod
        today.server.delete_pod("shop", "a")
        today.server.put_pod(manifest("a"))
        today.tick(old, notes=(note(old),))
        today.until(lambda: today.failed(Channel.CONDITION, "gone") == 1, "gone")

        assert today.conditions() == {}
        assert today.announcer.state.troubles == {}
