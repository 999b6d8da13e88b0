"""
The energy counter of a simulated node's package, in the files of Intel RAPL: what power.py makes of its busy cores.

Owns the counter. It must not know pods or cgroups. No power limit is modelled: fast cores may take more than the TDP.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.config.machine import Machine
from plimsoll.simulator.power import core_watts
from plimsoll.simulator.tree import Tree

FOLDER = "sys/class/powercap/intel-rapl:0"
# Where the counter of a package begins at 0 again on many machines, in microjoules: minutes of full load.
BOUND = 262_143_328_850
_MICRO = 1e-6


class Powercap:
    """The one package of ``machine``."""

    def __init__(self, tree: Tree, machine: Machine) -> None:
        self._tree = tree
        self._machine = machine
        self._used = 0.0
        tree.fixed(f"{FOLDER}/name", "package-0\n")
        tree.fixed(f"{FOLDER}/max_energy_range_uj", f"{BOUND}\n")
        tree.fixed(f"{FOLDER}/energy_uj", "0\n")

    def spend(self, seconds: float, cores: Iterable[tuple[float, float]]) -> None:
        """So long, its cores were busy for a share of the time (0 to 1), each at its MHz."""
        static = self._machine.static_share * self._machine.tdp_watts
        watts = static + sum(busy * core_watts(self._machine, mhz) for busy, mhz in cores)
        self._used += watts * seconds

    def show(self) -> None:
        """Write what has come together."""
        self._tree.swap(f"{FOLDER}/energy_uj", f"{int(self._used / _MICRO) % BOUND}\n")
