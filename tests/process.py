"""One child program of a test: started, watched, stopped, its output kept in a file.

Owns the child's life. Knows nothing of Kubernetes. A child never outlives the thread that started it: the kernel
kills it (PR_SET_PDEATHSIG) when that thread ends in any way, so start children from the thread that stays, which in
pytest is the main one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# How long a condition is left alone before the next look at it. The wait is on the child, so its end is seen at once.
LOOK_AGAIN_SECONDS = 0.05


class ProcessError(RuntimeError):
    """A child ended by itself, or did not do in time what it was waited for; carries the end of its log."""


class Process:
    """A child program, named for messages; `log` collects the output of all its starts."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while there is a child, running or not yet waited for."""
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        if self.running:
            raise ProcessError(f"{self.name} is already running")
        # setpriv sets PR_SET_PDEATHSIG and becomes the program: the process id stays, and no Python code has to run
        # between fork and exec, which is not safe in a process with threads.
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ProcessError("no setpriv in PATH: install util-linux")
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", "--", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Nothing of the developer's shell (proxies, GODEBUG, KUBECONFIG) shall change what a test sees.
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.log.parent)},
                # Out of the terminal's process group, so that Ctrl-C stops the tests, and they stop this.
                start_new_session=True,
            )

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Returns when `condition()` is true. Raises ProcessError at the deadline or when the child has ended."""
        deadline = time.monotonic() + seconds
        while True:
            if not self.running:
                raise ProcessError(f"{self.name} ended {self._exit()} before {what}\n{self.tail()}")
            if condition():
                return
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name}: not {what} within {seconds:.0f} s\n{self.tail()}")
            self._wait(LOOK_AGAIN_SECONDS)

    def stop(self, seconds: float) -> None:
        """Ends the child, politely for `seconds`, then by force. Does nothing when there is none."""
        child = self._child
        if child is None:
            return
        child.terminate()
        if not self._wait(seconds):
            child.kill()
            child.wait()
        self._child = None

    def kill(self) -> None:
        """Ends the child at once (SIGKILL), as a crash would: it says goodbye to nobody."""
        child = self._child
        if child is None:
            return
        child.kill()
        child.wait()
        self._child = None

    def tail(self, lines: int = 40) -> str:
        """End of the log, with a heading."""
        if not self.log.exists():
            return f"--- {self.log}: nothing written"
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"--- last lines of {self.log}", *text[-lines:]])

    def _exit(self) -> str:
        if self._child is None:
            return "(it was never started)"
        return f"with exit code {self._child.returncode}"

    def _wait(self, seconds: float) -> bool:
        """True when the child has ended."""
        if self._child is None:
            return True
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
