"""
The registers of a machine with Speed Select, as the hardware keeps them, and what the hardware itself does with them.

Owns the state: classes of service, associations, core power, features, level, turbo ratio limits. It knows no ioctl, no
permission and no fault: who may reach a register, and how, is for speed_select_mailbox.py and speed_select_tpmi.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll.simulator.speed_select_machine import BUCKETS, NO_LIMIT, Generation, MachineDescription, PerfLevel

CLASSES = 4
# A class after reset: no floor, no ceiling, highest weight.
CLOS_RESET = NO_LIMIT << 16
SLOTS = 64  # association registers of a power domain, whether or not there is such a core
MAILBOX_ASSOC_SHIFT = 16  # the low bits are the core's RMID

TURBO_RATIO_LIMIT = 0x1AD
TURBO_RATIO_COUNTS = 0x1AE
TURBO_RATIO_LIMIT2 = 0x1AF
CONFIG_TDP_CONTROL = 0x64B

QOS_ENABLE = 1 << 1
QOS_ORDERED = 1 << 2
BASE_FREQUENCY = 1 << 0  # bits of the features that are on
TURBO_FREQUENCY = 1 << 1


@dataclass(slots=True)
class Domain:
    """
    The registers of one power domain.

    ``clos``: bits 3:0 EPP, 7:4 weight, 15:8 floor, 23:16 ceiling, 31:24 desired (TPMI has 4 to 23 only). ``assoc``: by
    punit core, the whole word with the class in bits 17:16 before TPMI, four bits with TPMI. ``enabled``: core power
    (SST_CP_STATUS; before TPMI what command 94/03 tells). ``ordered``: TPMI's priority type. ``qos``: the mailbox's
    PM_QOS_CONFIG, 0 with TPMI. ``features``: bit 0 base frequency, bit 1 turbo frequency.
    """

    level: int
    clos: list[int] = field(default_factory=lambda: [CLOS_RESET] * CLASSES)
    assoc: list[int] = field(default_factory=lambda: [0] * SLOTS)
    excursions: list[int] = field(default_factory=lambda: [0] * CLASSES)
    enabled: bool = False
    ordered: bool = False
    qos: int = 0
    features: int = 0


class Hardware:
    """
    All registers of a machine since its reset.

    ``interlocked``: turbo frequency cannot be turned on without core power, nor core power off while it is on, as the
    kernel's documentation has it. Without it the hardware takes everything, so that a checker sees what was asked.
    """

    def __init__(self, machine: MachineDescription, *, interlocked: bool = True) -> None:
        self.machine = machine
        self.interlocked = interlocked
        self.domains = {
            (package, domain): Domain(machine.level)
            for package in range(machine.packages)
            for domain in machine.domains
        }
        self.msrs = {package: self._msrs(machine.level) for package in range(machine.packages)}

    def perf_level(self, level: int) -> PerfLevel | None:
        """The level's description, ``None`` when there is no such level."""
        levels = self.machine.levels
        return levels[level] if level < len(levels) else None

    def prioritised(self, domain: Domain) -> bool:
        """Whether the hardware heeds classes of service there."""
        if self.machine.generation is Generation.TPMI:
            return domain.enabled
        return domain.enabled and bool(domain.qos & QOS_ENABLE)

    def class_of(self, package: int, domain: int, core: int) -> int:
        """The class of service (0..3) that a core is in."""
        word = self.domains[package, domain].assoc[core]
        return (word if self.machine.generation is Generation.TPMI else word >> MAILBOX_ASSOC_SHIFT) & 3

    def ceiling_of(self, package: int, domain: int, core: int) -> int:
        """The highest ratio of the class of service that a core is in."""
        return self.domains[package, domain].clos[self.class_of(package, domain, core)] >> 16 & NO_LIMIT

    def set_features(self, domain: Domain, features: int) -> bool:
        """Turn features on and off; whether the hardware took it."""
        level = self.perf_level(domain.level)
        if level is None:
            return False
        offered = (BASE_FREQUENCY if level.basic else 0) | (TURBO_FREQUENCY if level.turbo else 0)
        blocked = self.interlocked and features & TURBO_FREQUENCY and not self.prioritised(domain)
        if features & ~offered or blocked:
            return False
        domain.features = features
        return True

    def set_core_power(self, domain: Domain, *, enabled: bool, ordered: bool, qos: int) -> bool:
        """Set all three at once; whether the hardware took it."""
        trial = Domain(domain.level, enabled=enabled, qos=qos)
        if self.interlocked and domain.features & TURBO_FREQUENCY and not self.prioritised(trial):
            return False
        domain.enabled, domain.ordered, domain.qos = enabled, ordered, qos
        return True

    def set_level(self, package: int, domain: Domain, level: int) -> bool:
        """Change the performance level; whether the hardware took it. Features go off, turbo limits are the level's."""
        if self.machine.locked or self.perf_level(level) is None:
            return False
        domain.level = level
        domain.features = 0
        self.msrs[package] = self._msrs(level)
        return True

    def registers(self) -> Mapping[str, int | str]:
        """
        Every register that software can change, by ``PACKAGE/DOMAIN/NAME``; words as they are.

        Associations are listed of cores that exist, and of others once somebody wrote there.
        """
        found: dict[str, int | str] = {}
        tpmi = self.machine.generation is Generation.TPMI
        cores = {(core.package, core.domain, core.core) for core in self.machine.cores}
        for (package, number), domain in self.domains.items():
            place = f"{package}/{number}"
            found[f"{place}/core-power"] = self._core_power(domain)
            found[f"{place}/features"] = domain.features
            found[f"{place}/level"] = domain.level
            if not tpmi:
                found[f"{place}/qos"] = domain.qos
            found |= {f"{place}/clos/{index}": word for index, word in enumerate(domain.clos)}
            found |= {
                f"{place}/assoc/{core}": word
                for core, word in enumerate(domain.assoc)
                if word or (package, number, core) in cores
            }
        found |= {
            f"{package}/msr/{number:#x}": value for package, msrs in self.msrs.items() for number, value in msrs.items()
        }
        return found

    def poke(self, register: str, value: int) -> None:
        """
        Change a register as firmware or another program might, without any check.

        ``register`` is ``PACKAGE/DOMAIN/clos/N``, ``.../assoc/CORE``, ``.../qos``, ``.../features``, ``.../level`` or
        ``PACKAGE/msr/0xNNN``. Raises ValueError or KeyError for another.
        """
        package, second, *rest = register.split("/")
        if second == "msr":
            msrs = self.msrs[int(package)]
            number = int(rest[0], 16)
            if number not in msrs:
                raise KeyError(register)
            msrs[number] = value
            return
        domain = self.domains[int(package), int(second)]
        match rest:
            case ["clos", index]:
                domain.clos[int(index)] = value
            case ["assoc", core]:
                domain.assoc[int(core)] = value
            case ["qos"]:
                domain.qos = value
            case ["features"]:
                domain.features = value
            case ["level"]:
                self.set_level(int(package), domain, value)
            case _:
                raise ValueError(f"no register {register}")

    def _core_power(self, domain: Domain) -> str:
        if not domain.enabled:
            return "off"
        ordered = domain.ordered if self.machine.generation is Generation.TPMI else domain.qos & QOS_ORDERED
        return "ordered" if ordered else "proportional"

    def _msrs(self, level: int) -> dict[int, int]:
        perf = self.perf_level(level)
        if perf is None:
            raise ValueError(f"the machine has no level {level}")
        return {
            TURBO_RATIO_LIMIT: packed(perf.limits[0]),
            TURBO_RATIO_COUNTS: packed(perf.counts),
            TURBO_RATIO_LIMIT2: 0,
            CONFIG_TDP_CONTROL: level | self.machine.locked << 31,
        }


def packed(values: tuple[int, ...]) -> int:
    """Bytes of a register, the first in the lowest bits."""
    return int.from_bytes(bytes(values[:BUCKETS]), "little")
