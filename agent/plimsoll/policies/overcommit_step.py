"""
How much one pod may lose at once: it grows while nothing hurts, and gives way at once when something does.

Each pod has a stall budget: ten minutes' worth of the watermark to begin with, and as much again as time goes by. It is
what finding out costs: the kernel's lists of a fresh pod are in the order of allocation, so the first megabytes hurt,
and no care spares that. A reclaim also clears the marks of what was used from every page it passes by. So after the
first one, which is as small as can be, and after one that was felt or had to look far, the pod has the configured
window to use again what it uses, or the next one would take the warm for the cold. Pure; its memory of a pod is one
immutable value.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.overcommit import Pause
from plimsoll.policies.overcommit_budget import smooth

BUDGET_SECONDS = 600.0
# A pod starts again with a tenth of its budget, that is, after a minute without any stall.
_RESUME = 0.1
_GROWTH = 1.3
_SHOCK = 200.0
_HARSH = 10.0
_FELT = 3.0
HOLD_SECONDS = 10.0
SHOCK_SECONDS = 60.0
# Of the pod, a minute. Google's far memory stays below 0.2 % of what is in use; a fresh pod's first sweep is let go on
# a little longer. On a flash drive it is less than the watermark.
REFAULT_SHARE = 0.005
# How long the level that hurt is not gone below again, the first time.
FLOOR_SECONDS = 120.0
_FLOOR_SECONDS_MOST = 7200.0
# How long it is believed what is in use, and how much more is let be at least.
NEEDS_SECONDS, NEEDS_LEAST = 1800.0, 1 << 20
# Cold memory that came back was not: the pod's window grows. After so long without that it is tried with the usual one.
_WIDENED_MOST = 4
WINDOW_MOST, NARROW_SECONDS = 3600.0, 7200.0
_MARGIN = 1.02
_SAME = 0.05
_NEVER = float("-inf")


class Course(NamedTuple):
    """
    What is remembered of one pod. Times are monotonic seconds.

    ``stall``: seconds it may yet wait. ``waited`` of ``lasted`` seconds since the last request it did. ``floor``: the
    level that hurt, in force until ``floor_until``, ``floor_seconds`` long. ``pause`` says why it is held. ``looked``:
    whether the kernel has been made to look at all of it once. ``passed_by``: bytes it found in use since the last
    request, which it had to look far for if ``searched``; ``needs``: the level they come to, believed until
    ``needs_until``. ``widened`` so many times, the last one at ``widened_at``: see :meth:`window`.
    """

    step: float
    stall: float
    waited: float = 0.0
    lasted: float = 0.0
    refaults: float | None = None
    floor: int = 0
    floor_until: float = _NEVER
    floor_seconds: float = 0.0
    hold_until: float = _NEVER
    pause: Pause = Pause.NONE
    knowing: bool = False
    looked: bool = False
    passed_by: int = 0
    searched: bool = False
    needs: int = 0
    needs_until: float = _NEVER
    widened: int = 0
    widened_at: float = _NEVER

    def window(self, config: OvercommitSection) -> float:
        """How long memory must not have been used to be cold: twice as long each time that turned out too short."""
        return min(WINDOW_MOST, config.window * float(1 << self.widened))

    def floor_at(self, now: float) -> int:
        """The level it may not be taken below now."""
        return max(self.floor if now < self.floor_until else 0, self.needs_at(now))

    def needs_at(self, now: float) -> int:
        """What reclaim found in use when it looked at all of it; 0 where that is not known, or no longer."""
        return self.needs if now < self.needs_until else 0


class Feeling(NamedTuple):
    """
    ``seconds`` of a pod of ``current`` bytes. ``share`` of them it waited for swap, ``returned`` bytes came back.

    ``partial``: the kernel found less than asked; ``exceeded``: it had to look far for it; ``killed``: it ran out of
    memory; ``knowing``: what is taken from it is known to be cold; ``passed_by``: bytes that reclaim found in use;
    ``aside``: bytes of ``current`` that swap cannot hold.
    """

    now: float
    seconds: float
    current: int
    share: float | None
    returned: int | None
    partial: bool = False
    exceeded: bool = False
    killed: bool = False
    knowing: bool = False
    passed_by: int = 0
    aside: int = 0


def begin(config: OvercommitSection) -> Course:
    """Of a pod never seen before."""
    return Course(config.step.start, config.watermark * BUDGET_SECONDS)


def live(course: Course, feeling: Feeling, config: OvercommitSection) -> Course:
    """After what the pod felt; to be called for every decision."""
    most = config.watermark * BUDGET_SECONDS
    if feeling.knowing != course.knowing:
        # There is nothing to find out any more, or again.
        step = config.step.largest if feeling.knowing else config.step.start
        course = course._replace(step=step, looked=feeling.knowing)
    waited = (feeling.share or 0.0) * feeling.seconds
    refaults = course.refaults
    if feeling.returned is not None and feeling.seconds > 0:
        refaults = smooth(refaults, feeling.returned / feeling.seconds, feeling.seconds, SHOCK_SECONDS)
    course = course._replace(
        knowing=feeling.knowing,
        # A debt is limited: what it waited for because its work changed is over some time.
        stall=max(-most / 4, min(most, course.stall + config.watermark * feeling.seconds) - waited),
        waited=course.waited + waited,
        lasted=course.lasted + feeling.seconds,
        refaults=refaults,
    )
    if feeling.partial:
        course = course._replace(step=max(config.step.smallest, course.step / 2))
    if course.widened and feeling.now - course.widened_at >= NARROW_SECONDS:
        course = course._replace(widened=0)
    course = _learned(course, feeling)
    return _released(_hurt(course, feeling, config), feeling, most)


def _learned(course: Course, feeling: Feeling) -> Course:
    """
    What it had to look far for, reclaim has found by coming to all that is in use. Asked for more than is left beside
    that it would come round again, at once, and find everything unused.
    """
    # The last of it may be counted a little later; what is looked at after the hold is not this request's.
    searched = feeling.exceeded or (course.searched and course.pause is not Pause.NONE)
    passed = course.passed_by + feeling.passed_by
    course = course._replace(passed_by=passed, searched=searched)
    if feeling.knowing or not searched or not passed:
        return course
    until = feeling.now + NEEDS_SECONDS if feeling.exceeded else course.needs_until
    return course._replace(needs=feeling.aside + int(passed * _MARGIN) + NEEDS_LEAST, needs_until=until)


def _hurt(course: Course, feeling: Feeling, config: OvercommitSection) -> Course:
    back = course._replace(step=max(config.step.smallest, course.step / 4))
    if feeling.killed:
        return back._replace(hold_until=feeling.now + SHOCK_SECONDS, pause=Pause.OOM_KILL)
    pause, hold = Pause.NONE, HOLD_SECONDS
    too_much = feeling.knowing and (course.refaults or 0.0) * 60 > REFAULT_SHARE * feeling.current
    if course.stall <= 0:
        pause = Pause.STALLED
    elif too_much:
        pause, hold = Pause.REFAULTS, SHOCK_SECONDS
    if pause is not Pause.NONE:
        if course.pause is pause:
            if (feeling.share or 0.0) <= config.watermark:
                return course
            # It goes on hurting: what comes back now is what it needs.
            return course._replace(floor=max(course.floor, int(feeling.current * _MARGIN)))
        return _floored(back, feeling)._replace(hold_until=feeling.now + hold, pause=pause)
    share = feeling.share or 0.0
    if share > min(0.5, _SHOCK * config.watermark):
        return back._replace(hold_until=feeling.now + SHOCK_SECONDS, pause=Pause.FELT)
    if share > _FELT * config.watermark and not feeling.knowing:
        return course._replace(hold_until=feeling.now + course.window(config), pause=Pause.FELT)
    return _looking(course, feeling.now, config) if feeling.exceeded else course


def _looking(course: Course, now: float, config: OvercommitSection) -> Course:
    return course._replace(hold_until=now + course.window(config), pause=Pause.LOOKING, looked=True)


def _floored(course: Course, feeling: Feeling) -> Course:
    """Remember the level. The same one again is kept for twice as long."""
    level = int(feeling.current * _MARGIN)
    same = bool(course.floor) and abs(level - course.floor) <= _SAME * course.floor
    seconds = min(_FLOOR_SECONDS_MOST, max(FLOOR_SECONDS, 2 * course.floor_seconds if same else 0.0))
    course = course._replace(floor=level, floor_until=feeling.now + seconds, floor_seconds=seconds)
    return course._replace(widened=min(_WIDENED_MOST, course.widened + 1), widened_at=feeling.now)


def _released(course: Course, feeling: Feeling, most: float) -> Course:
    if course.pause is Pause.NONE or feeling.now < course.hold_until:
        return course
    if course.pause is Pause.STALLED and course.stall < _RESUME * most:
        return course
    calm = REFAULT_SHARE * feeling.current / 2
    if course.pause is Pause.REFAULTS and (course.refaults or 0.0) * 60 > calm:
        return course
    return course._replace(pause=Pause.NONE)


def stride(course: Course, now: float, config: OvercommitSection) -> Course:
    """What follows a request at ``now``: the next one's step, from how the one before was borne. Once for each."""
    fresh = course._replace(waited=0.0, lasted=0.0, passed_by=0, searched=False)
    if not course.looked:
        # It was for the kernel to look at all of it.
        return _looking(fresh, now, config)
    share = course.waited / course.lasted if course.lasted > 0 else 0.0
    step = course.step
    if share > _HARSH * config.watermark:
        step = max(config.step.smallest, step / 2)
    elif share <= config.watermark:
        step = min(config.step.largest, step * _GROWTH)
    return fresh._replace(step=step)
