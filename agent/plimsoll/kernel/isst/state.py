"""
What Speed Select says of a machine, as immutable values both generations share.

Frequencies are MHz, power is W, temperatures are degrees Celsius; what a generation does not have is ``None``. No
register layout and no ioctl is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from plimsoll.model.cpus import CpuSet
from plimsoll.model.outcome import Outcome

T = TypeVar("T")
U = TypeVar("U")


class Answer(NamedTuple, Generic[T]):
    """What one request came to: the value, or why there is none. ``errno`` is 0 where no system call failed."""

    value: T | None
    outcome: Outcome = Outcome.OK
    errno: int = 0

    def map(self, meaning: Callable[[T], U]) -> Answer[U]:
        """The same answer with what its value means."""
        return Answer(None if self.value is None else meaning(self.value), self.outcome, self.errno)

    def without(self) -> Answer[Any]:
        """The same answer without a value: what became of a write, or why something else cannot be known."""
        return Answer(None, self.outcome, self.errno)


def present(values: Sequence[int]) -> tuple[int, ...]:
    """Without the zeros at the end: instruction sets that this machine does not tell apart."""
    return tuple(values[: max((index + 1 for index, value in enumerate(values) if value), default=0)])


class PlatformInfo(NamedTuple):
    """The driver: ``api_version`` 1 for the mailbox generation, 2 and 3 for TPMI, 0 with no back-end behind it."""

    api_version: int
    driver_version: int
    max_commands: int
    mailbox: bool
    mmio: bool


class Domain(NamedTuple):
    """A power domain of a package. ``cpu`` is one of its online CPUs, ``None`` for a die that has none (I/O)."""

    package: int
    domain: int
    cpu: int | None

    @property
    def name(self) -> str:
        return f"{self.package}/{self.domain}"


class Unit(NamedTuple):
    """
    What one association addresses: a core as the punit numbers it, or a module of several on Atom Xeons.

    ``cpus`` are those online. Grouping by thread siblings instead would be wrong where a module shares a slot.
    """

    package: int
    domain: int
    core: int
    cpus: CpuSet

    @property
    def name(self) -> str:
        return f"{self.package}/{self.domain}/{self.core}"


class ClosParam(NamedTuple):
    """
    One class of service. A lower ``priority`` (0..15) gets more; ``maximum`` is ``None`` for no limit.

    ``epp`` (0..15) and ``desired`` exist in the mailbox generation only.
    """

    priority: int
    minimum: int
    maximum: int | None
    epp: int | None = None
    desired: int | None = None


class CorePower(NamedTuple):
    """
    ``enabled``: the feature's switch. ``ordered``: priority type ordered, else proportional.

    ``heeded``: power is shared out by class; the mailbox generation has a switch of its own for that.
    """

    supported: bool
    enabled: bool
    ordered: bool
    heeded: bool

    @property
    def effective(self) -> bool:
        """Whether classes of service have any effect: what turbo-freq cannot do without."""
        return self.enabled and self.heeded


class PerfLevels(NamedTuple):
    """
    The levels of a domain, and what is on at the current one.

    ``turbo_freq`` and ``base_freq`` are the levels that have the feature; ``..._on`` is about the current level.
    """

    version: int
    enabled: bool
    locked: bool
    current: int
    levels: tuple[int, ...]
    turbo_freq: frozenset[int]
    base_freq: frozenset[int]
    turbo_freq_on: bool
    base_freq_on: bool


class Buckets(NamedTuple):
    """
    Turbo by how many cores take part: ``ratios[level][bucket]`` in MHz with at most ``cores[bucket]`` cores.

    ``level`` counts instruction sets from the lightest (0: SSE, 1: AVX2, 2: AVX-512, ...). ``cores`` is empty where
    they could not be read. Empty buckets are left out.
    """

    cores: tuple[int, ...]
    ratios: tuple[tuple[int, ...], ...]

    @classmethod
    def filled(cls, cores: Sequence[int], ratios: Sequence[Sequence[int]]) -> Buckets:
        """Without the buckets that have no cores or no ratio, and without instruction sets as in :func:`present`."""
        rows = ratios[: len(present([max(row, default=0) for row in ratios]))]
        kept = [
            index
            for index in range(max(map(len, rows), default=0))
            if (not cores or cores[index]) and any(row[index] for row in rows)
        ]
        return cls(
            tuple(cores[index] for index in kept) if cores else (),
            tuple(tuple(row[index] for index in kept) for row in rows),
        )


class PerfLevel(NamedTuple):
    """
    One performance level. ``base``: by instruction set as in :class:`Buckets`. ``cores`` are counted by the punit.

    ``highest`` is the fastest turbo there is.
    """

    level: int
    tdp: int
    tdp_ratio: int
    base: tuple[int, ...]
    tjunction_max: int | None
    cores: frozenset[int] | None
    turbo: Buckets

    @property
    def highest(self) -> int | None:
        return max((mhz for row in self.turbo.ratios for mhz in row), default=None)


class TurboFreqInfo(NamedTuple):
    """Turbo-freq of one level: how fast the high-priority cores may go, and where the others are clipped, by ISA."""

    level: int
    buckets: Buckets
    low_priority: tuple[int, ...]


class BaseFreqInfo(NamedTuple):
    """Base-freq of one level: ``cores`` (of the punit) are guaranteed ``high``, all others ``low``."""

    level: int
    high: int
    low: int
    tjunction_max: int | None
    tdp: int | None
    cores: frozenset[int] | None


class TurboRatioLimits(NamedTuple):
    """MSR 0x1AD: ``word`` holds eight ratios of 100 MHz, the lowest byte first. ``cores``: MSR 0x1AE likewise."""

    word: int
    cores: int | None

    @property
    def megahertz(self) -> tuple[int, ...]:
        return tuple(100 * byte for byte in self.word.to_bytes(8, "little"))

    @property
    def core_counts(self) -> tuple[int, ...] | None:
        return None if self.cores is None else tuple(self.cores.to_bytes(8, "little"))
