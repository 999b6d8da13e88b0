"""`plimsoll demo` as a person or a CI job has it: it tells its story, ends by itself and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from plimsoll.simulator import cast
from plimsoll.simulator.agent_process import AgentProcess
from tests.running import PROGRAM, until

TARGET = cast.OVERCOMMIT["ratio"]


class Demonstration:
    """The demo as a child process; its temporary files go below ``folder``."""

    def __init__(self, folder: Path, *arguments: object, terminal: int | None = None, **environment: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.out, self.error = folder / "out", folder / "err"
        with self.out.open("wb") as out, self.error.open("wb") as error:
            self.process = subprocess.Popen(
                [*PROGRAM, "demo", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out if terminal is None else terminal,
                stderr=error,
                env={**os.environ, "TMPDIR": str(self.temporary), **environment},
                preexec_fn=_heed_signals,  # noqa: PLW1509 - nothing but signal(2) happens there
            )

    @property
    def text(self) -> str:
        return self.out.read_text()

    def found(self, pattern: str) -> re.Match[str]:
        def look():
            return re.search(pattern, self.text) or self.process.poll() is not None

        until(look, pattern)
        match = re.search(pattern, self.text)
        assert match is not None, self.text + self.error.read_text()
        return match

    def ended(self) -> int:
        return self.process.wait(90)

    def left(self) -> list[Path]:
        return list(self.temporary.iterdir())


def _heed_signals() -> None:
    """As in a terminal: what runs the tests (nohup, a background job) may ignore some, and the demo keeps to that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def start(tmp_path):
    running: list[Demonstration] = []

    def start(*arguments: object, **more) -> Demonstration:
        running.append(Demonstration(tmp_path, *arguments, **more))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.wait(60)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module", params=["openeuler-v1", "stock-v2"])
def whole(request, tmp_path_factory) -> tuple[str, Demonstration]:
    """A kind of node, and a demonstration on it that nobody disturbed."""
    arguments = ("--kind", request.param, "--duration", 6, "--listen", "127.0.0.1:0")
    demo = Demonstration(tmp_path_factory.mktemp("demo"), *arguments, COLUMNS="200")
    assert demo.ended() == 0, demo.error.read_text()
    return request.param, demo


def test_it_runs_and_ends_by_itself(whole):
    """In a log: plain tables with every pod, its pressure, what is missing and ignored; then nothing is left."""
    kind, demo = whole
    causes, missing = {
        "openeuler-v1": ({"swap", "cfs", "qos", "reclaim"}, "psi-irq"),
        "stock-v2": ({"cfs", "irq"}, "pressure-stat"),
    }[kind]
    text = demo.text
    assert "\x1b" not in text
    assert f"SIMULATED node ({kind})" in text
    for name in ("shop/web", "data/postgres-0", "tenant-a/miner", "kube-system/node-local-dns"):
        assert name in text
    last = text.rpartition("Plimsoll ")[2]
    heading = next(each for each in last.splitlines() if each.startswith("pod "))
    assert causes <= set(heading.split())
    postgres = next(each for each in last.splitlines() if each.startswith("data/postgres-0"))
    assert re.search(r"\b[1-9]\d?%", postgres), "nothing moves"
    assert f"missing: {missing}" in text
    assert re.search(r"^frequency: cpufreq: high [0-9,-]+ at 4600 MHz; ", last, re.MULTILINE)
    assert "did you mean high?" in text
    assert "ignored: tenant-a/miner: plimsoll.io/qos-priority: high is above normal" in text
    assert "the agent ended cleanly" in text
    assert not any(alive(int(each)) for each in re.findall(r"process (\d+)", text))
    assert demo.left() == []
    assert demo.error.read_text() == ""


def test_the_life_of_a_write(whole):
    """
    A low-priority pod gives way; the agent is killed with the originals in its journal; another process adopts every
    knob; at its end all files are as they were, but for those the kernel does not take back, which are counted.
    """
    kind, demo = whole
    text = demo.text
    told = text.rpartition("SIGKILL to process ")[2]
    first = int(told.partition(":")[0])
    knob = "cpu.idle" if kind == "stock-v2" else "cpu.qos_level"
    assert re.search(rf"^  {knob} +holds (1|-1) in \d+ files?; before the agent: 0$", told, re.MULTILINE)
    held, changed = map(int, re.search(r"The journal holds (\d+) of (\d+) originals", told).groups())
    assert held == changed > 1
    second, adopted = map(int, re.search(r"process (\d+), adopted (\d+) knobs of an earlier run", told).groups())
    assert second != first
    # A pod that ends while no agent runs takes its knobs along.
    assert 0 < adopted <= held
    assert adopted == held or "gone with their cgroups" in told
    assert "changed by somebody else" not in told
    assert f"SIGTERM to process {second} with " in told
    same, files = map(int, re.search(r"(\d+) of (\d+) control files are as they were", told).groups())
    assert files > 50
    stays = re.findall(r"^(\S+) stays at -1 in (\d+) file", told, re.MULTILINE)
    assert [name for name, _ in stays] == (["cpu.qos_level"] if kind == "openeuler-v1" else [])
    assert files - same == sum(int(count) for _, count in stays)
    assert text.index("SIGKILL to process") < text.index("It adopted") < text.index("SIGTERM to process")


