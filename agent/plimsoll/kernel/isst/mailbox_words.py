"""
The mailbox generation's commands, and what the words of their requests and answers mean.

Pure: nothing is sent here. Ratios of 100 MHz are turned into MHz here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from plimsoll.kernel.isst.state import Answer, ClosParam, CorePower

WRITE: Final = 1 << 8  # in `parameter`, of the commands of 0xD0
PM_CLOS: Final = 0x08  # one register for each class
PQR_ASSOC: Final = 0x20  # one for each core
CLOS_SHIFT: Final = 16
CLOS_MASK: Final = 0x3 << CLOS_SHIFT
ENABLE_CLOS: Final = 1 << 1
ORDERED: Final = 1 << 2
SST_CP_CAPABLE: Final = 1 << 0
SST_CP_ENABLE: Final = 1 << 16
TURBO_FREQ: Final = 1 << 16
BASE_FREQ: Final = 1 << 17
NO_LIMIT: Final = 0xFF
MHZ: Final = 100


class Command(NamedTuple):
    """A mailbox command and its sub-command."""

    command: int
    sub: int


GET_LEVELS_INFO: Final = Command(0x7F, 0x00)
GET_TDP_CONTROL: Final = Command(0x7F, 0x01)
SET_TDP_CONTROL: Final = Command(0x7F, 0x02)
GET_TDP_INFO: Final = Command(0x7F, 0x03)
GET_TJMAX: Final = Command(0x7F, 0x05)
GET_CORE_MASK: Final = Command(0x7F, 0x06)
GET_TURBO_LIMIT_RATIOS: Final = Command(0x7F, 0x07)
GET_P1_INFO: Final = Command(0x7F, 0x0A)
FACT_HP_NUMCORES: Final = Command(0x7F, 0x10)
FACT_HP_RATIOS: Final = Command(0x7F, 0x11)
FACT_LP_CLIP: Final = Command(0x7F, 0x12)
PBF_CORE_MASK: Final = Command(0x7F, 0x20)
PBF_P1: Final = Command(0x7F, 0x21)
PBF_TJMAX: Final = Command(0x7F, 0x22)
PBF_TDP: Final = Command(0x7F, 0x23)
READ_PM_CONFIG: Final = Command(0x94, 0x03)
WRITE_PM_CONFIG: Final = Command(0x95, 0x03)
CLOS_PQR_ASSOC: Final = Command(0xD0, 0x00)
CLOS_PM_CLOS: Final = Command(0xD0, 0x01)
CLOS_PM_QOS_CONFIG: Final = Command(0xD0, 0x02)


class Call(NamedTuple):
    """One use of a command. ``parameter`` is the core or class that the commands of 0xD0 are about."""

    command: Command
    request: int = 0
    parameter: int = 0


def table(command: Command, level: int, isa: int = 0) -> list[Call]:
    """The two calls for the two words of a table."""
    return [Call(command, level | word << 8 | isa << 16) for word in (0, 1)]


def ratios(answer: Answer[int]) -> list[int]:
    """The four ratios of a word in MHz; none of a word that was not answered."""
    return [MHZ * each for each in octets(answer)]


def octets(answer: Answer[int]) -> tuple[int, ...]:
    """The four bytes of a word, the lowest first; none of a word that was not answered."""
    return () if answer.value is None else tuple(answer.value.to_bytes(4, "little"))


def ratio_rows(answers: Sequence[Answer[int]]) -> list[tuple[int, ...]]:
    """Tables of eight ratios from pairs of words, in MHz; a word that was not answered has no ratios."""
    words = [octets(answer) or (0,) * 4 for answer in answers]
    return [tuple(MHZ * each for each in (*low, *high)) for low, high in zip(words[::2], words[1::2], strict=True)]


def core_mask(low: Answer[int], high: Answer[int]) -> frozenset[int] | None:
    """The cores of two words of a mask; ``None`` where either was not answered."""
    if low.value is None or high.value is None:
        return None
    mask = high.value << 32 | low.value
    return frozenset(core for core in range(64) if mask >> core & 1)


def class_of(word: int) -> int:
    """The class a core's register puts it into."""
    return (word & CLOS_MASK) >> CLOS_SHIFT


def in_class(word: int, clos: int) -> int:
    """A core's register with another class: the core's RMID stays."""
    return word & ~CLOS_MASK | clos << CLOS_SHIFT


def core_power_of(config: int, qos: int) -> CorePower:
    """What READ_PM_CONFIG and CLOS_PM_QOS_CONFIG say together."""
    return CorePower(
        supported=bool(config & SST_CP_CAPABLE),
        enabled=bool(config & SST_CP_ENABLE),
        ordered=bool(qos & ORDERED),
        heeded=bool(qos & ENABLE_CLOS),
    )


def qos_word(word: int, state: CorePower) -> int:
    """CLOS_PM_QOS_CONFIG for ``state``: the switches of energy reporting and of out-of-band priorities stay."""
    return word & ~(ENABLE_CLOS | ORDERED) | ENABLE_CLOS * state.heeded | ORDERED * state.ordered


def param_of(word: int) -> ClosParam:
    """A class's register; it has no bit that is not part of the value."""
    maximum = word >> 16 & 0xFF
    return ClosParam(
        priority=word >> 4 & 0xF,
        minimum=MHZ * (word >> 8 & 0xFF),
        maximum=None if maximum == NO_LIMIT else MHZ * maximum,
        epp=word & 0xF,
        desired=MHZ * (word >> 24),
    )


def param_word(param: ClosParam) -> int:
    """The register for a class; what is not a whole ratio is truncated, as the TPMI driver does."""
    maximum = NO_LIMIT if param.maximum is None else param.maximum // MHZ
    desired = (param.desired or 0) // MHZ
    return (param.epp or 0) | param.priority << 4 | param.minimum // MHZ << 8 | maximum << 16 | desired << 24
