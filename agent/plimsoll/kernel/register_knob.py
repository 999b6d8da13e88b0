"""
A register of Speed Select in the shape of a knob: what is held, read and written like a control file.

It must not know which value is wanted, nor what a register means: that is kernel/isst/registers.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import Reading
from plimsoll.kernel.isst.registers import Registers
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Target, TargetKind

_KINDS: Final[Mapping[Knob, TargetKind]] = MappingProxyType(
    {
        Knob.CLOS_ASSOCIATION: TargetKind.UNIT,
        Knob.CLOS_PARAMETERS: TargetKind.CLASS,
        Knob.CORE_POWER: TargetKind.PACKAGE,
        Knob.TURBO_FREQUENCY: TargetKind.PACKAGE,
        Knob.TURBO_LIMITS: TargetKind.PACKAGE,
    }
)


class RegisterKnob(Closing):
    """
    One register. ``identity`` is always 0: a register comes and goes with the machine, and never for another one.

    Nothing is held open between two calls: an open device node keeps the kernel from changing its back-end.
    """

    __slots__ = ("_address", "_knob", "_registers", "identity")

    def __init__(self, registers: Registers, knob: Knob, address: str) -> None:
        self._registers = registers
        self._knob = knob
        self._address = address
        self.identity = 0

    @classmethod
    def of(cls, registers: Registers, target: Target, knob: Knob) -> RegisterKnob | Outcome:
        """The register that ``knob`` is on this part of the CPUs; MISSING for a part that has none of the kind."""
        # An association and a class's parameters are addressed alike: only the kind of target tells them apart.
        return cls(registers, knob, target.path) if target.kind is _KINDS.get(knob) else Outcome.MISSING

    def close(self) -> None:
        """There is nothing to let go of."""

    def read(self) -> Reading:
        """What stands there now."""
        return self._registers.read(self._knob, self._address)

    def write(self, text: str) -> tuple[Outcome, int]:
        """Set it: the outcome and its errno, 0 where no system call failed. OK does not say that it stays."""
        return self._registers.write(self._knob, self._address, text.removesuffix("\n"))
