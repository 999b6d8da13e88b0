"""The endpoint: served whatever the clients do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import resource
import socket
import urllib.error
import urllib.request
from http import HTTPStatus

import pytest

from plimsoll.config.schema import HttpSection, PressureSection
from plimsoll.exporter import reply
from plimsoll.exporter.connections import Connections
from plimsoll.exporter.http import HttpServer, split_address
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.reply import Reply, plain
from plimsoll.exporter.request import MalformedRequest, Request, parse_request
from plimsoll.model.acting import Acting, Mode, Report, Status
from tests.fixtures.snapshots import BAD_SOURCES, FACTS, HEARTBEAT, busy, snapshot
from tests.support import is_kept


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
def exporter():
    exporter = Exporter(PressureSection())
    exporter.observe(busy(), FACTS)
    return exporter


@pytest.fixture
def server(exporter):
    section = HttpSection.model_validate({"maxConnections": 64})
    # The clock stands: how long the tests before took must not make this agent look hung.
    server = HttpServer(exporter, "127.0.0.1:0", section, clock=lambda: HEARTBEAT)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def patient(server, monkeypatch):
    """As long as a test takes on a slow machine, and longer, nobody is let go for being silent, or slow to read."""
    server._connections._header_seconds = 3600.0
    monkeypatch.setattr(reply, "WRITE_SECONDS", 3600.0)
    return server


def connect(server: HttpServer) -> socket.socket:
    host, port = split_address(server.address)
    return socket.create_connection((host, port), timeout=60)


def get(server: HttpServer, path: str, **headers: str):
    request = urllib.request.Request(f"http://{server.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def scrape(server: HttpServer) -> None:
    assert b"plimsoll_build_info" in get(server, "/metrics")[2]


def received(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    while chunk := client.recv(65536):
        parts.append(chunk)
    return b"".join(parts)


def test_five_hundred_idle_sockets_do_not_delay_a_scrape(patient):
    """F33: the places are capped, the one idle longest gives way, the next scrape is served at once."""
    idle = [connect(patient) for _ in range(500)]
    try:
        scrape(patient)
        assert len(patient._connections) <= 64
        assert is_kept(idle[-1]), "the scrape did not wait for their end"
    finally:
        for each in idle:
            each.close()


def test_a_kept_connection_in_use_outlives_idle_ones(server):
    """F33: who gives way is the one idle longest, not the oldest."""
    with connect(server) as scraper:
        for _ in range(3):
            scraper.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"OK\n"):
                answer += scraper.recv(65536)
            for each in [connect(server) for _ in range(60)]:
                each.close()


def test_a_slow_reader_and_a_half_request_hurt_nobody(patient):
    """F33: slowloris, and a client that never reads its answer."""
    with connect(patient) as half, connect(patient) as deaf:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHos")
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 50)

        for _ in range(5):
            scrape(patient)
        assert is_kept(half), "the scrape did not wait for its end"


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"a" * 1_000_000, b"431"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"a" * 200_000, b"405"),
        (b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"404"),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_odd_requests_get_a_plain_answer_and_the_connection_is_closed(server, request_bytes, answer):
    """F33: a huge header, another protocol, other methods; the answer arrives although the request was not read."""
    with connect(server) as client:
        client.sendall(request_bytes)

        assert received(client).startswith(b"HTTP/1.1 " + answer)
    scrape(server)


def test_a_closing_reply_to_a_slow_reader_is_whole(server, exporter):
    """The last bytes wait in the agent while the client reads slowly; closing must not cut them off."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(split_address(server.address))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        # Another client is served meanwhile: by then this one's reply is stuck half-way.
        scrape(server)

        assert received(client).endswith(exporter.text()[-1000:])


def test_keep_alive_serves_again_on_one_connection(server):
    """Prometheus keeps its connection between scrapes."""
    with connect(server) as client:
        for _ in range(3):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"OK\n"):
                answer += client.recv(65536)


async def _healthy(_request: Request, _verified: bool) -> Reply:
    return plain(HTTPStatus.OK)


def test_no_descriptor_left_gives_up_an_idle_connection():
    """F33: with the process's descriptors used up the endpoint still answers, at the cost of who is idle longest."""

    async def run() -> tuple[bytes, int]:
        loop = asyncio.get_running_loop()
        connections = Connections(_healthy, 64, lambda: None)
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        serving = asyncio.create_task(connections.serve(listening))
        idle = [socket.create_connection(address) for _ in range(20)]
        while len(connections) < len(idle):  # noqa: ASYNC110 - nothing says when a connection is accepted
            await asyncio.sleep(0)
        client = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        held = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(socket.socket())
            # The kernel takes the connection; the loop did not run, so nobody accepted it yet.
            client.connect(address)
            client.setblocking(False)
            await loop.sock_sendall(client, b"GET /healthz HTTP/1.0\r\n\r\n")
            return await loop.sock_recv(client, 4096), len(connections)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for each in (*idle, *held, client):
                each.close()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    answer, left = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert 10 < left < 21


def test_a_silent_client_is_let_go_at_the_deadline():
    """F33: whoever says nothing is closed; the deadline is shortened here."""

    async def run() -> bytes:
        connections = Connections(_healthy, 8, lambda: None, header_seconds=0.05)
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(connections.serve(listening))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        end = await reader.read()
        writer.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert len(connections) == 0
        return end

    assert asyncio.run(run()) == b""


