"""What is offered to more pods: by what was there all the time, slowly, in steps, and never back and forth."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.policies.overcommit_offer import FALL_SECONDS, RISE_SECONDS, STEP, Offer, offer

MIB = 1 << 20
TOTAL = 64 << 30
TICK = 5


def after(seconds: float, offloaded: int, *, before: Offer = Offer(), at: float = 0.0, available: int = TOTAL) -> Offer:  # noqa: B008 - an immutable value
    """So long with so much on the device."""
    for number in range(int(seconds / TICK) + 1):
        before = offer(before, offloaded, at + number * TICK, available=available, total=TOTAL)
    return before


def test_it_takes_a_while() -> None:
    """Nothing at first; after ten minutes whole steps of what was there."""
    assert after(RISE_SECONDS - TICK, 1000 * MIB).size == 0
    assert after(RISE_SECONDS, 1000 * MIB).size == 3 * STEP


def test_only_what_was_there_all_the_time() -> None:
    """One moment with less in the ten minutes counts."""
    low = after(RISE_SECONDS / 2, 1000 * MIB)
    low = offer(low, 300 * MIB, RISE_SECONDS / 2 + 1, available=TOTAL, total=TOTAL)
    assert after(RISE_SECONDS / 2, 1000 * MIB, before=low, at=RISE_SECONDS / 2 + 2).size == STEP


def test_what_comes_back_is_no_longer_offered() -> None:
    """After a minute, to the most there was in it: pods that come back for a moment take nothing away."""
    start = after(RISE_SECONDS, 1000 * MIB)
    assert after(FALL_SECONDS - TICK, 100 * MIB, before=start, at=RISE_SECONDS + TICK).size == 3 * STEP
    assert after(FALL_SECONDS, 600 * MIB, before=start, at=RISE_SECONDS + TICK).size == 2 * STEP
    dip = offer(start, 0, RISE_SECONDS + TICK, available=TOTAL, total=TOTAL)
    back = offer(dip, 1000 * MIB, RISE_SECONDS + 2 * TICK, available=TOTAL, total=TOTAL)
    assert after(FALL_SECONDS - TICK, 0, before=back, at=RISE_SECONDS + 3 * TICK).size == 3 * STEP


def test_nothing_is_added_on_a_full_node() -> None:
    """Whoever were placed there would be evicted; what is offered already stays. Unknown is full."""
    assert after(RISE_SECONDS, 1000 * MIB, available=TOTAL // 20).size == 0
    assert offer(after(RISE_SECONDS - TICK, STEP), STEP, RISE_SECONDS, available=None, total=None).size == 0
    full = after(RISE_SECONDS, 1000 * MIB)
    assert after(2 * RISE_SECONDS, 4000 * MIB, before=full, at=RISE_SECONDS + TICK, available=0).size == 3 * STEP


@given(st.lists(st.integers(0, 40 * STEP), min_size=1, max_size=400))
def test_never_back_and_forth(levels: list[int]) -> None:
    """Whole steps, never more than there was at some moment, and no two changes of direction within a minute."""
    state, changes = Offer(), []
    for number, level in enumerate(levels):
        before, state = state, offer(state, level, float(number * TICK), available=TOTAL, total=TOTAL)
        assert state.size % STEP == 0
        assert state.size <= max(levels[: number + 1])
        if state.size != before.size:
            changes.append((number * TICK, state.size > before.size))
    for (earlier, up), (later, down) in pairwise(changes):
        assert later - earlier >= FALL_SECONDS or up == down
