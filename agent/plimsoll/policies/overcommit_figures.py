"""What the overcommit policy tells people and metrics about a decision. It decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.overcommit import Overcommit, Pause, PodOvercommit
from plimsoll.model.plan import Reclaim
from plimsoll.policies.overcommit_pod import Seen, floor, most
from plimsoll.policies.overcommit_ratio import Ratio
from plimsoll.policies.overcommit_share import Shares


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
        budget=config.budget if config.target == "budget" else None,
    )


def of_pods(
    seen: Sequence[Seen], shares: Shares, asked: Sequence[Reclaim], now: float, config: OvercommitSection
) -> tuple[PodOvercommit, ...]:
    """``shares``: what a request now would be of, or why a pod gives nothing; ``asked``: what is requested."""
    sizes = {each.pod: each.size for each in asked}
    return tuple(
        _of_pod(each, shares, now, config, asked=sizes.get(each.uid, 0))
        for each in sorted(seen, key=lambda one: one.uid)
    )


def _of_pod(seen: Seen, shares: Shares, now: float, config: OvercommitSection, *, asked: int) -> PodOvercommit:
    pause = shares.pauses.get(seen.uid, Pause.NONE)
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
        wanted=shares.sizes.get(seen.uid, 0),
        window=course.window(config),
    )
