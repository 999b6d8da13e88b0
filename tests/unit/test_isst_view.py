"""What is read of a machine with Speed Select, against its description; and how it is shown."""

from __future__ import annotations

import errno
import json
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plimsoll.isst_view import isst_facts, isst_lines
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import Buckets, TurboRatioLimits, present
from plimsoll.kernel.isst.survey import Survey, survey
from plimsoll.kernel.psi_support import Absence
from plimsoll.model.cpus import parse_cpus
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_fault import Fault
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe
from plimsoll.terminal import Style
from tests.isst import GENERATIONS, Rig, host, rig
from tests.reference import DOCS


@pytest.fixture(params=GENERATIONS, ids=lambda each: each.value)
def node(request: pytest.FixtureRequest, folders: Path) -> Rig:
    return rig(folders / request.param.value, request.param)


def _survey(root: Path, model: SpeedSelect) -> Survey:
    with host(root, model.machine) as files:
        platform = Platform.detect(files, transport=model, pause=lambda _: None)
    assert isinstance(platform, Platform), platform
    return survey(platform)


def _isa_levels(description: MachineDescription) -> int:
    return 6 if description.generation is Generation.TPMI else 3


def _mhz(ratios: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(100 * ratio for ratio in ratios if ratio)


def test_every_level_is_read_as_it_was_described(node: Rig) -> None:
    """TDP, base and turbo frequencies, cores; the level that is fused off is not there."""
    description, found = node.model.machine, survey(node.platform)
    assert found.failures == ()
    numbers = tuple(number for number, level in enumerate(description.levels) if level is not None)
    for domain in found.domains:
        if domain.domain.cpu is None:
            assert domain.levels is None
            assert domain.details == ()
            continue
        assert domain.levels is not None
        assert domain.levels.levels == numbers
        assert domain.levels.current == description.level
        assert (domain.levels.turbo_freq, domain.levels.base_freq) == (frozenset(numbers),) * 2
        cores = {each.core for each in description.cores if (each.package, each.domain) == domain.domain[:2]}
        for detail in domain.details:
            level = description.levels[detail.level]
            assert level is not None
            assert (detail.tdp, detail.tjunction_max) == (level.watts, level.celsius)
            assert detail.base == _mhz(level.base)
            assert detail.cores == cores
            assert detail.turbo.cores == level.counts
            assert detail.turbo.ratios == tuple(_mhz(row) for row in level.limits[: _isa_levels(description)])
            assert detail.highest == 100 * level.limits[0][0]


def test_turbo_freq_and_base_freq_are_read_as_described(node: Rig) -> None:
    """Buckets without the empty ones, by instruction set; clips; the fixed cores of base-freq, and their CPUs."""
    description = node.model.machine
    isa = _isa_levels(description)
    for domain in survey(node.platform).domains:
        if domain.domain.cpu is None:
            continue
        for turbo in domain.turbo_freq:
            level = description.levels[turbo.level]
            assert level is not None
            assert level.turbo is not None
            assert turbo.buckets.cores == tuple(count for count in level.turbo.counts if count)
            assert turbo.buckets.ratios == tuple(_mhz(row) for row in level.turbo.ratios[:isa])
            assert turbo.low_priority == _mhz(level.turbo.clip[:isa])
        for base in domain.base_freq:
            level = description.levels[base.level]
            assert level is not None
            assert level.basic is not None
            assert (base.high, base.low) == (100 * level.basic.high, 100 * level.basic.low)
            assert (base.tdp, base.tjunction_max) == (level.basic.watts, level.basic.celsius)
            assert base.cores == level.basic.cores
            place = domain.domain[:2]
            fixed = [each for each in description.cores if (each.package, each.domain) == place]
            cpus = {cpu for each in fixed if each.core in level.basic.cores for cpu in each.cpus}
            assert domain.cpus_of(base.cores) == cpus
        assert domain.turbo_freq
        assert domain.base_freq


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.value)
def test_a_level_without_a_feature_is_not_asked_about_it(tmp_path: Path, generation: Generation) -> None:
    """The first level has base-freq only, the last turbo-freq only: each shows what it has, and nothing fails."""
    description = describe(generation, packages=1)
    first, *middle, last = description.levels
    assert first is not None
    assert last is not None
    levels = (replace(first, turbo=None), *middle, replace(last, basic=None))
    found = _survey(tmp_path, SpeedSelect(replace(description, levels=levels)))
    assert found.failures == ()
    (domain,) = found.domains
    assert [each.level for each in domain.turbo_freq] == [len(levels) - 1]
    assert [each.level for each in domain.base_freq] == [0]
    rows = [line.split() for line in isst_lines(found, Style()) if line.endswith("open")]
    assert [row[-3:-1] for row in rows] == [["-", "off"], ["can", "-"]]


