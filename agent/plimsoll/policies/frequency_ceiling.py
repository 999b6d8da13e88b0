"""
The frequencies of the two groups, in MHz, as far as they do not follow from the hardware alone.

Power is about C V^2 f, and the voltage rises with the frequency: so the upper half of the way from the lowest to the
base frequency is where giving up work saves most power for it (from 2,000 to 1,400 MHz of 800, at 0.65 to 0.8 V,
three tenths of the work and more than four of the power). Above the base frequency is turbo, which is for the high
group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from plimsoll.model.frequency import Unit

# Speed Select counts in ratios of the 100 MHz bus clock.
STEP_MHZ = 100


def low_ceiling(unit: Unit, choice: Literal["auto"] | int) -> int | None:
    """
    What a unit of the low group may reach; ``None`` where not enough is known to make it slow.

    Never above the base frequency and never below the lowest. Where the base frequency is not known, ``auto`` takes it
    to be two thirds of the way up.
    """
    top = min((each for each in (unit.base, unit.highest) if each is not None), default=None)
    if top is None:
        return None
    lowest = unit.lowest
    if choice != "auto":
        return max(min(choice, top), lowest or 0)
    if lowest is None or lowest >= top:
        return top if unit.base is not None else None
    share = 2 if unit.base is not None else 3
    return max(_stepped(lowest + (top - lowest) // share), lowest)


def shared_ceiling(units: Sequence[Unit], choice: Literal["auto"] | int) -> int | None:
    """The same for units that share a class of service: what suits them all, in whole steps."""
    found = [low_ceiling(each, choice) for each in units]
    known = [each for each in found if each is not None]
    return max(_stepped(min(known)), STEP_MHZ) if known and len(known) == len(found) else None


def shared_floor(units: Sequence[Unit], choice: Literal["auto"] | int) -> int:
    """What units of the high group in one class of service are not to fall below; 0 is no floor."""
    bases = [each.base for each in units if each.base is not None]
    base = min(bases) if len(bases) == len(units) else None
    if choice == "auto":
        return 0 if base is None else _stepped(base)
    return _stepped(choice if base is None else min(choice, base))


def unit_floor(unit: Unit, choice: Literal["auto"] | int) -> int:
    """
    The same for one unit of cpufreq, never below what it can do: of its table the next higher frequency.

    The kernel would take that one in any case, and show another floor than was asked for.
    """
    floor = max(shared_floor([unit], choice), unit.lowest or 0)
    return next((each for each in unit.steps if each >= floor), floor)


def shared_lowest(units: Sequence[Unit], ceiling: int) -> int:
    """The floor of the low group's class of service: the hardware's own, or 0."""
    found = [each.lowest for each in units if each.lowest is not None]
    return min(_stepped(min(found)), ceiling) if found else 0


def _stepped(mhz: int) -> int:
    return mhz // STEP_MHZ * STEP_MHZ
