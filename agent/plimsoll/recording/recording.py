"""
Reads a recording, whatever became of whoever wrote it.

Every fault is told with file, line and field. It makes snapshots and nothing else of what it reads.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from plimsoll import __version__
from plimsoll.model.plain import PlainForm
from plimsoll.model.plain_leaf import Unfit
from plimsoll.model.snapshot import Snapshot
from plimsoll.recording.lines import (
    CONFIGURATION,
    FORMAT,
    SNAPSHOT,
    SUFFIX,
    VERSION,
    BadRecording,
    Configured,
    Header,
    parse,
)

# 500 pods with all their containers are some four MiB.
_LINE_BYTES = 64 << 20


class Recording:
    """
    One recording, to be read once from its beginning.

    ``torn`` is known when all was read: its last line is not whole, and was left out.
    """

    def __init__(self, path: str) -> None:
        """Open it and read the header. Raises OSError and BadRecording."""
        self.path = path
        self._line = 0
        self._form = PlainForm(Snapshot)
        self.torn = False
        self._file = cast("BinaryIO", (gzip.open if path.endswith(SUFFIX) else open)(path, "rb"))
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        self._file.close()

    def __iter__(self) -> Iterator[Snapshot | Configured]:
        """What is in it, in order. Raises BadRecording and OSError where it is found broken."""
        while (plain := self._next()) is not None:
            if not isinstance(plain, dict) or len(plain) != 1:
                raise self._bad("is neither a snapshot nor a configuration")
            [(kind, value)] = plain.items()
            if kind == SNAPSHOT:
                try:
                    yield self._form.decode(value)
                except Unfit as error:
                    raise self._bad(str(error.within(SNAPSHOT))) from None
            elif kind == CONFIGURATION and isinstance(value, dict):
                yield Configured(f"{self.path}:{self._line}", value)
            else:
                raise self._bad("is neither a snapshot nor a configuration")

    def _read_header(self) -> Header:
        plain = self._next()
        if plain is None:
            raise BadRecording(f"{self.path}: is empty, or breaks off in its first line")
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise self._bad(f"is not the first line of a recording (format: {FORMAT})")
        if plain.get("version") != VERSION:
            raise self._bad(f"version: is not {VERSION}, the only one that this program ({__version__}) reads")
        try:
            return PlainForm(Header).decode(plain)
        except Unfit as error:
            raise self._bad(str(error)) from None

    def _next(self) -> Any:
        """The next line's value, ``None`` at the end."""
        self._line += 1
        try:
            line = self._file.readline(_LINE_BYTES + 1)
        except EOFError:
            self.torn = True
            return None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._bad(f"is not compressed as it should be: {error}") from error
        if not line.endswith(b"\n"):
            if len(line) > _LINE_BYTES:
                raise self._bad(f"is longer than {_LINE_BYTES} bytes")
            self.torn = bool(line)
            return None
        try:
            plain = parse(line)
        except ValueError as error:
            raise self._bad(f"is no JSON: {str(error)[:100]}") from error
        if plain is None:
            raise self._bad("is neither a snapshot nor a configuration")
        return plain

    def _bad(self, problem: str) -> BadRecording:
        return BadRecording(f"{self.path}:{self._line}: {problem}")
