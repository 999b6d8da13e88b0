"""One HTTP/1 request's head, from bytes a stranger sent. It must not know what is served."""

from __future__ import annotations

from typing import NamedTuple


class MalformedRequest(Exception):  # noqa: N818 - says what the client sent, not what failed here
    """Not a request of HTTP/1.0 or HTTP/1.1."""


class Request(NamedTuple):
    """``path`` is without its query. ``close``: the connection ends with the reply; ``gzip``: the client takes it."""

    method: str
    path: str
    close: bool
    gzip: bool


def parse_request(head: bytes) -> Request:
    """``head`` ends with the empty line. Raises MalformedRequest."""
    line, *lines = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise MalformedRequest
    method, target, version = words
    headers = {
        name.strip().lower(): value.strip().lower()
        for name, separator, value in (each.partition(":") for each in lines)
        if separator
    }
    # A body is not read: its bytes must not be taken for the next request.
    body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    close = version == "HTTP/1.0" or headers.get("connection") == "close" or body
    return Request(method, target.partition("?")[0], close, _takes_gzip(headers.get("accept-encoding", "")))


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            # A weight of nought is a refusal: RFC 9110, 12.5.3.
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
