"""
The kernel's frequency scaling: its policies, their limits now, and how fast CPUs are said to run.

What ``scaling_min_freq`` and ``scaling_max_freq`` say is what is in force, with thermal and other limits counted in,
and not what somebody asked for (drivers/cpufreq/cpufreq.c, show_scaling_max_freq). Writing is the knobs'.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.topology import read_integer
from plimsoll.model.cpus import CpuSet
from plimsoll.model.outcome import Outcome

ROOT = "sys/devices/system/cpu/cpufreq"
_POLICY = re.compile(r"policy([0-9]{1,4})", re.ASCII)
_KHZ = 1000
_HIGHEST_CPU = 9999


class FrequencyPolicy(NamedTuple):
    """
    One cpufreq policy. ``cpus`` are those online; frequencies are MHz, ``None`` where the driver does not say.

    ``lowest`` and ``highest`` are the hardware's, ``minimum`` and ``maximum`` what is in force. ``base`` is without
    turbo. ``efficient`` is the lowest frequency below which nothing is saved (AMD's lowest non-linear one).
    ``preferences`` are the words ``energy_performance_preference`` takes. ``steps``: the only frequencies there are,
    ascending; empty where the driver knows no table.
    """

    name: str
    cpus: CpuSet
    driver: str = ""
    lowest: int | None = None
    highest: int | None = None
    base: int | None = None
    efficient: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    preferences: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()


def read_policies(host: HostFs) -> tuple[FrequencyPolicy, ...]:
    """Every policy with an online CPU, by number; none where there is no frequency scaling (most virtual machines)."""
    found: list[tuple[int, FrequencyPolicy]] = []
    for name in host.directories(ROOT).names:
        match = _POLICY.fullmatch(name)
        if match is None:
            continue
        cpus = _spaced(host, f"{ROOT}/{name}/affected_cpus")
        if cpus:
            found.append((int(match[1]), _policy(host, name, cpus)))
    return tuple(policy for _, policy in sorted(found))


def read_current(host: HostFs, policy: str) -> int | None:
    """MHz, as the driver says: what was measured since somebody asked last, or what was asked of the hardware."""
    return _megahertz(host, f"{ROOT}/{policy}/scaling_cur_freq")


def read_maximum(host: HostFs, policy: str) -> int | None:
    """The ceiling in force, MHz."""
    return _megahertz(host, f"{ROOT}/{policy}/scaling_max_freq")


def idle(host: HostFs, policy: str) -> bool:
    """
    Whether all of a policy's CPUs are off line. Its files stay, and what was asked for with them.

    Reading or writing any of them is EBUSY then; older kernels show no CPU there.
    """
    reading = host.read(f"{ROOT}/{policy}/affected_cpus")
    return reading.outcome is Outcome.BUSY or (reading.text() or "0").strip() == ""


def _policy(host: HostFs, name: str, cpus: CpuSet) -> FrequencyPolicy:
    folder = f"{ROOT}/{name}"
    return FrequencyPolicy(
        name=name,
        cpus=cpus,
        driver=(host.read(f"{folder}/scaling_driver").text() or "").strip(),
        lowest=_megahertz(host, f"{folder}/cpuinfo_min_freq"),
        highest=_megahertz(host, f"{folder}/cpuinfo_max_freq"),
        base=_megahertz(host, f"{folder}/base_frequency"),
        efficient=_megahertz(host, f"{folder}/amd_pstate_lowest_nonlinear_freq"),
        minimum=_megahertz(host, f"{folder}/scaling_min_freq"),
        maximum=read_maximum(host, name),
        steps=tuple(sorted(each // _KHZ for each in _integers(host, f"{folder}/scaling_available_frequencies"))),
        preferences=tuple((host.read(f"{folder}/energy_performance_available_preferences").text() or "").split()),
    )


def _megahertz(host: HostFs, path: str) -> int | None:
    kilohertz = read_integer(host, path)
    return None if kilohertz is None or kilohertz <= 0 else kilohertz // _KHZ


def _spaced(host: HostFs, path: str) -> CpuSet:
    """``affected_cpus`` is the one list of CPUs that the kernel prints with spaces."""
    return frozenset(each for each in _integers(host, path) if each <= _HIGHEST_CPU)


def _integers(host: HostFs, path: str) -> list[int]:
    words = (host.read(path).text() or "").split()
    return [int(word) for word in words if word.isascii() and word.isdecimal() and len(word) <= 9]
