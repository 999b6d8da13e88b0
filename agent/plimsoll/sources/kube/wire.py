"""
The two shapes pods arrive in: a list in one piece and a stream of lines. Bytes to JSON values, bounded, no I/O.

It must not know what a pod is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator

from plimsoll.sources.kube.failure import Failure, Reason

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def lines(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """
    The complete, non-empty lines of a stream.

    Raises Failure for a line of more than ``limit`` bytes and for a stream that ends inside a line.
    """
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            _check(size + len(piece), limit)
            line = b"".join((*parts, piece)).strip()
            parts, size = [], 0
            if line:
                yield line
        size += len(rest)
        _check(size, limit)
        if rest:
            parts.append(rest)
    if b"".join(parts).strip():
        raise Failure(Reason.TRANSPORT, "the stream ended inside a line")


def _check(size: int, limit: int) -> None:
    if size > limit:
        # What follows on the stream is the rest of this line: only a list tells what it would have said.
        raise Failure(Reason.OVERSIZE, f"a line of more than {limit} bytes", relist=True)


def decode(text: bytes) -> object:
    """One JSON value. Raises Failure."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(Reason.MALFORMED, f"not JSON: {error}"[:200], relist=True) from error


def decode_list(body: bytes, take: Callable[[object], None]) -> dict[str, object]:
    """
    Hand each element of ``items`` to ``take``, and give the list's other fields.

    The items are decoded one by one: decoded at once, the pods of a full node take ten times the memory of their text.
    Raises Failure unless the body is one whole JSON object with one array ``items``; ``take`` may have been called.
    """
    try:
        text = body.decode("utf-8")
        del body  # megabytes that nobody needs while the items are decoded
        return _members(text, take)
    except (ValueError, RecursionError) as error:
        raise Failure(Reason.MALFORMED, f"not a JSON list: {error}"[:200]) from error


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _expect(text: str, position: int, wanted: str) -> int:
    position = _skip(text, position)
    if not text.startswith(wanted, position):
        raise ValueError(f"{wanted} expected at character {position} of {len(text)}")
    return position + 1


def _members(text: str, take: Callable[[object], None]) -> dict[str, object]:
    fields: dict[str, object] = {}
    itemised = False
    position = _skip(text, _expect(text, 0, "{"))
    while True:
        key, position = _DECODER.raw_decode(text, position)
        if not isinstance(key, str):
            raise ValueError("a key that is not a string")  # noqa: TRY004 - the caller catches what JSON raises
        position = _skip(text, _expect(text, position, ":"))
        if key == "items":
            if itemised:
                raise ValueError("items twice")
            itemised = True
            position = _elements(text, _expect(text, position, "["), take)
        else:
            fields[key], position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        if text.startswith("}", position):
            break
        position = _skip(text, _expect(text, position, ","))
    if not itemised:
        raise ValueError("no items")
    if _skip(text, position + 1) != len(text):
        raise ValueError("something follows the list")
    return fields


def _elements(text: str, position: int, take: Callable[[object], None]) -> int:
    position = _skip(text, position)
    if text.startswith("]", position):
        return position + 1
    while True:
        item, position = _DECODER.raw_decode(text, position)
        take(item)
        position = _skip(text, position)
        if text.startswith("]", position):
            return position + 1
        position = _skip(text, _expect(text, position, ","))
