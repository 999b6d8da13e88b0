"""Child programs are never left behind, whatever becomes of the tests."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process import Process, ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

SLEEP = ["sleep", "600"]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = Process("sleeper", SLEEP, tmp_path / "sleeper.log")
    yield process
    process.kill()


def _start_and_hang(folder: str, answers: Connection) -> None:
    process = Process("orphan", SLEEP, Path(folder) / "orphan.log")
    process.start()
    # Only when setpriv has become the program is the death signal set for certain.
    process.wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == "sleep", "sleeping", 30.0)
    answers.send(process.pid)
    threading.Event().wait()


def test_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    parent = spawn.Process(target=_start_and_hang, args=(str(tmp_path), sender))
    parent.start()
    sender.close()
    with receiver:
        child = os.pidfd_open(receiver.recv())
    try:
        parent.kill()
        parent.join()
        parent.close()
        # A pidfd is readable when its process has ended.
        assert select.select([child], [], [], 30.0)[0] == [child]
    finally:
        os.close(child)


def test_stop_insists(tmp_path: Path) -> None:
    stubborn = Process("stubborn", ["sh", "-c", "trap '' TERM; echo deaf; sleep 600"], tmp_path / "log")
    stubborn.start()
    stubborn.wait_until(lambda: "deaf" in stubborn.tail(), "deaf", 30.0)

    stubborn.stop(0.1)

    assert not stubborn.running


def test_ended_child_is_reported_with_its_log(tmp_path: Path) -> None:
    failing = Process("failing", ["sh", "-c", "echo the reason; exit 3"], tmp_path / "log")
    failing.start()

    with pytest.raises(ProcessError, match=r"failing ended with exit code 3 before ready\n.*\nthe reason"):
        failing.wait_until(lambda: False, "ready", 30.0)
    failing.stop(1.0)


def test_deadline_is_reported_with_its_log(sleeper: Process) -> None:
    sleeper.start()

    with pytest.raises(ProcessError, match=r"sleeper: not ready within 0 s\n--- last lines of"):
        sleeper.wait_until(lambda: False, "ready", 0.0)


def test_one_child_at_a_time(sleeper: Process) -> None:
    sleeper.start()

    with pytest.raises(ProcessError, match="already running"):
        sleeper.start()


def test_stop_may_be_said_twice_and_start_again(sleeper: Process) -> None:
    sleeper.start()
    sleeper.stop(30.0)
    sleeper.stop(30.0)
    assert sleeper.pid is None
    sleeper.start()
    assert sleeper.running


def test_killed_from_outside_is_seen(sleeper: Process) -> None:
    sleeper.start()
    assert sleeper.pid is not None
    os.kill(sleeper.pid, signal.SIGKILL)

    with pytest.raises(ProcessError, match="exit code -9"):
        sleeper.wait_until(lambda: False, "ready", 30.0)
