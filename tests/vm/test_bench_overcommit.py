"""The benchmark of overcommit laws works: one short run of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.overcommit.guest_run import Load, Terms, build, run
from tests.vm.image import Image

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

# Nearly all of it is cold, so that a law that takes much has no reason to stop.
TERMS = Terms(Load(hot=4, warm=2, cold=80, warm_seconds=5.0, rate=100.0, flip=2), marks=(1.0,), after=0.3)


def test_a_run_has_all_its_figures(guest_image: Image, tmp_path: Path) -> None:
    """A law that takes much saves memory, makes the device and the workload feel it, and lets go after the change."""
    found, lines = run(guest_image, build(tmp_path), "white-paper", 1, TERMS)

    seen = found.marks[1.0]
    assert found.controller == "white-paper"
    assert seen.area > 0
    assert lines[0]["current"] / (1 << 20) > seen.resident + 4
    assert seen.written > 4
    assert seen.cpu > 0
    assert lines[-1]["swap"] > 0
    for latency in (found.latency, found.latency_after, found.service):
        assert latency["count"] > 0
        assert 0 < latency["mean"] <= latency["worst"]
        assert latency["p99"] <= latency["p999"]
