"""
One body made of a page: when first asked for, once per tick, compressed only if somebody takes it so.

It runs on the endpoint's loop and must not hold it up: a long body is made in fragments, with others served between
them. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable

from plimsoll.exporter.metrics import Page

# Level 1: a third larger than the default's result at a fifth of its time.
_LEVEL = 1


class Rendition:
    """Keeps what ``make`` gave for the last page, until it is asked about another."""

    def __init__(self, make: Callable[[Page | None], Iterable[bytes]]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._page: Page | None = None
        self._plain: bytes | None = None
        self._zipped: bytes | None = None

    async def plain(self, page: Page | None) -> bytes:
        """The body as it is."""
        async with self._making:
            return await self._made(page)

    async def zipped(self, page: Page | None) -> bytes:
        """The body in gzip's format."""
        async with self._making:
            plain = await self._made(page)
            if self._zipped is None:
                # zlib lets go of the GIL: neither the loop nor the tick waits.
                self._zipped = await asyncio.to_thread(gzip.compress, plain, _LEVEL)
            return self._zipped

    async def _made(self, page: Page | None) -> bytes:
        if self._plain is None or page is not self._page:
            self._page, self._plain, self._zipped = page, None, None
            fragments: list[bytes] = []
            for fragment in self._make(page):
                fragments.append(fragment)
                await asyncio.sleep(0)
            self._plain = b"".join(fragments)
        return self._plain
