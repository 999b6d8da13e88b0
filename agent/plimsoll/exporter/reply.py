"""One HTTP/1.1 reply, written without holding more of it than the client takes. It must not know what is served."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import NamedTuple

WRITE_SECONDS = 10.0
# A client that does not end its side is not waited for long; asyncio's default for TLS is half a minute.
SHUTDOWN_SECONDS = 1.0
# Handed to the transport at once: a client that stops reading costs this much memory, not a whole page.
CHUNK = 64 * 1024


class Reply(NamedTuple):
    """``headers`` are whole lines, beyond those every reply has."""

    code: HTTPStatus
    kind: str
    body: bytes
    headers: tuple[str, ...] = ()


def plain(code: HTTPStatus, *headers: str) -> Reply:
    """A reply that only says its code."""
    return Reply(code, "text/plain; charset=utf-8", f"{code.phrase}\n".encode(), headers)


async def send(writer: asyncio.StreamWriter, reply: Reply, *, close: bool, head_only: bool = False) -> None:
    """Write it. Raises TimeoutError for a client that does not read, OSError for one that is gone."""
    head = "\r\n".join(
        (
            f"HTTP/1.1 {reply.code.value} {reply.code.phrase}",
            f"Content-Type: {reply.kind}",
            f"Content-Length: {len(reply.body)}",
            "Cache-Control: no-store",
            "Vary: Accept-Encoding",
            "X-Content-Type-Options: nosniff",
            f"Connection: {'close' if close else 'keep-alive'}",
            *reply.headers,
            "\r\n",
        )
    ).encode()
    body = memoryview(b"" if head_only else reply.body)
    async with asyncio.timeout(WRITE_SECONDS):
        writer.write(head + bytes(body[:CHUNK]))
        await writer.drain()
        for begin in range(CHUNK, len(body), CHUNK):
            writer.write(body[begin : begin + CHUNK])
            await writer.drain()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Send a reply to a request that was not read to its end."""
    await send(writer, reply, close=True)
    if writer.can_write_eof():
        # Closing with bytes unread makes the kernel reset the connection, and the client may lose the reply.
        writer.write_eof()
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while await reader.read(CHUNK):
                pass


async def finish(writer: asyncio.StreamWriter) -> None:
    """Close in order, once what is still unsent is out. Raises as :func:`send` does."""
    writer.close()
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.wait_closed()
