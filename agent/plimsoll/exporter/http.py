"""
The endpoint: /, /metrics, /status.json, /healthz, /readyz, on one thread.

It must not wait for the tick: everything served is made from the last page.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from plimsoll.config.schema import HttpSection
from plimsoll.exporter.connections import Connections
from plimsoll.exporter.metrics import Exporter, Page
from plimsoll.exporter.page import fragments
from plimsoll.exporter.page_assets import CONTENT_SECURITY_POLICY
from plimsoll.exporter.rendition import Rendition
from plimsoll.exporter.reply import Reply, plain
from plimsoll.exporter.request import Request
from plimsoll.exporter.status import status
from plimsoll.exporter.tls import ServerTls
from plimsoll.log import Event, Log
from plimsoll.model.acting import Mode

FOLLOW_SECONDS = 5.0  # between two looks at the certificate's files while nobody connects
# A loop that missed this many ticks is hung; never less than the deadline of an observation.
HEALTHY_INTERVALS = 3
HEALTHY_SECONDS = 30.0

# The kubelet's probes have no client certificate; what they get says nothing but a code.
_PROBES = frozenset({"/healthz", "/readyz"})
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_POLICY = (f"Content-Security-Policy: {CONTENT_SECURITY_POLICY}", "Referrer-Policy: no-referrer")


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
        self._section = section
        self._clock = clock
        self._tls: ServerTls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()
        self._connections = Connections(self.answer, section.max_connections, self._context)
        self._metrics = Rendition(lambda page: [] if page is None else [page.text])
        self._page = Rendition(fragments)
        self._status = Rendition(_status)
        self.address = listen

    def start(self) -> None:
        """
        Bind and serve.

        Raises OSError naming the address, ValueError for one that is none, ConfigError for TLS files that cannot be
        used.
        """
        if self._section.tls is not None:
            self._tls = ServerTls(self._section.tls)
            self._exporter.tls = self._tls.state
        host, port = split_address(self._listen)
        listening = self._bind(host, port)
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.address = f"{shown}:{bound[1]}"
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, ready)), name="http", daemon=True
        )
        self._thread.start()
        ready.wait()
        _log.info(Event.HTTP_LISTENING, address=self.address, tls=self._tls is not None)

    @staticmethod
    def _bind(host: str | None, port: int) -> socket.socket:
        if host is None and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
        family = socket.AF_INET6 if host is not None and ":" in host else socket.AF_INET
        return socket.create_server((host or "", port), family=family, backlog=512)

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._loop = None

    async def _serve(self, listening: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(self._connections.serve(listening))
            ready.set()
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FOLLOW_SECONDS):
                        await self._stopping.wait()
                self._context()
            serving.cancel()

    def _context(self) -> ssl.SSLContext | None:
        """What the next handshake uses, looked at afresh."""
        if self._tls is None:
            return None
        if self._tls.follow():
            self._exporter.tls = self._tls.state
        return self._tls.context

    async def answer(self, request: Request, verified: bool) -> Reply:
        """The reply to a GET or HEAD. ``verified``: the client showed a certificate of a CA we ask for."""
        page = self._exporter.page
        if self._tls is not None and self._tls.asks_client and not verified and request.path not in _PROBES:
            return plain(HTTPStatus.FORBIDDEN)
        if request.path == "/metrics":
            return await _rendered(self._metrics, page, request, _METRICS_TYPE)
        if request.path == "/":
            reply = await _rendered(self._page, page, request, "text/html; charset=utf-8", *_POLICY)
            return reply if page is not None else reply._replace(code=HTTPStatus.SERVICE_UNAVAILABLE)
        if request.path == "/status.json":
            if page is None:
                return plain(HTTPStatus.SERVICE_UNAVAILABLE)
            return await _rendered(self._status, page, request, "application/json")
        if request.path == "/healthz":
            return plain(HTTPStatus.OK if self._healthy(page) else HTTPStatus.SERVICE_UNAVAILABLE)
        if request.path == "/readyz":
            return plain(HTTPStatus.OK if _ready(page) else HTTPStatus.SERVICE_UNAVAILABLE)
        return plain(HTTPStatus.NOT_FOUND)

    def _healthy(self, page: Page | None) -> bool:
        if page is None:
            return True
        deadline = max(HEALTHY_SECONDS, HEALTHY_INTERVALS * page.agent.interval)
        return self._clock() - page.agent.heartbeat <= deadline


def _ready(page: Page | None) -> bool:
    if page is None or not all(source.complete for source in page.snapshot.sources):
        return False
    acting = page.acting
    # Whoever is to write and may not: a rollout shall stop here, not go on to the next node.
    return acting is None or acting.journal_ok or all(each.mode is not Mode.ENFORCE for each in acting.reports)


def _status(page: Page | None) -> Iterable[bytes]:
    if page is not None:
        yield json.dumps(status(page.snapshot, page.agent, page.tls, page.acting, page.recent)).encode()


async def _rendered(rendition: Rendition, page: Page | None, request: Request, kind: str, *headers: str) -> Reply:
    if request.gzip:
        return Reply(HTTPStatus.OK, kind, await rendition.zipped(page), ("Content-Encoding: gzip", *headers))
    return Reply(HTTPStatus.OK, kind, await rendition.plain(page), headers)


_log = Log("http")
