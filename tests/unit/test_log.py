"""Logs are JSON lines with an event name, bounded values and a rate limit per key."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from plimsoll.log import Event, Log, RateLimit, configure


@pytest.fixture
def stream():
    return io.StringIO()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_event_with_keys(stream):
    """One call gives one JSON object with event, level, component, time and the keys."""
    configure(stream=stream)

    Log("kube").warning(Event.SOURCE_FAILED, reason="http-403")

    (line,) = lines(stream)
    assert line["event"] == "source-failed"
    assert (line["level"], line["component"], line["reason"]) == ("warning", "kube", "http-403")
    assert line["timestamp"].endswith("Z")


def test_hostile_text_stays_on_one_line_and_is_cut(stream):
    """A newline in pod text cannot forge a second line, and 10 kB do not flood the log."""
    configure(stream=stream)

    Log("x").info(Event.POD_REJECTED, message='a\n{"event": "forged"}' + "b" * 10_000)

    (line,) = lines(stream)
    assert len(line["message"]) == 257
    assert line["event"] == "pod-rejected"


def test_the_limit_lets_one_line_per_key_through_and_counts_the_rest(stream):
    """Ten equal failures are one line; another key has its own allowance; the key itself is not printed."""
    configure(stream=stream)
    log = Log("x")

    for _ in range(10):
        log.warning(Event.SOURCE_FAILED, limit="a")
    log.warning(Event.SOURCE_FAILED, limit="b")

    assert len(lines(stream)) == 2
    assert all("limit" not in line for line in lines(stream))


def test_after_the_interval_the_next_line_says_how_many_were_left_out():
    """The count of suppressed lines is not lost."""
    now = [0.0]
    limit = RateLimit(60.0, clock=lambda: now[0])
    assert limit.admit("e", "k") == 0
    assert limit.admit("e", "k") is None
    assert limit.admit("e", "k") is None

    now[0] = 60.0

    assert limit.admit("e", "k") == 2


def test_the_level_is_a_floor(stream):
    """`warning` leaves `info` out; a later configure (a reload) reaches loggers made before."""
    log = Log("x")
    configure(level="warning", stream=stream)
    log.info(Event.AGENT_STARTED)
    assert lines(stream) == []

    configure(level="debug", stream=stream)
    log.debug(Event.AGENT_STARTED)

    assert len(lines(stream)) == 1


def test_a_traceback_is_part_of_its_line(stream):
    """An unexpected error is one line that carries its traceback whole."""
    configure(stream=stream)
    try:
        raise ValueError("x" * 1000)
    except ValueError:
        Log("x").exception(Event.TICK_FAILED)

    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert len(line["exception"]) > 1000


def test_the_console_style_is_for_people(stream):
    """No JSON, no colours into a file."""
    configure(style="console", stream=stream)

    Log("x").info(Event.AGENT_STARTED, version="1")

    assert "agent-started" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_event_names_are_one_form():
    """Names are lower case with dashes, so that they can be searched and documented."""
    assert all(event.value.replace("-", "").islower() for event in Event)


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path):
    """A closed stream, and a full device, which is told at the flush: the caller goes on."""
    with (tmp_path / "log").open("w") as closed:
        pass
    configure(stream=closed)
    Log("test").error(Event.TICK_FAILED)
    full = Path("/dev/full").open("w")  # noqa: SIM115 - its close fails, too, with what is left in its buffer
    configure(stream=full)
    Log("test").error(Event.TICK_FAILED)
    with pytest.raises(OSError, match="No space"):
        full.close()
