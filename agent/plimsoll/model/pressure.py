"""
Pressure: how long tasks waited for a resource (PSI), split by cause.

A *cause* is one of the seven sections of an openEuler kernel's ``pressure.stat``, or one of the four resources of
stock PSI (``cpu``, ``memory``, ``io``, ``irq``). Unknown is ``None`` or absent, never zero.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Source(StrEnum):
    """Where a figure comes from, so that an estimate never looks exact."""

    PRESSURE_STAT = "pressure.stat"  # the kernel's own split by cause (openEuler, CONFIG_PSI_FINE_GRAINED)
    PSI = "psi"  # the kernel's own cpu|memory|io|irq.pressure
    DERIVED = "derived"  # computed by us from other exact counters; docs/metrics.md gives each formula


# The order is that of the kernel (openEuler kernel/sched/psi.c, psi_stat_show).
PRESSURE_STAT_CAUSES = (
    "cgroup_memory_reclaim",
    "global_memory_reclaim",
    "compact",
    "cgroup_async_memory_reclaim",
    "swap",
    "cpu_cfs_bandwidth",
    "cpu_qos",
)
# The two CPU sections have only a `full` line.
PRESSURE_STAT_FULL_ONLY = frozenset({"cpu_cfs_bandwidth", "cpu_qos"})
PSI_CAUSES = ("cpu", "memory", "io", "irq")

# Averaging windows of PSI, in the order the kernel prints them.
WINDOWS = ("10s", "60s", "300s")


class PressureLine(NamedTuple):
    """
    One ``some`` or ``full`` line.

    ``avg10``, ``avg60``, ``avg300``: share of time in *hundredths of a percent* (the kernel prints two decimals;
    an integer loses nothing), ``None`` where the source has no averages. ``total_us``: microseconds stalled, monotonic
    for the life of the cgroup.
    """

    avg10: int | None
    avg60: int | None
    avg300: int | None
    total_us: int


class Pressure(NamedTuple):
    """One cause of one cgroup or of the node. ``some``/``full`` is ``None`` where the kernel has no such line."""

    cause: str
    source: Source
    some: PressureLine | None
    full: PressureLine | None
