"""
The life of a unit: in the high group; drained, still fast, until no high-priority pod can be on it; in the low group.

This is where the promise is kept that no high-priority pod runs on a slow CPU. It must not know how many units there
should be, nor how they are made fast or slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Backend, FrequencySample, Unit
from plimsoll.policies.frequency_roles import Roles, first_seen, reach

HIGH_CLASS, LOW_CLASS = 0, 3
"""Classes of service: the most and the least important one. The two between them are left alone."""

# A pod whose cgroup does not come to be must not keep the node from saving power.
PENDING_SECONDS = 60.0
# A write takes effect within the tick it is made in; what still is not as wanted after a few will not be.
STRAY_SECONDS = 3.0
REFUSED_SECONDS = 3.0
# When a unit that could not be made fast is asked again.
RETRY_SECONDS = 60.0


class Groups(NamedTuple):
    """
    ``high`` and ``low`` are unit names; what is in neither is drained, or nobody's, and fast. ``touched``: units that
    ever were low; ``raised``: that ever were made fast. Times are monotonic seconds: ``raising``: since when a unit is
    being made fast, until it has shown long enough that it is; ``refused``: until when one that did not become fast is
    left alone. ``pending``: high-priority pods without a cgroup, ``strays``: ones that can be on slow CPUs, each with
    since when, and ``strayed``: when there last was one too long.
    """

    high: frozenset[str] = frozenset()
    low: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
    raised: frozenset[str] = frozenset()
    raising: tuple[tuple[str, float], ...] = ()
    refused: tuple[tuple[str, float], ...] = ()
    pending: tuple[tuple[str, float], ...] = ()
    strays: tuple[tuple[str, float], ...] = ()
    strayed: float | None = None


class Ground(NamedTuple):
    """``units``: all of the node; ``lowerable``: by name, the ceiling (MHz) of those that may be made slow."""

    sample: FrequencySample
    units: Sequence[Unit]
    lowerable: Mapping[str, int]
    pods: Roles
    now: float
    patience: float

    @property
    def everything(self) -> CpuSet:
        """Every CPU online."""
        return frozenset().union(*(each.cpus for each in self.units))


def settle(before: Groups, ground: Ground) -> Groups:
    """
    What became of the groups since the last decision, before there is a new one: units that are gone, that did not
    become fast, and pods that did not go where they were told.
    """
    now, names = ground.now, frozenset(each.name for each in ground.units)
    lowerable = frozenset(ground.lowerable)
    low = before.low & names & lowerable
    everything = ground.everything
    reaches = {each.pod.uid: reach(each, everything) for each in (*ground.pods.high, *ground.pods.pinned_high)}
    occupied = frozenset().union(*reaches.values())
    shown_slow = seen_slow(ground)
    # What was to be made slow and was not must not be now that a high-priority pod is there.
    low -= _on(ground.units, occupied) - shown_slow
    slow = _cpus(ground.units, low)
    strays = first_seen((uid for uid, cpus in reaches.items() if cpus & slow), before.strays, now)
    lost = [reaches[uid] for uid, since in strays if now - since >= STRAY_SECONDS]
    strayed = before.strayed
    if lost:
        # It cannot be kept off the slow CPUs, so there are no slow ones where it is.
        strayed = now
        low -= _on(ground.units, frozenset().union(*lost))
    # The kubelet has given these to a high-priority pod alone.
    low -= _on(ground.units, ground.pods.exclusive)
    refused = {name: until for name, until in before.refused if now < until and name in names}
    for name, since in before.raising:
        if now - since >= REFUSED_SECONDS and name in before.touched and name in shown_slow:
            refused[name] = now + RETRY_SECONDS
    stuck = frozenset(each.name for each in ground.units if each.name in refused and not each.cpus & occupied)
    low |= stuck & lowerable
    return Groups(
        high=(before.high & names) - low,
        low=low,
        touched=before.touched & names,
        raised=before.raised & names,
        raising=before.raising,
        refused=tuple(sorted(refused.items())),
        pending=first_seen(ground.pods.pending, before.pending, now),
        strays=strays,
        strayed=strayed,
    )


def regroup(before: Groups, settled: Groups, high: frozenset[str], ground: Ground) -> Groups:
    """
    The groups with this high group: what joins it is fast from now on, what has left it is drained before it is slow.

    ``before`` is what was decided last, ``settled`` what :func:`settle` made of it.

    A unit is made slow only in a later decision than the one that took it from the high-priority pods, and only once
    the snapshot shows that none of them can be on it any more.
    """
    drained = _drained(settled, high, ground)
    low = (settled.low - high) | drained
    young = {name for name, since in settled.raising if ground.now - since < REFUSED_SECONDS}
    slow = before.low | seen_slow(ground) | young
    raising = tuple(each.name for each in ground.units if each.name not in low and each.name in slow)
    return settled._replace(
        high=high,
        low=low,
        touched=settled.touched | low,
        raised=settled.raised | frozenset(raising),
        raising=first_seen(raising, settled.raising, ground.now),
    )


def _drained(settled: Groups, high: frozenset[str], ground: Ground) -> frozenset[str]:
    now = ground.now
    if settled.strays or (settled.strayed is not None and now - settled.strayed < ground.patience):
        return frozenset()
    if any(now - since < PENDING_SECONDS for _, since in settled.pending):
        # It may start anywhere, at any moment.
        return frozenset()
    everything = ground.everything
    occupied = frozenset().union(*(reach(each, everything) for each in (*ground.pods.high, *ground.pods.pinned_high)))
    return frozenset(
        each.name
        for each in ground.units
        if each.name in ground.lowerable
        and each.name not in high
        and each.name not in settled.high
        and not each.cpus & occupied
    )


def seen_slow(ground: Ground) -> frozenset[str]:
    """The units the hardware shows as slow ones, and those of Speed Select it does not show at all."""
    sample = ground.sample
    if sample.backend is Backend.CPUFREQ:
        return frozenset(name for name, limit in sample.limits.items() if limit <= ground.lowerable.get(name, 0))
    return frozenset(each.name for each in ground.units if sample.classes.get(each.name, LOW_CLASS) == LOW_CLASS)


def _cpus(units: Sequence[Unit], names: frozenset[str]) -> CpuSet:
    return frozenset().union(*(each.cpus for each in units if each.name in names))


def _on(units: Sequence[Unit], cpus: CpuSet) -> frozenset[str]:
    return frozenset(each.name for each in units if each.cpus & cpus)
