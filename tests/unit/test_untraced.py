"""The block that runs without a tracer."""

from __future__ import annotations

import sys

import pytest

from tests.untraced import untraced


def test_the_tracer_comes_back() -> None:
    """Nothing is traced within the block, and everything after it, also where it ends with an exception."""
    seen: list[str] = []

    def trace(frame, event, _):
        seen.append(frame.f_code.co_name)

    def within() -> None:
        raise ValueError("seen by nobody")

    def after() -> None:
        pass

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(ValueError, match="seen by nobody"), untraced():
            within()
        after()
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert "after" in seen
    assert "within" not in seen
