"""Finding Speed Select: generations, versions, units of both kinds of map, and every reason why there is none."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.device import PATH
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import Domain, PlatformInfo
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason
from plimsoll.model.frequency import Backend
from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_fault import Fault
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe
from tests.isst import GENERATIONS, host, large_host, machine

_TPMI = machine(Generation.TPMI)
_MAILBOX = machine(Generation.MMIO)


@pytest.fixture(params=GENERATIONS, ids=lambda each: each.value)
def description(request: pytest.FixtureRequest) -> MachineDescription:
    return machine(request.param)


def _detect(root: Path, model: SpeedSelect, *, offline: frozenset[int] = frozenset()) -> Platform | Absence:
    with host(root, model.machine, offline=offline) as found:
        return Platform.detect(found, transport=model, pause=lambda _: None)


def _found(root: Path, model: SpeedSelect, *, offline: frozenset[int] = frozenset()) -> Platform:
    platform = _detect(root, model, offline=offline)
    assert isinstance(platform, Platform), platform
    return platform


def _absence(root: Path, model: SpeedSelect) -> Absence:
    absence = _detect(root, model)
    assert isinstance(absence, Absence), absence
    assert absence.detail.endswith(".")
    assert absence.cure.endswith(".")
    return absence


def _cores(description: MachineDescription) -> Mapping[str, frozenset[int]]:
    return {f"{each.package}/{each.domain}/{each.core}": frozenset(each.cpus) for each in description.cores}


def test_every_generation_is_found_with_its_units(tmp_path: Path, description: MachineDescription) -> None:
    """The units are the cores of the description, whose ids have gaps and whose threads are not neighbours."""
    platform = _found(tmp_path, SpeedSelect(description))
    tpmi = description.generation is Generation.TPMI
    assert platform.generation is (Backend.TPMI if tpmi else Backend.MAILBOX)
    assert {unit.name: unit.cpus for unit in platform.units} == _cores(description)
    assert [unit[:3] for unit in platform.units] == sorted(unit[:3] for unit in platform.units)
    assert platform.unmapped == frozenset()
    assert platform.packages == (0, 1)
    assert platform.info == PlatformInfo(
        api_version=3 if tpmi else 1,
        driver_version=platform.info.driver_version,
        max_commands=64,
        mailbox=not tpmi,
        mmio=description.generation is Generation.MMIO,
    )


def test_power_domains_without_cpus_belong_to_the_package(tmp_path: Path) -> None:
    """With TPMI the I/O die is there, without a CPU; the hole in the mask of domains is not."""
    model = SpeedSelect(_TPMI)
    platform = _found(tmp_path, model)
    assert platform.of_package(1) == (Domain(1, 0, 16), Domain(1, 2, 24), Domain(1, 3, None))
    asked = {command.domain for each in model.log for command, _ in each.commands}
    assert 3 in asked
    assert 1 not in asked, "nothing is asked of a domain that is not there"


def test_a_die_without_core_power_is_left_out(tmp_path: Path) -> None:
    """What it refuses cannot be part of a setting of the package."""
    model = SpeedSelect(_TPMI)
    model.faults.append(Fault(lambda c: c.domain == 3 and c.register == "core-power", error=errno.EINVAL, times=None))
    assert [each.domain for each in _found(tmp_path, model).of_package(0)] == [0, 2]


def test_a_domain_the_driver_does_not_have_is_never_addressed(tmp_path: Path) -> None:
    """
    A CPU whose identification names a missing domain has no unit: a stock kernel crashes on an association there.
    """
    astray = describe(Generation.TPMI, domains=2)
    platform = _found(tmp_path, SpeedSelect(replace(astray, missing_domains=frozenset({1}))))
    assert {unit.domain for unit in platform.units} == {0}
    assert platform.unmapped == frozenset(cpu for core in astray.cores if core.domain == 1 for cpu in core.cpus)
    assert {each.domain for each in platform.domains} == {0}


def test_only_online_cpus_are_asked_about(tmp_path: Path, description: MachineDescription) -> None:
    """CPUs off line are not asked about: their units have the rest, or are not there when nothing is left."""
    first, second = description.cores[0], description.cores[1]
    offline = frozenset({first.cpus[1], *second.cpus})
    model = SpeedSelect(description, kernel=Kernel(offline=offline))
    platform = _found(tmp_path, model, offline=offline)
    expected = {name: cpus - offline for name, cpus in _cores(description).items() if cpus - offline}
    assert {unit.name: unit.cpus for unit in platform.units} == expected
    asked = [c.register for e in model.log if e.request == "GET_PHY_ID" for c, _ in e.commands]
    assert asked == [f"id/{cpu}" for cpu in description.cpus if cpu not in offline]


def test_a_module_of_four_cores_is_one_unit(tmp_path: Path) -> None:
    """On Atom Xeons the bits of a core are those of a module: its four CPUs, no siblings of each other, are one."""
    module = describe(Generation.TPMI, threads=4)
    platform = _found(tmp_path, SpeedSelect(module))
    assert {len(unit.cpus) for unit in platform.units} == {4}
    assert {unit.name: unit.cpus for unit in platform.units} == _cores(module)


def test_a_large_machine_is_asked_in_batches(tmp_path: Path) -> None:
    """Two packages with 256 CPUs: four ioctls for the map, not 256."""
    model = SpeedSelect(describe(Generation.TPMI, domains=2, cores=32))
    with large_host(tmp_path, model.machine) as found:
        platform = Platform.detect(found, transport=model, pause=lambda _: None)
    assert isinstance(platform, Platform)
    assert len(platform.units) == 128
    assert [len(each.commands) for each in model.log if each.request == "GET_PHY_ID"] == [64] * 4


class Told:
    """A device that tells chosen things and refuses the rest."""

    def __init__(self, info: bytes, ids: Mapping[int, int] | None = None) -> None:
        self.info = info
        self.ids = ids
        self.requests: list[int] = []

    def ioctl(self, request: int, buffer: bytearray) -> int:
        self.requests.append(request)
        if request == Request.GET_PLATFORM_INFO:
            buffer[:] = self.info
            return 0
        if request == Request.GET_PHY_ID and self.ids is not None:
            count = int.from_bytes(buffer[:4], "little")
            for begin in range(4, 4 + 8 * count, 8):
                cpu = int.from_bytes(buffer[begin : begin + 4], "little")
                buffer[begin + 4 : begin + 8] = self.ids[cpu].to_bytes(4, "little")
            return count
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))


def _info(api: int, *, mailbox: bool = False, mmio: bool = False) -> bytes:
    return b"".join(each.to_bytes(2, "little") for each in (api, 1, 64)) + bytes([mailbox, mmio])


@pytest.fixture
def files(tmp_path: Path) -> Iterator[HostFs]:
    with host(tmp_path, _MAILBOX) as found:
        yield found


@pytest.mark.parametrize(
    ("info", "reason", "says"),
    [
        (_info(0), Reason.NOT_BUILT, "no back-end"),
        (_info(1), Reason.NOT_BUILT, "no back-end"),
        (_info(4), Reason.NOT_BUILT, "version 4"),
    ],
)
def test_a_node_without_a_known_back_end_is_none(files: HostFs, info: bytes, reason: Reason, says: str) -> None:
    """Version 0, version 1 without a mailbox (Linux 6.1), and one of the future: nothing more is sent."""
    told = Told(info)
    absence = Platform.detect(files, transport=told, pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert absence.reason is reason
    assert says in absence.detail
    assert told.requests == [Request.GET_PLATFORM_INFO]


def test_version_2_has_the_same_units(tmp_path: Path) -> None:
    """Older drivers of the TPMI generation."""
    assert len(_found(tmp_path, SpeedSelect(_TPMI, kernel=Kernel(api_version=2))).units) == len(_TPMI.cores)


def test_a_map_of_zeros_is_no_hardware(tmp_path: Path, files: HostFs) -> None:
    """In a virtual machine the driver has 0 for every CPU; taken at its word one write would move them all."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel\t\t: 143\nflags\t\t: fpu hypervisor avx2\n")
    told = Told(_info(1, mailbox=True), dict.fromkeys(_MAILBOX.cpus, 0))
    absence = Platform.detect(files, transport=told, pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert absence.reason is Reason.MALFORMED
    assert "same place" in absence.detail
    assert "virtual" in absence.detail


def test_a_cpu_whose_register_was_not_read_has_no_unit(files: HostFs) -> None:
    """All bits set is the driver's word for that: it is no core 255, and the others are found all the same."""
    ids = {cpu: _MAILBOX.physical_id(cpu) for cpu in _MAILBOX.cpus}
    lost = frozenset({3, 5})
    platform = Platform.detect(
        files, transport=Told(_info(1, mailbox=True), ids | dict.fromkeys(lost, 0xFFFF_FFFF)), pause=lambda _: None
    )
    assert isinstance(platform, Platform)
    assert platform.unmapped == lost
    expected = {name: cpus - lost for name, cpus in _cores(_MAILBOX).items() if cpus - lost}
    assert {unit.name: unit.cpus for unit in platform.units} == expected


def test_no_cpu_placed_is_no_speed_select(files: HostFs) -> None:
    """Every register unread: said so, instead of a machine without units."""
    ids = dict.fromkeys(_MAILBOX.cpus, 0xFFFF_FFFF)
    absence = Platform.detect(files, transport=Told(_info(1, mailbox=True), ids), pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert absence.reason is Reason.MALFORMED


def test_a_punit_that_cannot_be_is_the_only_one(files: HostFs) -> None:
    """Bits 13:9 of MSR 0x53 above 7 mean nothing on machines with one punit: all CPUs are in domain 0."""
    ids = {cpu: _MAILBOX.physical_id(cpu) | 0x1F << 9 for cpu in _MAILBOX.cpus}
    platform = Platform.detect(files, transport=Told(_info(1, mailbox=True), ids), pause=lambda _: None)
    assert isinstance(platform, Platform)
    assert {unit.name: unit.cpus for unit in platform.units} == _cores(_MAILBOX)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOENT, Reason.NO_FILE), (errno.EACCES, Reason.DENIED), (errno.ENXIO, Reason.FAILED)],
)
def test_a_node_that_cannot_be_opened_says_why(tmp_path: Path, code: int, reason: Reason) -> None:
    """Missing, forbidden, broken: each is a reason, none is an exception."""

    def fault(_operation: str, path: str) -> int:
        return code if path.endswith(PATH) else 0

    with HostFs(str(tmp_path), fault=fault) as found:
        absence = Platform.detect(found, pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert absence.reason is reason


def test_another_file_in_its_place_is_no_driver(tmp_path: Path) -> None:
    """A plain file answers ENOTTY to the first question."""
    (tmp_path / "dev").mkdir()
    (tmp_path / PATH).write_bytes(b"")
    with HostFs(str(tmp_path)) as found:
        absence = Platform.detect(found, pause=lambda _: None)
    assert isinstance(absence, Absence)
    assert absence.reason is Reason.MALFORMED


def test_looking_changes_nothing(tmp_path: Path, description: MachineDescription) -> None:
    """No command of the detection writes, and every register is as it was."""
    model = SpeedSelect(description)
    before = dict(model.registers())
    _found(tmp_path, model)
    assert not any(command.write for each in model.log for command, _ in each.commands)
    assert model.registers() == before
