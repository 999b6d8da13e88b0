"""
Structured logs: every line is an event name and keys. The only user of structlog.

A line may carry ``limit=KEY``: then at most one line per (event, KEY) and minute is written, and the next one says how
many were left out. Nothing here knows what the events mean; the names stand in :class:`Event` so that they can be
searched, documented and tested.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

# Values can come from hostile text: long ones are cut.
_VALUE_LIMIT = 256
_LIMIT_SECONDS = 60.0
_LIMIT_KEYS = 1024


class Event(StrEnum):
    """Every event name this program logs."""

    AGENT_STARTED = "agent-started"
    AGENT_STOPPED = "agent-stopped"
    CAPABILITY_CHANGED = "capability-changed"
    CONFIG_RELOADED = "config-reloaded"
    CONFIG_REJECTED = "config-rejected"
    DRAINED = "drained"
    DRAIN_ENDED = "drain-ended"
    EVICTION_FAILED = "eviction-failed"
    HTTP_FAILED = "http-failed"
    HTTP_LISTENING = "http-listening"
    INTENT_REJECTED = "intent-rejected"
    JOURNAL_SET_ASIDE = "journal-set-aside"
    LOCK_WAITING = "lock-waiting"
    NOTICE_FAILED = "notice-failed"
    POD_EVICTED = "pod-evicted"
    POD_REJECTED = "pod-rejected"
    POLICY_SKIPPED = "policy-skipped"
    PUBLISH_FAILED = "publish-failed"
    RECORDING_STOPPED = "recording-stopped"
    RESTORED = "restored"
    RESTORE_FAILED = "restore-failed"
    SELECTOR_FAILED = "selector-failed"
    SERIES_DROPPED = "series-dropped"
    SOURCE_FAILED = "source-failed"
    SOURCE_RECOVERED = "source-recovered"
    SOURCE_STUCK = "source-stuck"
    STATE_DIR_UNUSABLE = "state-dir-unusable"
    TICK_FAILED = "tick-failed"
    TICK_LATE = "tick-late"
    TLS_RELOADED = "tls-reloaded"
    WRITE_FAILED = "write-failed"


class RateLimit:
    """Lets one event per key through in ``interval`` seconds and counts the rest. Memory is bounded."""

    def __init__(self, interval: float = _LIMIT_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def admit(self, event: str, key: str) -> int | None:
        """How many were left out since the last one that passed, or ``None`` when this one is to be left out."""
        now = self._clock()
        last, suppressed = self._seen.get((event, key), (None, 0))
        if last is not None and now - last < self._interval:
            self._seen[event, key] = (last, suppressed + 1)
            return None
        self._seen[event, key] = (now, 0)
        self._seen.move_to_end((event, key))
        if len(self._seen) > _LIMIT_KEYS:
            self._seen.popitem(last=False)
        return suppressed

    def process(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """The structlog processor."""
        key = event.pop("limit", None)
        if key is not None:
            suppressed = self.admit(str(event["event"]), str(key))
            if suppressed is None:
                raise structlog.DropEvent
            if suppressed:
                event["suppressed"] = suppressed
        return event


def _shorten(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _VALUE_LIMIT and key != "exception":
            event[key] = value[:_VALUE_LIMIT] + "…"
    return event


class _Lines:
    """
    Writes finished lines, and never raises: a full disk or a log reader that went away must not stop the node's agent.

    A line that cannot be written has nobody left to tell.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = msg


def configure(*, level: str = "info", style: str = "json", stream: TextIO | None = None) -> None:
    """
    Set up logging for the process. ``level``: debug, info, warning, error; ``style``: json or console.

    Called at start and again after a configuration reload.
    """
    out = sys.stderr if stream is None else stream
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        RateLimit().process,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _shorten,
    ]
    if style == "json":
        processors.append(structlog.processors.JSONRenderer(sort_keys=False))
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=partial(_one, _Lines(out)),
        # Loggers are made at import and bound at first use; a reload must reach them.
        cache_logger_on_first_use=False,
    )


def _one(lines: _Lines, *_: object) -> _Lines:
    return lines


class Log:
    """The log of one component: ``log.info(Event.X, key=value)``."""

    def __init__(self, component: str) -> None:
        self._component = component

    def _logger(self) -> Any:
        return structlog.get_logger().bind(component=self._component)

    def debug(self, event: Event, **keys: object) -> None:
        self._logger().debug(event.value, **keys)

    def info(self, event: Event, **keys: object) -> None:
        self._logger().info(event.value, **keys)

    def warning(self, event: Event, **keys: object) -> None:
        self._logger().warning(event.value, **keys)

    def error(self, event: Event, **keys: object) -> None:
        self._logger().error(event.value, **keys)

    def exception(self, event: Event, **keys: object) -> None:
        """An error line with the current exception's traceback."""
        self._logger().error(event.value, exc_info=True, **keys)
