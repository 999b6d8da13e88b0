"""
The turbo ratio limits, which both generations keep in model-specific registers.

They go through the Speed Select driver, whose list of registers is short, and not through ``/dev/cpu/N/msr``, which a
locked-down kernel refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.device import Device
from plimsoll.kernel.isst.state import Answer, Domain, TurboRatioLimits
from plimsoll.model.outcome import Outcome

TURBO_RATIO_LIMIT: Final = 0x1AD
TURBO_RATIO_LIMIT_CORES: Final = 0x1AE


class RatioLimits:
    """The part of a binding that is the same in both generations."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def turbo_ratio_limits(self, domains: Sequence[Domain]) -> list[Answer[TurboRatioLimits]]:
        """The limits each domain's CPU sees; MISSING for a domain without CPUs."""
        asked = [domain.cpu for domain in domains if domain.cpu is not None]
        registers = (TURBO_RATIO_LIMIT, TURBO_RATIO_LIMIT_CORES)
        found = self._device.commands(
            Request.MSR_COMMAND, [abi.MsrCmd(0, cpu, register, 0) for cpu in asked for register in registers]
        )
        pairs = iter(zip(found[::2], found[1::2], strict=True))
        return [Answer(None, Outcome.MISSING) if domain.cpu is None else _limits(*next(pairs)) for domain in domains]

    def set_turbo_ratio_limits(self, domain: Domain, word: int) -> Answer[None]:
        """Set MSR 0x1AD through the domain's CPU."""
        if domain.cpu is None:
            return Answer(None, Outcome.MISSING)
        command = abi.MsrCmd(1, domain.cpu, TURBO_RATIO_LIMIT, word)
        return self._device.commands(Request.MSR_COMMAND, [command])[0].without()


def _limits(ratios: Answer[abi.MsrCmd], cores: Answer[abi.MsrCmd]) -> Answer[TurboRatioLimits]:
    if ratios.value is None:
        return ratios.without()
    return Answer(TurboRatioLimits(ratios.value.data, None if cores.value is None else cores.value.data))
