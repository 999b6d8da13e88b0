"""
What is remembered of one low-priority pod from one decision to the next, and what it could give now.

How that is shared out between pods, and what the device can take, is not known here.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.memory import Offload, PodMemory
from plimsoll.model.overcommit import Pause
from plimsoll.model.plan import Selector
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.overcommit_alarm import Kills, killed
from plimsoll.policies.overcommit_pressure import Counters, Felt, feel
from plimsoll.policies.overcommit_ratio import Level, cap
from plimsoll.policies.overcommit_selector import of_pod
from plimsoll.policies.overcommit_step import Course, Feeling, begin, live
from plimsoll.policies.overcommit_swap import PAGE

MIB = 1 << 20
MAX_RECLAIM = 128 * MIB
"""What one pod is asked for at once: well under a second's work."""

LEAST = 2 * PAGE  # the kernel takes 32 pages at a time
# The multi-generational LRU swaps nothing where the limit leaves less than 64 pages (of 16 KiB, or smaller).
BATCH = 1 << 20
COLD_SHARE = 0.9
# So little cold memory cannot be told from warm by a reclaim that may take more than it was asked for.
COLD_LEAST_SHARE = 0.02
COLD_LEAST = 4 * MIB
STEADY_SECONDS = 30.0
_STEADY = 0.05
# A pod that never stops growing is no reason to wait for ever.
_PROBATIONS = 10.0
# Times a step. Without a selector the last request takes what the pod needs, so it must be small; with one it is known
# when to stop. DAMON's monitor goes over all of the node's memory at this rate, most of which is not the pod's.
_KNOWING = {Selector.DAMON: 8, Selector.MGLRU: 4, Selector.PLAIN: 4}
FLUSH_SHARE, FLUSH_MOST = 0.9, 64 * MIB
# Of a last bit the kernel finds other pages first; DAMON frees it when it passes by the next time.
FLUSH_LEAST, FLUSH_LEAST_SHARE = 2 * MIB, 0.01


class Remembered(NamedTuple):
    """
    ``since``: first seen; ``level`` since ``level_since``: its memory has been about that much. ``blind_since``: since
    when its selector has not known what is cold. ``cold`` was known when ``spent`` bytes of it had been freed.
    ``flushed``: what it had on the device when the swap cache was last emptied. ``asked_at``: the last request, when
    it had been asked for ``told`` bytes in all.
    """

    cgroup: str
    since: float
    level: int
    level_since: float
    course: Course
    blind_since: float
    counters: Counters = Counters()
    kills: Kills | None = None
    partial: int | None = None
    exceeded: int | None = None
    freed: int | None = None
    cold: int | None = None
    spent: int = 0
    flushed: int | None = None
    rate: int = 0
    asked_at: float = float("-inf")
    told: int = 0


class Seen(NamedTuple):
    """One pod in one decision."""

    sample: PodSample
    memory: PodMemory
    level: Level
    felt: Felt
    selector: Selector
    offload: Offload
    kept: Remembered

    @property
    def uid(self) -> str:
        return self.sample.pod.uid

    @property
    def knowing(self) -> bool:
        """Whether what is taken from it is known to be cold: by every page's age, or by how much has one."""
        return self.selector is Selector.DAMON or (self.selector is Selector.MGLRU and self.memory.cold is not None)


def look(
    sample: PodSample,
    level: Level,
    offload: Offload,
    before: Remembered | None,
    *,
    now: float,
    seconds: float,
    selector: Selector,
    config: OvercommitSection,
) -> Seen:
    """What the pod has felt in the ``seconds`` since the last decision. Its memory must be known."""
    memory = sample.memory or PodMemory()
    place = sample.cgroup or ""
    if before is None or before.cgroup != place:
        before, seconds = Remembered(place, now, level.current, now, begin(config), now), 0.0
    felt, counters = feel(sample, before.counters, seconds)
    kills = Kills(memory.oom_kills, memory.limit_hits)
    blind_since = now if memory.cold is not None else before.blind_since
    chosen = of_pod(selector, now - blind_since, before.course.window(config))
    steady = abs(level.current - before.level) <= _STEADY * before.level
    fresh = memory.cold != before.cold
    freed = 0 if before.freed is None else max(0, offload.freed - before.freed)
    swapped = memory.swapped or 0
    kept = before._replace(
        level=before.level if steady else level.current,
        level_since=before.level_since if steady else now,
        blind_since=blind_since,
        counters=counters,
        kills=kills,
        partial=offload.partial,
        exceeded=offload.exceeded,
        freed=offload.freed,
        cold=memory.cold,
        # A figure is from before whatever was freed in the same turn.
        spent=freed if fresh else before.spent + freed,
        flushed=swapped if before.flushed is None else min(before.flushed, swapped),
    )
    seen = Seen(sample, memory, level, felt, chosen, offload, kept)
    feeling = Feeling(
        now,
        seconds,
        level.current,
        felt.share,
        felt.returned,
        partial=before.partial is not None and offload.partial > before.partial,
        # Under DAMON it is only the swap cache that is reclaimed.
        exceeded=chosen is not Selector.DAMON and before.exceeded is not None and offload.exceeded > before.exceeded,
        killed=killed(before.kills, kills),
        knowing=seen.knowing,
        passed_by=felt.passed_by,
        aside=level.current - level.base,
    )
    return seen._replace(kept=kept._replace(course=live(before.course, feeling, config)))


