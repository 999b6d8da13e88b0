"""F20: an agent that starts while its predecessor is still there waits for it, can be told to stop, and has an end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.lock import Held, InstanceLock
from tests.running import until
from tests.support import v2_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGENT = """
import sys
from plimsoll.config.schema import Config
from plimsoll.daemon import Agent, AlreadyRunning
from plimsoll.log import configure
from plimsoll.options import Options

configure()
root, pods, wait = sys.argv[1:]
agent = Agent(Options(root=root, pods=pods, listen="127.0.0.1:0", lock_wait=float(wait)), Config(), None)
try:
    agent.run()
except AlreadyRunning as error:
    sys.exit(f"held by {error.holder}")
"""


class Successor:
    """An agent that waits for the lock for ``seconds``."""

    def __init__(self, folder: Path, root: Path, seconds: float) -> None:
        self._log = folder / "log"
        pods = folder / "pods"
        pods.mkdir()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AGENT, str(root), str(pods), str(seconds)], stderr=log
            )

    def said(self) -> str:
        return self._log.read_text()

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.said().splitlines() if line.startswith("{")]

    def waits(self) -> bool:
        """Whether it has got so far that SIGTERM no longer just kills it."""
        assert self.process.poll() is None, self.said()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    v2_node(tmp_path / "host")
    return tmp_path / "host"


@pytest.fixture
def predecessor(root: Path) -> Iterator[Held]:
    with HostFs(str(root)) as host:
        held = InstanceLock(host, "/run/plimsoll").acquire()
    assert isinstance(held, Held)
    with held:
        yield held


@pytest.fixture
def successor(tmp_path: Path, root: Path) -> Iterator[Callable[[float], Successor]]:
    started: list[Successor] = []

    def start(seconds: float) -> Successor:
        started.append(Successor(tmp_path, root, seconds))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(60)


def test_it_takes_over_when_the_predecessor_has_gone(predecessor, successor):
    """It serves and observes nothing before it has the lock, and then runs and ends as any other."""
    agent = successor(60.0)
    until(agent.waits, "an agent that waits")
    assert set(agent.events()) <= {"lock-waiting"}

    predecessor.release()
    until(lambda: "agent-started" in agent.events(), "the start")
    agent.process.terminate()
    assert agent.process.wait(60) == 0
    assert agent.events()[-1] == "agent-stopped"


def test_it_can_be_told_to_stop_while_it_waits(predecessor, successor, root):
    """A good end long before the time is over, with nothing in the state directory but the holder's lock."""
    agent = successor(3600.0)
    until(agent.waits, "an agent that waits")

    agent.process.terminate()
    assert agent.process.wait(60) == 0
    assert "agent-started" not in agent.events()
    assert [path.name for path in (root / "run/plimsoll").iterdir()] == ["lock"]
    assert (root / "run/plimsoll/lock").read_text() == f"{os.getpid()}\n"
    assert predecessor.recorded == "ok"


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_it_does_not_wait_for_ever(predecessor, successor, seconds):
    """Then it says who has the node."""
    agent = successor(seconds)

    assert agent.process.wait(60) == 1
    assert agent.said().splitlines()[-1] == f"held by {os.getpid()}"
    assert agent.events() == (["lock-waiting"] if seconds else [])
    assert predecessor.recorded == "ok"
