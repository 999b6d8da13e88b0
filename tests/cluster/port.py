"""A TCP port of the loopback that stays ours from before a server starts until after it has stopped for good.

Owns the reservation. The usual way, to look for a free port and close it again, loses the port to anyone before the
server has it, and again whenever the server is restarted. Here the test keeps the port bound, without listening, and
the server joins it with SO_REUSEPORT (which Linux allows to processes of the same user): connections go to listeners
only, and while none listens they are refused, as with a server that is down.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


class Port:
    """A reserved port; `close()` gives it back."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((LOOPBACK, 0))
        self.number: int = self._socket.getsockname()[1]

    def url(self, scheme: str) -> str:
        return f"{scheme}://{LOOPBACK}:{self.number}"

    def close(self) -> None:
        self._socket.close()
