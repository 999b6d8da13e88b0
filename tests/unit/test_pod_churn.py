"""F31 in small: pods come and go, and the agent is as it was (`tests/bench/pod_churn.py` runs the 5,000)."""

from __future__ import annotations

from pathlib import Path

from tests.churn import churn


def test_pods_that_went_leave_nothing_behind(tmp_path: Path) -> None:
    """After four times as many pods as live at once: no more descriptors, threads or series, and no slope of memory."""
    first, *_, last = churn(tmp_path, pods=200, alive=40, batch=20)

    assert last.pods == 200
    assert last.series == first.series
    assert last.usage.threads == first.usage.threads
    # One connection to the endpoint may be open or not.
    assert abs(last.usage.descriptors - first.usage.descriptors) <= 2
    assert last.usage.resident_mib < first.usage.resident_mib + 6