@pytest.mark.parametrize(("api", "mask", "levels"), [(2, 1, {0, 2}), (3, 1, {0}), (3, 4, {2}), (2, 0, set())])
def test_version_3_counts_the_levels_that_have_a_feature(folders: Path, api: int, mask: int, levels: set[int]) -> None:
    """The same byte is yes or no in version 2, and a mask of levels in version 3."""
    node = rig(folders / Generation.TPMI.value, Generation.TPMI, kernel=Kernel(api_version=api))
    ioctl = node.model.ioctl

    def told(request: int, buffer: bytearray) -> int:
        result = ioctl(request, buffer)
        if request & 0xFF == 9:
            buffer[9] = mask
        return result

    node.model.ioctl = told  # type: ignore[method-assign]
    found = node.platform.binding.perf_levels(node.platform.domains[0]).value
    assert found is not None
    assert found.turbo_freq == levels


def test_what_is_on_is_told(node: Rig) -> None:
    """Turbo-freq at the current level only; classes with their CPUs; the limits of each package."""
    for package in ("0", "1"):
        assert node.registers.write(Knob.CORE_POWER, package, "ordered")[0] is Outcome.OK
    assert node.registers.write(Knob.TURBO_FREQUENCY, "1", "on")[0] is Outcome.OK
    assert node.registers.write(Knob.TURBO_LIMITS, "1", "f" * 16)[0] is Outcome.OK
    unit = next(each for each in node.platform.units if each.package == 1)
    assert node.registers.write(Knob.CLOS_ASSOCIATION, unit.name, "3")[0] is Outcome.OK
    found = survey(node.platform)
    on = {each.domain.name: each.levels.turbo_freq_on for each in found.domains if each.levels is not None}
    assert on == {name: name.startswith("1/") for name in on}
    assert all(each.core_power is not None and each.core_power.effective for each in found.domains)
    here = next(each for each in found.domains if each.domain[:2] == unit[:2])
    assert here.members == {0: here.cpus - unit.cpus, 3: unit.cpus}
    assert found.limits[1].megahertz == (25_500,) * 8
    assert found.limits[0].word == node.model.hardware.msrs[0][0x1AD]
    text = "\n".join(isst_lines(found, Style(width=160)))
    assert f"{here.domain.name} class 3: CPUs {','.join(str(cpu) for cpu in sorted(unit.cpus))}" in text


def test_reading_everything_writes_nothing(node: Rig) -> None:
    """No command writes, no register changes, and no request can change a level."""
    before = node.state()
    survey(node.platform)
    commands = [(each.request, command) for each in node.model.log for command, _ in each.commands]
    assert not any(command.write for _, command in commands)
    assert not {request for request, _ in commands} & {"PERF_SET_LEVEL", "PERF_SET_FEATURE"}
    assert node.state() == before


def test_a_refusal_is_named_and_hides_nothing_else(node: Rig) -> None:
    """One domain's core-power cannot be read: it is said where and why, and the rest is shown."""
    place = (1, 0)
    registers = ("core-power", "qos", "info/94")
    node.model.faults.append(
        Fault(
            lambda c: (c.package, max(c.domain, 0)) == place and c.register.startswith(registers),
            error=errno.EINVAL,
            times=None,
        )
    )
    found = survey(node.platform)
    assert {(each.what, each.place, each.outcome) for each in found.failures} == {
        ("core-power", "1/0", Outcome.REJECTED)
    }
    missing = {each.domain.name for each in found.domains if each.core_power is None}
    assert missing == {"1/0"}
    lines = list(isst_lines(found, Style()))
    assert any(line.startswith("  1/0 core-power: rejected E") for line in lines)


