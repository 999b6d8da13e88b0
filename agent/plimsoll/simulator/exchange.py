"""
One HTTP request to the simulated API server, and the ways to answer it: well, or as servers and networks fail.

It owns the connection and the framing. What the true answer is, is not known here.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from plimsoll.simulator.object_patch import Json

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


# As in Kubernetes.
_CONTENT_LIMIT = 3 << 20


class Exchange:
    """
    A request: its ``method``, ``path``, ``query``, ``authorization``, ``content_type`` and ``content``, and what is
    answered. Answering raises OSError.
    """

    def __init__(self, request: Request, content: bytes = b"") -> None:
        parts = urlsplit(request.path)
        self.method: str = request.command
        self.content = content
        self.content_type: str = request.headers.get("Content-Type", "")
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query))
        self.authorization: str = request.headers.get("Authorization", "")
        self._request = request
        self._streaming = False

    @property
    def watching(self) -> bool:
        """Whether this is a watch rather than a list."""
        return self.query.get("watch", "") in {"1", "true"}

    @property
    def socket(self) -> socket.socket:
        """The connection's socket, for those who want to break it."""
        connection: socket.socket = self._request.connection
        return connection

    def body(
        self, code: int, body: bytes, headers: Mapping[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """A whole response. ``length``: what the header claims where that is not true; then the connection ends."""
        self._request.send_response(code)
        self._request.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self._request.send_header(name, value)
        self._request.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None:
            self._request.send_header("Connection", "close")
        self._request.end_headers()
        self._request.wfile.write(body)

    def json(self, value: object, code: int = 200) -> None:
        """A good answer."""
        self.body(code, text(value))

    def status(
        self,
        code: int,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        causes: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """An error, with the Status object that Kubernetes sends; ``causes``: of its details."""
        status = status_object(code, message)
        self.body(code, text({**status, "details": {"causes": causes}} if causes else status), headers)

    def stream(self) -> None:
        """The header of a watch: events follow, until the one who answers returns."""
        self._request.send_response(200)
        self._request.send_header("Content-Type", "application/json")
        self._request.send_header("Transfer-Encoding", "chunked")
        self._request.end_headers()
        self._streaming = True

    def event(self, kind: str, item: object) -> None:
        """One event of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""
        self.raw(text({"type": kind, "object": item}))

    def raw(self, data: bytes) -> None:
        """Bytes of a watch that need not be an event, nor a line."""
        if data:
            self._request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self) -> None:
        """The proper end of a watch."""
        if self._streaming:
            self._streaming = False
            self._request.wfile.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Close the connection in the middle of whatever was being said."""
        self._streaming = False
        self._request.close_connection = True

    def hang(self) -> None:
        """Say nothing more until the server stops or the client goes away; then close the connection."""
        # Stopping shuts the connection down for reading: see Server.hang_up.
        while self._request.connection.recv(4096):
            pass
        self.abort()


class Request(BaseHTTPRequestHandler):
    """One connection, with one request after the other."""

    protocol_version = "HTTP/1.1"
    timeout = 60.0  # for one that neither asks nor takes what it asked for
    server: Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        # Without a length the end of the content is not known, nor where the next request begins.
        if not (length.isascii() and length.isdigit()) or int(length) > _CONTENT_LIMIT:
            self.send_error(411)
            self.close_connection = True
            return
        try:
            content = self.rfile.read(int(length))
        except OSError:
            self.close_connection = True
            return
        self._serve(content)

    def do_PATCH(self) -> None:
        self.do_POST()

    def _serve(self, content: bytes) -> None:
        exchange = Exchange(self, content)
        try:
            self.server.answer(exchange)
            exchange.finish()
        except OSError:
            # The client went away, or the server stops: nobody is left to answer to.
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing: a demo's terminal belongs to the demo."""


class Server(ThreadingHTTPServer):
    """Listens on the loopback, with one thread for each connection. Raises OSError when ``port`` cannot be had."""

    daemon_threads = False  # then closing waits for them
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Exchange], None]) -> None:
        self.answer = answer
        self.stopping = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Request)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that resets its connection is no news; anything else is a mistake in an answer.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """End what reads from the open connections; what is being written still arrives."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RD)


def text(value: object) -> bytes:
    """A JSON value as one line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def status_object(code: int, message: str = "") -> Json:
    """The object Kubernetes sends for an error."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, "Unknown"),
        "code": code,
    }


def bookmark(version: str) -> Json:
    """The pod of a BOOKMARK event: nothing but a resource version."""
    metadata = {"resourceVersion": version, "creationTimestamp": None}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": None}, "status": {}}
