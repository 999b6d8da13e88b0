"""
How memory is taken from low-priority pods first.

openEuler kernels: ``memory.qos_level`` -1 makes a pod the first to be looked at when memory has run out. cgroup v2:
``memory.low`` keeps reclaim away from high-priority pods as long as there is anything else to reclaim. Which process
dies in a global out-of-memory is decided by ``oom_score_adj``, which is the kubelet's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from plimsoll.model.plan import NODE, Knob, Write, cgroup
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.bounds import ancestors
from plimsoll.policies.preemption_cpu import CONTAINER_PHASE, POD_PHASE

# The kernel rounds down to pages; the largest an arm64 kernel is built with divides all of them.
PAGE = 1 << 16


def enable(policy: str) -> Write:
    """Let the kernel take ``memory.qos_level`` at all: without it a write there is refused with EACCES."""
    return Write(NODE, Knob.MEMCG_QOS_ENABLE, "1", policy, "memory.qos_level counts only while this is 1")


def mark(sample: PodSample, policy: str) -> tuple[Write, ...]:
    """What makes one low-priority pod the first to lose memory; nothing while it has no cgroup."""
    if sample.cgroup is None:
        return ()
    reason = f"low priority ({sample.pod.intent.origin}): the first to give memory back when there is none left"
    pod = Write(cgroup(sample.cgroup), Knob.MEMORY_QOS_LEVEL, "-1", policy, reason, phase=POD_PHASE)
    below = (cgroup(path) for path in sample.container_cgroups)
    return (pod, *(pod._replace(target=each, phase=CONTAINER_PHASE) for each in below))


def protect(samples: Sequence[PodSample], most: int, policy: str) -> tuple[Write, ...]:
    """
    Protect these high-priority pods by their memory requests, together by no more than ``most`` bytes.

    What is wanted in excess is taken from all in proportion. A cgroup is protected only as far as all above it are, so
    each of the kubelet's cgroups on the way down is given the sum of those below it, and no more: what a parent has in
    excess would protect its other children too.
    """
    found = [
        (sample.cgroup, request, ancestors(sample))
        for sample in samples
        if sample.cgroup is not None and (request := sample.pod.object.memory_request_bytes) and ancestors(sample)
    ]
    low = _share_out([request for _, request, _ in found], most)
    sums: dict[str, int] = {}
    writes: list[Write] = []
    for (path, _, above), size in zip(found, low, strict=True):
        if size == 0:
            continue
        reason = "high priority: memory up to its request is reclaimed only when nothing else is left"
        writes.append(Write(cgroup(path), Knob.MEMORY_LOW, str(size), policy, reason))
        for each in above:
            sums[each] = sums.get(each, 0) + size
    reason = "the sum of what the high-priority pods below are protected with"
    return (
        *(Write(cgroup(path), Knob.MEMORY_LOW, str(size), policy, reason) for path, size in sums.items()),
        *writes,
    )


def _share_out(requests: Iterable[int], most: int) -> list[int]:
    wanted = list(requests)
    total = sum(wanted)
    sized = wanted if total <= most else [each * most // total for each in wanted]
    return [each // PAGE * PAGE for each in sized]
