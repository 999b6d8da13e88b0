"""What one observation of the node's frequencies says: what a unit is, what stands, and what was measured."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.frequency import Backend, Bucket
from plimsoll.simulator.speed_select import SpeedSelect as Model
from plimsoll.simulator.speed_select_fault import Fault
from plimsoll.simulator.speed_select_machine import Generation
from plimsoll.simulator.speed_select_sysfs import lay_out
from plimsoll.simulator.tree import Tree
from plimsoll.sources.frequency import NodeFrequency
from plimsoll.sources.frequency.kept import Kept
from plimsoll.sources.frequency.turn import Turn
from tests.acting import Clock
from tests.fixtures.hosts import trees
from tests.isst import host, machine

CPUS = "sys/devices/system/cpu"
ENERGY = "sys/class/powercap/intel-rapl:0"


@pytest.mark.parametrize("generation", list(Generation))
def test_speed_select(tmp_path: Path, generation: Generation) -> None:
    """Units, classes, switches and buckets are the hardware's; a class somebody writes shows within two seconds."""
    description = machine(generation)
    model = Model(description)
    clock = Clock()
    with host(tmp_path / "node", description) as here:
        source = NodeFrequency(here, SpeedSelect(here, transport=model, pause=clock.wait), clock)
        first = source.sample()
        assert first.backend is (Backend.TPMI if generation is Generation.TPMI else Backend.MAILBOX)
        assert {each.name: each.cpus for each in first.units} == {
            f"{each.package}/{each.domain}/{each.core}": frozenset(each.cpus) for each in description.cores
        }
        assert {(each.lowest, each.base, each.highest) for each in first.units} == {(800, 2200, 4600)}
        assert set(first.classes.values()) == {0}
        assert first.prioritised == first.turbo_frequency == {0: False, 1: False}
        assert first.buckets[0][0] == Bucket(first.buckets[1][0].units, 4600)
        assert first.limits == {each.name: 4600 for each in first.units}
        core = description.cores[0]
        word = 3 if generation is Generation.TPMI else 3 << 16
        model.hardware.poke(f"{core.package}/{core.domain}/assoc/{core.core}", word)
        clock.now += 2
        asked = len(model.log)
        assert source.sample().classes[f"{core.package}/{core.domain}/{core.core}"] == 3
        # One ioctl for 64 associations; through the mailbox too.
        assert len(model.log) == asked + 1
        clock.now += 1
        asked = len(model.log)
        source.sample()
        assert len(model.log) == asked


def failing(model: Model, register: str = "") -> Fault:
    """Every command to such registers fails from now on."""
    fault = Fault(lambda command: command.register.startswith(register), error=errno.EIO, times=None)
    model.faults.append(fault)
    return fault


@pytest.mark.parametrize("generation", list(Generation))
def test_one_failed_read_is_got_over(tmp_path: Path, generation: Generation) -> None:
    """What could not be read once is as it was, with its age, and asked for at once; a second time it is unknown."""
    description = machine(generation)
    model, clock = Model(description), Clock()
    with host(tmp_path / "node", description) as here:
        source = NodeFrequency(here, SpeedSelect(here, transport=model, pause=lambda _: None), clock)
        good = source.sample()
        assert good.held_seconds == 0
        story = ((2, True, good.classes, 2), (1, False, good.classes, 0), (2, True, good.classes, 2), (1, True, {}, 0))
        for seconds, fails, classes, held in story:
            model.faults.clear()
            if fails:
                failing(model, "assoc")
            clock.now += seconds
            sample = source.sample()
            assert (sample.classes, sample.held_seconds) == (classes, held)
            assert sample.prioritised == good.prioritised


def test_a_machine_that_does_not_answer_after_hotplug(tmp_path: Path) -> None:
    """Once the sample of before stands with its age, cpufreq does not take over; then what is there is believed."""
    description = machine(Generation.TPMI)
    model, clock = Model(description), Clock()
    with host(tmp_path / "node", description) as here:
        source = NodeFrequency(here, SpeedSelect(here, transport=model, pause=clock.wait), clock)
        good = source.sample()
        last = max(description.cpus)
        (tmp_path / f"node/{CPUS}/online").write_text(f"0-{last - 1}\n")
        fault = failing(model)
        clock.now += 1
        held = source.sample()
        assert (held.backend, held.units, held.held_seconds) == (Backend.TPMI, good.units, 1)
        model.faults.remove(fault)
        clock.now += 1
        found = source.sample()
        assert (found.backend, found.held_seconds) == (Backend.TPMI, 0)
        assert last not in frozenset().union(*(each.cpus for each in found.units))
        (tmp_path / f"node/{CPUS}/online").write_text(f"0-{last - 2}\n")
        failing(model)
        assert source.sample().backend is Backend.TPMI
        assert source.sample().backend is Backend.CPUFREQ


def test_a_cpu_whose_policy_comes_late(tmp_path: Path) -> None:
    """A CPU is on line before cpufreq knows of it: it is a unit some seconds later all the same."""
    description, clock = machine(Generation.MMIO), Clock()
    last = max(description.cpus)
    with host(tmp_path / "node", description) as here:
        online, affected = (
            tmp_path / f"node/{CPUS}" / each for each in ("online", f"cpufreq/policy{last}/affected_cpus")
        )
        online.write_text(f"0-{last - 1}\n")
        affected.write_text("\n")
        source = NodeFrequency(here, SpeedSelect(here), clock)
        source.sample()
        clock.now += 5
        online.write_text(f"0-{last}\n")
        assert last not in frozenset().union(*(each.cpus for each in source.sample().units))
        affected.write_text(f"{last}\n")
        clock.now += 3
        assert last in frozenset().union(*(each.cpus for each in source.sample().units))