def test_compressed_or_not_as_the_client_takes_it(server, exporter):
    """gzip only where it is named and not refused; every reply says what it varies by."""
    for path in ("/metrics", "/", "/status.json"):
        _, headers, zipped = get(server, path, **{"Accept-Encoding": "deflate, gzip;q=0.5"})
        assert headers["Content-Encoding"] == "gzip"
        assert headers["Vary"] == "Accept-Encoding"
        _, headers, refused = get(server, path, **{"Accept-Encoding": "gzip;q=0"})
        assert headers["Content-Encoding"] is None
        assert gzip.decompress(zipped) == refused
    assert get(server, "/metrics")[2] == exporter.text()


def test_each_tick_has_its_own_renditions(server, exporter):
    """What was made when first asked for is not served after the next tick."""
    first = get(server, "/", **{"Accept-Encoding": "gzip"})[2]
    exporter.observe(snapshot((), tick=2), FACTS)
    second = get(server, "/", **{"Accept-Encoding": "gzip"})[2]

    assert b"No pods" not in gzip.decompress(first)
    assert b"No pods" in gzip.decompress(second)
    assert json.loads(get(server, "/status.json")[2])["tick"] == 2


def test_before_the_first_tick(tmp_path):
    """Alive, not ready; the page says so and looks again; no metrics yet."""
    server = HttpServer(Exporter(PressureSection()), "127.0.0.1:0", HttpSection())
    server.start()
    try:
        codes = {path: get(server, path)[0] for path in ("/healthz", "/readyz", "/status.json", "/metrics", "/")}
        text = get(server, "/")[2]
    finally:
        server.stop()

    assert codes == {"/healthz": 200, "/readyz": 503, "/status.json": 503, "/metrics": 200, "/": 503}
    assert b"Starting" in text


def test_a_source_that_is_away_leaves_a_ready_agent_ready(server, exporter):
    """F23: its last full set stands; only a source that never gave one makes the agent unready."""
    exporter.observe(busy(sources=BAD_SOURCES), FACTS)
    assert get(server, "/readyz")[0] == 200
    view = json.loads(get(server, "/status.json")[2])
    assert [each["ok"] for each in view["sources"]] == [False, True]
    assert view["tls"] is None


@pytest.mark.parametrize(
    ("mode", "journal_ok", "code"),
    [(Mode.ENFORCE, True, 200), (Mode.ENFORCE, False, 503), (Mode.OBSERVE, False, 200), (Mode.OFF, False, 200)],
)
def test_f19_an_agent_without_a_journal_is_not_ready_to_write(server, exporter, mode, journal_ok, code):
    """F19: only where a policy writes is a journal needed; alive it is in any case."""
    acting = Acting(reports=(Report("preemption", mode, Status.OK),), journal_ok=journal_ok)
    exporter.observe(snapshot(()), FACTS, acting)
    assert get(server, "/readyz")[0] == code
    assert get(server, "/healthz")[0] == 200


def test_a_hung_loop_is_not_healthy():
    """The heartbeat stands still: the kubelet gets a 503."""
    now = [HEARTBEAT]
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(()), FACTS)
    server = HttpServer(exporter, "127.0.0.1:0", HttpSection(), clock=lambda: now[0])
    request = Request("GET", "/healthz", close=True, gzip=False)

    assert asyncio.run(server.answer(request, verified=False)).code == 200
    now[0] += 31.0
    assert asyncio.run(server.answer(request, verified=False)).code == 503


def test_a_page_in_the_making_lets_scrapes_through(exporter):
    """The status page of 110 pods is made in fragments: other requests are answered between them."""
    server = HttpServer(exporter, "127.0.0.1:0", HttpSection(), clock=lambda: HEARTBEAT)

    async def run() -> int:
        making = asyncio.create_task(server.answer(Request("GET", "/", close=True, gzip=False), verified=False))
        served = 0
        while not making.done():
            await server.answer(Request("GET", "/metrics", close=True, gzip=False), verified=False)
            served += 1
            await asyncio.sleep(0)
        assert re.search(rb"</html>\s*$", making.result().body)
        return served

    assert asyncio.run(run()) > 100


@pytest.mark.parametrize(
    ("head", "request_"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", Request("GET", "/a", close=False, gzip=False)),
        (b"GET / HTTP/1.1\r\nACCEPT-ENCODING: GZIP\r\n\r\n", Request("GET", "/", close=False, gzip=True)),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", Request("GET", "/", close=True, gzip=False)),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Request("GET", "/", close=True, gzip=False)),
        (b"GET / HTTP/1.1\r\nContent-Length: 7\r\n\r\n", Request("GET", "/", close=True, gzip=False)),
        (b"HEAD / HTTP/1.0\r\nAccept-Encoding: gzip;q=0\r\n\r\n", Request("HEAD", "/", close=True, gzip=False)),
        (b"GET / HTTP/1.1\r\nAccept-Encoding: xgzip, gzip2\r\n\r\n", Request("GET", "/", close=False, gzip=False)),
    ],
)
def test_requests(head, request_):
    """A body is never taken for the next request: the connection closes instead."""
    assert parse_request(head) == request_


@pytest.mark.parametrize("head", [b"\r\n\r\n", b"GET /\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"GET / HTTP/3\r\n\r\n"])
def test_what_is_no_request(head):
    """Refused before anything of it is used."""
    with pytest.raises(MalformedRequest):
        parse_request(head)
