"""Registers of Speed Select as knobs: found by the kind of their target, read, written, and missing where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.mixture import mixed
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.register_knob import RegisterKnob
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Target, TargetKind
from plimsoll.simulator.speed_select import SpeedSelect as Model
from plimsoll.simulator.speed_select_machine import Generation, describe
from tests.isst import host, machine, rig

UNIT = Target(TargetKind.UNIT, "1/0/2")


@pytest.mark.parametrize("generation", list(Generation))
def test_a_register_is_held_read_and_written(tmp_path: Path, generation: Generation) -> None:
    """It has the identity of the node's knobs, reads as one line, and what is written stands in the hardware."""
    found = rig(tmp_path / "node", generation)
    with HostFs(str(tmp_path / "node")) as here, Hierarchies.detect(here) as hierarchies:
        knob = Knobs(here, hierarchies, lambda: found.registers).open(UNIT, Knob.CLOS_ASSOCIATION)
        assert isinstance(knob, RegisterKnob)
        with knob:
            assert knob.identity == 0
            assert knob.read().data == b"0\n"
            assert knob.write("3\n") == (Outcome.OK, 0)
            assert knob.read().data == b"3\n"
            assert knob.write("4")[0] is Outcome.REJECTED
    assert found.model.hardware.class_of(1, 0, 2) == 3


def test_the_kind_of_target_tells_which_register(tmp_path: Path) -> None:
    """A unit and a class are addressed alike: neither is taken for the other, and a cgroup has no register."""
    found = rig(tmp_path / "node", Generation.MMIO)
    for target in (Target(TargetKind.CLASS, "1/0/2"), Target(TargetKind.CGROUP, "1/0/2"), Target(TargetKind.NODE)):
        assert RegisterKnob.of(found.registers, target, Knob.CLOS_ASSOCIATION) is Outcome.MISSING
    assert RegisterKnob.of(found.registers, UNIT, Knob.CLOS_PARAMETERS) is Outcome.MISSING


def test_without_speed_select_there_are_no_registers(tmp_path: Path) -> None:
    """MISSING, as of a file the kernel does not have, and nothing raised."""
    with HostFs(str(tmp_path)) as here, Hierarchies.detect(here) as hierarchies:
        assert Knobs(here, hierarchies).open(UNIT, Knob.CLOS_ASSOCIATION) is Outcome.MISSING


def test_found_again_after_hotplug(tmp_path: Path) -> None:
    """The hardware is asked once, and again when other CPUs are online; what is gone then has no unit."""
    root, description = tmp_path / "node", machine(Generation.TPMI)
    model = Model(description)
    with host(root, description) as here:
        speed_select = SpeedSelect(here, transport=model, pause=lambda _: None)
        before = speed_select.find()
        assert not isinstance(before, Absence)
        asked = len(model.log)
        assert speed_select.find() is before
        assert speed_select.registers is not None
        assert len(model.log) == asked
        last = description.cores[-1]
        online = sorted(set(description.cpus) - set(last.cpus))
        (root / "sys/devices/system/cpu/online").write_text(",".join(map(str, online)) + "\n")
        after = speed_select.find()
        assert not isinstance(after, Absence)
        assert {each.name for each in before.units} - {each.name for each in after.units} == {
            f"{last.package}/{last.domain}/{last.core}"
        }


def test_core_power_that_is_not_supported_is_no_speed_select(tmp_path: Path) -> None:
    """The driver is there, the feature is fused off: an absence, and no registers to write."""
    from dataclasses import replace

    description = replace(describe(Generation.MMIO), core_power=False)
    with host(tmp_path / "node", description) as here:
        speed_select = SpeedSelect(here, transport=Model(description), pause=lambda _: None)
        assert isinstance(speed_select.find(), Absence)
        assert speed_select.registers is None


@pytest.mark.parametrize(
    ("found", "values", "left"),
    [
        ("proportional clos=off", ("off", "ordered"), True),
        ("off type=ordered clos=on", ("off", "ordered"), True),
        ("0: ordered, 2: off", ("off", "ordered"), True),
        ("0: ordered, 2: proportional", ("off", "ordered"), True),
        ("0: on, 2: off", ("off", "on"), True),
        ("0: 3, 2: 5", ("0: 3, 2: 4", "5"), True),
        ("proportional", ("off", "off"), False),
        ("0: 3, 2: 6", ("0: 3, 2: 4", "5"), False),
        ("2", ("0", "3"), False),
    ],
)
def test_a_value_left_half_written(found: str, values: tuple[str, ...], left: bool) -> None:
    """Part by part it is one of the values, or somebody else wrote it."""
    assert mixed(found, values) is left
