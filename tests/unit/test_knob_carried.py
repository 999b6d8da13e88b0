"""A knob that takes another file with it: cpu.idle, whose way back makes the kernel forget the weight."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.holding import judge_return
from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Record
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.knob_file import KnobFile
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Plan, Write, cgroup
from tests.acting import Clock
from tests.fixtures.hosts.faults import Faults
from tests.support import v2_node, write

SPEC = KNOBS[Knob.CPU_IDLE]
RECORD = Record("0 cpu.weight=37", ("1",), OnExit.RESTORE, "preemption")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def knob(tmp_path: Path, faults: Faults) -> Iterator[tuple[KnobFile, Path]]:
    directory = v2_node(tmp_path) / "pod"
    write(directory, {"cpu.idle": "0\n", "cpu.weight": "37\n"})
    with HostFs(str(tmp_path), fault=faults) as host, Hierarchies.detect(host) as hierarchies:
        file = Knobs(host, hierarchies).open(cgroup("kubepods.slice/pod"), Knob.CPU_IDLE)
        assert isinstance(file, KnobFile)
        with file:
            yield file, directory


def test_the_weight_is_part_of_what_stands_there(knob: tuple[KnobFile, Path]) -> None:
    """Read with the knob at 0 and put back with it; while the knob is set the weight means nothing."""
    file, directory = knob
    before = file.read().text()
    assert before == "0 cpu.weight=37\n"
    assert file.write("1") == (Outcome.OK, 0)
    assert file.read().text() == "1\n"
    # What the kernel does on the way back, which a folder does not.
    (directory / "cpu.weight").write_text("100\n")
    assert file.write(before) == (Outcome.OK, 0)
    assert ((directory / "cpu.idle").read_text(), (directory / "cpu.weight").read_text()) == ("0\n", "37\n")


def test_the_weight_comes_second(knob: tuple[KnobFile, Path], faults: Faults) -> None:
    """While the knob is set the kernel refuses the weight; and one that cannot be written is not passed over."""
    file, _ = knob
    faults.asked.clear()
    file.write("0 cpu.weight=37")
    written = [path.rpartition("/")[2] for operation, path in faults.asked if operation == "write"]
    assert written == ["cpu.idle", "cpu.weight"]
    faults.script[("write", "cpu.weight")] = errno.EINVAL
    assert file.write("0 cpu.weight=37") == (Outcome.REJECTED, errno.EINVAL)


def test_a_kill_between_the_two_is_no_stranger(knob: tuple[KnobFile, Path]) -> None:
    """The knob is back and the weight still the kernel's: ours to finish. Any other weight is somebody's word."""
    assert judge_return(SPEC, RECORD, "0 cpu.weight=100") is Outcome.OK
    assert judge_return(SPEC, RECORD, "0 cpu.weight=38") is Outcome.DRIFTED
    assert judge_return(SPEC, RECORD, "0 cpu.weight=37") is Outcome.UNCHANGED
    assert judge_return(SPEC, RECORD, "1") is Outcome.OK


def test_of_two_knobs_with_one_file_one_is_held_at_a_time(tmp_path: Path) -> None:
    """From the weight to cpu.idle by a new configuration: the weight goes back first, and the right one is known."""
    directory = v2_node(tmp_path) / "pod"
    write(directory, {"cpu.idle": "0\n", "cpu.weight": "37\n"})
    (tmp_path / "state").mkdir()
    pod = cgroup("kubepods.slice/pod")
    weight, idle = (Plan((Write(pod, knob, "1", "preemption", "why"),)) for knob in (Knob.CPU_WEIGHT, Knob.CPU_IDLE))
    with (
        HostFs(str(tmp_path)) as host,
        Hierarchies.detect(host) as hierarchies,
        Journal.open(str(tmp_path / "state"), "boot") as journal,
    ):
        applier = Applier(
            Knobs(host, hierarchies), journal, clock=lambda: 0.0, random=Random(0).random, pause=lambda _: None
        )
        applier.execute(weight)
        assert (directory / "cpu.weight").read_text() == "1\n"
        outcomes = {each.write.knob: each.outcome for each in applier.execute(idle)}
        assert outcomes == {Knob.CPU_IDLE: Outcome.HELD, Knob.CPU_WEIGHT: Outcome.OK}
        assert [each.outcome for each in applier.execute(idle)] == [Outcome.OK]
        assert (directory / "cpu.idle").read_text() == "1\n"
        applier.restore(100.0)
    assert ((directory / "cpu.idle").read_text(), (directory / "cpu.weight").read_text()) == ("0\n", "37\n")


@pytest.mark.parametrize(
    ("left", "back"), [("100", "37"), ("55", "55")], ids=["what the kernel leaves", "another weight"]
)
def test_who_turns_it_off_need_not_have_meant_the_weight(tmp_path: Path, left: str, back: str) -> None:
    """What the kernel made of the weight meanwhile is no original; what somebody wrote there is."""
    directory = v2_node(tmp_path) / "pod"
    write(directory, {"cpu.idle": "0\n", "cpu.weight": "37\n"})
    (tmp_path / "state").mkdir()
    idle = Plan((Write(cgroup("kubepods.slice/pod"), Knob.CPU_IDLE, "1", "preemption", "why"),))
    clock = Clock()
    with (
        HostFs(str(tmp_path)) as host,
        Hierarchies.detect(host) as hierarchies,
        Journal.open(str(tmp_path / "state"), "boot") as journal,
    ):
        applier = Applier(Knobs(host, hierarchies), journal, clock=clock, random=Random(0).random, pause=lambda _: None)
        applier.execute(idle)
        write(directory, {"cpu.idle": "0\n", "cpu.weight": f"{left}\n"})
        for _ in range(100):
            clock.now += 10.0
            applier.execute(idle)
        assert applier.drifts[Knob.CPU_IDLE] == 1
        assert (directory / "cpu.idle").read_text() == "1\n"
        applier.restore(clock.now + 100.0)
    assert ((directory / "cpu.idle").read_text(), (directory / "cpu.weight").read_text()) == ("0\n", f"{back}\n")


def test_a_weight_that_cannot_be_read_is_said(knob: tuple[KnobFile, Path]) -> None:
    """Half a value is none: it could not be put back."""
    file, directory = knob
    (directory / "cpu.weight").unlink()
    assert file.read().outcome is Outcome.MISSING
