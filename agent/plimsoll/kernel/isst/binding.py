"""
What both generations can be asked and told: one interface, whatever carries it.

Only the shape is here; ``mailbox.py`` and ``tpmi.py`` fill it. Writes are single steps without judgement: which order
is safe is known in ``registers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from plimsoll.kernel.isst.state import (
    Answer,
    BaseFreqInfo,
    ClosParam,
    CorePower,
    Domain,
    PerfLevel,
    PerfLevels,
    TurboFreqInfo,
    TurboRatioLimits,
)


class Slot(NamedTuple):
    """Where an association is kept: a core, as the punit numbers it, of a domain."""

    domain: Domain
    core: int


class Binding(Protocol):
    """Typed requests. Reads of many take one ioctl per 64; answers come in the order asked for."""

    def perf_levels(self, domain: Domain) -> Answer[PerfLevels]:
        """The levels there are, and which features are on at the current one."""

    def perf_level(self, domain: Domain, level: int) -> Answer[PerfLevel]:
        """One level in full."""

    def core_power(self, domain: Domain) -> Answer[CorePower]:
        """Whether power is shared out by class, and how."""

    def set_core_power(self, domain: Domain, state: CorePower) -> Answer[None]:
        """Set ``enabled``, ``ordered`` and (mailbox) ``heeded``; other bits stay. ``supported`` is not looked at."""

    def clos_params(self, domains: Sequence[Domain]) -> dict[tuple[Domain, int], Answer[ClosParam]]:
        """All four classes of each domain."""

    def set_clos_param(self, domain: Domain, clos: int, param: ClosParam) -> Answer[None]:
        """Set a class. Frequencies are truncated to whole hundreds of MHz."""

    def associations(self, slots: Sequence[Slot]) -> list[Answer[int]]:
        """The class (0..3) each core is in."""

    def associate(self, slot: Slot, clos: int) -> Answer[None]:
        """Put a core into a class; other bits of its register stay."""

    def set_turbo_freq(self, domain: Domain, *, on: bool) -> Answer[None]:
        """Turn turbo-freq on or off at the current level; base-freq stays as it is."""

    def turbo_freq_info(self, domain: Domain, level: int) -> Answer[TurboFreqInfo]:
        """Turbo-freq of a level that has it."""

    def base_freq_info(self, domain: Domain, level: int) -> Answer[BaseFreqInfo]:
        """Base-freq of a level that has it."""

    def turbo_ratio_limits(self, domains: Sequence[Domain]) -> list[Answer[TurboRatioLimits]]:
        """MSR 0x1AD and 0x1AE of each domain's package; MISSING for a domain without CPUs."""

    def set_turbo_ratio_limits(self, domain: Domain, word: int) -> Answer[None]:
        """Set MSR 0x1AD through a CPU of the domain."""
