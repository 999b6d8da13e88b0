"""
The endpoint: /metrics, /healthz, /readyz, /status.json. One thread, no thread per client.

A client that is silent, slow or one of five hundred costs a descriptor until its deadline; with all places taken,
the connection idle longest gives way. It must not wait for the tick: everything served is already made.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus

from plimsoll.config.schema import HttpSection
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.status import status
from plimsoll.log import Event, Log

HEADER_LIMIT = 8192
HEADER_SECONDS = 5.0
IDLE_SECONDS = 75.0  # Prometheus keeps its connection between scrapes, most often 15 or 60 seconds apart
WRITE_SECONDS = 10.0
# A loop that missed this many ticks is hung; never less than the deadline of an observation.
HEALTHY_INTERVALS = 3
HEALTHY_SECONDS = 30.0

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Reply = tuple[HTTPStatus, str, bytes, bool]  # status, content type, body, compressed


def split_address(listen: str) -> tuple[str | None, int]:
    """``":9470"``, ``"127.0.0.1:9470"`` or ``"[::1]:9470"`` to host (``None``: every address) and port."""
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{listen!r} is not an address: write host:port, [v6]:port or :port")
    return host.strip("[]") or None, int(port)


class HttpServer:
    """Serves an exporter's pages on a thread of its own."""

    def __init__(
        self, exporter: Exporter, listen: str, section: HttpSection, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._exporter = exporter
        self._listen = listen
        self._max = section.max_connections
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._sockets: list[socket.socket] = []
        # In order of last use: the first is the one to give way.
        self._connections: OrderedDict[asyncio.StreamWriter, None] = OrderedDict()
        self.address = listen

    def start(self) -> None:
        """Bind and serve. Raises OSError naming the address, ValueError for one that is none."""
        host, port = split_address(self._listen)
        self._sockets = [self._bind(host, port)]
        bound = self._sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.address = f"{shown}:{bound[1]}"
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="http", daemon=True)
        self._thread.start()
        ready.wait()
        _log.info(Event.HTTP_LISTENING, address=self.address)

    @staticmethod
    def _bind(host: str | None, port: int) -> socket.socket:
        if host is None and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
        family = socket.AF_INET6 if host is not None and ":" in host else socket.AF_INET
        return socket.create_server((host or "", port), family=family, backlog=512)

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._loop = None

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._client, sock=self._sockets[0], limit=HEADER_LIMIT)
        ready.set()
        await self._stopping.wait()
        server.close()
        for writer in list(self._connections):
            writer.transport.abort()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max:
            idle, _ = self._connections.popitem(last=False)
            idle.transport.abort()
        self._connections[writer] = None
        try:
            wait = HEADER_SECONDS
            while await self._request(reader, writer, wait):
                wait = IDLE_SECONDS
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            # The client went away or never spoke: nothing to tell it.
            pass
        finally:
            self._connections.pop(writer, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: float) -> bool:
        """Answer one request; whether the connection stays open."""
        try:
            async with asyncio.timeout(wait):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await self._reply(writer, _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), head_only=False, close=True)
            return False
        if writer in self._connections:
            self._connections.move_to_end(writer)
        request, *lines = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            await self._reply(writer, _plain(HTTPStatus.BAD_REQUEST), head_only=False, close=True)
            return False
        method, target, version = words
        headers = {
            name.strip().lower(): value.strip()
            for name, separator, value in (line.partition(":") for line in lines)
            if separator
        }
        body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        close = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close" or body
        if method not in ("GET", "HEAD"):
            reply, close = _plain(HTTPStatus.METHOD_NOT_ALLOWED), True
        else:
            reply = self._route(target.partition("?")[0], gzip="gzip" in headers.get("accept-encoding", ""))
        await self._reply(writer, reply, head_only=method == "HEAD", close=close)
        return not close

    def _route(self, path: str, *, gzip: bool) -> _Reply:
        page = self._exporter.page
        if path == "/metrics":
            body = self._exporter.zipped() if gzip else self._exporter.text()
            return HTTPStatus.OK, _METRICS_TYPE, body, gzip
        if path == "/healthz":
            deadline = HEALTHY_SECONDS
            if page is not None:
                deadline = max(deadline, HEALTHY_INTERVALS * page.agent.interval)
                if self._clock() - page.agent.heartbeat > deadline:
                    return _plain(HTTPStatus.SERVICE_UNAVAILABLE)
            return _plain(HTTPStatus.OK)
        if path == "/readyz":
            ready = page is not None and all(source.complete for source in page.snapshot.sources)
            return _plain(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)
        if path == "/status.json":
            if page is None:
                return _plain(HTTPStatus.SERVICE_UNAVAILABLE)
            return HTTPStatus.OK, "application/json", json.dumps(status(page.snapshot, page.agent)).encode(), False
        return _plain(HTTPStatus.NOT_FOUND)

    @staticmethod
    async def _reply(writer: asyncio.StreamWriter, reply: _Reply, *, head_only: bool, close: bool) -> None:
        code, kind, body, compressed = reply
        lines = [
            f"HTTP/1.1 {code.value} {code.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            f"Connection: {'close' if close else 'keep-alive'}",
        ]
        if compressed:
            lines.append("Content-Encoding: gzip")
        if code is HTTPStatus.METHOD_NOT_ALLOWED:
            lines.append("Allow: GET, HEAD")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head_only else body))
        async with asyncio.timeout(WRITE_SECONDS):
            await writer.drain()


def _plain(code: HTTPStatus) -> _Reply:
    return code, "text/plain; charset=utf-8", f"{code.phrase}\n".encode(), False


_log = Log("http")
