"""
The description of a machine with Speed Select: packages, power domains, cores, performance levels.

Owns what fuses and firmware have settled before any program runs, and a builder of plausible machines. It holds no
state and knows no ioctl; the figures are shaped like a server of the generation and are no product's data sheet.

A *core* here is a punit core, what one class of service is given to: a core with its threads, on Atom Xeons a module of
several cores. Ratios are in units of 100 MHz, as in the registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

BUCKETS = 8
LEVELS = 6  # instruction set levels of a turbo table: TPMI has six, the mailbox shows the first three
NO_LIMIT = 0xFF


class Generation(Enum):
    """How the operating system reaches the registers."""

    MAILBOX = "mailbox"  # Cascade and Cooper Lake: everything through the mailbox
    MMIO = "mmio"  # Ice Lake to Emerald Rapids: mailbox, classes of service through memory-mapped registers
    TPMI = "tpmi"  # Granite Rapids, Sierra Forest and later


class Core(NamedTuple):
    """One punit core: its id in its power domain and the logical CPUs that share it."""

    package: int
    domain: int
    core: int
    cpus: tuple[int, ...]


class TurboFrequency(NamedTuple):
    """SST-TF of a level: ``counts`` cores of high priority (0: no bucket) may reach ``ratios[level][bucket]``."""

    counts: tuple[int, ...]
    ratios: tuple[tuple[int, ...], ...]
    clip: tuple[int, ...]  # what is left to the others, by instruction set level


class BaseFrequency(NamedTuple):
    """SST-BF of a level: the fixed ``cores`` have ``high`` as base, the others ``low``."""

    high: int
    low: int
    cores: frozenset[int]
    watts: int
    celsius: int


@dataclass(frozen=True, slots=True)
class PerfLevel:
    """
    One level of SST-PP. ``base``: by instruction set (SSE, AVX2, AVX-512, AMX).

    ``core`` and ``fabric`` are P0, P1, Pn, Pm. ``limits[level][bucket]`` is the ordinary turbo table, for
    ``counts[bucket]`` busy cores.
    """

    watts: int
    celsius: int
    base: tuple[int, int, int, int]
    core: tuple[int, int, int, int]
    fabric: tuple[int, int, int, int]
    memory: int  # the register's value; TPMI counts it in 100 MHz
    counts: tuple[int, ...]
    limits: tuple[tuple[int, ...], ...]
    turbo: TurboFrequency | None = None
    basic: BaseFrequency | None = None


@dataclass(frozen=True, slots=True)
class MachineDescription:
    """
    A whole machine. ``io_domains`` are power domains without cores, after the compute ones, by package alike.

    ``missing_domains`` are numbers below the count of domains that do not answer (a partly populated package); they
    have no cores. ``levels`` has ``None`` where a level is fused off. ``locked``: the level cannot be changed.
    """

    generation: Generation
    packages: int
    cores: tuple[Core, ...]
    levels: tuple[PerfLevel | None, ...]
    level: int = 0
    io_domains: int = 0
    missing_domains: frozenset[int] = frozenset()
    locked: bool = False
    core_power: bool = True

    @property
    def cpus(self) -> tuple[int, ...]:
        """All logical CPUs, ascending."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))

    @property
    def domains(self) -> tuple[int, ...]:
        """The power domains of each package that answer, also those without cores."""
        return tuple(each for each in range(self.domain_count) if each not in self.missing_domains)

    @property
    def domain_count(self) -> int:
        """How many numbers of power domains a package has, counting those that do not answer."""
        compute = {core.domain for core in self.cores} | self.missing_domains
        return max(compute) + 1 + self.io_domains

    def core_of(self, cpu: int) -> Core | None:
        """The core of a logical CPU."""
        return next((core for core in self.cores if cpu in core.cpus), None)

    def physical_id(self, cpu: int) -> int:
        """What the CPU's identification register holds: MSR 0x54 with TPMI, MSR 0x53 before."""
        core = self.core_of(cpu)
        if core is None:
            return 0
        thread = core.cpus.index(cpu)
        if self.generation is Generation.TPMI:
            return core.domain << 11 | core.core << 3 | thread
        return core.domain << 9 | core.core << 1 | thread


def describe(
    generation: Generation,
    *,
    packages: int = 2,
    domains: int = 1,
    cores: int = 8,
    threads: int = 2,
    io_domains: int = 0,
    missing_domains: frozenset[int] = frozenset(),
    fused_off: frozenset[int] = frozenset({1}),
    adjacent: bool = False,
    locked: bool = False,
    level: int = 0,
) -> MachineDescription:
    """
    A machine of ``packages`` with ``domains`` compute domains of ``cores`` cores of ``threads`` CPUs.

    ``threads`` beyond two make a module. ``fused_off`` core ids are skipped in each domain, so that a core's id is not
    its index. Linux numbers the first threads of all cores before the second ones; ``adjacent`` numbers a core's
    threads one after another, as QEMU does. The mailbox generations have one domain.
    """
    if generation is not Generation.TPMI and (domains != 1 or io_domains or missing_domains):
        raise ValueError("a package has one power domain before TPMI")
    if fused_off and min(fused_off) < 0:
        raise ValueError("core ids count from 0")
    ids = [each for each in range(cores + len(fused_off)) if each not in fused_off][:cores]
    numbers = [each for each in range(domains + len(missing_domains)) if each not in missing_domains][:domains]
    places = [(package, domain, core) for package in range(packages) for domain in numbers for core in ids]
    found = []
    for index, place in enumerate(places):
        cpus = (
            range(index * threads, (index + 1) * threads)
            if adjacent
            else range(index, len(places) * threads, len(places))
        )
        found.append(Core(*place, tuple(cpus)))
    count = cores * domains
    top = _level(count, frozenset(ids), watts=250, step=0)
    # A level between two others may be fused off: the mask of levels then has a hole.
    levels = (
        (top, None, _level(count, frozenset(ids), watts=205, step=3))
        if generation is Generation.TPMI
        else (top, _level(count, frozenset(ids), watts=205, step=3))
    )
    return MachineDescription(generation, packages, tuple(found), levels, level, io_domains, missing_domains, locked)


def _level(cores: int, ids: frozenset[int], *, watts: int, step: int) -> PerfLevel:
    quarter = max(1, cores // 4)
    turbo = (38 - step, 38 - step, 37 - step, 36 - step, 35 - step, 34 - step, 33 - step, 32 - step)
    high = (46 - step, 43 - step, 40 - step, 0, 0, 0, 0, 0)
    return PerfLevel(
        watts=watts,
        celsius=88,
        base=(22 - step, 20 - step, 18 - step, 16 - step),
        core=(turbo[0], 22 - step, 8, 5),
        fabric=(25, 20, 8, 8),
        memory=24,
        counts=tuple(max(1, cores * (index + 1) // BUCKETS) for index in range(BUCKETS)),
        limits=_rows(turbo),
        turbo=TurboFrequency((quarter, 2 * quarter, 3 * quarter, 0, 0, 0, 0, 0), _rows(high), (26, 24, 22, 20, 19, 18)),
        basic=BaseFrequency(24 - step, 18 - step, frozenset(sorted(ids)[:quarter]), watts - 10, 85),
    )


def _rows(first: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """A table by instruction set level: each runs a little slower than the one before."""
    return tuple(tuple(ratio - 2 * level if ratio else 0 for ratio in first) for level in range(LEVELS))
