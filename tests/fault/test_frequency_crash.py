"""
The frequency policy on a simulated machine with Speed Select, from the pods' use down to the registers and back: what
was promised holds between any two writes, wherever the process is killed, and in the end everything is as it was.
"""

from __future__ import annotations

import errno
import shutil
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Priority
from plimsoll.simulator.frequency_node import SimulatedPod
from plimsoll.simulator.speed_select_fault import Command, Fault
from plimsoll.simulator.speed_select_machine import Generation
from tests.acting import Clock
from tests.frequency_life import BrokenPromiseError, Killed, Life, Machine, Step
from tests.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DAY = (4, 4, 1, 1, 1, 9, 9, 1, 1)
"""How many CPUs the high-priority pods use, second by second: the group shrinks, grows and shrinks again."""


def pods() -> tuple[SimulatedPod, ...]:
    return (
        SimulatedPod(1, Priority.HIGH, frozenset()),
        SimulatedPod(2, Priority.HIGH, frozenset()),
        SimulatedPod(3, Priority.LOW, frozenset()),
    )


@pytest.fixture(params=list(Generation), ids=lambda each: each.value)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Machine]:
    """A new machine each time it is asked for."""

    def make() -> Machine:
        root = tmp_path / "node"
        if root.exists():
            shutil.rmtree(root)
        return Machine(root, request.param, pods())

    return make


def live(machine: Machine, clock: Clock, day: Sequence[float] = DAY) -> Life:
    """A whole life; what it was at its end."""
    with Life(machine, clock) as life:
        for use in day:
            life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))
        life.results.extend(life.stop())
    return life


def killed(fresh: Callable[[], Machine], deadly: int) -> tuple[Machine, Clock, dict[str, int | str | bytes]]:
    """
    A life that ends at this step: the machine as it is left, the time then, and the state at its start.

    It runs nothing that a whole life does not run.
    """
    clock = Clock()
    with untraced():
        machine = fresh()
        start = machine.state()
        machine.deadly = deadly
        with pytest.raises(Killed):
            live(machine, clock)
    return machine, clock, start


def stop(machine: Machine, clock: Clock) -> None:
    """What an uninstall hook does: from the journal alone."""
    with Life(machine, clock) as life:
        assert {each.outcome for each in life.stop()} <= {Outcome.OK, Outcome.UNCHANGED}
        assert not life.journal.originals


def go_on_and_stop(machine: Machine, clock: Clock) -> None:
    """What the next agent does: it adopts, goes on and is ended by SIGTERM."""
    with Life(machine, clock) as life:
        for use in (4, 1):
            life.tick(Step({1: use / 2, 2: use / 2}))
        assert {each.outcome for each in life.results} <= {Outcome.OK, Outcome.UNCHANGED}
        assert all(not each.reason for each in life.reports)
        life.stop()
        assert not life.journal.originals


def test_a_day(fresh: Callable[[], Machine]) -> None:
    """The group breathes, every knob of the scheme is written, nothing is refused, and everything goes back."""
    machine = fresh()
    start = machine.state()
    life = live(machine, Clock())
    assert machine.state() == start
    assert {each.outcome for each in life.results} == {Outcome.OK, Outcome.UNCHANGED}
    assert {each.write.knob for each in life.results if each.outcome is Outcome.OK} == {
        Knob.CLOS_ASSOCIATION,
        Knob.CLOS_PARAMETERS,
        Knob.CORE_POWER,
        Knob.TURBO_FREQUENCY,
        Knob.TURBO_LIMITS,
        Knob.CPUSET_CPUS,
    }
    assert 0 < len(machine.slow_seen) < len(machine.description.cpus)
    assert machine.instants > len(machine.steps)
    assert not life.snapshot.node.frequency.foreign


@pytest.mark.parametrize("end", [stop, go_on_and_stop])
def test_killed_at_every_step(fresh: Callable[[], Machine], end: Callable[[Machine, Clock], None]) -> None:
    """Whatever the step, the next life puts back every register and cpuset, and no promise is broken meanwhile."""
    counted = fresh()
    live(counted, Clock())
    kinds = {name.partition("/")[0].partition(" ")[0] for name in counted.steps}
    assert {"ioctl", "cpuset", "append"} <= kinds
    for deadly in range(len(counted.steps)):
        machine, clock, start = killed(fresh, deadly)
        machine.deadly = None
        end(machine, clock)
        assert machine.state() == start, f"step {deadly}: {counted.steps[deadly]}"


