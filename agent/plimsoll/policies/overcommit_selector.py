"""
Which way of finding cold memory is used on a node, and for a pod where that way does not come to know anything.

The best first: DAMON looks at every page again before it takes it, and costs a scan of all of the node's memory for
each container; generations of the LRU cost only looks at the pod's own pages; without either, reclaim takes what
comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.kdamonds import CLAIMED
from plimsoll.model.overcommit import PassedOver
from plimsoll.model.plan import NODE, Knob, Selector, Write
from plimsoll.model.snapshot import Capability, PodSample

# A region of 4 MiB looked at every two seconds: a hundredth of a core for each container of a node of this size.
DAMON_MEMORY = 32 << 30
DAMON_CONTAINERS = 16
# Once in use it is given up only when it is too much, and taken again only when it is clearly not.
_DAMON_RETURN = 12

# After everybody's limit, so that it is given back before any is lifted.
CLAIM_PHASE = 73

PATIENCE_SECONDS = 900.0
"""Several ageing passes. A selector that knows nothing by then will not: the pod goes on without one."""

RECLAIM, DAMON, LRU_GEN = "memory-reclaim", "damon", "lru-gen"
_NEEDS = {Selector.DAMON.value: DAMON, Selector.MGLRU.value: LRU_GEN}


def working(available: frozenset[str], failing: Collection[str]) -> frozenset[str]:
    """The capabilities that count: not those of selectors that were tried and do not work."""
    return available - {_NEEDS.get(each, "") for each in failing}


def choose(
    config: OvercommitSection,
    available: frozenset[str],
    memory_total: int | None,
    pods: Sequence[PodSample],
    before: Selector | None,
) -> Selector | None:
    """The selector for these pods, ``None`` where memory cannot be reclaimed at all. ``before``: the one in use."""
    if RECLAIM not in available:
        return None
    wanted = config.selector
    if wanted in ("auto", "damon") and DAMON in available:
        containers = sum(len(each.container_cgroups) for each in pods)
        most = DAMON_CONTAINERS if before is Selector.DAMON or wanted == "damon" else _DAMON_RETURN
        small = memory_total is not None and memory_total <= DAMON_MEMORY
        if (small or wanted == "damon") and containers <= most:
            return Selector.DAMON
    if wanted in ("auto", "mglru") and LRU_GEN in available:
        return Selector.MGLRU
    return Selector.PLAIN


def lacking(config: OvercommitSection, available: frozenset[str]) -> tuple[str, ...]:
    """The capabilities that would have found colder memory."""
    if config.selector == "plain" or ({DAMON, LRU_GEN} & available and config.selector == "auto"):
        return ()
    wanted = {"auto": (DAMON, LRU_GEN), "damon": (DAMON,), "mglru": (LRU_GEN,)}[config.selector]
    return tuple(each for each in wanted if each not in available)


def passed_over(
    config: OvercommitSection,
    capabilities: Iterable[Capability],
    failing: Collection[str],
    memory_total: int | None,
    chosen: Selector,
) -> tuple[tuple[Selector, str], ...]:
    """The selectors that were wanted more than the one chosen, and why each of them is not used."""
    wanted = (Selector.DAMON, Selector.MGLRU) if config.selector == "auto" else (Selector(config.selector),)
    better = wanted[: wanted.index(chosen)] if chosen in wanted else wanted
    probed = {each.name: each for each in capabilities}
    return tuple((each, _why_not(each, config, probed, failing, memory_total)) for each in better)


def _why_not(
    selector: Selector,
    config: OvercommitSection,
    probed: Mapping[str, Capability],
    failing: Collection[str],
    memory_total: int | None,
) -> str:
    capability = probed.get(_NEEDS[selector.value])
    if capability is None:
        return PassedOver.UNKNOWN
    if not capability.available:
        return capability.reason
    if selector.value in failing:
        return PassedOver.FAILING
    if config.selector == "auto" and memory_total is None:
        return PassedOver.UNKNOWN
    if config.selector == "auto" and memory_total is not None and memory_total > DAMON_MEMORY:
        return PassedOver.NODE_TOO_LARGE
    return PassedOver.TOO_MANY_CONTAINERS


def claim(selector: Selector | None, policy: str) -> tuple[Write, ...]:
    """What the selector needs of the node for itself."""
    if selector is not Selector.DAMON:
        return ()
    reason = "DAMON finds cold memory of low-priority pods here, and all its kdamonds have one owner at a time"
    return (Write(NODE, Knob.DAMON_KDAMONDS, CLAIMED, policy, reason, phase=CLAIM_PHASE),)


def of_pod(selector: Selector, unknown_seconds: float, window: float) -> Selector:
    """The selector of one pod of which nothing has been known for so long, though a ``window`` takes its time."""
    patience = max(PATIENCE_SECONDS, 2 * window)
    return Selector.PLAIN if selector is Selector.MGLRU and unknown_seconds > patience else selector