def test_overcommit_climbs_to_its_target_and_a_pod_backs_off(start):
    """On the kernel that can: real figures of the real agent; in the end no limit of swap is left."""
    demo = start("--kind", "stock-v2", "--duration", 0, "--listen", "127.0.0.1:0")
    address = demo.found(r"http://(\S+)/metrics")[1]
    ratios: list[float] = []
    hurt: set[str] = set()

    def enough() -> bool:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        ratios.append(float((re.search(r"^plimsoll_overcommit_ratio (\S+)", text, re.MULTILINE) or ["", 1.0])[1]))
        for line in re.findall(r"^plimsoll_pod_reclaim_paused\{(.*)\} 1", text, re.MULTILINE):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels["reason"] in ("felt", "stalled", "refaults"):
                hurt.add(labels["pod"])
        return "notebook" in hurt and max(ratios) >= TARGET

    until(enough, "a ratio at its target, and a pod that backs off", seconds=90)
    # It climbs; how early it is asked for the first time is a matter of the machine.
    assert min(ratios) < TARGET
    # What is moved in one decision, and what a job that ends takes along.
    assert max(ratios) < TARGET + 0.1
    assert "warehouse" not in hurt
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended() == 0, demo.error.read_text()
    changed, files = map(int, re.search(r"(\d+) of (\d+) control files are as they were", demo.text).groups())
    assert changed == files


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_can_be_ended_at_any_time(start, number):
    """Without a duration it runs until it is told to end, and then it cleans up all the same."""
    demo = start("--duration", 0, "--listen", "127.0.0.1:0")
    agent = int(demo.found(r"process (\d+); until Ctrl-C")[1])
    demo.process.send_signal(number)

    assert demo.ended() == 0
    assert not alive(agent)
    assert demo.left() == []


def test_a_dead_agent_is_reported(start):
    """Exit code 1, and the agent's last words on stderr."""
    demo = start("--duration", 0, "--listen", "127.0.0.1:0")
    os.kill(int(demo.found(r"process (\d+);")[1]), signal.SIGKILL)

    assert demo.ended() == 1
    said = demo.error.read_text()
    assert "the agent ended by itself with exit code -9" in said
    assert "agent-started" in said
    assert demo.left() == []


def test_an_agent_that_cannot_start_is_reported(start):
    """An address that cannot be had: the agent says so, and the demo says what the agent said."""
    demo = start("--duration", 5, "--listen", "nowhere")

    assert demo.ended() == 1
    said = demo.error.read_text()
    assert "exit code" in said
    assert "nowhere" in said
    assert demo.left() == []


def test_a_taken_port_is_no_obstacle(start):
    """The agent gets a free one, and the addresses shown are those."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start("--duration", 1, "--listen", f"127.0.0.1:{port}")
        assert demo.ended() == 0, demo.error.read_text()
    shown = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", demo.text)
    assert int(shown[1]) not in (0, port)


def test_on_a_terminal_it_redraws(start):
    """In place on the alternate screen, which is left at the end; the last picture stays to be read."""
    reading, writing = pty.openpty()
    sent = bytearray()

    def collect() -> None:
        try:
            while chunk := os.read(reading, 65536):
                sent.extend(chunk)
        except OSError:
            # How the end of a pseudo-terminal is read.
            return

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        demo = start("--duration", 3, "--listen", "127.0.0.1:0", terminal=writing, TERM="xterm", COLUMNS="90")
        os.close(writing)
        assert demo.ended() == 0, demo.error.read_text()
    finally:
        collector.join()
        os.close(reading)
    live, separator, rest = sent.decode().partition("\x1b[?1049l")
    assert live.startswith("\x1b[?1049h")
    assert separator
    assert live.count("\x1b[H") >= 3
    assert "SIMULATED" in live
    assert "shop/web" in rest
    assert "the agent ended cleanly" in rest


def test_an_agent_that_does_not_listen_is_killed(tmp_path):
    """A child that ignores SIGTERM must not outlive the demo."""
    # Stopped processes do not handle signals: SIGTERM waits, SIGKILL does not.
    arguments = ["--root", str(tmp_path), "--pods", str(tmp_path), "--listen", "127.0.0.1:0"]
    with AgentProcess(arguments, str(tmp_path / "log"), patience=0.2) as agent:
        until(lambda: agent.address() is not None or agent.ended() is not None, "an agent that handles signals")
        os.kill(agent.pid, signal.SIGSTOP)
        assert agent.stop() == -signal.SIGKILL
    assert not alive(agent.pid)