class Overheard:
    """A machine whose requests for turbo ratios are listened to: which instruction sets were asked about."""

    def __init__(self, model: SpeedSelect) -> None:
        self.model = model
        self.asked: set[int] = set()

    def ioctl(self, request: int, buffer: bytearray) -> int:
        if request & 0xFF == 3:
            for begin in range(4, len(buffer), 24):
                _, _, data, _, command, sub, _ = struct.unpack_from("<IIIIHHI", buffer, begin)
                if (command, sub) == (0x7F, 0x07):
                    self.asked.add(data >> 16)
        return self.model.ioctl(request, buffer)


@pytest.mark.parametrize(("number", "levels"), [(143, 3), (207, 5)])
def test_emerald_rapids_tells_five_instruction_sets_apart(tmp_path: Path, number: int, levels: int) -> None:
    """By the CPU's model; a set that the firmware does not know after all is left out."""
    overheard = Overheard(SpeedSelect(describe(Generation.MMIO, packages=1)))
    with host(tmp_path, overheard.model.machine) as files:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nmodel\t\t: {number}\nmodel name\t: Xeon\n")
        platform = Platform.detect(files, transport=overheard, pause=lambda _: None)
    assert isinstance(platform, Platform)
    level = platform.binding.perf_level(platform.domains[0], 0).value
    assert overheard.asked == set(range(levels))
    assert level is not None
    assert len(level.turbo.ratios) == 3


def test_a_small_machine_as_a_person_sees_it(tmp_path: Path) -> None:
    """Every section, in full, for one package with two cores."""
    found = _survey(tmp_path, SpeedSelect(describe(Generation.MMIO, packages=1, cores=2, fused_off=frozenset())))
    assert list(isst_lines(found, Style())) == _SMALL.strip("\n").split("\n")


_SMALL = """
Speed Select by mailbox (interface 1, driver 1): power domains: 1, units: 2

Performance levels (* current)
  domain level TDP W base MHz            max MHz cores turbo-freq base-freq lock
  0/0    0*    250   2200/2000/1800/1600 3800    2     off        off       open
  0/0    1     205   1900/1700/1500/1300 3500    2     can        can       open

Classes of service
  domain core-power class prio min MHz max MHz EPP desired MHz CPUs
  0/0    off        0     0    0       none    0   0           4
  0/0    off        1     0    0       none    0   0           0
  0/0    off        2     0    0       none    0   0           0
  0/0    off        3     0    0       none    0   0           0
  0/0 class 0: CPUs 0-3

Turbo-freq: MHz of high-priority cores by instruction set
  domain level cores up to high-priority MHz others MHz
  0/0    0     1           4600/4400/4200    2600/2400/2200
  0/0    0     2           4300/4100/3900    2600/2400/2200
  0/0    0     3           4000/3800/3600    2600/2400/2200
  0/0    1     1           4300/4100/3900    2600/2400/2200
  0/0    1     2           4000/3800/3600    2600/2400/2200
  0/0    1     3           3700/3500/3300    2600/2400/2200

Base-freq
  domain level high MHz low MHz TDP W high CPUs
  0/0    0     2400     1800    240   0,2
  0/0    1     2100     1500    195   0,2

Turbo ratio limits
  package 0: 3800/3800/3700/3600/3500/3400/3300/3200 MHz with up to 1/1/1/1/1/1/1/2 cores (0x2021222324252626)
"""


def test_the_lines_fit_and_cpus_are_never_cut(tmp_path: Path) -> None:
    """On a narrow terminal tables shrink to it; only lists of CPUs may be longer."""
    found = _survey(tmp_path, SpeedSelect(describe(Generation.TPMI, domains=2, io_domains=1)))
    lines = list(isst_lines(found, Style(width=60)))
    assert all(len(line) <= 60 for line in lines if "CPUs" not in line and "0x" not in line and line[:1] == " ")
    members = {line.split("CPUs ")[1] for line in lines if " class 0: CPUs " in line}
    assert frozenset().union(*map(parse_cpus, members)) == frozenset(range(64))


