"""
Which Speed Select this machine has, if any: the generation, its power domains, and which CPUs make one unit.

Everything is found by asking, and asking changes nothing. What is found holds until CPUs go on or off line; whoever
notices that detects again.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.binding import Binding
from plimsoll.kernel.isst.device import PATH, Device, IsstInterface, Pause, Transport
from plimsoll.kernel.isst.mailbox import Mailbox
from plimsoll.kernel.isst.state import Answer, Domain, PlatformInfo, Unit
from plimsoll.kernel.isst.tpmi import Tpmi
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.topology import CPU_ROOT, PRESENT, read_cpus, read_integer, read_online
from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Backend
from plimsoll.model.outcome import Outcome

_CPUINFO: Final = "proc/cpuinfo"
_CPUINFO_BEGIN: Final = 4096
_MODEL = re.compile(r"^model\s*:\s*(\d+)$", re.ASCII | re.MULTILINE)
_HYPERVISOR = re.compile(r"^flags\s*:.*\bhypervisor\b", re.ASCII | re.MULTILINE)
_EMERALD_RAPIDS = 0xCF

_MAILBOX_API = 1
_TPMI_APIS = frozenset({2, 3})
# What the driver gives for a CPU whose register could not be read when it came on line.
_UNREAD = 0xFFFF_FFFF


class _Place(NamedTuple):
    """Where the punit sees a logical CPU. ``domain`` and ``core`` are what an association is addressed by."""

    package: int
    domain: int
    core: int


class Platform(NamedTuple):
    """
    A machine with Speed Select.

    ``domains`` are in order of (package, domain); of the TPMI generation also those without CPUs, whose classes of
    service count for the package. ``units`` cover the CPUs that are online, in order of (package, domain, core).
    ``unmapped``: online CPUs of which is not known where they are. ``partly``: some of the machine's CPUs are off line,
    so that domains may be missing here for the time being.
    """

    info: PlatformInfo
    generation: Backend
    binding: Binding
    domains: tuple[Domain, ...]
    units: tuple[Unit, ...]
    unmapped: CpuSet = frozenset()
    partly: bool = False

    @classmethod
    def detect(
        cls, host: HostFs, *, transport: Transport | None = None, pause: Pause = time.sleep
    ) -> Platform | Absence:
        """
        Look for Speed Select, or say why there is none that can be used. Never raises for what a machine may answer.

        ``transport`` stands in the place of the device node below the host's root; ``pause`` waits between tries.
        """
        transport = transport or IsstInterface(host)
        asked = Device(transport, pause).one(Request.GET_PLATFORM_INFO, abi.PlatformInfo())
        if asked.value is None:
            return _unreachable(asked)
        found = asked.value
        info = PlatformInfo(
            api_version=found.api_version,
            driver_version=found.driver_version,
            max_commands=found.max_cmds_per_ioctl,
            mailbox=bool(found.mbox_supported),
            mmio=bool(found.mmio_supported),
        )
        cpuinfo = _first_cpu(host)
        virtual = _HYPERVISOR.search(cpuinfo) is not None
        absence = _unusable(info, virtual=virtual)
        if absence is not None:
            return absence
        device = Device(transport, pause, info.max_commands)
        packages = _packages(host)
        ids = _physical_ids(device, packages)
        shared = _shared(ids, packages)
        if shared:
            return _implausible(shared, virtual=virtual)
        bare: list[Domain] = []
        places = {cpu: _place(packages[cpu], word, info.api_version) for cpu, word in ids.items()}
        if info.api_version == _MAILBOX_API:
            model = _MODEL.search(cpuinfo)
            levels = 5 if model is not None and int(model[1]) == _EMERALD_RAPIDS else 3
            binding: Binding = Mailbox(device, mmio=info.mmio, isa_levels=levels)
            generation = Backend.MAILBOX
        else:
            tpmi = Tpmi(device, info.api_version)
            places, bare = _mapped(tpmi, places)
            binding, generation = tpmi, Backend.TPMI
        units = _units(places)
        if not units:
            return Absence(
                Reason.MALFORMED,
                "The Speed Select driver answers, but does not say where any online CPU is.",
                "Load the back-end module before CPUs come on line, or take them off line and on again.",
            )
        first = {(unit.package, unit.domain): min(unit.cpus) for unit in reversed(units)}
        domains = sorted([*bare, *(Domain(*place, cpu) for place, cpu in first.items())])
        unmapped = frozenset(packages) - frozenset(places)
        partly = bool((read_cpus(host, PRESENT) or frozenset()) - packages.keys())
        return cls(info, generation, binding, tuple(domains), units, unmapped, partly)

    @property
    def packages(self) -> tuple[int, ...]:
        """Every package that has a domain, ascending."""
        return tuple(sorted({domain.package for domain in self.domains}))

    def of_package(self, package: int) -> tuple[Domain, ...]:
        """The domains of one package."""
        return tuple(domain for domain in self.domains if domain.package == package)


def _unreachable(asked: Answer[abi.PlatformInfo]) -> Absence:
    if asked.outcome in (Outcome.MISSING, Outcome.GONE):
        return Absence(
            Reason.NO_FILE,
            f"There is no /{PATH}: this CPU has no Speed Select, or its driver is not loaded.",
            "On an Intel Xeon that has it, load isst_if_mbox_pci and isst_if_mmio, or isst_tpmi; in a container, mount "
            "the host's /dev.",
        )
    if asked.errno == errno.ENOTTY:
        return Absence(Reason.MALFORMED, f"/{PATH} is not the Speed Select driver's.", "Find out what made it.")
    return Absence(
        reason_of(asked.outcome),
        f"/{PATH} cannot be used: {asked.outcome.value}.",
        "Run as root, and let the container have the device.",
    )


def _unusable(info: PlatformInfo, *, virtual: bool) -> Absence | None:
    if info.api_version == _MAILBOX_API and info.mailbox:
        return None
    if info.api_version in _TPMI_APIS:
        return None
    if info.api_version > max(_TPMI_APIS):
        return Absence(
            Reason.NOT_BUILT,
            f"The Speed Select driver speaks version {info.api_version}; this program knows up to {max(_TPMI_APIS)}.",
            "Update this program.",
        )
    # The common module makes the node by the CPU's model alone: also in a virtual machine, and before a back-end.
    where = " This is a virtual machine." if virtual else ""
    return Absence(
        Reason.NOT_BUILT,
        f"/{PATH} is there with no back-end behind it.{where}",
        "Load isst_if_mbox_pci and isst_if_mmio, or isst_tpmi; look in the firmware's setup if Speed Select is on.",
    )


def _implausible(shared: CpuSet, *, virtual: bool) -> Absence:
    where = "a virtual machine does not have its own" if virtual else "the machine's registers could not be read"
    return Absence(
        Reason.MALFORMED,
        f"The Speed Select driver puts {len(shared)} CPUs of one package in the same place: {where}.",
        "Run where the hardware is.",
    )


def _first_cpu(host: HostFs) -> str:
    """The beginning of cpuinfo: the whole is long on a large machine, and the kernel measures every CPU for it."""
    try:
        descriptor = host.open(_CPUINFO)
        try:
            return os.read(descriptor, _CPUINFO_BEGIN).decode("ascii", "replace")
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _packages(host: HostFs) -> Mapping[int, int]:
    """The package of each online CPU; a CPU that goes meanwhile is left out. Where none is numbered it is package 0."""
    found = {}
    for cpu in sorted(read_online(host) or ()):
        package = read_integer(host, f"{CPU_ROOT}/cpu{cpu}/topology/physical_package_id")
        if package is not None:
            found[cpu] = max(0, package)
    return found


def _physical_ids(device: Device, cpus: Iterable[int]) -> dict[int, int]:
    """Each CPU's identification, where it could be had. Online CPUs only: of others the driver has zeros."""
    maps = [abi.CpuMap(cpu, 0) for cpu in cpus]
    answers = device.commands(Request.GET_PHY_ID, maps)
    return {
        asked.logical_cpu: answer.value.physical_cpu
        for asked, answer in zip(maps, answers, strict=True)
        if answer.value is not None and answer.value.physical_cpu != _UNREAD
    }


