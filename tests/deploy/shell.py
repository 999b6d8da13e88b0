"""
A shell in which a document's command is run as it is shown.

Owns what surrounds it: the programs by the names they have in the documents, the folder, the words put in the place of
placeholders. ``plimsoll`` is the program under test; nothing else of ours is in PATH.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

SECONDS = 300.0
PLIMSOLL = (sys.executable, "-m", "plimsoll.cli")


class Shell:
    """
    Commands run in ``folder``. ``scripts``: what a program is there, as text of a shell script; ``environment``: more.

    ``.venv/bin`` below the folder has the programs, too.
    """

    def __init__(
        self,
        folder: Path,
        home: Path,
        scripts: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        programs = home / ".venv/bin"
        programs.mkdir(parents=True)
        for name, text in {"plimsoll": f'exec {shlex.join(PLIMSOLL)} "$@"', **(scripts or {})}.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            **(environment or {}),
        }

    def run(self, shown: str, added: Iterable[object] = (), code: int = 0, **instead: object) -> str:
        """What it prints, after it has ended with ``code``; ``added`` and ``instead``: see :meth:`line`."""
        done = subprocess.run(
            self._arguments(self.line(shown, added, instead)),
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{shown}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def start(self, shown: str, added: Iterable[object] = (), **instead: object) -> Started:
        """The same for one that goes on until it is stopped."""
        return Started(self._arguments(f"exec {self.line(shown, added, instead)}"), self.folder, self._environment)

    @staticmethod
    def line(shown: str, added: Iterable[object], instead: Mapping[str, object]) -> str:
        """
        What the shell gets: words of the command replaced (``instead``), and arguments behind it (``added``).

        Each placeholder must be there: a row of a document that has changed shall not pass for the one before.
        """
        for placeholder, value in instead.items():
            assert placeholder in shown, f"{placeholder} is not in {shown}"
            shown = shown.replace(placeholder, str(value))
        return " ".join([shown, *(shlex.quote(str(each)) for each in added)])

    @staticmethod
    def _arguments(line: str) -> list[str]:
        return ["bash", "-c", f"set -euo pipefail; {line}"]


class Started:
    """A command that runs; what still runs after the block is killed."""

    def __init__(self, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.out = folder / f"out-{os.urandom(4).hex()}"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # What runs the tests may ignore it, and what it starts would, too.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)

    @property
    def text(self) -> str:
        return self.out.read_text()

    def end(self, number: int) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(number)
        return self.process.wait(60)
