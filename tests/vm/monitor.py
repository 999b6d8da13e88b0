"""QEMU's control channel (QMP): one command at a time. Knows nothing of the guest."""

from __future__ import annotations

import json
import socket

ANSWER_SECONDS = 60.0


class MonitorError(RuntimeError):
    """QEMU refused a command, or is gone."""


class Monitor:
    """A connected control channel; greets at once. Raises MonitorError, and TimeoutError when QEMU does not answer."""

    def __init__(self, stream: socket.socket) -> None:
        stream.settimeout(ANSWER_SECONDS)
        self._stream = stream
        self._file = stream.makefile("rw", encoding="utf-8")
        self._file.readline()  # the greeting
        self._execute("qmp_capabilities")

    def human(self, line: str) -> str:
        """What a command of QEMU's monitor for people prints."""
        return str(self._execute("human-monitor-command", **{"command-line": line}))

    def set_action(self, *, reboot: str) -> None:
        """What QEMU does when the guest restarts: ``reset`` or ``shutdown``."""
        self._execute("set-action", reboot=reboot)

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._stream.close()

    def _execute(self, command: str, **arguments: str) -> object:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        # Events come in between.
        while line := self._file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise MonitorError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise MonitorError(f"QEMU ended during {command}")
