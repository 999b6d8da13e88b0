"""Publishing on bad days: an API server that refuses, fails, hangs or is away, and an end that does not wait for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plimsoll.model.publishing import RESOURCE
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.exchange import Exchange
from plimsoll.sources.kube.publishing import Limits, Publisher
from tests.fault.kube_day import NODE, QUICK
from tests.running import until

BRISK = Limits(forbidden=0.05, backoff_first=0.01, backoff_longest=0.05)

Step = Callable[[Exchange], None]


class Server:
    """Answers patches of a node as it is told, then as a node would; ``stood``: what each asked for."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.stood: list[str | None] = []

    def __call__(self, exchange: Exchange) -> bool:
        assert (exchange.method, exchange.path) == ("PATCH", f"/api/v1/nodes/{NODE}/status")
        status = json.loads(exchange.content)["status"]
        assert status["capacity"] == status["allocatable"]
        self.stood.append(status["capacity"][RESOURCE])
        step = self.steps.pop(0) if self.steps else None
        if step is not None:
            step(exchange)
        else:
            exchange.json({"kind": "Node", "status": status})
        return True


@contextmanager
def publishing(folder: Path, script: Server, limits: Limits = BRISK) -> Iterator[Publisher]:
    server = ApiServer(script=script)
    server.start()
    try:
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        publisher = Publisher(NODE, kubeconfig=kubeconfig, limits=limits, timing=QUICK)
        publisher.start()
        try:
            yield publisher
        finally:
            publisher.stop()
    finally:
        server.stop()


def refused(code: int) -> Step:
    return lambda exchange: exchange.status(code, "the test says no")


def test_published_and_withdrawn(tmp_path: Path) -> None:
    """What is offered stands, a change follows, and the end takes it away before the thread ends."""
    script = Server()
    with publishing(tmp_path, script) as publisher:
        publisher.observe(1 << 30, on=True)
        until(lambda: publisher.state.stands == 1 << 30, "published")
        publisher.observe(2 << 30, on=True)
        until(lambda: publisher.state.stands == 2 << 30, "changed")
    assert script.stood == ["1073741824", "2147483648", None]
    assert publisher.state.stands is None


def test_nothing_is_asked_where_nothing_is_published(tmp_path: Path) -> None:
    """Not one request, from the start to the end."""
    script = Server()
    with publishing(tmp_path, script) as publisher:
        publisher.observe(None, on=False)
    assert script.stood == []


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "forbidden"), (422, "status"), (404, "status"), (429, "throttled"), (500, "server")]
)
def test_refused_and_taken_later(tmp_path: Path, code: int, reason: str) -> None:
    """Each is counted with its reason and said again until it is taken; then the trouble is over."""
    script = Server(refused(code), refused(code))
    with publishing(tmp_path, script) as publisher:
        publisher.observe(5, on=True)
        until(lambda: publisher.state.stands == 5, "taken")
        assert publisher.state.failed == {reason: 2}
        assert publisher.state.trouble is None
    assert script.stood == ["5", "5", "5", None]


def test_a_missing_right_says_the_cure(tmp_path: Path) -> None:
    """What to grant, and then the server's own words."""
    with publishing(tmp_path, Server(refused(403)), BRISK._replace(forbidden=600.0)) as publisher:
        publisher.observe(5, on=True)
        until(lambda: publisher.state.trouble is not None, "refused")
        assert publisher.state.trouble is not None
        reason, message = publisher.state.trouble
    assert reason == "forbidden"
    assert "grant patch on nodes/status" in message


def test_a_server_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    """Ticks go on while a request hangs, and the end comes in its time."""
    over = threading.Event()

    def hang(exchange: Exchange) -> None:
        over.wait(60)

    script = Server(*[hang] * 10)
    with publishing(tmp_path, script) as publisher:
        try:
            publisher.observe(5, on=True)
            until(lambda: len(script.stood) == 1, "asked")
            begun = time.monotonic()
            for size in range(100):
                publisher.observe(size, on=True)
            assert time.monotonic() - begun < 5
            begun = time.monotonic()
            publisher.stop(0.5)
            assert time.monotonic() - begun < 20
        finally:
            over.set()
