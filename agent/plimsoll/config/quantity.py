"""
Kubernetes quantities (``128Mi``, ``1.5G``, ``1e3``, ``500m``) as exact numbers.

The text is a stranger's: what it may cost is bounded before anything is computed, and every refusal is a ValueError.
Nothing here knows what is measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

# The API server keeps quantities as 64-bit integers or short decimals; longer text is no quantity.
MAX_LENGTH = 64
# The largest quantity Kubernetes can hold.
MAX_VALUE = (1 << 63) - 1

_SHAPE = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_SCALES: Mapping[str, Fraction] = MappingProxyType(
    {
        "": Fraction(1),
        **{
            suffix: Fraction(10) ** power
            for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
        },
        **{f"{letter}i": Fraction(2) ** (10 * (place + 1)) for place, letter in enumerate("KMGTPE")},
    }
)


def quantity(value: object) -> Fraction:
    """The exact number a quantity stands for; JSON and YAML numbers are taken too. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # The API server takes a number by its digits; an integer of a million digits must not be printed first.
        if isinstance(value, int) and abs(value) > MAX_VALUE:
            raise ValueError("out of range")
        value = repr(value)
    if not isinstance(value, str) or len(value) > MAX_LENGTH:
        raise ValueError("not a quantity")
    match = _SHAPE.fullmatch(value)
    if match is None:
        raise ValueError("not a quantity")
    sign, digits, suffix, exponent = match.groups()
    number = Fraction(digits.removesuffix(".")) * (
        _SCALES[suffix or ""] if exponent is None else Fraction(10) ** int(exponent)
    )
    if number > MAX_VALUE:
        raise ValueError("out of range")
    return -number if sign == "-" else number


def whole(value: object, parts: int = 1) -> int:
    """
    A quantity that counts something, 0 or more, rounded up as Kubernetes does: in ``parts`` of the unit each.

    Raises ValueError.
    """
    number = quantity(value) * parts
    if number < 0:
        raise ValueError("negative")
    return math.ceil(number)
