"""
Ceilings on a faithful model of cpufreq, which shows what is in force and not what was asked for: what comes and goes by
itself is neither taken for somebody's wish nor made to last, and what was asked for goes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan, Target, TargetKind
from plimsoll.simulator.cpufreq import Cpufreq
from tests.acting import Agent, plan, tree, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "sys/devices/system/cpu/cpufreq/policy0"
COOLING = "sys/class/thermal/cooling_device3"
POLICY = Target(TargetKind.UNIT, "policy0")
HIGHEST, LOWEST = 3_500_000, 800_000


def machine(root: Path, *, ceiling: int = HIGHEST, cooling: int = 0) -> Path:
    trees.write(
        root,
        tree(1)
        | {
            f"{FOLDER}/{name}": f"{value}\n"
            for name, value in {
                "cpuinfo_min_freq": LOWEST,
                "cpuinfo_max_freq": HIGHEST,
                "scaling_min_freq": LOWEST,
                "scaling_max_freq": ceiling,
            }.items()
        }
        | {f"{COOLING}/type": "Processor\n", f"{COOLING}/cur_state": f"{cooling}\n"},
    )
    return root


def ceiling(khz: int) -> Plan:
    return plan(want(POLICY, Knob.SCALING_MAX_FREQ, str(khz)))


def later(agent: Agent, wanted: Plan, times: int = 3) -> set[Outcome]:
    """Some ticks, each of which looks at every knob."""
    found: set[Outcome] = set()
    for _ in range(times):
        agent.clock.now += 20
        found |= {each.outcome for each in agent.applier.execute(wanted)}
    return found


def test_a_ceiling_is_set_and_goes_back(tmp_path: Path) -> None:
    """With nothing else at work what is asked for shows, and the start is asked for in the end."""
    model = Cpufreq()
    with Agent(machine(tmp_path), fault=model) as agent:
        assert later(agent, ceiling(1_500_000)) == {Outcome.OK, Outcome.UNCHANGED}
        agent.applier.restore(agent.clock() + 10)
        assert not agent.journal.originals
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)


def test_heat_that_comes_is_no_drift(tmp_path: Path) -> None:
    """A cap that comes, moves and goes is nobody's write: the knob stays ours, and the original goes back under it."""
    model = Cpufreq()
    with Agent(machine(tmp_path), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        for cap in (1_200_000, 1_000_000, 1_300_000, None, 1_100_000):
            model.cap = cap
            assert later(agent, ceiling(1_500_000)) == {Outcome.UNCHANGED}
        assert not agent.applier.drifts
        agent.applier.restore(agent.clock() + 10)
        assert not agent.journal.originals
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)


def test_heat_at_the_first_write_is_not_made_to_last(tmp_path: Path) -> None:
    """The snapshot trap: a ceiling held down by a cooling device is not what goes back once it is cool."""
    model = Cpufreq(cap=2_000_000)
    with Agent(machine(tmp_path, cooling=2), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        model.cap = None
        agent.applier.restore(agent.clock() + 10)
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)


def test_the_firmwares_limit_is_not_made_to_last(tmp_path: Path) -> None:
    """The same of what ACPI allows for the moment."""
    model = Cpufreq(cap=2_000_000)
    machine(tmp_path)
    (tmp_path / FOLDER / "bios_limit").write_text("2000000\n")
    with Agent(tmp_path, fault=model) as agent:
        later(agent, ceiling(1_500_000))
        agent.applier.restore(agent.clock() + 10)
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)


def test_an_administrators_ceiling_goes_back(tmp_path: Path) -> None:
    """With no cap at work a low ceiling is somebody's wish."""
    model = Cpufreq()
    with Agent(machine(tmp_path, ceiling=3_000_000), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        agent.applier.restore(agent.clock() + 10)
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, 3_000_000)


def test_a_higher_ceiling_is_somebody_elses(tmp_path: Path) -> None:
    """Nothing but a write raises a ceiling: theirs stands, then and in the end."""
    model = Cpufreq()
    with Agent(machine(tmp_path), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        (tmp_path / FOLDER / "scaling_max_freq").write_text("2800000\n")
        assert later(agent, ceiling(1_500_000)) == {Outcome.DRIFTED}
        agent.applier.restore(agent.clock() + 10)
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, 2_800_000)


def test_what_shows_by_chance_is_asked_for_all_the_same(tmp_path: Path) -> None:
    """A cap that shows just what is wanted next does not stand for it."""
    model = Cpufreq()
    with Agent(machine(tmp_path), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        model.cap = 1_200_000
        later(agent, ceiling(1_200_000))
        model.cap = None
        assert later(agent, ceiling(1_200_000)) == {Outcome.UNCHANGED}
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, 1_200_000)


@pytest.mark.parametrize("cap", [None, 1_100_000])
def test_a_unit_is_raised_after_a_kill(tmp_path: Path, cap: int | None) -> None:
    """Killed between the journal and the write that raises: the low ceiling is not taken for the high one."""
    model = Cpufreq()
    with Agent(machine(tmp_path), fault=model) as agent:
        later(agent, ceiling(1_500_000))
        model.refuses = True
        agent.clock.now += 20
        agent.applier.execute(ceiling(HIGHEST))
    model.refuses, model.cap = False, cap
    with Agent(tmp_path, fault=model) as agent:
        agent.applier.adopt()
        agent.applier.execute(ceiling(HIGHEST))
        assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)


def test_a_table_rounds_down(tmp_path: Path) -> None:
    """A driver with a table shows the next lower frequency of it: what it made of a ceiling is ours, and goes back."""
    model = Cpufreq(table=(LOWEST, 1_000_000, 2_000_000, HIGHEST))
    with Agent(machine(tmp_path), fault=model) as agent:
        assert later(agent, ceiling(1_500_000)) == {Outcome.CLAMPED, Outcome.UNCHANGED}
        assert (tmp_path / FOLDER / "scaling_max_freq").read_text() == "1000000\n"
        agent.applier.restore(agent.clock() + 10)
        assert not agent.journal.originals
    assert model.asked(str(tmp_path / FOLDER)) == (LOWEST, HIGHEST)