def floor(seen: Seen, now: float, config: OvercommitSection) -> int:
    """
    Its memory is not taken below this.

    The kernel does not heed a cgroup's own ``memory.min`` and ``memory.low`` when that cgroup is asked to reclaim.
    """
    return max(config.pod_floor, protection(seen.sample), seen.kept.course.floor_at(now))


def protection(sample: PodSample) -> int:
    """What its owner asks to be kept, in one way or the other."""
    return max(sample.pod.intent.memory_floor, 0 if sample.memory is None else sample.memory.protected)


def most(seen: Seen, config: OvercommitSection) -> int:
    """How much of it may be on the device."""
    return cap(seen.level.base + seen.level.offloaded, config.pod_ratio)


def give(seen: Seen, now: float, config: OvercommitSection) -> tuple[int, Pause]:
    """Bytes it could be asked for now, or 0 and why not."""
    kept, level = seen.kept, seen.level
    held = _held(seen, now, config)
    if held is not Pause.NONE:
        return 0, held
    room = level.current - floor(seen, now, config)
    left = most(seen, config) - level.offloaded
    allowed = _allowed(seen.memory)
    # Also where reclaim itself has found out how much is in use.
    step = kept.course.step * (_KNOWING[seen.selector] if seen.knowing or kept.course.needs_at(now) else 1)
    size = min(int(step * level.base), level.movable, MAX_RECLAIM)
    if not (seen.knowing or kept.course.looked):
        size = min(size, LEAST)
    if seen.selector is Selector.MGLRU and seen.memory.cold is not None:
        cold = int(seen.memory.cold * COLD_SHARE) - kept.spent
        if seen.memory.cold < max(COLD_LEAST, COLD_LEAST_SHARE * level.current) or cold < LEAST:
            return 0, Pause.WARM
        size = min(size, cold)
    if room < LEAST:
        return 0, Pause.FLOOR
    if left < LEAST:
        return 0, Pause.CAPPED
    if allowed < LEAST:
        # The limit that stands is what its owner wants kept, or else its part of the device.
        return 0, Pause.FLOOR if protection(seen.sample) > 0 else Pause.CAPPED
    size = min(size, room, left, allowed) // PAGE * PAGE
    return (size, Pause.NONE) if size >= LEAST else (0, Pause.WARM)


def _allowed(memory: PodMemory) -> int:
    """
    What its limit on the device leaves, as it stands in the kernel. More than that is asked for in vain.

    Pages that were read back and keep their place there count, unlike in what is offloaded.
    """
    if not memory.swap_limited or memory.swap_limit is None:
        return 1 << 62
    return memory.swap_limit - (memory.swapped or 0) - BATCH


def _held(seen: Seen, now: float, config: OvercommitSection) -> Pause:
    sample, kept = seen.sample, seen.kept
    if not sample.pod.intent.reclaim or sample.pod.object.deleting:
        return Pause.OWNER
    age = now - kept.since
    settled = now - kept.level_since >= min(STEADY_SECONDS, config.probation) or age >= _PROBATIONS * config.probation
    # The look takes nothing worth speaking of, and its window passes meanwhile. Once the pod was let go, a change of
    # its memory does not bring it back here.
    if age < config.probation and (seen.knowing or kept.course.looked):
        return Pause.PROBATION
    if not settled and kept.asked_at == float("-inf"):
        return Pause.PROBATION
    if kept.course.pause is not Pause.NONE:
        return kept.course.pause
    if seen.offload.busy_bytes > 0:
        return Pause.BUSY
    if seen.felt.share is None:
        return Pause.UNKNOWN
    if seen.selector is Selector.MGLRU and seen.memory.cold is None:
        return Pause.PROBATION
    return Pause.NONE


def flush(seen: Seen) -> int:
    """
    Bytes DAMON has paged out that are still in memory, to be freed.

    On an asynchronous disk it only starts the writes; the clean pages stay in the swap cache. But what was read back is
    in there as well: no more is asked for than what has been added on the device since the last time.
    """
    memory = seen.memory
    grown = (memory.swapped or 0) - (seen.kept.flushed or 0)
    most = min(FLUSH_MOST, memory.swap_cached or 0)
    # What no process has mapped (again). A kernel that does not tell how much is on its lists has no DAMON to use.
    unmapped = (memory.listed or 0) - (memory.anon or 0) - (memory.shmem or 0)
    size = min(grown, int(FLUSH_SHARE * unmapped), most) // PAGE * PAGE
    return size if size >= max(FLUSH_LEAST, FLUSH_LEAST_SHARE * seen.level.base) else 0
