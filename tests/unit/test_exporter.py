"""The page: equal to what prometheus-client would write, capped, and served whatever the clients do."""

from __future__ import annotations

import socket
import time
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from plimsoll.config.schema import HttpSection, PressureSection
from plimsoll.exporter.exposition import Family, Renderer, metrics, ratio, seconds
from plimsoll.exporter.http import HttpServer, split_address
from plimsoll.exporter.metrics import AgentFacts, Exporter
from plimsoll.model.pod import Pod, PodIntent, PodObject, Priority, QosClass
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from tests.support import UID

FACTS = AgentFacts(version="1", started=0.0, heartbeat=time.monotonic(), interval=1.0)


def sample(number: int) -> PodSample:
    pod = PodObject(UID.format(number), "shop", f"web-{number}", QosClass.BURSTABLE, "Running", False, False, None, ())
    line = PressureLine(125, 40, 9, 1_000_000 + number)
    pressures = tuple(Pressure(cause, Source.PSI, line, line) for cause in ("cpu", "memory", "io"))
    return PodSample(Pod(pod, PodIntent(Priority.NORMAL, "default")), CgroupState.FOUND, "x", pressures)


def snapshot(pods: int) -> Snapshot:
    return Snapshot(1, 1.0, 1.0, None, "node", tuple(sample(number) for number in range(pods)))


class _Fixed:
    def __init__(self, families):
        self._families = families

    def collect(self):
        return metrics(self._families)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), unique=True, max_size=5), st.text(max_size=40))
def test_our_text_is_the_librarys(labels, help_text):
    """Escaping of hostile label values and help texts is prometheus-client's own."""
    if not all(text.isprintable() or "\n" in text for pair in labels for text in pair):
        labels = []
    family = Family("plimsoll_test", "gauge", help_text, ("a", "b"))
    families = [(family, [(pair, "1.5") for pair in labels])]

    assert Renderer().render(families) == generate_latest(_Fixed(families)) or not labels


def test_the_whole_page_is_the_librarys():
    """Every family of a real snapshot, value by value."""
    exporter = Exporter(PressureSection(windows=("10s", "60s", "300s")))
    families = [(family, list(samples)) for family, samples in exporter.families(snapshot(20), FACTS)]

    ours = _values(Renderer().render(families).decode())
    library = _values(generate_latest(_Fixed(families)).decode())

    assert ours == library
    assert len(ours) > 500


def _values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    # The library writes labels in alphabetical order, we in the family's: compared as sets.
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


@given(st.integers(0, 2**63 - 1))
def test_seconds_are_exact_to_the_microsecond(total):
    """No float on the way: 292,000 years of microseconds come out whole."""
    whole, part = seconds(total).split(".")

    assert int(whole) * 1_000_000 + int(part) == total
    assert len(part) == 6


def test_ratios_keep_the_kernels_two_decimals():
    """100.00 % is 1.0000."""
    assert [ratio(value) for value in (0, 1, 125, 10_000)] == ["0.0000", "0.0001", "0.0125", "1.0000"]


def test_the_cap_drops_the_same_series_every_time_and_says_so():
    """F32: never more than maxSeries, counted, stable from tick to tick; identity and totals outlive the ratios."""
    exporter = Exporter(PressureSection.model_validate({"maxSeries": 100}))
    exporter.observe(snapshot(30), FACTS)
    first = exporter.text().decode()
    exporter.observe(snapshot(30), FACTS)

    names = [line for line in first.splitlines() if line.startswith("plimsoll_pod_")]
    assert len(names) == 100
    assert "plimsoll_series_dropped 290" in first
    assert "plimsoll_pod_pressure_ratio" not in first
    assert names == [line for line in exporter.text().decode().splitlines() if line.startswith("plimsoll_pod_")]


def test_a_pod_that_is_gone_is_gone_from_the_next_page():
    """Nothing is remembered of it, not even the renderer's prefixes."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(2), FACTS)
    exporter.observe(snapshot(1), FACTS)

    assert "web-1" not in exporter.text().decode()
    assert not [key for key in exporter._renderer._prefixes if "web-1" in key[1]]


@pytest.mark.parametrize(
    ("text", "address"),
    [(":9470", (None, 9470)), ("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:2", ("::1", 2))],
)
def test_addresses(text, address):
    """The three spellings."""
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "9470", "host:", "host:x", ":99999"])
def test_what_is_no_address_is_refused(text):
    """With the spelling that would be right."""
    with pytest.raises(ValueError, match=r"write host:port"):
        split_address(text)


@pytest.fixture
def server():
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(5), FACTS)
    section = HttpSection.model_validate({"maxConnections": 64})
    # The clock stands: how long the tests before took must not make this agent look hung.
    server = HttpServer(exporter, "127.0.0.1:0", section, clock=lambda: FACTS.heartbeat)
    server.start()
    yield server
    server.stop()


def connect(server: HttpServer) -> socket.socket:
    host, port = split_address(server.address)
    return socket.create_connection((host, port), timeout=60)


def scrape(server: HttpServer) -> float:
    begun = time.monotonic()
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=60) as answer:
        assert b"plimsoll_build_info" in answer.read()
    return time.monotonic() - begun


def test_five_hundred_idle_sockets_do_not_delay_a_scrape(server):
    """F33: the places are capped, the one idle longest gives way, the next scrape is served at once."""
    idle = [connect(server) for _ in range(500)]
    try:
        assert scrape(server) < 2.0
        assert len(server._connections) <= 64
    finally:
        for each in idle:
            each.close()


def test_a_slow_reader_and_a_half_request_hurt_nobody(server):
    """F33: slowloris, and a client that never reads its answer."""
    with connect(server) as half, connect(server) as deaf:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHos")
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)

        assert max(scrape(server) for _ in range(5)) < 2.0


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_odd_requests_get_a_plain_answer_and_the_connection_is_closed(server, request_bytes, answer):
    """F33: a huge header, another protocol, other methods."""
    with connect(server) as client:
        client.sendall(request_bytes)
        received = b""
        while chunk := client.recv(65536):
            received += chunk

    assert received.startswith(b"HTTP/1.1 " + answer)
    assert scrape(server) < 2.0


def test_keep_alive_serves_again_on_one_connection(server):
    """Prometheus keeps its connection between scrapes."""
    with connect(server) as client:
        for _ in range(3):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            received = b""
            while not received.endswith(b"OK\n"):
                received += client.recv(65536)


def test_a_hung_loop_is_not_healthy():
    """The heartbeat stands still: the kubelet gets a 503."""
    now = [1000.0]
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(0), AgentFacts(version="1", started=0.0, heartbeat=1000.0, interval=5.0))
    server = HttpServer(exporter, "127.0.0.1:0", HttpSection(), clock=lambda: now[0])

    assert server._route("/healthz", gzip=False)[0] == 200
    now[0] += 31.0
    assert server._route("/healthz", gzip=False)[0] == 503
