"""The host's end of the channel into a guest: requests and replies over a socket.

Owns framing, deadlines and the matching of replies to requests. Knows nothing of QEMU nor of what is run; the guest's
end and the protocol are guest/runner.py.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

LENGTHS = struct.Struct(">IQ")
CHUNK = 1 << 20


class ChannelError(RuntimeError):
    """The guest did not answer in time, or is gone."""


class Channel:
    """
    One connected stream.

    ``alive`` is asked while waiting, so that the end of the guest is an error at once; where it is false the wait ends.
    """

    def __init__(self, stream: socket.socket, alive: Callable[[], bool]) -> None:
        self._stream = stream
        self._alive = alive
        self._number = 0
        self._received = bytearray()
        self._broken = False

    def ready(self, seconds: float) -> None:
        """Returns when the guest's runner has said that it serves. Raises ChannelError."""
        header, _ = self._receive(time.monotonic() + seconds, "ready")
        if not header.get("ready"):
            raise ChannelError(f"the guest's first word was {header}")

    def ask(
        self, operation: str, payload: bytes = b"", *, seconds: float, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """The reply's header and payload. Raises ChannelError; OSError where the guest could not do it."""
        self._number += 1
        header = json.dumps({"operation": operation, "number": self._number, **request}).encode()
        deadline = time.monotonic() + seconds
        self._send(LENGTHS.pack(len(header), len(payload)) + header + payload, deadline, operation)
        while True:
            reply, answer = self._receive(deadline, operation)
            # A reply to a request that was given up may still come; it is nobody's.
            if reply.get("number") == self._number:
                break
        if "error" in reply:
            raise OSError(f"{operation} in the guest: {reply['error']}")
        return reply, answer

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def _send(self, data: bytes, deadline: float, what: str) -> None:
        left = memoryview(data)
        if self._broken:
            raise ChannelError(f"{what}: an earlier request was sent in part only")
        self._broken = True
        while left:
            self._wait(deadline, what)
            try:
                left = left[self._stream.send(left[:CHUNK]) :]
            except TimeoutError:
                continue
            except OSError as error:
                raise ChannelError(f"{what}: the guest is gone: {error}") from error
        self._broken = False

    def _receive(self, deadline: float, what: str) -> tuple[dict[str, Any], bytes]:
        # Nothing is taken off before the whole frame is there: after a deadline the next wait starts at its beginning.
        self._fill(LENGTHS.size, deadline, what)
        header, payload = LENGTHS.unpack_from(self._received)
        end = LENGTHS.size + header
        self._fill(end + payload, deadline, what)
        decoded: dict[str, Any] = json.loads(self._received[LENGTHS.size : end])
        content = bytes(self._received[end : end + payload])
        del self._received[: end + payload]
        return decoded, content

    def _fill(self, size: int, deadline: float, what: str) -> None:
        while len(self._received) < size:
            self._wait(deadline, what)
            try:
                more = self._stream.recv(CHUNK)
            except TimeoutError:
                continue
            except OSError as error:
                raise ChannelError(f"{what}: the guest is gone: {error}") from error
            if not more:
                raise ChannelError(f"{what}: the guest hung up")
            self._received += more

    def _wait(self, deadline: float, what: str) -> None:
        """Bound the next system call: by the deadline, and by a second so that the guest's end is seen."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise ChannelError(f"{what}: no answer from the guest in time")
        if not self._alive():
            raise ChannelError(f"{what}: the guest has ended")
        self._stream.settimeout(min(left, 1.0))
