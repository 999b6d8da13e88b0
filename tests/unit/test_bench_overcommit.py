"""The benchmark's yardsticks: the laws of others as published, and what a run's lines come to."""

from __future__ import annotations

import pytest

from tests.bench.overcommit.figures import MIB, Run, change_table, recovery, table, window
from tests.bench.overcommit.guest.laws import LAWS, Reading

CALM = Reading(100.0, 1000 * MIB, 20 * MIB, 10 * MIB, 0.0, 0.0, 0.0, 0.0, 5.0, 7.0)


@pytest.mark.parametrize(
    ("name", "change", "size"),
    [
        ("tmo", {}, 0.5),
        ("tmo", {"memory_some": 5.003}, 0.25),  # 3 ms in 6 s: half of the threshold
        ("tmo", {"io_some": 7.006}, 0),
        ("oomd", {}, 10),
        ("oomd", {"memory_60": 0.1}, 0),
        ("oomd", {"io_10": 0.2}, 0),
        ("katalyst", {}, 10),
        ("katalyst", {"memory_60": 0.05}, 5),
        ("katalyst", {"file": 11 * MIB}, 2),
        ("katalyst", {"file": 0, "mapped": 0}, 1),
        ("white-paper", {}, 50),
        ("white-paper", {"io_10": 90.0}, 50),
        ("white-paper", {"memory_10": 1.0}, 0),
    ],
)
def test_a_law_is_as_published(name: str, change: dict[str, float], size: float) -> None:
    """MiB of a pod of 1,000 that each asks for, one period after a calm reading."""
    later = CALM._replace(at=106.0, **change)
    assert LAWS[name].size(CALM, later) == pytest.approx(size * MIB, abs=2)


def line(at: float, current: float, stall: float = 0.0, **more: float) -> dict[str, float]:
    figures = {"at": at, "current": current * MIB, "memory": stall, "io": 0.0, "refaults": 0, "written": 0, "cpu": 0.0}
    return figures | more


LINES = [line(0, 100), line(1, 90, 0.001, cpu=0.25), line(2, 80, 0.002, io=0.004), line(3, 80, 0.002, written=MIB)]


def test_a_window_adds_up() -> None:
    """Saved memory times the time it was saved, against the beginning of the run; the worse stall counts."""
    found = window(LINES, 0, 2, 100 * MIB)

    assert (found.area, found.resident, found.seconds) == (10, 80, 2)
    assert (found.memory_stall, found.io_stall, found.stall) == pytest.approx((2, 4, 4))
    assert found.worth == pytest.approx(2.5)
    with pytest.raises(ValueError, match="1 lines between 3 and 9 s"):
        window(LINES, 3, 9, 0)


def test_nothing_waited_is_not_infinitely_good() -> None:
    """What hardly stalled counts as a millisecond; what saved nothing is worth nothing."""
    assert window([line(0, 100), line(2, 50)], 0, 2, 100 * MIB).worth == 0.0
    assert window([line(0, 50), line(2, 50, 0.0005)], 0, 2, 100 * MIB).worth == 100.0


def test_recovery_is_the_first_calm_stretch() -> None:
    """Ten seconds with less than a thousandth of stall; none where the lines end before."""
    stalling = [line(float(at), 100, stall=0.1 * min(at, 7)) for at in range(20)]

    assert recovery(stalling, 0.0) == 7
    assert recovery(stalling, 2.0) == 5
    assert recovery(stalling[:12], 0.0) is None


def test_the_tables_compare_medians() -> None:
    """The reference is 1 by definition; a controller that saved nothing and stalled nothing is worth nothing."""

    def run(name: str, seed: int, saved: float, stalled: float) -> Run:
        lines = [line(0, 100), line(1, 100 - saved), line(61, 100 - saved, stalled)]
        latency = {"mean": 40.0, "p99": 1000.0, "p999": 2000.0}
        return Run(name, seed, {1.0: window(lines, 0, 61, 100 * MIB)}, window(lines, 1, 61, 0), None, *(latency,) * 3)

    runs = [run("oomd", 1, 10, 0.6), run("oomd", 2, 10, 0.06), run("oomd", 3, 10, 0.1), run("plain", 1, 20, 0.1)]
    rows = table([*runs, run("none", 1, 0, 0)], 1.0, 50)

    ratios = {each.split()[0]: each.split()[-1] for each in rows[2:]}
    assert ratios == {"oomd": "1.00", "plain": "2.00", "none": "0.00"}
    assert "6.0 (1.0-10.0)" in rows[2]
    assert [each.split()[6] for each in change_table(runs)[2:]] == ["never", "never"]
