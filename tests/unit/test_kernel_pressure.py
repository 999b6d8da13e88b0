"""Pressure text: every shape a kernel prints, and nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.kernel.pressure import format_pressure_stat, format_psi, parse_pressure_stat, parse_psi
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, PRESSURE_STAT_FULL_ONLY, Pressure, PressureLine, Source
from tests.support import pressure_stat, psi

LINES = st.builds(
    PressureLine,
    *[st.integers(0, 10_000)] * 3,
    st.integers(0, 2**63 - 1),
)


@given(st.none() | LINES, LINES)
def test_psi_survives_the_round_trip(some, full):
    """parse(format(x)) == x, with and without `some`."""
    assert parse_psi(format_psi(some, full)) == (some, full)


@given(st.dictionaries(st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True), LINES, min_size=1, max_size=32))
def test_pressure_stat_survives_the_round_trip(sections):
    """Any section names, known or not, in their order."""
    pressures = tuple(Pressure(name, Source.PRESSURE_STAT, None, line) for name, line in sections.items())

    assert parse_pressure_stat(format_pressure_stat(pressures)) == pressures


def test_the_twelve_lines_of_openeuler():
    """Seven sections; the two CPU sections have no `some`, and none is made up."""
    found = parse_pressure_stat(pressure_stat(swap=731_245))

    assert tuple(each.cause for each in found) == PRESSURE_STAT_CAUSES
    assert {each.cause for each in found if each.some is None} == PRESSURE_STAT_FULL_ONLY
    assert next(each.some for each in found if each.cause == "swap") == PressureLine(125, 40, 9, 731_245)


@pytest.mark.parametrize(("until", "count"), [("cpu_qos", 6), ("cpu_cfs_bandwidth", 5)])
def test_shorter_shapes_leave_sections_absent(until, count):
    """Without CONFIG_QOS_SCHED, and early kernels with the five memory sections only."""
    assert len(parse_pressure_stat(pressure_stat().partition(f"{until}\n")[0])) == count


def test_old_cpu_and_irq_have_one_line():
    """cpu.pressure before 5.13 has no `full`, irq.pressure has no `some`."""
    some, full = psi(1, 2).splitlines(keepends=True)

    assert parse_psi(some)[1] is None
    assert parse_psi(full)[0] is None


@given(st.integers(0, len(pressure_stat()) - 1))
def test_a_torn_file_is_an_error_or_ends_between_lines(length):
    """Cut anywhere: never a smaller number, only an error or fewer whole sections."""
    whole = parse_pressure_stat(pressure_stat(swap=123_456))
    text = pressure_stat(swap=123_456)[:length]
    try:
        found = parse_pressure_stat(text)
    except ValueError:
        return
    for each, complete in zip(found, whole, strict=False):
        assert each.cause == complete.cause
        assert each.some == complete.some
        assert each.full in (None, complete.full)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=-1\n",
        "some avg10=nan avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.0 avg60=0.00 avg300=0.00 total=1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=9223372036854775808\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n" * 2,
        "some avg10=\u0660.00 avg60=0.00 avg300=0.00 total=1\n",
    ],
)
def test_what_is_not_pressure_is_refused(text):
    """Empty, cut, negative, out of range, doubled, other digits."""
    with pytest.raises(ValueError, match=r"."):
        parse_psi(text)


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text):
    """Either values or ValueError."""
    for parse in (parse_psi, parse_pressure_stat):
        with suppress(ValueError):
            parse(text)
