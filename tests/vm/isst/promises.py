"""What the frequency policy promises at every instant, checked over what the kernel and the registers have seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from plimsoll.model.cpus import CpuSet, parse_cpus
from tests.vm.cpusets import Write


class Instant(NamedTuple):
    """The CPUs that are slow and those the high-priority pods may run on, by cgroup, from ``time_ns`` on."""

    time_ns: int
    slow: CpuSet
    high: Mapping[str, CpuSet]


def instants(
    exchanges: Iterable[Mapping[str, Any]], writes: Iterable[Write], high: Iterable[str], every: CpuSet
) -> list[Instant]:
    """
    The node after every change, in order. ``high``: names of the cgroups of high-priority pods; ``every``: all CPUs.

    A write to a cpuset counts from before it takes effect if it lets a pod run on more CPUs, and so does a register's
    change until after it has: the agent does one after the other, so that neither hides a broken promise.
    """
    names = frozenset(high)
    changes = sorted(
        [(each["time_ns"], each) for each in exchanges] + [(each.time_ns, each) for each in writes],
        key=lambda change: change[0],
    )
    state = Instant(0, frozenset(), dict.fromkeys(names, every))
    found = [state]
    for when, change in changes:
        if isinstance(change, Write):
            if change.cgroup not in names:
                continue
            cpus = parse_cpus(change.value) if change.value else every
            state = Instant(when, state.slow, {**state.high, change.cgroup: cpus})
        else:
            state = Instant(when, frozenset(change["slow"]), state.high)
        if state[1:] != found[-1][1:]:
            found.append(state)
    return found


def broken(seen: Iterable[Instant]) -> list[str]:
    """A sentence for each instant at which a high-priority pod might run on a slow CPU."""
    return [
        f"at {each.time_ns}: {cgroup} may run on {sorted(cpus & each.slow)}, which are slow"
        for each in seen
        for cgroup, cpus in each.high.items()
        if cpus & each.slow
    ]
