"""F22 and F23: connections that die without a word, servers that are away, and a stop in the middle of it all."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.exchange import Exchange
from plimsoll.sources.kube import KubePods
from tests.fault.kube_day import NODE, PRIORITY, QUICK, Day, Step, day, manifest

SO_ATTACH_FILTER = 26
BPF_RETURN_CONSTANT = 0x06


def drop_everything(connection: socket.socket) -> None:
    """From now on no segment reaches this socket: neither data nor keep-alive probes are ever acknowledged."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN_CONSTANT, 0, 0, 0))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def silent_stream(exchange: Exchange) -> None:
    exchange.stream()
    exchange.hang()


def test_f22_lost_packets_are_noticed_by_keep_alive(tmp_path: Path) -> None:
    """The peer's host is gone, no FIN ever comes: keep-alive ends the watch long before its read time-out."""
    gone: list[float] = []

    def vanish(exchange: Exchange) -> None:
        exchange.stream()
        drop_everything(exchange.socket)
        gone.append(time.monotonic())
        released.wait(60)
        exchange.abort()

    released = threading.Event()
    timing = QUICK._replace(watch_read=3600.0, keepalive_idle=1, keepalive_interval=1, keepalive_count=2)
    with day(tmp_path, "a", watches=(vanish,), timing=timing) as today:
        today.until_names("a")
        today.until(lambda: bool(gone), "cut off")
        today.server.put_pod(manifest("b"))
        today.until_names("a", "b")
        released.set()

        assert today.errors("silent") == 1


def test_f22_a_silent_watch_is_left_after_its_read_timeout(tmp_path: Path) -> None:
    """TCP is alive, the server is not: the age of the set rises, then a new watch brings it down and goes on."""
    timing = QUICK._replace(watch_read=5.0)
    with day(tmp_path, "a", watches=(silent_stream,), timing=timing, bookmark_seconds=0.2) as today:
        today.until_watching()
        today.server.put_pod(manifest("b"))
        found = today.now()

        def old() -> bool:
            nonlocal found
            found = today.now()
            return (found.state.age_seconds or 0.0) > 0.5

        today.until(old, "older than half a second")
        assert [pod.name for pod in found.pods] == ["a"]
        today.until_names("a", "b")
        today.until(lambda: (today.now().state.age_seconds or 9.0) < 0.5, "young again")

        assert today.errors("silent") == 1
        assert len(today.script.asked(watching=False)) == 1


@pytest.mark.parametrize("watching", [False, True])
def test_f22_a_request_that_is_never_answered_times_out(tmp_path: Path, watching: bool) -> None:
    """Not even the header of a response comes, to a list or to a watch."""
    steps = (Exchange.hang,)
    timing = QUICK._replace(list_read=5.0, watch_read=5.0)
    with day(tmp_path, "a", lists=() if watching else steps, watches=steps if watching else (), timing=timing) as today:
        today.until_names("a")
        today.until_watching()
        today.until(lambda: today.errors("timeout") == 1, "timed out")
        today.until(lambda: today.now().state.ok, "ok again")


def test_f22_a_list_that_drips_is_given_up(tmp_path: Path) -> None:
    """Each byte comes in time, but the whole takes for ever: there is a deadline on the whole."""

    def drip(exchange: Exchange) -> None:
        exchange.stream()
        for _ in range(100_000):
            exchange.raw(b" ")
            time.sleep(0.05)

    with day(tmp_path, "a", lists=(drip,), timing=QUICK._replace(list_total=5.0)) as today:
        today.until_names("a")

        assert today.errors("timeout") == 1


def test_f22_keep_alive_is_on_by_default(tmp_path: Path) -> None:
    """The production timings find a dead peer within 60 s."""
    timing = KubePods.__init__.__kwdefaults__["timing"]

    assert timing.keepalive_idle + timing.keepalive_interval * timing.keepalive_count <= 60


def test_f23_the_last_good_set_outlives_the_server(tmp_path: Path) -> None:
    """An outage: the same pods, not ok, ageing; at its end the watch goes on from where it was, without a list."""
    with day(tmp_path, "a", "b") as today:
        today.until_names("a", "b")
        today.until_watching()
        before = today.now().pods
        today.server.stop()
        today.until(lambda: not today.now().state.ok, "failing")
        today.until(lambda: today.errors("transport") >= 3, "refused a few times")
        during = today.now()
        watches = len(today.script.asked(watching=True))
        today.server.put_pod(manifest("c"))
        today.server.start()
        today.until_names("a", "b", "c")
        after = today.now()

        assert [id(pod) for pod in during.pods] == [id(pod) for pod in before]
        assert during.state.complete
        assert "refused" in during.state.detail
        assert (after.state.ok, after.state.detail) == (True, "")
        assert len(today.script.asked(watching=True)) == watches + 1
        assert len(today.script.asked(watching=False)) == 1


def test_f23_a_server_that_was_never_there_is_no_error_at_start(tmp_path: Path) -> None:
    """Nothing listens: the source starts, says that nothing is known, and follows as soon as the server comes."""
    server = ApiServer()
    server.start()
    server.put_pod(manifest("a"))
    source = KubePods(NODE, kubeconfig=server.write_kubeconfig(tmp_path / "kubeconfig"), timing=QUICK)
    server.stop()
    try:
        source.start()
        assert not source.wait_complete(0.2)
        state = source.observe(PRIORITY).state
        assert (state.ok, state.complete, state.age_seconds) == (False, False, None)
        server.start()
        assert source.wait_complete(60)
        assert [pod.name for pod in source.observe(PRIORITY).pods] == ["a"]
    finally:
        source.stop()
        server.stop()


def while_streaming(today: Day) -> None:
    today.until_watching()
    today.until(lambda: today.now().state.ok, "watching")


def while_waiting_for_a_header(today: Day) -> None:
    today.until(lambda: bool(today.script.seen), "asked")


def while_backing_off(today: Day) -> None:
    today.until(lambda: today.errors("server") > 0, "failed")


def last_response(exchange: Exchange) -> None:
    """A stream on a connection that the server will close after it: then the client's connection has no socket left."""
    exchange.socket.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n")
    exchange.hang()


@pytest.mark.parametrize(
    ("reach", "lists", "watches"),
    [
        (while_streaming, (), ()),
        (while_streaming, (), (last_response,)),
        (while_waiting_for_a_header, (Exchange.hang,), ()),
        (while_backing_off, (lambda exchange: exchange.status(503, "", {"Retry-After": "300"}),), ()),
    ],
    ids=["streaming", "streaming-last", "waiting", "backing-off"],
)
def test_stop_interrupts(
    tmp_path: Path, reach: Callable[[Day], None], lists: tuple[Step, ...], watches: tuple[Step, ...]
) -> None:
    """Whatever the thread waits for, a minute or five, it ends when it is told to, and counts no failure for it."""
    threads = {thread for thread in threading.enumerate() if thread.name == "kube"}
    with day(tmp_path, "a", lists=lists, watches=watches) as today:
        reach(today)
        errors = today.now().state.errors
        begun = time.monotonic()
        today.source.stop()
        took = time.monotonic() - begun

        assert {thread for thread in threading.enumerate() if thread.name == "kube"} == threads
        assert took < 20
        assert today.now().state.errors == errors
        today.source.stop()
