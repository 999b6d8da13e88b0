"""
The endpoint's connections: accepted, bounded in number and time, with TLS where configured.

One task each, and a descriptor until its deadline, whether the client is silent, slow or one of five hundred; with all
places taken, the one idle longest gives way, be it still in its handshake. It must not know what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

from plimsoll.exporter.reply import SHUTDOWN_SECONDS, Reply, finish, plain, refuse, send
from plimsoll.exporter.request import MalformedRequest, Request, parse_request
from plimsoll.log import Event, Log

HEADER_LIMIT = 8192
HEADER_SECONDS = 5.0  # for the TLS handshake, and again for the first request
IDLE_SECONDS = 75.0  # Prometheus keeps its connection between scrapes, most often 15 or 60 seconds apart
# With no descriptor left and none of ours to give, accepting again at once would only burn the CPU.
EXHAUSTED_SECONDS = 1.0

Answer = Callable[[Request, bool], Awaitable[Reply]]
"""Gives the reply to a request; the flag says whether the client showed a certificate that was verified."""


class Connections:
    """Serves ``answer`` on a listening socket. ``context`` gives what the next handshake uses, ``None``: no TLS."""

    def __init__(
        self,
        answer: Answer,
        limit: int,
        context: Callable[[], ssl.SSLContext | None],
        header_seconds: float = HEADER_SECONDS,
    ) -> None:
        self._answer = answer
        self._header_seconds = header_seconds
        self._limit = limit
        self._context = context
        # In order of last use: the first is the one to give way.
        self._tasks: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._resuming: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    async def serve(self, listening: socket.socket) -> None:
        """Accept until cancelled; then every connection ends."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        loop.add_reader(listening, self._accept, loop, listening)
        try:
            await loop.create_future()
        finally:
            loop.remove_reader(listening)
            if self._resuming is not None:
                self._resuming.cancel()
            listening.close()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        try:
            client, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            # It was gone before its turn came.
            return
        except OSError as error:
            _log.warning(Event.HTTP_FAILED, error=repr(error), limit="accept")
            if not self._make_room():
                loop.remove_reader(listening)
                self._resuming = loop.call_later(
                    EXHAUSTED_SECONDS, loop.add_reader, listening, self._accept, loop, listening
                )
            return
        client.setblocking(False)
        if len(self._tasks) >= self._limit:
            self._make_room()
        task = loop.create_task(self._connection(client))
        self._tasks[task] = None
        task.add_done_callback(partial(self._ended, client))

    def _make_room(self) -> bool:
        if not self._tasks:
            return False
        idle, _ = self._tasks.popitem(last=False)
        idle.cancel()
        return True

    def _ended(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        # Its transport has done so, but for a task that was cancelled before it began.
        client.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(Event.HTTP_FAILED, error=repr(error), limit=type(error).__name__)

    async def _connection(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEADER_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        context = self._context()
        timeouts = (None, None) if context is None else (self._header_seconds, SHUTDOWN_SECONDS)
        # The client going away, falling silent or failing the handshake ends this: there is nothing to tell it.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            transport: asyncio.Transport | None = None
            try:
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    client,
                    ssl=context,
                    ssl_handshake_timeout=timeouts[0],
                    ssl_shutdown_timeout=timeouts[1],
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                more = await self._request(await _head(reader, self._header_seconds), reader, writer)
                while more:
                    head = await _head(reader, IDLE_SECONDS)
                    # Made under files that were replaced: what they vouched for may hold no longer.
                    more = context is self._context() and await self._request(head, reader, writer)
                await finish(writer)
            finally:
                if transport is not None:
                    transport.abort()

    async def _request(self, head: bytes | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays open."""
        if head is None:
            await refuse(reader, writer, plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
            return False
        try:
            request = parse_request(head)
        except MalformedRequest:
            await refuse(reader, writer, plain(HTTPStatus.BAD_REQUEST))
            return False
        if request.method not in ("GET", "HEAD"):
            await refuse(reader, writer, plain(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD"))
            return False
        task = asyncio.current_task()
        if task is not None and task in self._tasks:
            self._tasks.move_to_end(task)
        reply = await self._answer(request, bool(writer.get_extra_info("peercert")))
        await send(writer, reply, close=request.close, head_only=request.method == "HEAD")
        return not request.close


async def _head(reader: asyncio.StreamReader, wait: float) -> bytes | None:
    """The next request up to its empty line; ``None`` when that is too long. Raises TimeoutError."""
    async with asyncio.timeout(wait):
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return None


_log = Log("http")
