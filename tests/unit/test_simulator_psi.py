"""The simulated kernel's pressure arithmetic against the definition of a decaying average."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.simulator.psi import PERIOD_NS, PsiGroup, Stall, together

SHARES = st.floats(0, 1)
STALLS = st.tuples(SHARES, SHARES).map(lambda pair: Stall(max(pair), min(pair)))
CAUSES = {"io": True, "irq": False}


def averages(line):
    return line.avg10, line.avg60, line.avg300


def test_totals_are_the_integral_of_the_shares():
    """A quarter of eight seconds and a half of four are four seconds of stall; a silent cause adds nothing."""
    group = PsiGroup(CAUSES)
    group.advance(8_000_000_000, {"io": Stall(0.25, 0.125)})
    group.advance(4_000_000_000, {"io": Stall(0.5, 0.25), "irq": Stall(None, 0.01)})

    some, full = group.lines("io")
    assert (some.total_us, full.total_us) == (4_000_000, 2_000_000)
    assert group.lines("irq")[0] is None
    assert group.lines("irq")[1].total_us == 40_000


@pytest.mark.parametrize(("share", "percent"), [(0.2, 20), (0.999, 99), (1.0, 100)])
def test_averages_reach_a_steady_share(share, percent):
    """The kernel samples whole percents and its average climbs all the way to them."""
    group = PsiGroup(CAUSES)
    group.advance(2000 * PERIOD_NS, {"io": Stall(share, 0.0)})

    assert averages(group.lines("io")[0]) == (percent * 100,) * 3
    assert averages(group.lines("io")[1]) == (0, 0, 0)


@pytest.mark.parametrize("periods", [1, 3, 10, 40])
def test_averages_rise_and_decay_exponentially(periods):
    """Within the rounding of 11 bits, an average is 1-exp(-t/window) of the share, and decays by exp(-t/window)."""
    group = PsiGroup(CAUSES)
    group.advance(periods * PERIOD_NS, {"io": Stall(1.0, 1.0)})
    risen = averages(group.lines("io")[0])
    group.advance(periods * PERIOD_NS, {})
    fallen = averages(group.lines("io")[0])

    for window, up, down in zip((10, 60, 300), risen, fallen, strict=True):
        kept = math.exp(-2 * periods / window)
        assert up == pytest.approx(10_000 * (1 - kept), abs=60)
        assert down == pytest.approx(10_000 * (1 - kept) * kept, abs=60)


def test_averages_wait_for_the_end_of_a_period():
    """Totals are always up to date; averages are sampled every two seconds."""
    group = PsiGroup(CAUSES)
    group.advance(PERIOD_NS - 1, {"io": Stall(1.0, 1.0)})
    assert averages(group.lines("io")[0]) == (0, 0, 0)
    assert group.lines("io")[0].total_us == (PERIOD_NS - 1) // 1000

    group.advance(1, {"io": Stall(1.0, 1.0)})
    assert averages(group.lines("io")[0])[0] > 0


@given(st.lists(st.tuples(st.integers(1, 5 * PERIOD_NS), STALLS), max_size=20))
def test_some_bounds_full_and_time_bounds_both(steps):
    """However time is cut: counters only grow, full never exceeds some, nobody stalls longer than it lives."""
    group = PsiGroup(CAUSES)
    elapsed, before = 0, (0, 0)
    for duration, stall in steps:
        group.advance(duration, {"io": stall})
        elapsed += duration
        some, full = group.lines("io")
        assert full.total_us <= some.total_us <= elapsed // 1000 + 1
        assert (some.total_us, full.total_us) >= before
        assert some.total_us >= before[0]
        assert full.total_us >= before[1]
        for low, high in zip(averages(full), averages(some), strict=True):
            assert 0 <= low <= high <= 10_000
        before = some.total_us, full.total_us


@given(st.lists(STALLS, min_size=1, max_size=8))
def test_a_group_of_groups(stalls):
    """Together somebody waits at least as long as the worst, and all wait at most as long as the best."""
    both = together(stalls)
    assert both.some >= max(each.some for each in stalls) - 1e-9
    assert both.full <= min(each.full for each in stalls) + 1e-9
    assert 0 <= both.full <= both.some <= 1


def test_a_group_without_a_some_line_has_none_together():
    """What only has `full` lines has no `some` as a sum either; nobody at all does not stall."""
    assert together([Stall(None, 0.5), Stall(None, 0.5)]) == Stall(None, 0.25)
    assert together([]) == Stall(0.0, 0.0)
