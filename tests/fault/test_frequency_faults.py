"""
What may go wrong on the way to a Speed Select register, through the whole policy: the mailbox is busy, the firmware
refuses, an ioctl stops half-way, somebody else writes, the performance level changes. The promises hold at every
instant, what passes is got over, and what is not ours any more is left.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Priority
from plimsoll.simulator.frequency_node import SimulatedPod
from plimsoll.simulator.speed_select_fault import Command, Fault
from plimsoll.simulator.speed_select_machine import Generation
from tests.acting import Clock
from tests.frequency_life import Life, Machine, Step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAY = (4, 4, 1, 1, 1, 9, 9, 1, 1)
"""How many CPUs the high-priority pods use, second by second: the group shrinks, grows and shrinks again."""
FINE = {Outcome.OK, Outcome.UNCHANGED}
TPMI = Generation.TPMI


@pytest.fixture(params=list(Generation), ids=lambda each: each.value)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    pods = [SimulatedPod(number, Priority.LOW if number == 3 else Priority.HIGH, frozenset()) for number in (1, 2, 3)]
    return Machine(tmp_path / "node", request.param, pods)


def live(life: Life, day: Sequence[float] = DAY) -> None:
    for use in day:
        life.tick(Step({1: use / 2, 2: use / 2, 3: 4.0}))


def changes(machine: Machine, start: dict[str, int | str | bytes]) -> dict[str, int | str | bytes]:
    return {name: each for name, each in machine.state().items() if start[name] != each}


def every(machine: Machine, steps: int, position: int, code: int) -> Counter[str]:
    """Of so many ioctls one fails at this command, for ever; which registers it was about."""
    struck: Counter[str] = Counter()

    def due(command: Command) -> bool:
        if command.step % steps or command.position != position:
            return False
        struck[command.register.partition("/")[0]] += 1
        return True

    machine.model.faults.append(Fault(due, error=code, times=None))
    return struck


@pytest.mark.parametrize("code", [errno.EBUSY, errno.ENXIO], ids=errno.errorcode.get)
def test_what_passes_is_tried_again(machine: Machine, code: int) -> None:
    """A busy mailbox and a firmware that answers with an error now and then: nobody notices."""
    # What fails goes by another errno with TPMI unless it is told as it is: older kernels do, and newer ones will.
    machine.model.kernel.folded = False
    start = machine.state()
    struck = every(machine, 3, 0, code)
    with Life(machine, Clock()) as life:
        live(life)
        life.results.extend(life.stop())
        assert {each.outcome for each in life.results} == FINE
        assert not life.journal.originals
    assert machine.state() == start
    assert 0 < len(machine.slow_seen) < len(machine.description.cpus)
    assert sum(struck.values()) > 50


def test_an_ioctl_that_stops_half_way(machine: Machine) -> None:
    """A short count hides which command failed and why: what is left is sent again, and nothing is taken for done."""
    start = machine.state()
    struck = every(machine, 2, 1, errno.EIO)
    with Life(machine, Clock()) as life:
        live(life)
        life.results.extend(life.stop())
        assert {each.outcome for each in life.results} == FINE
    assert machine.state() == start
    assert struck["assoc"] > 2


@pytest.mark.parametrize("code", [errno.EBUSY, errno.ENXIO, errno.EIO], ids=errno.errorcode.get)
def test_what_does_not_pass_for_seconds(machine: Machine, code: int) -> None:
    """
    No register can be read or written for three seconds in which the group would grow: the promises hold, and it grows
    once the cores that were not made fast then are asked again, after a minute.
    """
    start = machine.state()
    broken = False

    def due(command: Command) -> bool:
        return broken and command.register != "id"

    machine.model.faults.append(Fault(due, error=code, times=None))
    with Life(machine, Clock()) as life:
        live(life, DAY[:5])
        small = machine.cpus_of(machine.pods[1])
        broken = True
        live(life, (9, 9, 9))
        broken = False
        live(life, (9,) * 70)
        assert len(machine.cpus_of(machine.pods[1])) > len(small)
        life.results.clear()
        live(life, (9, 9))
        assert {each.outcome for each in life.results} <= FINE
        life.stop()
        assert not life.journal.originals
    assert machine.state() == start


def test_a_package_that_refuses_when_it_is_put_back(machine: Machine) -> None:
    """
    EPERM from one package at the very end: what depends on it stays in the journal with it, no promise is broken, and
    the next life puts it back.
    """
    start = machine.state()
    clock, refusing = Clock(), False

    def due(command: Command) -> bool:
        return refusing and command.write and command.package == 1

    machine.model.faults.append(Fault(due, error=errno.EPERM, times=None))
    with Life(machine, clock) as life:
        live(life, DAY[:5])
        assert {core.package for core in machine.description.cores if set(core.cpus) & machine.slow()} == {0, 1}
        refusing = True
        outcomes = Counter(each.outcome for each in life.stop())
        assert outcomes[Outcome.HELD] + outcomes[Outcome.DENIED] + outcomes[Outcome.REJECTED] > 0
        assert life.journal.originals
    refusing = False
    with Life(machine, clock) as life:
        assert {each.outcome for each in life.stop()} <= FINE
        assert not life.journal.originals
    assert machine.state() == start


@pytest.mark.parametrize("of", ["low", "high"])
def test_somebody_else_takes_a_core(machine: Machine, of: str) -> None:
    """
    In the middle of a life: theirs stands in the low group, and is taken once in the high one, where pods are promised
    to be fast; in the end theirs stands, and all the rest goes back.
    """
    start = machine.state()
    with Life(machine, Clock()) as life:
        live(life, DAY[:5])
        slow = machine.slow()
        core = next(each for each in machine.description.cores if bool(set(each.cpus) & slow) == (of == "low"))
        machine.put_in_class(core, 1)
        # Every knob is looked at within ten seconds.
        live(life, (1,) * 12)
        assert (Outcome.DRIFTED in {each.outcome for each in life.results}) == (of == "low")
        live(life, (9, 9, 1, 1, 1))
        life.stop()
        assert not life.journal.originals
    shift = 0 if machine.description.generation is TPMI else 16
    assert changes(machine, start) == {f"{core.package}/{core.domain}/assoc/{core.core}": 1 << shift}


def test_the_performance_level_changes(machine: Machine) -> None:
    """
    By the BMC, say: turbo frequency goes off with it and is left off, the group goes on breathing, and in the end
    everything else is as it was.
    """
    start = machine.state()
    hardware = machine.model.hardware
    level = next(each for each in range(1, 9) if hardware.perf_level(each) is not None)
    with Life(machine, Clock()) as life:
        live(life, DAY[:5])
        assert all(each.features for place, each in hardware.domains.items() if place in cores(machine))
        for package, domain in hardware.domains:
            hardware.poke(f"{package}/{domain}/level", level)
        # Every knob is looked at within ten seconds.
        live(life, (1,) * 12)
        drifted = {each.write.knob for each in life.results if each.outcome is Outcome.DRIFTED}
        assert drifted == {Knob.TURBO_FREQUENCY, Knob.TURBO_LIMITS}
        small = len(machine.cpus_of(machine.pods[1]))
        live(life, (9, 9))
        assert len(machine.cpus_of(machine.pods[1])) > small
        assert not any(each.features for each in hardware.domains.values())
        life.stop()
        assert not life.journal.originals
    # The limits that came with the level are the hardware's own.
    assert all(name.endswith("/level") or "/msr/" in name for name in changes(machine, start))


def cores(machine: Machine) -> set[tuple[int, int]]:
    """The power domains with cores."""
    return {(each.package, each.domain) for each in machine.description.cores}
