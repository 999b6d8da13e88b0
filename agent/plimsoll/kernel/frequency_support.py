"""
Whether this node's frequencies can be set and measured and, where not, why.

Everything is read, nothing written: that a file is there does not say that a write to it will pass.
"""

from __future__ import annotations

import os
from typing import Final

from plimsoll.kernel import energy
from plimsoll.kernel.cpufreq import ROOT, FrequencyPolicy, read_policies
from plimsoll.kernel.energy import read_energy
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.msr import read_cycles
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.kernel.topology import read_integer, read_online
from plimsoll.model.outcome import Outcome, outcome_of

_NO_TURBO: Final = "sys/devices/system/cpu/intel_pstate/no_turbo"
_NOTHING_NEEDED: Final = "Nothing needs to be done: this is measured less exactly, or not at all."


class FrequencySupport:
    """Each answer is ``None`` when it is there, else why not. Reads afresh; Speed Select as it was found last."""

    def __init__(self, host: HostFs, speed_select: SpeedSelect) -> None:
        self._host = host
        self._found = speed_select.find(afresh=True)
        self._policies: tuple[FrequencyPolicy, ...] = read_policies(host)

    @property
    def generation(self) -> str:
        """How Speed Select is reached here; empty where there is none."""
        return self._found.generation.value if isinstance(self._found, Platform) else ""

    @property
    def driver(self) -> str:
        """What scales frequencies; empty where nothing does."""
        return next((each.driver for each in self._policies if each.driver), "")

    def frequency(self) -> Absence | None:
        """One way or another to set how fast a CPU may be."""
        cpufreq = self.cpufreq()
        if not isinstance(self._found, Absence) or cpufreq is None:
            return None
        return cpufreq._replace(detail=f"Neither Speed Select nor cpufreq can be used. {cpufreq.detail}")

    def isst(self) -> Absence | None:
        """Speed Select with core-power."""
        return self._found if isinstance(self._found, Absence) else None

    def cpufreq(self) -> Absence | None:
        """``scaling_max_freq`` of every policy that has an online CPU."""
        if not self._policies:
            return Absence(
                Reason.NO_FILE,
                f"There is no policy in /{ROOT}: nothing scales this node's frequencies, as in most virtual machines.",
                "Nothing can be done in a virtual machine. Elsewhere load the CPU's cpufreq driver, and look in the "
                "firmware's setup if the operating system may scale frequencies.",
            )
        lacking = [each.name for each in self._policies if each.maximum is None or each.highest is None]
        if not lacking:
            return None
        reading = self._host.read(f"{ROOT}/{lacking[0]}/scaling_max_freq")
        return Absence(
            Reason.MALFORMED if reading.outcome is Outcome.OK else reason_of(reading.outcome),
            f"{len(lacking)} policies do not say how fast their CPUs may be, {lacking[0]} among them.",
            "Look for messages of the cpufreq driver in the kernel's log.",
        )

    def turbo_frequency(self) -> Absence | None:
        """Speed Select's turbo frequency (SST-TF) at the current performance level of every package."""
        if isinstance(self._found, Absence):
            return self._found._replace(detail=f"Turbo frequency is Speed Select's. {self._found.detail}")
        for domain in self._found.domains:
            levels = None if domain.cpu is None else self._found.binding.perf_levels(domain)
            if levels is None:
                continue
            if levels.value is None:
                return Absence(
                    reason_of(levels.outcome),
                    f"The performance level of power domain {domain.name} cannot be read: {levels.outcome.value}.",
                    "Look for messages of the Speed Select driver in the kernel's log.",
                )
            if levels.value.current not in levels.value.turbo_freq:
                return Absence(
                    Reason.NO_HARDWARE,
                    f"Power domain {domain.name} has no turbo frequency at its performance level "
                    f"{levels.value.current}.",
                    "Nothing needs to be done: the high group has the ordinary turbo.",
                )
        if read_integer(self._host, _NO_TURBO) == 1:
            return Absence(
                Reason.TURNED_OFF,
                f"Turbo is turned off: /{_NO_TURBO} is 1.",
                "Write 0 there, or find out who turned it off.",
            )
        return None

    def energy_preference(self) -> Absence | None:
        """``energy_performance_preference`` that takes ``power``."""
        if any("power" in each.preferences for each in self._policies):
            return None
        return Absence(
            Reason.NO_FILE,
            f"The cpufreq driver ({self.driver or 'none'}) takes no preference between speed and energy.",
            "Nothing needs to be done: slow CPUs are slow by their ceiling.",
        )

    def effective_frequency(self) -> Absence | None:
        """APERF and MPERF, and a base frequency to count them in."""
        cpu = min(read_online(self._host) or {0})
        if read_cycles(self._host, (cpu,)):
            if any(each.base is not None for each in self._policies) or isinstance(self._found, Platform):
                return None
            return Absence(
                Reason.NO_FILE, "The base frequency, in which cycles are counted, is not known.", _NOTHING_NEEDED
            )
        path = f"dev/cpu/{cpu}/msr"
        try:
            os.close(self._host.open(path, os.O_RDONLY))
        except OSError as error:
            outcome = outcome_of(error.errno or 0)
            if outcome is Outcome.MISSING:
                return Absence(
                    Reason.NO_FILE,
                    f"There is no /{path}: the msr module is not loaded, or this CPU has no such registers.",
                    "On x86 load the msr module; in a container, mount the host's /dev. Until then the figures are "
                    "the driver's.",
                )
            return Absence(
                reason_of(outcome),
                f"/{path} may not be read: {outcome.value}.",
                "Give the container CAP_SYS_RAWIO; a locked-down kernel refuses it all the same. Until then the "
                "figures are the driver's.",
            )
        return Absence(
            Reason.NO_HARDWARE,
            f"/{path} does not have the registers APERF and MPERF: a virtual machine mostly lacks them.",
            _NOTHING_NEEDED,
        )

    def package_energy(self) -> Absence | None:
        """The energy counters of the packages (RAPL)."""
        if read_energy(self._host):
            return None
        zone = f"{energy.ROOT}/intel-rapl:0"
        if self._host.exists(f"{zone}/name"):
            reading = self._host.read(f"{zone}/energy_uj")
            if reading.outcome is not Outcome.OK:
                return Absence(
                    reason_of(reading.outcome),
                    f"/{zone}/energy_uj may not be read: {reading.outcome.value}.",
                    "Run as root: since Linux 5.10 the counters are root's alone.",
                )
        return Absence(
            Reason.NO_FILE,
            f"No package has an energy counter in /{energy.ROOT}.",
            "On x86 load intel_rapl_msr, or intel_rapl_tpmi; virtual machines have none.",
        )
