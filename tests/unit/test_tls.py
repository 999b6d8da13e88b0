"""HTTPS: certificates followed while they change, clients asked for theirs, and no handshake that delays others."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.cli import main
from plimsoll.config.loader import parse_config
from plimsoll.config.problem import ConfigError
from plimsoll.config.schema import HttpSection, PressureSection, TlsSection
from plimsoll.exporter.http import HttpServer, split_address
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.tls import ServerTls
from tests.fixtures.certificates import Authority, write_pair
from tests.fixtures.snapshots import FACTS, HEARTBEAT, busy
from tests.running import command
from tests.support import is_kept, v2_node

PATHS = ("/", "/metrics", "/status.json", "/nothing")


class Endpoint:
    """A server with TLS on the loopback, and clients for it."""

    def __init__(self, folder: Path, *, asks_client: bool = False) -> None:
        self.authority = Authority()
        self.folder = folder
        self.certificate, self.key = write_pair(folder, self.authority.pair("first"))
        files = {"certFile": str(self.certificate), "keyFile": str(self.key)}
        if asks_client:
            (folder / "ca.crt").write_bytes(self.authority.pem)
            files["clientCAFile"] = str(folder / "ca.crt")
        self.exporter = Exporter(PressureSection())
        self.exporter.observe(busy(5), FACTS)
        section = HttpSection.model_validate({"tls": files})
        self.server = HttpServer(self.exporter, "127.0.0.1:0", section, clock=lambda: HEARTBEAT)

    def client(self, pair: tuple[bytes, bytes] | None = None) -> ssl.SSLContext:
        """A client that trusts this server, with a certificate of its own or none."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if pair is not None:
            context.load_cert_chain(*write_pair(self.folder / f"client-{time.monotonic_ns()}", pair))
        return context

    def dial(self) -> socket.socket:
        return socket.create_connection(split_address(self.server.address), timeout=60)

    @contextlib.contextmanager
    def connection(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with self.dial() as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            yield wrapped

    def get(self, path: str, context: ssl.SSLContext | None = None) -> bytes:
        with self.connection(context or self.client()) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            parts = []
            while chunk := client.recv(65536):
                parts.append(chunk)
        return b"".join(parts)

    def code(self, path: str, context: ssl.SSLContext | None = None) -> int:
        return int(self.get(path, context).split(b" ", 2)[1])

    def turned_away(self, context: ssl.SSLContext) -> bool:
        """Whether not even a probe is answered. With TLS 1.3 a client learns of it with its first read only."""
        try:
            return self.get("/healthz", context) == b""
        except OSError:
            return True

    def name(self) -> str:
        """The common name of the certificate the server shows."""
        with self.connection(self.client()) as client:
            subject = dict(pair for each in client.getpeercert()["subject"] for pair in each)
        return subject["commonName"]

    def metric(self, name: str) -> str:
        self.exporter.observe(busy(5), FACTS)
        (line,) = [line for line in self.exporter.text().decode().splitlines() if line.startswith(f"{name} ")]
        return line.rpartition(" ")[2]


@pytest.fixture
def endpoint(tmp_path):
    endpoint = Endpoint(tmp_path)
    endpoint.server.start()
    yield endpoint
    endpoint.server.stop()


@pytest.fixture
def asking(tmp_path):
    endpoint = Endpoint(tmp_path, asks_client=True)
    endpoint.server.start()
    yield endpoint
    endpoint.server.stop()


def test_pages_and_probes_over_tls(endpoint):
    """Without a client CA everybody is served; a big page arrives whole."""
    assert [endpoint.code(path) for path in (*PATHS, "/healthz", "/readyz")] == [200, 200, 200, 404, 200, 200]
    assert endpoint.get("/metrics").endswith(endpoint.exporter.text())
    assert endpoint.metric("plimsoll_tls_last_reload_successful") == "1"


def test_old_protocols_are_refused(endpoint):
    """TLS 1.2 is the least; 1.3 is what an ordinary client gets."""
    with endpoint.connection(endpoint.client()) as client:
        assert client.version() == "TLSv1.3"
    twelve = endpoint.client()
    twelve.maximum_version = ssl.TLSVersion.TLSv1_2
    assert endpoint.code("/healthz", twelve) == 200
    context = ServerTls(endpoint.server._section.tls).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_that_speaks_plainly_is_let_go(endpoint):
    """Plain HTTP on the TLS port ends that connection and no other."""
    with endpoint.dial() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/" not in client.recv(4096)
    assert endpoint.code("/healthz") == 200


def test_with_a_client_ca_only_the_probes_are_open(asking):
    """The kubelet's probes have no certificate; everything else says 403 without one, even what is not there."""
    assert [asking.code(path) for path in PATHS] == [403] * 4
    assert [asking.code(path) for path in ("/healthz", "/readyz")] == [200, 200]
    assert b"plimsoll" not in asking.get("/metrics").partition(b"\r\n\r\n")[2]


def test_a_client_certificate_opens_everything(asking):
    """One of the CA's, for clients."""
    scraper = asking.client(asking.authority.pair("prometheus", client=True))

    assert [asking.code(path, scraper) for path in PATHS] == [200, 200, 200, 404]


@pytest.mark.parametrize("kind", ["another CA", "for servers"])
def test_a_wrong_client_certificate_ends_the_handshake(asking, kind):
    """One of another CA, or one that is not for clients."""
    # The other CA is named as ours: who may sign is told by the key, not by the name.
    authority = Authority() if kind == "another CA" else asking.authority
    pair = authority.pair("prometheus", client=kind == "another CA")

    assert asking.turned_away(asking.client(pair))
    assert asking.code("/healthz") == 200


def test_a_new_pair_is_taken_with_the_next_handshake(endpoint):
    """cert-manager's way: the files are rewritten in place, one after the other."""
    assert endpoint.name() == "first"
    certificate, key = endpoint.authority.pair("second")

    endpoint.certificate.write_bytes(certificate)
    # Half-way: the new certificate with the old key. The last good pair serves on, and it is told.
    assert endpoint.name() == "first"
    assert endpoint.metric("plimsoll_tls_last_reload_successful") == "0"
    assert "http.tls.keyFile" in endpoint.get("/status.json").decode()
    endpoint.key.write_bytes(key)

    assert endpoint.name() == "second"
    assert endpoint.metric("plimsoll_tls_last_reload_successful") == "1"


def test_a_secret_volumes_swap_is_followed(tmp_path):
    """The kubelet's way: the files are links through ``..data``, which is swapped for another folder at once."""
    authority = Authority()
    write_pair(tmp_path / "..1", authority.pair("first"))
    (tmp_path / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    now = [1.0]
    section = TlsSection.model_validate({"certFile": str(tmp_path / "tls.crt"), "keyFile": str(tmp_path / "tls.key")})
    tls = ServerTls(section, unix=lambda: now[0])
    first = tls.context
    assert not tls.follow()
    assert tls.context is first

    write_pair(tmp_path / "..2", authority.pair("second"))
    (tmp_path / "..data_tmp").symlink_to("..2")
    os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    now[0] = 2.0

    assert tls.follow()
    assert tls.context is not first
    assert tls.state == (True, 2.0, ())


def test_a_pair_that_vanishes_stays_in_force(endpoint):
    """A Secret deleted under the pod: served on, told, and taken again when it is back."""
    kept = endpoint.key.read_bytes()
    endpoint.key.unlink()
    assert endpoint.name() == "first"
    assert endpoint.metric("plimsoll_tls_last_reload_successful") == "0"

    endpoint.key.write_bytes(kept)
    assert endpoint.name() == "first"
    assert endpoint.metric("plimsoll_tls_last_reload_successful") == "1"


def test_a_client_ca_taken_away_ends_kept_connections(asking):
    """A connection made under the old CA is not served for ever: it closes, and the new handshake decides."""
    scraper = asking.client(asking.authority.pair("prometheus", client=True))
    with asking.connection(scraper) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        while not kept.recv(4096).endswith(b"OK\n"):
            pass
        (asking.folder / "ca.crt").write_bytes(Authority("another").pem)
        kept.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert kept.recv(4096) == b""

    assert asking.turned_away(scraper)
    assert asking.code("/metrics") == 403


@pytest.fixture
def patient(endpoint):
    """As long as a test takes on a slow machine, and longer, nobody is let go for being silent."""
    endpoint.server._connections._header_seconds = 3600.0
    return endpoint


def test_five_hundred_silent_sockets_do_not_delay_a_scrape(patient):
    """F33: none of them begins its handshake; the places are capped all the same, and a scrape is served at once."""
    silent = [patient.dial() for _ in range(500)]
    try:
        assert b"plimsoll_build_info" in patient.get("/metrics")
        assert len(patient.server._connections) <= 64
        assert is_kept(silent[-1]), "the scrape did not wait for their end"
    finally:
        for each in silent:
            each.close()


def test_a_handshake_that_stops_half_way_delays_nobody(patient):
    """F33: a client hello without its end."""
    with patient.dial() as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

        assert patient.code("/metrics") == 200
        assert is_kept(half), "the scrape did not wait for its end"


@pytest.fixture
def files(tmp_path):
    authority = Authority()
    certificate, key = write_pair(tmp_path, authority.pair("first"))
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    return {"certFile": str(certificate), "keyFile": str(key), "clientCAFile": str(tmp_path / "ca.crt")}


@pytest.mark.parametrize("field", ["certFile", "keyFile", "clientCAFile"])
def test_a_file_that_is_not_there_is_named_with_its_field(files, field, tmp_path):
    """At start, before anything listens; the cure is in the same line."""
    files[field] = str(tmp_path / "nowhere.pem")
    server = HttpServer(Exporter(PressureSection()), "127.0.0.1:0", HttpSection.model_validate({"tls": files}))

    with pytest.raises(ConfigError) as caught:
        server.start()

    assert str(caught.value) == (
        f"{files[field]}: http.tls.{field}: cannot be read: No such file or directory, name a readable PEM file"
    )


def test_the_program_refuses_to_start_without_its_certificate(tmp_path):
    """Exit code 78, as for every wrong configuration, with the field and the cure on one line."""
    v2_node(tmp_path / "host")
    (tmp_path / "pods").mkdir()
    config = tmp_path / "plimsoll.yaml"
    config.write_text("http: {listen: '127.0.0.1:0', tls: {certFile: /nowhere/tls.crt, keyFile: /nowhere/tls.key}}\n")

    done = command("run", "--root", tmp_path / "host", "--pods", tmp_path / "pods", "--config", config, code=78)

    assert "/nowhere/tls.crt: http.tls.certFile: cannot be read" in done.stderr
    assert "/nowhere/tls.key: http.tls.keyFile: cannot be read" in done.stderr


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("certFile", b"not a certificate"),
        ("certFile", None),
        ("keyFile", b""),
        ("keyFile", None),
        ("keyFile", "another pair's"),
        ("keyFile", "encrypted"),
        ("clientCAFile", b"\0\xff"),
        ("clientCAFile", None),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_field(files, field, content):
    """The certificate for the key, text, another pair's key, a key with a password: never a question on a terminal."""
    if content is None:
        other = {"certFile": "keyFile", "keyFile": "certFile", "clientCAFile": "keyFile"}[field]
        content = Path(files[other]).read_bytes()
    elif content == "another pair's":
        content = Authority().pair("other")[1]
    elif content == "encrypted":
        content = Authority().pair("other", password=b"secret")[1]
    Path(files[field]).write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        ServerTls(TlsSection.model_validate(files))

    (problem,) = caught.value.problems
    assert problem.field == f"http.tls.{field}"
    assert problem.cure


def test_the_configuration_asks_for_both_files():
    """A section with one of them is told what is missing; a misspelt CA finds its name."""
    with pytest.raises(ConfigError) as caught:
        parse_config("http:\n  tls:\n    certFile: /x\n    clientCaFile: /y\n", "f.yaml")

    assert sorted(map(str, caught.value.problems)) == [
        "f.yaml:2: http.tls.keyFile: is missing, add it",
        "f.yaml:4: http.tls.clientCaFile: there is no such key, did you mean clientCAFile?",
    ]


def test_the_terminals_view_over_tls(asking, tmp_path, capsys):
    """`plimsoll status` trusts the CA it is given and shows its own certificate; without either it says what to do."""
    url = f"https://{asking.server.address}"
    ca = str(tmp_path / "ca.crt")
    certificate, key = write_pair(tmp_path / "me", asking.authority.pair("me", client=True))

    assert main(["status", "--url", url, "--ca-file", ca, "--cert-file", str(certificate), "--key-file", str(key)]) == 0
    assert "shop/" in capsys.readouterr().out
    assert main(["status", "--url", url]) == 69
    assert "certificate verify failed" in capsys.readouterr().err
    assert main(["status", "--url", url, "--ca-file", ca]) == 69
    assert "403" in capsys.readouterr().err
    assert main(["status", "--url", url, "--ca-file", str(tmp_path / "nowhere")]) == 1
    assert main(["status", "--url", url, "--ca-file", ca, "--cert-file", ca, "--key-file", str(key)]) == 1
    assert "not PEM files that fit together" in capsys.readouterr().err
