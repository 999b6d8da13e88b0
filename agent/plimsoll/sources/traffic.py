"""
How much low-priority pods read and write, for the policy that may have to choose among them.

Nobody else's files are read for it: they are text without end on a node with many disks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from plimsoll.kernel.io_traffic import IoTraffic
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample

_Seen = tuple[str, float, Mapping[str, int]]


class PodTraffic:
    """Rates from the counters of two ticks."""

    def __init__(self, traffic: IoTraffic) -> None:
        self._traffic = traffic
        self._seen: dict[str, _Seen] = {}

    def with_rates(self, samples: Sequence[PodSample], now: float) -> tuple[PodSample, ...]:
        """The same samples, with ``io_rate`` where it is known. ``now``: monotonic seconds. Raises nothing."""
        before, self._seen = self._seen, {}
        return tuple(self._with_rate(each, before.get(each.pod.uid), now) for each in samples)

    def _with_rate(self, sample: PodSample, before: _Seen | None, now: float) -> PodSample:
        path = sample.cgroup
        if path is None or sample.pod.priority is not Priority.LOW or not sample.pod.intent.managed:
            return sample
        counters = self._traffic.read(path)
        if counters is None:
            return sample
        self._seen[sample.pod.uid] = path, now, counters
        if before is None or before[0] != path or now <= before[1]:
            return sample
        return replace(sample, io_rate=_busiest(before[2], counters) / (now - before[1]))


def _busiest(before: Mapping[str, int], now: Mapping[str, int]) -> int:
    """
    Bytes of the disk with the most: what a mapped device and the disk below it count both must not count twice.

    A counter that went backwards is of a device made anew.
    """
    grown = (each - before.get(disk, 0) for disk, each in now.items())
    return max((each for each in grown if each > 0), default=0)
