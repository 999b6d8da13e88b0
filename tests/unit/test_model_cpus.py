"""Lists of CPUs: the kernel's spelling, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.model.cpus import MAX_CPUS, format_cpus, parse_cpus


@given(st.frozensets(st.integers(0, MAX_CPUS - 1), max_size=64))
def test_what_is_spelled_is_read(cpus: frozenset[int]) -> None:
    """Reading what was spelled gives the same set."""
    assert parse_cpus(format_cpus(cpus)) == cpus


@pytest.mark.parametrize(
    ("cpus", "text"),
    [((), ""), ((5,), "5"), ((0, 1), "0-1"), ((3, 1, 0, 2, 8), "0-3,8"), ((1, 3, 5, 6), "1,3,5-6")],
)
def test_the_kernels_spelling(cpus: tuple[int, ...], text: str) -> None:
    """Ranges as the kernel prints them, shortest first to last."""
    assert format_cpus(cpus) == text
    assert parse_cpus(f"{text}\n") == frozenset(cpus)


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0,,1", "0;1", "0-9999999", "8192", "0x1", "¹", "0 1"])
def test_what_is_no_list_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a list of CPUs"):
        parse_cpus(text)