def test_cpus_without_a_place_and_figures_without_a_value_are_said(node: Rig) -> None:
    """What is not known stands as such; it is neither 0 nor left away."""
    found = survey(node.platform._replace(unmapped=frozenset({90, 91})))
    first = found.domains[0]._replace(core_power=None)
    lines = list(isst_lines(found._replace(domains=(first,), limits={0: TurboRatioLimits(0x26, None)}), Style()))
    assert lines[-1] == "Not placed by the driver: CPUs 90-91"
    assert any(line.startswith(f"  {first.domain.name}    ?  ") for line in lines)
    assert "  package 0: 3800/0/0/0/0/0/0/0 MHz (0x0000000000000026)" in lines
    assert isst_facts(found)["unmappedCpus"] == "90-91"


def test_the_data_is_json_and_complete(node: Rig) -> None:
    """Parsed back from JSON: every unit with its CPUs, classes, levels; an unlimited class has no maximum."""
    found = survey(node.platform)
    data: dict[str, Any] = json.loads(json.dumps(isst_facts(found)))
    assert data["available"] is True
    assert data["generation"] == node.platform.generation
    units = {
        f"{domain['package']}/{domain['domain']}/{unit['core']}": parse_cpus(unit["cpus"])
        for domain in data["domains"]
        for unit in domain["units"]
    }
    assert units == {unit.name: unit.cpus for unit in node.platform.units}
    first = data["domains"][0]
    assert first["corePower"] == {"supported": True, "enabled": False, "ordered": False, "heeded": False}
    assert [each["maxMhz"] for each in first["classes"]] == [None] * 4
    assert parse_cpus(first["classes"][0]["cpus"]) == parse_cpus(first["cpus"])
    level = node.model.machine.levels[0]
    assert level is not None
    assert first["levels"]["all"][0]["highestMhz"] == 100 * level.limits[0][0]
    assert data["turboRatioLimits"][1]["register"] == f"{node.model.hardware.msrs[1][0x1AD]:016x}"
    assert data["failures"] == []


def test_a_machine_without_it_says_why(tmp_path: Path) -> None:
    """The reason and the cure, as lines and as data."""
    with HostFs(str(tmp_path)) as files:
        absence = Platform.detect(files, pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert list(isst_lines(absence, Style())) == [f"no Speed Select: {absence.detail}", f"cure: {absence.cure}"]
    assert json.loads(json.dumps(isst_facts(absence))) == {
        "available": False,
        "reason": "no-file",
        "detail": absence.detail,
        "cure": absence.cure,
    }


def test_instruction_sets_keep_their_number() -> None:
    """Zeros go from the end only, and an empty bucket from all rows."""
    assert present([22, 0, 18, 0, 0]) == (22, 0, 18)
    assert present([0, 0]) == ()
    buckets = Buckets.filled([2, 0, 6, 8], [[46, 9, 40, 0], [0, 0, 0, 0], [42, 9, 36, 0], [0, 0, 0, 0]])
    assert buckets == Buckets((2, 6), ((46, 40), (0, 0), (42, 36)))
    assert Buckets.filled([], [[38, 0, 36]]) == Buckets((), ((38, 36),))


def test_the_documents_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program of docs/speed-select.md runs, with nothing but the standard library, and says what is there."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / "speed-select.md").read_text(), re.MULTILINE | re.DOTALL)
    model = SpeedSelect(describe(Generation.TPMI))
    program = program.replace('HostFs("/")', "files").replace("detect(host)", "detect(host, transport=model)")
    with host(tmp_path / "node", model.machine) as files:
        exec(program, {"files": files, "model": model})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.hardware.domains) + len(model.machine.cores)
    assert "0/0 CorePower(supported=True, enabled=False, ordered=False, heeded=False)" in lines
    assert lines[-1].startswith("1/")

    script = "import sys, plimsoll.kernel.isst.survey, plimsoll.kernel.isst.registers as _; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "yaml", "kubernetes", "structlog", "prometheus_client", "cgroupspy"} & set(loaded)