def test_killed_twice(fresh: Callable[[], Machine]) -> None:
    """The life after a kill may be killed too, also while it puts things back: a sample of pairs of steps."""
    counted = fresh()
    live(counted, Clock())
    twice = 0
    for deadly in range(3, len(counted.steps), 7):
        machine, clock, start = killed(fresh, deadly)
        machine.deadly = len(machine.steps) + deadly % 9
        try:
            go_on_and_stop(machine, clock)
        except Killed:
            twice += 1
        machine.deadly = None
        stop(machine, clock)
        assert machine.state() == start, f"steps {deadly} and {deadly % 9} more"
    assert twice > 3


@pytest.mark.parametrize("register", ["assoc/", "clos/", "core-power", "features", "msr/"])
def test_a_register_that_is_refused(fresh: Callable[[], Machine], register: str) -> None:
    """Whichever kind of register one package refuses, the promises hold, and what was written goes back."""
    machine = fresh()
    start = machine.state()

    def refused(command: Command) -> bool:
        kind = "core-power" if command.register == "qos" else command.register
        return command.write and command.package == 1 and kind.startswith(register)

    machine.model.faults.append(Fault(refused, error=errno.EPERM, times=None))
    life = live(machine, Clock())
    assert any(each.outcome not in (Outcome.OK, Outcome.UNCHANGED) for each in life.results)
    assert machine.state() == start


def test_a_lost_write(fresh: Callable[[], Machine]) -> None:
    """A unit that was said to be fast and is not gets no high-priority pod: what reads back otherwise has failed."""
    machine = fresh()
    start = machine.state()

    def raising(command: Command) -> bool:
        return (
            command.write and command.register.startswith("assoc/") and not command.value >> 16 & 3 | command.value & 3
        )

    machine.model.faults.append(Fault(raising, lost=True, times=3))
    life = live(machine, Clock())
    assert any(each.outcome is Outcome.FAILED for each in life.results)
    assert machine.state() == start


def test_somebody_else_manages_it(fresh: Callable[[], Machine]) -> None:
    """What somebody else has in hand before we come is left alone, and the reason is said."""
    machine = fresh()
    hardware = machine.model.hardware
    machine.put_in_class(machine.description.cores[0], 2)
    for domain in hardware.domains.values():
        hardware.set_core_power(domain, enabled=True, ordered=True, qos=0b110)
    start = machine.state()
    life = live(machine, Clock())
    frequency = life.snapshot.node.frequency
    assert frequency is not None
    assert "package 0 has core-power on and 1 units" in frequency.foreign
    assert not [each for each in machine.steps if each.startswith(("ioctl", "cpuset"))]
    assert machine.state() == start


def test_a_package_goes_off_line(fresh: Callable[[], Machine]) -> None:
    """
    With the last CPU of a package its registers are out of reach. The group goes on breathing in what is left, and what
    was written there goes back once its CPUs are there again.
    """
    machine = fresh()
    start = machine.state()
    every = machine.online
    with Life(machine, Clock()) as life:
        for use in DAY[:5]:
            life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))
        gone = frozenset(cpu for each in machine.description.cores if each.package == 1 for cpu in each.cpus)
        assert gone & machine.slow()
        machine.have_online(every - gone)
        for use in (1, 1):
            life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))
        small = len(machine.cpus_of(machine.pods[1]))
        for use in (4, 4, 4):
            life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))
        assert len(machine.cpus_of(machine.pods[1])) > small
        machine.have_online(every)
        life.results.clear()
        for use in (1, 1, 1, 1, 1):
            life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))
        assert {each.outcome for each in life.results} <= {Outcome.OK, Outcome.UNCHANGED}
        life.stop()
        assert not life.journal.originals
    assert machine.state() == start


def test_the_checker_sees(fresh: Callable[[], Machine]) -> None:
    """What it is there to find it does find: a slow unit under a pod, core-power off under turbo frequency."""
    machine = fresh()
    machine.check("at the start")
    hardware = machine.model.hardware
    core = machine.description.cores[0]
    machine.put_in_class(core, 3)
    with pytest.raises(BrokenPromiseError, match="pod 1 may run on slow CPUs"):
        machine.check("after a slip")
    machine.put_in_class(core, 0)
    hardware.domains[core.package, core.domain].features = 0b10
    with pytest.raises(BrokenPromiseError, match="core-power is off"):
        machine.check("after a slip")
