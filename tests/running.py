"""The program as a child process: commands with their exit codes, and an agent that runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple, Self

_TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = [sys.executable, "-m", "plimsoll.cli"]


def command(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def until(condition, what: str, seconds: float = 200):
    """Wait for a condition; the deadline only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)
    return result


class Running:
    """``plimsoll run`` as a child process, with its log in ``folder``; what still runs after a block is killed."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.log = folder / f"log-{time.monotonic_ns()}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "run", "--listen", "127.0.0.1:0", *map(str, arguments)], stderr=log
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def event(self, name: str) -> dict[str, object]:
        def find():
            assert self.process.poll() is None, self.log.read_text()
            return next((each for each in self.events() if each["event"] == name), None)

        return until(find, name)

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        address = self.event("http-listening")["address"]
        request = urllib.request.Request(f"http://{address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def metric(self, pattern: str) -> str | None:
        match = re.search("^" + pattern + r" (\S+)$", self.get("/metrics")[1].decode(), re.MULTILINE)
        return match[1] if match else None

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


class Usage(NamedTuple):
    """What a process uses now. ``cpu_seconds``: user and system time since its start."""

    cpu_seconds: float
    resident_mib: float
    peak_mib: float
    threads: int
    descriptors: int

    @classmethod
    def of(cls, process: int) -> Usage:
        proc = Path(f"/proc/{process}")
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return cls(
            (int(fields[11]) + int(fields[12])) / _TICKS,
            int(status["VmRSS"].split()[0]) / 1024,
            int(status["VmHWM"].split()[0]) / 1024,
            int(status["Threads"]),
            len(os.listdir(proc / "fd")),
        )
