"""What follows from what stands there: every case of a knob a plan wants, and of one that is to go back."""

from __future__ import annotations

import os

import pytest

from plimsoll.actuators.holding import Holding, Verdict, judge, judge_return
from plimsoll.actuators.record import Record
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Write, cgroup

WEIGHT = KNOBS[Knob.CPU_WEIGHT]
RECORD = Record("100", ("1", "2"), OnExit.RESTORE, "preemption")


def holding(stands: str | None = "2", asked: str = "2", **fields: bool) -> Holding:
    return Holding(7, "preemption", OnExit.RESTORE, stands, asked, **{"journaled": True, **fields})


@pytest.mark.parametrize(
    ("held", "record", "current", "wanted", "verdict"),
    [
        (None, None, "100", "1", Verdict.TAKE),
        (None, None, "1\n", "01", Verdict.STANDS),
        (holding(journaled=False), None, "100", "1", Verdict.TAKE),
        (holding(), RECORD, "2", "3", Verdict.SET),
        (holding(), RECORD, "3", "3", Verdict.STANDS),
        (holding(), RECORD, "55", "2", Verdict.FOREIGN),
        # The value before ours came back: somebody wrote it, for we know what stood.
        (holding(), RECORD, "100", "2", Verdict.FOREIGN),
        # The kernel made 2 of 9: not to be asked again, but for something else.
        (holding(asked="9"), RECORD, "2", "9", Verdict.STANDS),
        (holding(asked="9"), RECORD, "2", "8", Verdict.SET),
        (holding("55", foreign=True), RECORD, "55", "2", Verdict.SET),
        (holding("55", foreign=True), RECORD, "2", "2", Verdict.STANDS),
        # After a start, or a read that failed: any of ours may stand, and the original.
        (None, RECORD, "1", "3", Verdict.SET),
        (holding(None), RECORD, "2", "3", Verdict.SET),
        (holding(None), RECORD, "100", "3", Verdict.SET),
        (holding(None), RECORD, "55", "3", Verdict.FOREIGN),
    ],
)
def test_every_case_of_a_wanted_knob(
    held: Holding | None, record: Record | None, current: str, wanted: str, verdict: Verdict
) -> None:
    """The table of what is done, by what we hold, what the journal says and what stands there."""
    assert judge(WEIGHT, held, record, current, wanted) is verdict


@pytest.mark.parametrize(
    ("current", "outcome"),
    [
        ("100", Outcome.UNCHANGED),
        ("0100", Outcome.UNCHANGED),
        ("1", Outcome.OK),
        ("2", Outcome.OK),
        ("3", Outcome.DRIFTED),
        # A recorded file that was not yet cut to length.
        ("100\n0", Outcome.OK),
    ],
)
def test_only_what_is_ours_goes_back(current: str, outcome: Outcome) -> None:
    """Either of our last values is undone; the original needs nothing; anything else stays."""
    assert judge_return(WEIGHT, RECORD, current) is outcome


def test_a_rounded_value_is_ours_too() -> None:
    """Bytes that the kernel keeps in whole pages are recognised although nobody noted what it made of them."""
    page = os.sysconf("SC_PAGE_SIZE")
    record = RECORD._replace(original="0", last=(str(page + 1),))
    assert judge_return(KNOBS[Knob.MEMORY_LOW], record, str(page)) is Outcome.OK
    assert judge_return(WEIGHT, record, str(page)) is Outcome.DRIFTED


def test_settled_means_that_nothing_at_all_has_changed() -> None:
    """Another value, owner or exit, a foreign value, or not knowing what stands: each calls for a look."""
    write = Write(cgroup("pod"), Knob.CPU_WEIGHT, "2", "preemption", "why")
    assert holding().settled(write)
    for other in (write._replace(value="3"), write._replace(policy="x"), write._replace(on_exit=OnExit.KEEP)):
        assert not holding().settled(other)
    for unsettled in (holding(None), holding(foreign=True), holding(kept=True), holding(asked="")):
        assert not unsettled.settled(write)
