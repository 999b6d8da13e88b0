"""Bytes to JSON values: lines of a stream and items of a list, whatever the bytes are."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.sources.kube.failure import Failure, Reason
from plimsoll.sources.kube.wire import decode, decode_list, lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b" "))), st.lists(st.integers(0, 999)))
def test_lines_do_not_depend_on_the_chunks(content: list[bytes], places: list[int]) -> None:
    """However a stream is cut into chunks, its lines are the same; empty ones are left out."""
    data = b"".join(line + b"\n" for line in content)

    assert list(lines(cut(data, places), 20)) == [line.strip() for line in content if line.strip()]


@given(st.integers(1, 40), st.lists(st.integers(0, 999)))
def test_a_line_may_be_as_long_as_the_limit_and_no_longer(limit: int, places: list[int]) -> None:
    """The bound is exact, and what came before the long line is still told."""
    good, long = b"x" * limit, b"y" * (limit + 1)
    stream = lines(cut(good + b"\n" + long + b"\n", places), limit)

    assert next(stream) == good
    with pytest.raises(Failure) as failed:
        next(stream)
    assert (failed.value.reason, failed.value.relist) == (Reason.OVERSIZE, True)


def test_a_line_without_an_end_is_not_collected_beyond_the_limit() -> None:
    """Nothing asks the stream for more once the bound is passed: memory stays bounded."""
    taken = []

    def flood() -> Any:
        while True:
            taken.append(1)
            yield b"x" * 10

    with pytest.raises(Failure):
        next(lines(flood(), 95))
    assert len(taken) == 10


def test_a_stream_that_ends_inside_a_line_failed() -> None:
    """Half an event is no event; what was whole is told."""
    stream = lines([b"one\ntw"], 100)

    assert next(stream) == b"one"
    with pytest.raises(Failure) as failed:
        next(stream)
    assert (failed.value.reason, failed.value.relist) == (Reason.TRANSPORT, False)


@given(
    st.lists(VALUES, max_size=5), st.dictionaries(st.text().filter(lambda key: key != "items"), VALUES), st.booleans()
)
def test_a_list_is_what_json_says_it_is(items: list[object], fields: dict[str, object], indented: bool) -> None:
    """Item by item gives what decoding everything at once gives, with any spacing and the items anywhere."""
    names = list(fields)
    whole = {**{name: fields[name] for name in names[1:]}, "items": items, **{name: fields[name] for name in names[:1]}}
    body = json.dumps(whole, indent=2 if indented else None).encode() + b"\n"
    taken: list[object] = []

    assert decode_list(body, taken.append) == fields
    assert taken == items


@given(st.lists(VALUES, max_size=3), st.data())
def test_no_part_of_a_list_is_a_list(items: list[object], data: st.DataObject) -> None:
    """Every proper prefix is refused: a body that was cut off can never pass for a shorter list."""
    body = json.dumps({"kind": "PodList", "items": items, "metadata": {"resourceVersion": "5"}}).encode()
    length = data.draw(st.integers(0, len(body) - 1))

    with pytest.raises(Failure) as failed:
        decode_list(body[:length], lambda _: None)
    assert failed.value.reason is Reason.MALFORMED


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(body: bytes) -> None:
    """Any bytes at all are JSON or a Failure, as line and as list."""
    reasons = set()
    for read in (lambda: decode(body), lambda: decode_list(body, lambda _: None)):
        try:
            read()
        except Failure as failure:
            reasons.add(failure.reason)
    assert reasons <= {Reason.MALFORMED}


@pytest.mark.parametrize(
    "body",
    [
        b'{"items":[]}{"items":[]}',
        b'{"items":[],"items":[]}',
        b'{"items":{}}',
        b'{"items":null}',
        b'{"items":[1,]}',
        b'{"items":[1 2]}',
        b'{"items":[],}',
        b"{}",
        b'{1:2,"items":[]}',
        b'{"items":[' + b"1" * 5000 + b"]}",
        b'{"a":' + b"[" * 200_000,
        b'{"items":["\xff"]}',
    ],
)
def test_bodies_that_are_nearly_lists_are_refused(body: bytes) -> None:
    """Twice the items, trailing data, other types, numbers and depths that Python refuses."""
    with pytest.raises(Failure) as failed:
        decode_list(body, lambda _: None)
    assert failed.value.reason is Reason.MALFORMED
