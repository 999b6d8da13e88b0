"""
How large the high group shall be: it grows at once, and shrinks slowly.

Counts CPUs; which ones is ``frequency_place.py``'s business. Pure, and its memory is one immutable value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.frequency_groups import Cause
from plimsoll.policies.frequency_demand import FULL, Demand

# Without figures the size is held for one decision; a second one without them counts as a full group.
_BLIND = 2
_HEAT = 2


class Size(NamedTuple):
    """
    What sizing remembers. Times are monotonic seconds, ``None`` before the first decision.

    ``heat``: one for each decision in a row with high use, two for one with a full group. ``blind``: decisions in a row
    without figures. ``changed``: when the group last changed. ``full``: when it last was full, or was taken for it.
    ``peaks``: of the window's uses those that none later has exceeded, as (time, CPUs).
    """

    heat: int = 0
    blind: int = 0
    changed: float | None = None
    full: float | None = None
    peaks: tuple[tuple[float, float], ...] = ()


class Wish(NamedTuple):
    """How many CPUs the group shall have at least, and why."""

    cpus: float
    cause: Cause


class Group(NamedTuple):
    """
    What is sized: ``cpus`` it has now, ``floor`` it may not go below, ``grain``: CPUs of the largest unit.

    ``confined``: all its pods run on it alone; otherwise what they use is all they want. ``crossing``: growing would
    cost every CPU of the group some of its frequency.
    """

    cpus: int
    floor: float
    grain: int
    confined: bool
    crossing: bool = False


def resize(group: Group, demand: Demand, now: float, config: FrequencySection, size: Size) -> tuple[Wish, Size]:
    """What is wanted, and what to remember. The caller notes ``changed`` when the group does change."""
    blind = 0 if demand.known else size.blind + 1
    peaks = _peaks(size.peaks, demand, now, config.window)
    crowded = group.confined and (demand.waiting or demand.used >= FULL * group.cpus)
    full = crowded or blind >= _BLIND
    heat = _heat(size.heat, demand, group, config, full=full)
    since = size.full
    if since is None or full:
        # What was used before the first decision is not known either.
        since = now
    ready = heat >= (2 * _HEAT if group.crossing else _HEAT)
    if ready:
        wish = _grown(group, demand, config, full=full)
        heat = 0
    elif blind:
        wish = Wish(float(group.cpus), Cause.NO_FIGURES)
    else:
        wish = _shrunk(group, peaks, now, config, size._replace(full=since))
    if wish.cpus < group.floor:
        wish = Wish(group.floor, Cause.REQUESTS)
    return wish, Size(heat, blind, size.changed, since, peaks)


def _heat(heat: int, demand: Demand, group: Group, config: FrequencySection, *, full: bool) -> int:
    if full:
        return heat + _HEAT
    return heat + 1 if demand.used >= config.grow_above * group.cpus and demand.used > 0 else 0


def _grown(group: Group, demand: Demand, config: FrequencySection, *, full: bool) -> Wish:
    enough = demand.used / config.target_utilization
    if full:
        # How much more is wanted shows only once there is room for it.
        return Wish(max(enough, config.growth_factor * group.cpus, 1.0), Cause.FULL)
    return Wish(max(enough, group.cpus + 1.0), Cause.USED)


def _shrunk(
    group: Group, peaks: tuple[tuple[float, float], ...], now: float, config: FrequencySection, size: Size
) -> Wish:
    hold = Wish(float(group.cpus), Cause.FITS)
    if size.full is None or now - size.full < config.window or not peaks:
        return hold
    if size.changed is not None and now - size.changed < config.cool_down:
        return hold
    _, peak = peaks[0]
    if peak >= config.shrink_below * group.cpus:
        return hold
    step = max(group.grain, math.ceil(config.shrink_step * group.cpus))
    return Wish(max(peak / config.target_utilization, group.cpus - step), Cause.UNUSED)


def _peaks(
    peaks: tuple[tuple[float, float], ...], demand: Demand, now: float, window: float
) -> tuple[tuple[float, float], ...]:
    kept = [each for each in peaks if now - each[0] < window]
    if not demand.known:
        return tuple(kept)
    while kept and kept[-1][1] <= demand.used:
        kept.pop()
    kept.append((now, demand.used))
    return tuple(kept)
