"""
How fast a CPU of the simulated machine runs when it is busy: a simple function of the registers.

Owns that function. It has no time, heat or power in it: real silicon runs slower when it is short of power, never
faster than this. The rules are those that Intel's tools document; where two readings exist the lower one is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plimsoll.simulator.speed_select_hardware import TURBO_FREQUENCY, TURBO_RATIO_LIMIT, Hardware
from plimsoll.simulator.speed_select_machine import NO_LIMIT, Core

_MHZ = 100
# Turbo frequency counts classes 0 and 1 as high priority, 2 and 3 as low.
_HIGH_CLASSES = (0, 1)


def effective_mhz(
    hardware: Hardware, cpu: int, *, busy: Collection[int] | None = None, limits: Mapping[int, int] | None = None
) -> int:
    """
    MHz of a busy ``cpu`` without vector instructions, while the CPUs ``busy`` compute too (``None``: all of them).

    ``limits`` are cpufreq's ceilings in MHz, by CPU. The lowest of these holds, and never less than the machine's
    lowest frequency:

    - the ordinary turbo ratio for the number of busy cores in the package; or, with turbo frequency on, for a core of
      high priority that of the bucket which the package's *associated* cores of high priority fill, also idle ones,
      and the all-core ratio beyond the last bucket; for the others the clip ratio;
    - MSR 0x1AD's byte for the same number of cores;
    - the ceiling of its class of service, where the hardware heeds classes;
    - the highest of cpufreq's ceilings among the core's threads, for the core gives all of them what one may have.

    A floor of a class is a promise in times of scarce power, which there are none of here: it raises nothing.
    Raises ValueError for a CPU that the machine has not.
    """
    core = hardware.machine.core_of(cpu)
    if core is None:
        raise ValueError(f"the machine has no CPU {cpu}")
    domain = hardware.domains[core.package, core.domain]
    level = hardware.perf_level(domain.level)
    if level is None:
        raise ValueError(f"the machine has no level {domain.level}")
    prioritised = hardware.prioritised(domain)
    high = hardware.class_of(core.package, core.domain, core.core) in _HIGH_CLASSES
    active = sum(1 for each in _package(hardware, core) if busy is None or not set(each.cpus).isdisjoint(busy))
    ratios = [_ratio(level.limits[0], level.counts, active)]
    if domain.features & TURBO_FREQUENCY and level.turbo and prioritised:
        ratios = [level.turbo.clip[0]]
        if high:
            count = _high_cores(hardware, core)
            ratios = [_ratio(level.turbo.ratios[0], level.turbo.counts, count) or level.limits[0][-1]]
    msr = hardware.msrs[core.package][TURBO_RATIO_LIMIT].to_bytes(8, "little")
    ratios.append(_ratio(tuple(msr), level.counts, active))
    ceiling = hardware.ceiling_of(core.package, core.domain, core.core)
    if prioritised and ceiling != NO_LIMIT:
        ratios.append(ceiling)
    found = min(ratios) * _MHZ
    if limits:
        known = [limits[each] for each in core.cpus if each in limits]
        found = min(found, max(known, default=found))
    return max(found, level.core[2] * _MHZ)


def _package(hardware: Hardware, core: Core) -> list[Core]:
    return [each for each in hardware.machine.cores if each.package == core.package]


def _high_cores(hardware: Hardware, core: Core) -> int:
    classes = (hardware.class_of(each.package, each.domain, each.core) for each in _package(hardware, core))
    return sum(1 for each in classes if each in _HIGH_CLASSES)


def _ratio(ratios: tuple[int, ...], counts: tuple[int, ...], cores: int) -> int:
    """The ratio of the smallest bucket that holds so many cores; 0 beyond the last one."""
    fitting = [ratio for ratio, count in zip(ratios, counts, strict=True) if count >= cores and count]
    return fitting[0] if fitting else 0
