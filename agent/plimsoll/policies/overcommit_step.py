"""
How much one pod may lose at once: it grows while nothing hurts, and gives way at once when something does.

Each pod has a stall budget: ten minutes' worth of the watermark to begin with, and as much again as time goes by. It is
what finding out costs: the kernel's lists of a fresh pod are in the order of allocation, so the first megabytes hurt,
and no care spares that. Pure; its memory of a pod is one immutable value.
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
LOOK_SECONDS = 60.0
"""
A reclaim clears the marks of what was used from every page it passes by. So once one was felt, the next one must leave
the pod the time to use again what it uses, or it takes the warm for the cold.
"""

HOLD_SECONDS = 10.0
SHOCK_SECONDS = 60.0
# Google's far memory: promotions of 0.2 % of the working set a minute are not felt.
REFAULT_SHARE = 0.002
# How long the level that hurt is not gone below again, the first time.
FLOOR_SECONDS = 120.0
_FLOOR_SECONDS_MOST = 7200.0
_MARGIN = 1.02
_SAME = 0.05
_NEVER = float("-inf")


class Course(NamedTuple):
    """
    What is remembered of one pod. Times are monotonic seconds.

    ``stall``: seconds it may yet wait. ``waited`` of ``lasted`` seconds since the last request it did. ``floor``: the
    level that hurt, in force until ``floor_until``, ``floor_seconds`` long. ``pause`` says why it is held.
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

    def floor_at(self, now: float) -> int:
        """The level it may not be taken below now."""
        return self.floor if now < self.floor_until else 0


class Feeling(NamedTuple):
    """
    ``seconds`` of a pod of ``current`` bytes. ``share`` of them it waited for swap, ``returned`` bytes came back.

    ``partial``: the kernel found less than asked; ``killed``: it ran out of memory; ``knowing``: what is taken from it
    is known to be cold.
    """

    now: float
    seconds: float
    current: int
    share: float | None
    returned: int | None
    partial: bool = False
    killed: bool = False
    knowing: bool = False


def begin(config: OvercommitSection) -> Course:
    """Of a pod never seen before."""
    return Course(config.step.start, config.watermark * BUDGET_SECONDS)


def live(course: Course, feeling: Feeling, config: OvercommitSection) -> Course:
    """After what the pod felt; to be called for every decision."""
    most = config.watermark * BUDGET_SECONDS
    if feeling.knowing != course.knowing:
        # There is nothing to find out any more, or again.
        course = course._replace(step=config.step.largest if feeling.knowing else config.step.start)
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
    return _released(_hurt(course, feeling, config), feeling, most)


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
        return course._replace(hold_until=feeling.now + LOOK_SECONDS, pause=Pause.FELT)
    return course


def _floored(course: Course, feeling: Feeling) -> Course:
    """Remember the level. The same one again is kept for twice as long."""
    level = int(feeling.current * _MARGIN)
    same = bool(course.floor) and abs(level - course.floor) <= _SAME * course.floor
    seconds = min(_FLOOR_SECONDS_MOST, max(FLOOR_SECONDS, 2 * course.floor_seconds if same else 0.0))
    return course._replace(floor=level, floor_until=feeling.now + seconds, floor_seconds=seconds)


def _released(course: Course, feeling: Feeling, most: float) -> Course:
    if course.pause is Pause.NONE or feeling.now < course.hold_until:
        return course
    if course.pause is Pause.STALLED and course.stall < _RESUME * most:
        return course
    calm = REFAULT_SHARE * feeling.current / 2
    if course.pause is Pause.REFAULTS and (course.refaults or 0.0) * 60 > calm:
        return course
    return course._replace(pause=Pause.NONE)


def stride(course: Course, config: OvercommitSection) -> Course:
    """The step for the next request, from how the last one was borne; to be called once for each."""
    share = course.waited / course.lasted if course.lasted > 0 else 0.0
    step = course.step
    if share > _HARSH * config.watermark:
        step = max(config.step.smallest, step / 2)
    elif share <= config.watermark:
        step = min(config.step.largest, step * _GROWTH)
    return course._replace(step=step, waited=0.0, lasted=0.0)
