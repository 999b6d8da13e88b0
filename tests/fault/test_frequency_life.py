"""
The frequency policy on a node without Speed Select, from the pods' use down to cpufreq's files and back: what was
promised holds between any two writes, wherever the process is killed and whichever CPU goes away, and in the end
everything is as it was.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Priority
from plimsoll.simulator.frequency_node import SimulatedPod
from tests.acting import Clock
from tests.cpufreq_life import CpufreqNode
from tests.frequency_life import Killed, Life, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DAY = (4, 4, 1, 1, 1, 9, 9, 1, 1)
"""How many CPUs the high-priority pods use, second by second: the group shrinks, grows and shrinks again."""

FINE = {Outcome.OK, Outcome.UNCHANGED}


def pods() -> tuple[SimulatedPod, ...]:
    return (
        SimulatedPod(1, Priority.HIGH, frozenset()),
        SimulatedPod(2, Priority.HIGH, frozenset()),
        SimulatedPod(3, Priority.LOW, frozenset()),
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], CpufreqNode]:
    """A new node each time it is asked for."""

    def make() -> CpufreqNode:
        root = tmp_path / "node"
        if root.exists():
            shutil.rmtree(root)
        return CpufreqNode(root, pods())

    return make


def live(life: Life, day: Sequence[float] = DAY) -> None:
    for use in day:
        life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))


def whole(node: CpufreqNode, clock: Clock) -> None:
    """A life from start to stop."""
    with Life(node, clock) as life:
        live(life, DAY[:7])
        life.stop()


def stop(node: CpufreqNode, clock: Clock) -> None:
    """What an uninstall hook does: from the journal alone."""
    with Life(node, clock) as life:
        assert {each.outcome for each in life.stop()} <= FINE
        assert not life.journal.originals


def test_a_day(fresh: Callable[[], CpufreqNode]) -> None:
    """The group breathes, ceilings and preferences are written, nothing is refused, and everything goes back."""
    node = fresh()
    start = node.state()
    with Life(node, Clock()) as life:
        live(life)
        assert {each.outcome for each in life.results} == FINE
        life.results.extend(life.stop())
    assert node.state() == start
    written = {each.write.knob for each in life.results if each.outcome is Outcome.OK}
    assert written == {Knob.SCALING_MAX_FREQ, Knob.ENERGY_PREFERENCE, Knob.CPUSET_CPUS}
    assert 0 < len(node.slow_seen) < len(node.description.cpus)
    assert node.instants > len(node.steps) / 2


def test_killed_at_every_step(fresh: Callable[[], CpufreqNode]) -> None:
    """Whatever the step, the next life puts back every file and cpuset, and no promise is broken meanwhile."""
    counted = fresh()
    whole(counted, Clock())
    assert {"write scaling_max_freq", "write energy_performance_preference", "append"} <= set(counted.steps)
    for deadly in range(len(counted.steps)):
        node, clock = fresh(), Clock()
        start = node.state()
        node.deadly = deadly
        with pytest.raises(Killed):
            whole(node, clock)
        node.deadly = None
        stop(node, clock)
        assert node.state() == start, f"step {deadly}: {counted.steps[deadly]}"


def test_slow_cpus_go_off_line(fresh: Callable[[], CpufreqNode]) -> None:
    """
    A policy without a CPU answers EBUSY, whatever it is asked. The group goes on breathing without it, it is fast by
    the tick after its CPU is back, and in the end it is as it was.
    """
    node = fresh()
    start = node.state()
    with Life(node, Clock()) as life:
        live(life, (4, 4, 1, 1, 1, 1))
        gone = sorted(node.slow())[-2:]
        node.take_offline(*gone)
        before = len(node.cpus_of(node.pods[1]))
        live(life, (9, 9, 9))
        assert len(node.cpus_of(node.pods[1])) > before
        live(life, (1, 1, 1, 1, 1, 1))
        assert len(node.cpus_of(node.pods[1])) < len(node.online) / 2
        node.take_online(*gone)
        life.results.clear()
        live(life, (1, 1))
        assert {each.outcome for each in life.results} <= FINE
        live(life, (1, 1, 1, 1))
        assert set(gone) <= node.slow()
        life.stop()
        assert not life.journal.originals
    assert node.state() == start


@pytest.mark.parametrize("cap", [1_000_000, 2_500_000])
def test_heat_while_the_group_grows(fresh: Callable[[], CpufreqNode], cap: int) -> None:
    """
    A cooling device holds every CPU down, to less than the low group may have at worst. What is asked for counts: the
    group grows all the same, and once it is cool everything is as fast as it was meant to be.
    """
    node = fresh()
    start = node.state()
    with Life(node, Clock()) as life:
        live(life, DAY[:5])
        small = len(node.cpus_of(node.pods[1]))
        node.heat(cap)
        live(life, (9,) * 8)
        assert len(node.cpus_of(node.pods[1])) > small
        live(life, (1,) * 6)
        assert node.slow()
        node.heat(None)
        live(life, (1,) * 12)
        assert not node.slow() & node.cpus_of(node.pods[1])
        assert not life.reports[-1].notes
        life.stop()
        assert not life.journal.originals
    assert node.state() == start


def test_a_cap_that_nothing_tells_of(fresh: Callable[[], CpufreqNode]) -> None:
    """
    No cooling device is at work, yet every CPU is held down for a while, as by a power limit of the firmware: what
    showed then is never given to a CPU of the high group, and nothing goes to and fro afterwards.
    """
    node = fresh()
    with Life(node, Clock()) as life:
        live(life, DAY[:5])
        node.cpufreq.cap = 1_000_000
        live(life, (1,) * 6)
        node.cpufreq.cap = None
        live(life, (1,) * 12)
        assert node.slow()
        life.results.clear()
        live(life, (1,) * 12)
        assert {each.outcome for each in life.results} == {Outcome.UNCHANGED}
        # It cannot be told from somebody's wish, which is what stands in the end.
        node.promised = False
        life.stop()
        assert not life.journal.originals


def test_a_floor_between_two_frequencies(fresh: Callable[[], CpufreqNode]) -> None:
    """The kernel takes the next higher one: that is asked for, so that it is known again after heat has hidden it."""
    node = fresh()
    node.have_table(800_000, 1_200_000, 2_000_000, 2_600_000, 4_600_000)
    start = node.state()
    config = {"window": 2, "coolDown": 1, "shrinkStep": 0.5, "highGroupMinMHz": 1500}
    with Life(node, Clock(), config) as life:
        live(life, DAY[:5])
        floors = {node.cpufreq.asked(str(node.policy(cpu)))[0] for cpu in node.cpus_of(node.pods[1])}
        assert floors == {2_000_000}
        for cap in (1_900_000, None):
            node.heat(cap)
            # Every knob is looked at within ten seconds.
            live(life, (1,) * 12)
        assert Outcome.DRIFTED not in {each.outcome for each in life.results}
        life.stop()
        assert not life.journal.originals
    assert node.state() == start


def test_it_ends_while_slow_cpus_are_off_line(fresh: Callable[[], CpufreqNode]) -> None:
    """
    What cannot be put back then is neither forgotten nor in the way of the rest. The CPU is slow when it comes back, as
    nobody is there, until the next life puts that back, too.
    """
    node, clock = fresh(), Clock()
    start = node.state()
    with Life(node, clock) as life:
        live(life, (4, 4, 1, 1, 1, 1))
        gone = max(node.slow())
        node.take_offline(gone)
        outcomes = {each.write.target.path: each.outcome for each in life.stop()}
        assert {path for path, each in outcomes.items() if each not in FINE} == {f"policy{gone}"}
        assert {key.target.path for key in life.journal.originals} == {f"policy{gone}"}
    node.promised = False
    node.take_online(gone)
    assert node.slow() == {gone}
    stop(node, clock)
    assert node.state() == start
