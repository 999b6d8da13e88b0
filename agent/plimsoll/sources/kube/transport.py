"""
What the state machine asks of its surroundings: requests, and a way to wait. Types only.

``connection`` is one of them on a network, the tests have another in virtual time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

Query = tuple[tuple[str, str], ...]


class Answer(Protocol):
    """One HTTP response, its body unread. Reading raises Failure."""

    @property
    def status(self) -> int: ...

    @property
    def retry_after(self) -> float | None: ...

    def read(self, limit: int, seconds: float) -> bytes: ...

    def chunks(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """GET requests to one API server. Both raise Failure."""

    def get(self, path: str, query: Query, read_seconds: float) -> Answer: ...

    def reload(self) -> None: ...


class Sender(Transport, Protocol):
    """The same, and requests that change something. Raises Failure."""

    def send(self, method: str, path: str, body: object, content_type: str, read_seconds: float) -> Answer: ...


class Stop(Protocol):
    """What ``threading.Event`` is: asked, and waited for instead of sleeping."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...
