"""
The Speed Select of one host, looked for once and again when CPUs have gone on or off line.

Owns whether what was found can be used to share out power by class; what is done with it is the business of others.
"""

from __future__ import annotations

import time

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.device import Pause, Transport
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.registers import Registers
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.topology import read_online
from plimsoll.model.cpus import CpuSet
from plimsoll.model.outcome import Outcome


class SpeedSelect:
    """
    Look for it by :meth:`find`; :attr:`registers` are then those of what was found last.

    ``transport`` and ``pause`` as in :meth:`Platform.detect`. Two threads may use it: what is found is put in place as
    a whole.
    """

    def __init__(self, host: HostFs, *, transport: Transport | None = None, pause: Pause = time.sleep) -> None:
        self._host = host
        self._transport = transport
        self._pause = pause
        self._online: CpuSet | None = None
        self._found: Platform | Absence | None = None
        self._registers: Registers | None = None

    @property
    def registers(self) -> Registers | None:
        """``None`` where there is no Speed Select that can be used. Looks for it if nobody has yet."""
        self.find()
        return self._registers

    def find(self, *, afresh: bool = False) -> Platform | Absence:
        """
        What there is. ``afresh``: where there was none, look again: a module may have been loaded meanwhile.

        Otherwise nothing is asked of the hardware unless other CPUs are online than the last time.
        """
        online = read_online(self._host)
        found = self._found
        if found is None or online != self._online or (afresh and isinstance(found, Absence)):
            found = self._usable()
            self._registers = None if isinstance(found, Absence) else Registers(found)
            self._online, self._found = online, found
        return found

    def _usable(self) -> Platform | Absence:
        found = Platform.detect(self._host, transport=self._transport, pause=self._pause)
        if isinstance(found, Absence):
            return found
        for domain in found.domains:
            if domain.cpu is None:
                continue
            power = found.binding.core_power(domain)
            if power.value is None:
                return Absence(
                    Reason.NO_HARDWARE if power.outcome is Outcome.REJECTED else reason_of(power.outcome),
                    f"Speed Select is there, but core-power of power domain {domain.name} does not answer: "
                    f"{power.outcome.value}.",
                    "Look in the firmware's setup if Speed Select's core-power (SST-CP) is on.",
                )
            if not power.value.supported:
                return Absence(
                    Reason.NO_HARDWARE,
                    f"Speed Select is there, but power domain {domain.name} has no core-power.",
                    "Look in the firmware's setup if Speed Select's core-power (SST-CP) is on.",
                )
        return found
