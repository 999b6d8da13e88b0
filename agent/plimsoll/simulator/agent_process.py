"""The agent as a child process: the unmodified program, its log in a file, its end waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

STOP_SECONDS = 20.0
_TAIL_BYTES = 1 << 16


class AgentProcess:
    """
    ``plimsoll run`` with ``arguments``, started at once; its log goes to the file ``log``. Use it as a context.

    ``patience``: seconds it is given to end when it is asked to.

    It has a session of its own, so that a Ctrl-C meant for its parent does not end it first.
    """

    def __init__(self, arguments: Sequence[str], log: str, *, patience: float = STOP_SECONDS) -> None:
        self._log = log
        self._patience = patience
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "plimsoll.cli", "run", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; ``None`` while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """Ask it to end, wait for that, and give its exit code; one that does not listen is killed."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> int:
        """End it at once, as a crash or the kernel would (SIGKILL), and give its exit code."""
        self._process.kill()
        return self._process.wait()

    def address(self) -> str | None:
        """Where it serves ``/metrics``, once it has said so."""
        for event in self._events():
            if event.get("event") == "http-listening" and isinstance(event.get("address"), str):
                return str(event["address"])
        return None

    def tail(self, lines: int = 20) -> list[str]:
        """The last lines of its log."""
        with open(self._log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-lines:]

    def _events(self) -> Iterator[dict[str, Any]]:
        with open(self._log, encoding="utf-8", errors="replace") as file:
            for line in file:
                # A line being written, or a traceback, is no event.
                if line.startswith("{") and line.endswith("}\n"):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        yield event