def test_what_stands_in_is_old_once() -> None:
    """Each name by itself: one failure keeps the value with its age, a good read ends that, two in a row drop it."""
    kept: Kept[str, int] = Kept()
    kept.take({"a": 1, "b": 2}, "ab", 10)
    assert (kept.values, kept.age(11)) == ({"a": 1, "b": 2}, None)
    kept.take({"b": 3}, "ab", 12)
    assert (kept.values, kept.age(13)) == ({"a": 1, "b": 3}, 3)
    kept.take({"a": 4}, "a", 14)
    assert (kept.values, kept.age(15)) == ({"a": 4, "b": 3}, None)
    for _ in range(2):
        kept.take({}, "ac", 16)
    assert (kept.values, kept.age(17)) == ({"b": 3}, None)
    kept.only("")
    assert kept.values == {}


def test_somebody_elses_doing(tmp_path: Path) -> None:
    """Core-power on with all units as after a reset is nobody's; with moved units it is foreign, unless it is ours."""
    description = machine(Generation.MMIO)
    model = Model(description)
    with host(tmp_path / "node", description) as here:
        source = NodeFrequency(here, SpeedSelect(here, transport=model, pause=lambda _: None), Clock())
        for domain in model.hardware.domains.values():
            model.hardware.set_core_power(domain, enabled=True, ordered=False, qos=0b10)
        assert source.sample(full=True).foreign == ""
        model.hardware.domains[1, 0].assoc[0] = 1 << 16
        assert source.sample(full=True).foreign == (
            "package 1 has core-power on and 1 units in another class of service than 0"
        )
        assert source.sample(ours=True).foreign == ""


def test_cpufreq_units_keep_siblings_together(tmp_path: Path) -> None:
    """Without Speed Select both threads of a core are one unit, with both policies as what is written."""
    description = machine(Generation.MMIO)
    lay_out(Tree(str(tmp_path)), description)
    with HostFs(str(tmp_path)) as here:
        sample = NodeFrequency(here, SpeedSelect(here), Clock()).sample()
        assert sample.backend is Backend.CPUFREQ
        assert [each.cpus for each in sample.units] == [frozenset(each.cpus) for each in description.cores]
        assert sample.units[0].targets == tuple(f"policy{cpu}" for cpu in description.cores[0].cpus)
        assert sample.units[0].name == "policy0"
        second = description.cores[0].cpus[1]
        (tmp_path / f"{CPUS}/cpufreq/policy{second}/scaling_max_freq").write_text("1500000\n")
        assert NodeFrequency(here, SpeedSelect(here), Clock()).sample().limits["policy0"] == 1500


def test_nothing_to_set(tmp_path: Path) -> None:
    """A virtual machine: no back-end, no units, and no error."""
    trees.write(tmp_path, {f"{CPUS}/online": "0-1\n"})
    with HostFs(str(tmp_path)) as here:
        sample = NodeFrequency(here, SpeedSelect(here), Clock()).sample()
    assert (sample.backend, sample.units, sample.foreign) == (Backend.NONE, (), "")


def test_measured_frequency_and_power(tmp_path: Path) -> None:
    """MHz by APERF and MPERF where they are, the driver's word where not; watts past the counter's bound."""
    description = machine(Generation.MMIO)
    lay_out(Tree(str(tmp_path)), description)
    trees.write(
        tmp_path,
        {f"{ENERGY}/name": "package-0\n", f"{ENERGY}/energy_uj": "900\n", f"{ENERGY}/max_energy_range_uj": "1000\n"},
    )
    (tmp_path / "dev/cpu/0").mkdir(parents=True)
    registers = tmp_path / "dev/cpu/0/msr"

    def count(mperf: int, aperf: int) -> None:
        registers.write_bytes(bytes(0xE7) + struct.pack("<Q", mperf)[:1] + struct.pack("<Q", aperf))

    clock = Clock()
    with HostFs(str(tmp_path)) as here:
        source = NodeFrequency(here, SpeedSelect(here), clock)
        count(0, 0)
        first = source.sample()
        assert 0 not in first.megahertz
        assert first.megahertz[1] == 2200
        assert first.watts == {}
        (tmp_path / f"{ENERGY}/energy_uj").write_text("400\n")
        clock.now += 2
        assert source.sample().watts == {0: pytest.approx(500e-6 / 2)}


def test_turns_are_bounded_and_fair() -> None:
    """A round ends at its time; what was not come to is first in the next one, and a round of no time gives one."""
    clock = Clock()
    turn: Turn[int] = Turn(clock, 2.0)
    rounds = []
    for _ in range(3):
        found = []
        for each in turn.take(range(5)):
            found.append(each)
            clock.now += 1
        rounds.append(found)
    assert rounds == [[0, 1], [2, 3], [4, 0]]
    assert list(Turn(clock, 0.0).take(range(3))) == [0]
    assert list(turn.take(())) == []
