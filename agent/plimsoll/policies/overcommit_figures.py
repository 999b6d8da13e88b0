"""What the overcommit policy tells people and metrics about a decision. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.overcommit import Overcommit, Pause, PodOvercommit
from plimsoll.model.plan import Reclaim
from plimsoll.policies.overcommit_pod import Seen, floor, most
from plimsoll.policies.overcommit_ratio import Ratio


def of_node(ratio: Ratio, config: OvercommitSection, pause: Pause) -> Overcommit:
    """What is known even where nothing can be done."""
    return Overcommit(
        physical=ratio.physical,
        base=ratio.base,
        offloaded=ratio.offloaded,
        swap_cached=ratio.swap_cached,
        ratio=ratio.ratio,
        target=config.ratio,
        gap=ratio.gap,
        reached=ratio.reached,
        pause=pause,
    )


def of_pods(
    seen: Sequence[Seen],
    pauses: Mapping[str, Pause],
    asked: Sequence[Reclaim],
    now: float,
    config: OvercommitSection,
) -> tuple[PodOvercommit, ...]:
    """``pauses``: by UID, why a pod gives nothing."""
    sizes = {each.pod: each.size for each in asked}
    return tuple(
        _of_pod(each, pauses.get(each.uid, Pause.NONE), sizes.get(each.uid, 0), now, config)
        for each in sorted(seen, key=lambda one: one.uid)
    )


def _of_pod(seen: Seen, pause: Pause, asked: int, now: float, config: OvercommitSection) -> PodOvercommit:
    course = seen.kept.course
    return PodOvercommit(
        uid=seen.uid,
        base=seen.level.base,
        offloaded=seen.level.offloaded,
        cap=most(seen, config),
        floor=floor(seen, now, config),
        step=course.step,
        stall_budget=course.stall,
        selector=seen.selector,
        pressure=seen.felt.share,
        exact=seen.felt.exact,
        refaults=course.refaults,
        cold=seen.memory.cold,
        asked=asked,
        pause=pause,
        pause_seconds=max(0.0, course.hold_until - now) if pause is course.pause else 0.0,
    )
