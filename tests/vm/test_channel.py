"""Both ends of the channel into a guest, over a socket instead of a virtio-serial port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.channel import LENGTHS, Channel, ChannelError
from tests.vm.guest import runner

SECONDS = 60.0


@pytest.fixture
def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    """The host's end; the guest's serves in a thread."""
    monkeypatch.setattr(runner, "HOME", str(tmp_path))  # the tests need not be root
    ours, theirs = socket.socketpair()
    with theirs.makefile("rwb", buffering=0) as stream:
        serving = threading.Thread(target=runner.serve, args=(stream,))
        serving.start()
        channel = Channel(ours, serving.is_alive)
        channel.ready(SECONDS)
        yield channel
        channel.close()
        serving.join()
    theirs.close()


@pytest.fixture
def wire() -> Iterator[tuple[Channel, socket.socket]]:
    """The host's end, and the bare other one."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours, lambda: True)
    yield channel, theirs
    channel.close()
    theirs.close()


def frame(header: bytes, payload: bytes = b"") -> bytes:
    return LENGTHS.pack(len(header), len(payload)) + header + payload


def test_a_program_gets_its_input_and_gives_its_output(channel: Channel) -> None:
    """Arguments, environment and input go there; status and both streams come back, and the next request works."""
    script = 'read line; echo "$line $A $1"; echo problem >&2; exit 7'
    for _ in range(2):
        reply, output = channel.ask(
            "run",
            b"line\n",
            seconds=SECONDS,
            argv=["/bin/sh", "-c", script, "sh", "b"],
            timeout=SECONDS,
            env={"A": "a"},
        )
        assert reply["status"] == 7
        assert output[: reply["stdout"]] == b"line a b\n"
        assert output[reply["stdout"] :] == b"problem\n"


def test_a_program_out_of_time_is_killed(channel: Channel) -> None:
    """What it wrote before is told; the status says that it did not end."""
    argv = ["/bin/sh", "-c", "echo begun; sleep 600"]
    reply, output = channel.ask("run", seconds=SECONDS, argv=argv, timeout=0.5, env={})
    assert reply["status"] is None
    assert output == b"begun\n"


def test_files_go_both_ways(channel: Channel, tmp_path: Path) -> None:
    """Content of many frames' size arrives whole."""
    content = bytes(range(256)) * 20000
    path = str(tmp_path / "new/file")
    channel.ask("push", content, seconds=SECONDS, path=path, mode=0o640)
    assert Path(path).stat().st_mode & 0o777 == 0o640
    assert channel.ask("pull", seconds=SECONDS, path=path)[1] == content


def test_what_cannot_be_done_is_an_os_error(channel: Channel) -> None:
    """The other end says why, and goes on serving."""
    with pytest.raises(OSError, match="No such file"):
        channel.ask("pull", seconds=SECONDS, path="/no/such/file")
    with pytest.raises(OSError, match="No such file"):
        channel.ask("run", seconds=SECONDS, argv=["/no/such/program"], timeout=SECONDS, env={})
    assert channel.ask("run", seconds=SECONDS, argv=["true"], timeout=SECONDS, env={})[0]["status"] == 0


def test_a_late_reply_is_not_taken_for_the_next(wire: tuple[Channel, socket.socket]) -> None:
    """After a request was given up, even in the middle of its reply, the next one gets its own."""
    channel, guest = wire
    late = frame(b'{"number": 1}', b"late")
    guest.sendall(late[:-2])
    with pytest.raises(ChannelError, match="no answer from the guest in time"):
        channel.ask("pull", seconds=0.2, path="a")
    guest.sendall(late[-2:] + frame(b'{"number": 2}', b"own"))
    assert channel.ask("pull", seconds=SECONDS, path="b")[1] == b"own"


def test_a_guest_that_hangs_up_or_ends_is_an_error(wire: tuple[Channel, socket.socket]) -> None:
    """Nobody waits for a deadline when there is nobody left to answer."""
    channel, guest = wire
    guest.close()
    with pytest.raises(ChannelError, match="the guest"):
        channel.ask("pull", seconds=SECONDS, path="a")
    ours, theirs = socket.socketpair()
    dead = Channel(ours, lambda: False)
    with pytest.raises(ChannelError, match="the guest has ended"):
        dead.ready(SECONDS)
    dead.close()
    theirs.close()