def _shared(ids: Mapping[int, int], packages: Mapping[int, int]) -> CpuSet:
    """CPUs of one package with the same identification, which tells threads apart on real hardware."""
    seen: dict[tuple[int, int], list[int]] = {}
    for cpu, word in ids.items():
        seen.setdefault((packages[cpu], word), []).append(cpu)
    return frozenset(cpu for cpus in seen.values() if len(cpus) > 1 for cpu in cpus)


def _place(package: int, word: int, api_version: int) -> _Place:
    """MSR 0x53 (bit 0 thread, 8:1 core, 13:9 punit) or 0x54 (2:0 thread, 10:3 core or module, 15:11 domain)."""
    if api_version == _MAILBOX_API:
        punit = word >> 9 & 0x1F
        # As the kernel's tool has it: a number that cannot be is the only punit there is.
        return _Place(package, punit if punit < abi.MAX_DOMAINS else 0, word >> 1 & 0xFF)
    return _Place(package, word >> 11 & 0x1F, word >> 3 & 0xFF)


def _units(places: Mapping[int, _Place]) -> tuple[Unit, ...]:
    grouped: dict[_Place, set[int]] = {}
    for cpu, place in places.items():
        grouped.setdefault(place, set()).add(cpu)
    return tuple(Unit(*place, frozenset(cpus)) for place, cpus in sorted(grouped.items()))


def _mapped(tpmi: Tpmi, places: Mapping[int, _Place]) -> tuple[dict[int, _Place], list[Domain]]:
    """
    The places in power domains that the driver has, and its domains without CPUs that answer for core-power.

    Core-power and classes of service are one setting of the package, which the hardware wants in every domain. Of a
    domain that is not there nothing may be asked: to an association there the kernel does not answer, it crashes.
    """
    known: dict[int, _Place] = {}
    bare: list[Domain] = []
    for package in sorted({each.package for each in places.values()}):
        mask = tpmi.domains(package).value or 0
        here = {cpu: each for cpu, each in places.items() if each.package == package and mask >> each.domain & 1}
        known |= here
        for number in sorted(set(range(abi.MAX_DOMAINS)) - {each.domain for each in here.values()}):
            domain = Domain(package, number, None)
            if mask >> number & 1 and tpmi.core_power(domain).value is not None:
                bare.append(domain)
    return known, bare
