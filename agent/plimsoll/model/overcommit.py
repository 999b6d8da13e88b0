"""
What the overcommit policy came to in one decision, for people and metrics. Bytes, shares of time (0..1), seconds.

Only results: nothing here knows how they were arrived at (``policies/overcommit.py``). Unknown is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.model.plan import Selector


class Pause(StrEnum):
    """Why no memory is being reclaimed, of a pod or of all: label values, keep them stable."""

    NONE = ""
    # Of the node:
    OFF = "off"  # the ratio is 1.0: there is nothing to do
    NO_DEVICE = "no-device"  # none is configured, or it is not in use as swap
    NO_LIMIT = "no-limit"  # this kernel cannot keep the other pods off the device
    NO_RECLAIM = "no-reclaim"  # this kernel cannot be asked to reclaim
    SHARED = "shared"  # the device holds memory of others too
    DEVICE_FULL = "device-full"
    WRITE_BUDGET = "write-budget"
    HIGH_PRESSURE = "high-pressure"  # a high-priority pod waits too much
    OOM_KILL = "oom-kill"  # of the pod, or of one that is not low-priority
    REACHED = "reached"  # the ratio, or the budget
    # Of a pod:
    UNKNOWN = "unknown"  # its memory cannot be read
    OWNER = "owner"  # asked to be left alone
    PROBATION = "probation"
    LOOKING = "looking"  # the kernel has just looked at it: what it uses, it shall have used again before the next time
    FELT = "felt"  # it felt the last request
    STALLED = "stalled"  # it has used up its stall budget
    REFAULTS = "refaults"  # what was taken from it came back
    FLOOR = "floor"  # less would take what it needs, or asked to keep
    CAPPED = "capped"  # it has given its part
    WARM = "warm"  # nothing in it is cold
    BUSY = "busy"  # it is being reclaimed from


ALARMS = frozenset({Pause.SHARED, Pause.HIGH_PRESSURE, Pause.OOM_KILL})
"""For these also what is under way stops. The others only mean that nothing more is asked for."""


class PassedOver(StrEnum):
    """Why a selector that this node has is not used: label values, keep them stable."""

    FAILING = "failing"  # it was tried, and is let be for a while
    NODE_TOO_LARGE = "node-too-large"
    TOO_MANY_CONTAINERS = "too-many-containers"
    UNKNOWN = "unknown"  # not probed, or how large the node is cannot be told


@dataclass(frozen=True, slots=True)
class PodOvercommit:
    """
    One low-priority pod. ``base``: what swap could hold and is in memory; ``offloaded``: what is only on the device.

    ``cap``: the most of it that may be there. ``floor``: its memory is not taken below this. ``step``: the share of
    ``base`` it may lose at once. ``pressure``: share of time it waited for swap since the last snapshot; ``exact``
    where the kernel said so, an estimate otherwise. ``stall_budget``: seconds it may yet wait. ``refaults``: bytes per
    second that came back, smoothed. ``asked``: bytes asked for in this decision; ``wanted``: what a request now would
    be of, also where none is due, where DAMON gets at them by itself, and while the policy only observes. ``pause``
    says why none, for ``pause_seconds`` more where that is known. ``window``: seconds for which its memory must not
    have been used to be cold.
    """

    uid: str
    base: int
    offloaded: int
    cap: int
    floor: int
    step: float
    stall_budget: float
    selector: Selector
    pressure: float | None = None
    exact: bool = False
    refaults: float | None = None
    cold: int | None = None
    asked: int = 0
    pause: Pause = Pause.NONE
    pause_seconds: float = 0.0
    wanted: int = 0
    window: float = 0.0


@dataclass(frozen=True, slots=True)
class Overcommit:
    """
    All low-priority pods of a node together.

    ``physical``: their memory; ``base``: of it what the ratio is reckoned with; ``offloaded`` and ``swap_cached`` as of
    a pod. ``ratio`` is ``(base + offloaded) / base``, ``None`` while there is none; ``target`` what it shall be.
    ``budget``: where that counts instead, what ``physical`` shall be. ``gap``: bytes still to be moved out.
    ``write_budget``: bytes the device may be written now; ``write_rate``: what it was written, bytes per second,
    smoothed; ``write_mean``: over the last day; ``write_limit``: what it may be on the average. ``life``: seconds in
    which the drive has been written what it is rated for, if it goes on like that day.
    ``offer``: bytes that more low-priority pods may be placed by. ``selector``: what finds cold memory, ``None`` where
    nothing is looked for; ``passed_over``: those that would find colder memory, each with why it is not used: its
    capability's reason, or one of :class:`PassedOver`. ``pause`` says why nothing is reclaimed of any pod.
    """

    physical: int = 0
    base: int = 0
    offloaded: int = 0
    swap_cached: int = 0
    ratio: float | None = None
    target: float = 1.0
    gap: int = 0
    reached: bool = False
    write_budget: int | None = None
    write_limit: float | None = None
    write_rate: float | None = None
    write_mean: float | None = None
    life: float | None = None
    offer: int = 0
    selector: Selector | None = None
    passed_over: tuple[tuple[Selector, str], ...] = ()
    pause: Pause = Pause.NONE
    budget: int | None = None
    pods: tuple[PodOvercommit, ...] = ()
