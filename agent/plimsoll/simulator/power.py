"""
The power a machine takes: the classic model of CMOS logic.

A core takes C V^2 f while it works (A. P. Chandrakasan, S. Sheng, R. W. Brodersen: Low-Power CMOS Digital Design, IEEE
Journal of Solid-State Circuits 27(4), 1992), and the voltage it needs rises about in line with the frequency. The rest
is static: leakage, the uncore, memory controllers. A model to compare settings with, not a meter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from plimsoll.config.machine import Machine
from plimsoll.model.frequency import Unit

STEP_MHZ = 100


class Load(NamedTuple):
    """
    ``high_share`` of the cores are in the high group. ``high_use``/``low_use``: the share of time (0 to 1) the cores of
    each group are busy.
    """

    high_share: float = 0.25
    high_use: float = 0.65
    low_use: float = 1.0


class Point(NamedTuple):
    """
    What one ceiling of the low group comes to: ``watts`` of all packages, ``high_mhz`` what the high group reaches
    within the TDP, ``low_work``: what the low group gets done, as a share of what it would at the base frequency.
    """

    low_mhz: int
    high_mhz: int
    watts: float
    low_work: float


def units(machine: Machine) -> tuple[Unit, ...]:
    """The machine's cores, numbered as Linux does: the second threads come after all the first ones."""
    total = machine.packages * machine.cores
    return tuple(
        Unit(
            name=f"{package}/0/{core}",
            package=package,
            domain=0,
            cpus=frozenset(package * machine.cores + core + thread * total for thread in range(machine.threads)),
            numa=package,
            cache=package,
            lowest=machine.lowest_mhz,
            base=machine.base_mhz,
            highest=machine.turbo_mhz,
        )
        for package in range(machine.packages)
        for core in range(machine.cores)
    )


def volts(machine: Machine, mhz: float) -> float:
    """What a core needs at this frequency."""
    slope = (machine.base_volts - machine.lowest_volts) / (machine.base_mhz - machine.lowest_mhz)
    return machine.lowest_volts + slope * (mhz - machine.lowest_mhz)


def core_watts(machine: Machine, mhz: float) -> float:
    """What one busy core takes at this frequency, beyond the static power."""
    at_base = machine.tdp_watts * (1 - machine.static_share) / machine.cores
    return at_base * (mhz / machine.base_mhz) * (volts(machine, mhz) / machine.base_volts) ** 2


def package_watts(machine: Machine, load: Load, low_mhz: float, high_mhz: float) -> float:
    """What one package takes."""
    high = load.high_share * machine.cores
    low = machine.cores - high
    return (
        machine.static_share * machine.tdp_watts
        + high * load.high_use * core_watts(machine, high_mhz)
        + low * load.low_use * core_watts(machine, low_mhz)
    )


def curve(machine: Machine, load: Load) -> Iterator[Point]:
    """
    For every ceiling the low group may be given, from the lowest to the base frequency.

    The high group is as fast as the TDP lets it be, which is what Speed Select's ordered priorities bring about: every
    watt the low group does not take is there for it, up to its turbo.
    """
    for low in range(machine.lowest_mhz, machine.base_mhz + 1, STEP_MHZ):
        high = machine.turbo_mhz
        while high > machine.base_mhz and package_watts(machine, load, low, high) > machine.tdp_watts:
            high = max(high - STEP_MHZ, machine.base_mhz)
        watts = machine.packages * package_watts(machine, load, low, high)
        yield Point(low, high, watts, low / machine.base_mhz)
