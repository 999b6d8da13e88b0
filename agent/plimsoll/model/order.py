"""
The order in which the writes of a plan are safe after every single one of them, with the steps it takes on the way.

Pure. It must not know why a value is wanted, nor whether the kernel takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plimsoll.model.cpus import CpuSet, format_cpus, parse_cpus
from plimsoll.model.plan import Knob, Target, TargetKind, Write, number


class _Step(NamedTuple):
    """One write: what stands there before it, and the phase it takes place in, which need not be its own."""

    write: Write
    standing: str | None
    phase: int


def order(writes: Iterable[Write], standing: Mapping[tuple[Target, Knob], str]) -> tuple[Write, ...]:
    """
    Sort writes so that no child is ever wider than its parent, given what stands now.

    Some controllers refuse a child that is wider than its parent and others cap it without a word. So within a phase
    what grows is written from the root down, and then what shrinks from the leaves up.

    A set of CPUs above others that change, too, may have to grow and to shrink: such a write is there twice, the first
    time with all the CPUs of both. What it grows by it has before the first of those below it is written, and what it
    loses after the last, whatever their phases: a set above lets nobody run anywhere by itself.
    """
    every = tuple(writes)
    below = _below(every)
    steps = [step for each in every for step in _steps(each, standing.get(each.key), below.get(each.target, ()))]
    return tuple(step.write for step in sorted(steps, key=_place))


def width(knob: Knob, value: str) -> float:
    """How much a value lets its cgroup have, as far as two values of one knob can be compared."""
    if knob is not Knob.CPUSET_CPUS:
        return number(value)
    cpus = _cpus(value)
    # What the cgroup inherits has no bound of its own.
    return float("inf") if cpus is None else float(len(cpus))


def _place(step: _Step) -> tuple[int, int, int, Target, Knob]:
    write, now, phase = step
    shrinks = now is not None and width(write.knob, write.value) < width(write.knob, now)
    return (phase, int(shrinks), -write.target.depth if shrinks else write.target.depth, *write.key)


def _below(writes: Sequence[Write]) -> Mapping[Target, Sequence[int]]:
    """By cgroup whose set of CPUs is written, the phases of those written below it."""
    sets = {each.target: each for each in writes if each.knob is Knob.CPUSET_CPUS}
    found: dict[Target, list[int]] = {}
    for target, write in sets.items():
        path = target.path
        while path:
            path = path.rpartition("/")[0]
            above = Target(TargetKind.CGROUP, path)
            if above in sets:
                found.setdefault(above, []).append(write.phase)
    return found


def _steps(write: Write, now: str | None, below: Sequence[int]) -> Sequence[_Step]:
    before = None if now is None or not below else _cpus(now)
    after = _cpus(write.value) if before is not None else None
    if before is None or after is None:
        return (_Step(write, now, write.phase),)
    first, last = min(write.phase, *below), max(write.phase, *below)
    if after <= before:
        return (_Step(write, now, last),)
    if before <= after:
        return (_Step(write, now, first),)
    both = format_cpus(before | after)
    return (_Step(write._replace(value=both), now, first), _Step(write, both, last))


def _cpus(value: str) -> CpuSet | None:
    try:
        # A recorded file keeps the tail of a longer value until it is cut; the kernel's have one line.
        return parse_cpus(value.partition("\n")[0])
    except ValueError:
        return None
