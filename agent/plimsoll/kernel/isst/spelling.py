"""
One line of ASCII for the value of each register that may be written, and back: exact both ways.

Only what a write changes is spelled. Bits that a write leaves as they are (a core's RMID, energy reporting) are not,
or a value would never read back as it was written. Nothing is sent here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from plimsoll.kernel.isst.abi import CLASSES
from plimsoll.kernel.isst.state import ClosParam, CorePower

_PARAM = re.compile(r"prio=(\d{1,2}) min=(\d{1,5}) max=(\d{1,5}|none)(?: epp=(\d{1,2}) desired=(\d{1,5}))?", re.ASCII)
_CORE_POWER = re.compile(r"(off|proportional|ordered)(?: type=(ordered))?(?: clos=(on|off))?", re.ASCII)
_LIMITS = re.compile(r"[0-9a-f]{16}", re.ASCII)
_BY_DOMAIN = re.compile(r"(\d{1,2}): (.+)", re.ASCII)
_HIGHEST = 15
# A ratio is one byte, and all its bits set is no limit.
_MHZ_LIMIT = 25_500


def parse_class(text: str) -> int:
    """``0`` to ``3``. Raises ValueError."""
    if text not in [str(each) for each in CLASSES]:
        raise ValueError(f"not a class of service: {text[:80]!r}")
    return int(text)


def format_param(param: ClosParam) -> str:
    """``prio=15 min=800 max=2000``, and `` epp=0 desired=0`` of the generation that has them; no limit is ``none``."""
    maximum = "none" if param.maximum is None else param.maximum
    text = f"prio={param.priority} min={param.minimum} max={maximum}"
    return text if param.epp is None else f"{text} epp={param.epp} desired={param.desired}"


def parse_param(text: str, *, mailbox: bool) -> ClosParam:
    """
    The class of service of a text; the last two figures must be there with the mailbox, and must not without it.

    Raises ValueError. A minimum above the maximum is taken: it may be what stood there.
    """
    match = _PARAM.fullmatch(text)
    if match is None or mailbox != (match[4] is not None):
        raise ValueError(f"not the parameters of a class of service here: {text[:80]!r}")
    priority, minimum, epp, desired = (None if part is None else int(part) for part in match.group(1, 2, 4, 5))
    maximum = None if match[3] == "none" else int(match[3])
    if max(priority or 0, epp or 0) > _HIGHEST or max(minimum or 0, maximum or 0, desired or 0) > _MHZ_LIMIT:
        raise ValueError(f"out of range for a class of service: {text[:80]!r}")
    return ClosParam(priority or 0, minimum or 0, None if maximum == _MHZ_LIMIT else maximum, epp, desired)


def format_core_power(state: CorePower) -> str:
    """
    ``off``, ``proportional`` or ``ordered``, and what goes beyond it.

    `` type=ordered`` where that is set while it is off; `` clos=on`` or `` clos=off`` where the mailbox generation's
    second switch is not set as the first one.
    """
    kind = ("ordered" if state.ordered else "proportional") if state.enabled else "off"
    if state.ordered and not state.enabled:
        kind += " type=ordered"
    if state.heeded != state.enabled:
        kind += f" clos={'on' if state.heeded else 'off'}"
    return kind


def parse_core_power(text: str, *, mailbox: bool) -> CorePower:
    """The state of a text; ``supported`` is taken as given. Raises ValueError."""
    match = _CORE_POWER.fullmatch(text)
    if match is not None:
        enabled = match[1] != "off"
        ordered = match[1] == "ordered" or match[2] is not None
        heeded = enabled if match[3] is None else match[3] == "on"
        state = CorePower(supported=True, enabled=enabled, ordered=ordered, heeded=heeded)
        # One spelling for each state, and no switch where there is none.
        if format_core_power(state) == text and (mailbox or heeded == enabled):
            return state
    raise ValueError(f"not a state of core-power here: {text[:80]!r}")


def format_switch(on: bool) -> str:
    """``on`` or ``off``."""
    return "on" if on else "off"


def parse_switch(text: str) -> bool:
    """Back from ``on`` or ``off``. Raises ValueError."""
    if text not in ("on", "off"):
        raise ValueError(f"neither on nor off: {text[:80]!r}")
    return text == "on"


def format_limits(word: int) -> str:
    """A 64-bit register: 16 hexadecimal digits."""
    return f"{word:016x}"


def parse_limits(text: str) -> int:
    """Back from 16 hexadecimal digits. Raises ValueError."""
    if not _LIMITS.fullmatch(text):
        raise ValueError(f"not a 64-bit register: {text[:80]!r}")
    return int(text, 16)


def format_domains(texts: Mapping[int, str]) -> str:
    """What all domains of a package have in common; else each by its number: ``0: ordered, 2: off``."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return ", ".join(f"{domain}: {text}" for domain, text in sorted(texts.items()))


def parse_domains(text: str, domains: frozenset[int]) -> dict[int, str]:
    """The text of each domain. Raises ValueError for a list that is not of just these domains."""
    if ": " not in text:
        return dict.fromkeys(sorted(domains), text)
    matches = [_BY_DOMAIN.fullmatch(part) for part in text.split(", ")]
    found = {int(match[1]): match[2] for match in matches if match is not None}
    if len(found) != len(matches) or frozenset(found) != domains:
        raise ValueError(f"not a list of this package's power domains: {text[:80]!r}")
    return found
