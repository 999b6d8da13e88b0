"""
What the high-priority pods use of the CPUs they have, and whether that may be less than they would use.

A group that is full hides demand: what cannot run is not counted as use. It must not know how many CPUs that calls for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.frequency_roles import Home

FULL = 0.95
"""Use of this share of a group leaves the scheduler no slack: there may be more to do than is seen."""
# A pod that idles now still has its memory somewhere.
_LEAST = 0.01


class Demand(NamedTuple):
    """
    ``used``: CPUs' worth, of all pods whose use is known; ``known``: whether that is all of them. ``waiting``: one of
    them waits for CPUs more than it should. ``pull``: how much is used, or was asked for, on each node; ``local``: how
    many CPUs each node must have, by what pods that have only that node use and ask for.
    """

    used: float
    known: bool
    waiting: bool
    pull: Mapping[int, float]
    local: Mapping[int, float]


def measure(pods: Iterable[PodSample], homes: Mapping[str, Home], everywhere: Home, config: FrequencySection) -> Demand:
    """
    Of high-priority pods that share CPUs; those pinned by the kubelet have what they have.

    ``homes`` by pod UID; a pod without one may be ``everywhere``.
    """
    used, known, waiting = 0.0, True, False
    pull: dict[int, float] = {}
    local: dict[int, float] = {}
    for each in pods:
        usage = each.cpu_usage
        known = known and usage is not None
        used += usage or 0.0
        waiting = waiting or waited(each) >= config.pressure_threshold
        home = homes.get(each.pod.uid, everywhere)
        requested = (each.pod.object.cpu_request_millis or 0) / 1000 * config.request_floor_ratio
        for node in home:
            pull[node] = pull.get(node, 0.0) + max(usage or 0.0, requested, _LEAST) / len(home)
        if len(home) == 1:
            (node,) = home
            local[node] = local.get(node, 0.0) + max((usage or 0.0) / config.grow_above, requested)
    return Demand(used, known, waiting, pull, local)


def waited(sample: PodSample) -> float:
    """
    The share of the last tick (0..1) in which some task of the pod waited for a CPU it might have been given.

    Tasks stopped by the pod's own limit (``cpu.max``) count as waiting in the kernel's figure, and no CPU would help
    them. Without rates the kernel's average of ten seconds has to do.
    """
    some, _ = sample.stall_rates.get("cpu", (None, None))
    if some is None:
        found = (each.some for each in sample.pressures if each.cause == "cpu")
        averages = [each.avg10 for each in found if each is not None and each.avg10 is not None]
        some = max(averages, default=0) / 10_000
    limited = (each for each in sample.stall_rates.get("cpu_cfs_bandwidth", (None, None)) if each is not None)
    return some - max(limited, default=0.0)
