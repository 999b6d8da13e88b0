"""
A node whose frequencies cpufreq sets, as ``frequency_life.py`` has one with Speed Select: the files of its policies
behave as the kernel's, CPUs go on and off line, and every promise is checked before every change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from plimsoll.model.cpus import CpuSet, format_cpus
from plimsoll.model.plan import Knob, Target, TargetKind
from plimsoll.simulator.cpufreq import Cpufreq
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER
from tests.frequency_life import Node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from plimsoll.simulator.frequency_node import SimulatedPod

_WRITTEN = re.compile(rf".*{FOLDER}/cpufreq/(policy[0-9]+)/([a-z_]+)", re.ASCII)
_KNOBS = {
    "scaling_max_freq": Knob.SCALING_MAX_FREQ,
    "scaling_min_freq": Knob.SCALING_MIN_FREQ,
    "energy_performance_preference": Knob.ENERGY_PREFERENCE,
}


class CpufreqNode(Node):
    """Two packages of four cores with two threads, each with a policy of its own, as intel_pstate has it."""

    def __init__(self, root: Path, pods: Sequence[SimulatedPod]) -> None:
        super().__init__(root, describe(Generation.MAILBOX, cores=4), pods)
        self.cpufreq = Cpufreq()

    def have_table(self, *khz: int) -> None:
        """The driver is one that knows these frequencies and no others, as acpi-cpufreq is."""
        self.cpufreq = Cpufreq(table=khz)
        for cpu in self.description.cpus:
            (self.policy(cpu) / "scaling_available_frequencies").write_text(f"{' '.join(map(str, reversed(khz)))} \n")

    def state(self) -> dict[str, int | str | bytes]:
        """Every file of a policy that may be written, what was asked for by it, and every cpuset."""
        policies = [self.policy(cpu) for cpu in self.description.cpus]
        files = {str(path): path.read_bytes() for each in policies for path in map(each.joinpath, _KNOBS)}
        asked = {f"asked of {each}": str(self.cpufreq.asked(str(each))) for each in policies}
        return {**files, **asked, **super().state()}

    def policy(self, cpu: int) -> Path:
        """The folder of a CPU's policy."""
        return self.root / FOLDER / f"cpufreq/policy{cpu}"

    def slow(self) -> CpuSet:
        """The CPUs online of which less is asked than their hardware can do."""
        asked = {cpu: self.cpufreq.asked(str(self.policy(cpu)))[1] for cpu in self.online}
        return frozenset(
            cpu for cpu, ceiling in asked.items() if ceiling < _first(self.policy(cpu) / "cpuinfo_max_freq")
        )

    def hook(self, operation: str, path: str) -> int:
        match = _WRITTEN.fullmatch(path)
        if match is None:
            return super().hook(operation, path)
        # What a plain file keeps of a longer value is cut in a call of its own; for the kernel that is one write.
        if operation == "write":
            self._step(f"write {match[2]}")
            self._in_journal(Target(TargetKind.UNIT, match[1]), _KNOBS[match[2]])
        # Last: it takes what it sees in a file after this for what is written now.
        return self.cpufreq(operation, path)

    def heat(self, cap: int | None) -> None:
        """A cooling device holds every CPU down to so many kHz; ``None``: it is not at work."""
        self.cpufreq.cap = cap
        device = self.root / "sys/class/thermal/cooling_device0"
        device.mkdir(parents=True, exist_ok=True)
        (device / "type").write_text("Processor\n")
        (device / "cur_state").write_text(f"{int(cap is not None)}\n")

    def take_offline(self, *cpus: int) -> None:
        """As with ``echo 0 > /sys/devices/system/cpu/cpuN/online``."""
        self._have_online(self.online - set(cpus))

    def take_online(self, *cpus: int) -> None:
        """The other way round: a policy is as it was left."""
        self._have_online(self.online | set(cpus))
        self.check(f"CPUs {cpus} came on line")

    def _have_online(self, cpus: CpuSet) -> None:
        self.online = cpus
        (self.root / FOLDER / "online").write_text(f"{format_cpus(cpus)}\n")
        self.cpufreq.inactive = {str(self.policy(cpu)) for cpu in self.description.cpus if cpu not in cpus}


def _first(path: Path) -> int:
    return int(path.read_text().partition("\n")[0])
