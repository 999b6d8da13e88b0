"""The guests' way out, without a guest: what QEMU does for each connection is done here."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.vm.machine import RELAY


@contextmanager
def relayed(port: int) -> Iterator[socket.socket]:
    """The guest's end of a connection; the other is the program's standard input, output and error."""
    guest, other = socket.socketpair()
    with guest, other:
        guest.settimeout(60)
        command = [sys.executable, "-I", str(RELAY), str(port)]
        end = other.fileno()
        with subprocess.Popen(command, stdin=end, stdout=end, stderr=end) as program:
            other.close()
            yield guest
            guest.close()
        assert program.returncode == 0


def everything(stream: socket.socket) -> bytes:
    return b"".join(iter(lambda: stream.recv(1 << 16), b""))


def test_bytes_and_ends_go_both_ways() -> None:
    """More than any buffer holds arrives whole; the end of one direction leaves the other open."""
    sent = bytes(range(256)) * 8192
    with socket.create_server(("127.0.0.1", 0)) as server, relayed(server.getsockname()[1]) as guest:
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(60)
            guest.sendall(b"asked")
            guest.shutdown(socket.SHUT_WR)
            assert everything(accepted) == b"asked"
            accepted.sendall(sent)
            accepted.shutdown(socket.SHUT_WR)
            assert everything(guest) == sent


def test_a_server_that_is_away_ends_the_connection() -> None:
    """Without a word: nothing but the server's bytes may reach the guest."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with relayed(reserved.getsockname()[1]) as guest:
            assert everything(guest) == b""


def test_the_servers_end_is_the_end() -> None:
    """Also while the guest still holds its side open."""
    with socket.create_server(("127.0.0.1", 0)) as server, relayed(server.getsockname()[1]) as guest:
        accepted, _ = server.accept()
        accepted.close()
        assert everything(guest) == b""
