"""
Samples of pods, tick by tick. One pass of the batch reader serves the whole tick.

Owns the pods that are followed and the making of a sample; where a cgroup is belongs to ``lookup``, what its files say
to ``group``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.model.cpus import CpuSet
from plimsoll.model.pod import Pod, QosClass
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import ContainerSample, EventCount, PodSample
from plimsoll.sources.cgroups.cpus import CpuFiles
from plimsoll.sources.cgroups.group import GroupFiles, Scope
from plimsoll.sources.cgroups.lookup import Lookup, Tracked
from plimsoll.sources.cgroups.memory import pod_memory

_THROTTLE_CAUSE = "cpu_cfs_bandwidth"
_PRESSURE_ONLY = Scope()


class PodCgroups:
    """The cgroups of this node's pods, followed from tick to tick."""

    def __init__(
        self,
        hierarchies: Hierarchies,
        reader: BatchReader,
        scope: Scope = _PRESSURE_ONLY,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup = Lookup(hierarchies, GroupFiles(hierarchies, reader, scope), cpus=scope.cpus, memory=scope.memory)
        self._cpus = CpuFiles(hierarchies)
        self._reader = reader
        self._scope = scope
        self._clock = clock
        self._tracked: dict[str, Tracked] = {}
        self._read_since: float | None = None

    @property
    def kubepods(self) -> Kubepods:
        """The kubelet's roots, as found last."""
        return self._lookup.kubepods

    def observe(self, pods: Sequence[Pod], now: float) -> tuple[PodSample, ...]:
        """
        Sample every pod. ``now`` is monotonic seconds. Finished pods are left out: they have no processes.

        Never raises for what a cgroup may do meanwhile; a pod whose cgroup vanished is ``GONE`` in this tick.
        """
        alive = [pod for pod in pods if not pod.object.finished]
        self._forget({pod.uid for pod in alive})
        self._lookup.find_roots(now)
        for pod in alive:
            tracked = self._tracked.get(pod.uid)
            if tracked is None:
                tracked = self._tracked[pod.uid] = Tracked(pod)
            self._lookup.follow(tracked, pod, now)
        # From before the last pass to after this one: however long a pass took, no share of time comes out above one.
        since, self._read_since = self._read_since, self._clock()
        self._reader.read()
        interval = None if since is None else self._clock() - since
        followed = [self._tracked[pod.uid] for pod in alive]
        alone = pinned(followed) if self._scope.cpus else {}
        return tuple(self._sample(each, interval, alone.get(each.pod.uid, frozenset())) for each in followed)

    def close(self) -> None:
        """Let go of every descriptor."""
        self._forget(set())

    def _forget(self, keep: set[str]) -> None:
        for uid in [uid for uid in self._tracked if uid not in keep]:
            self._tracked.pop(uid).release()

    def _sample(self, tracked: Tracked, interval: float | None, alone: CpuSet) -> PodSample:
        group = tracked.group
        if group is None:
            return PodSample(tracked.pod, tracked.state)
        pressures = group.pressures()
        if not pressures and group.vanished:
            tracked.lost()
            return PodSample(tracked.pod, tracked.state, group.path)
        events = list(group.events())
        if self._scope.derived and not any(each.cause == _THROTTLE_CAUSE for each in pressures):
            throttled = tracked.throttle.advance(
                group.throttled(), ((each, below.throttled()) for each, below in tracked.containers.items())
            )
            if throttled is not None:
                microseconds, periods = throttled
                pressures.append(_derived(_THROTTLE_CAUSE, microseconds))
                events.append(EventCount(_THROTTLE_CAUSE, "nr_throttled", periods))
        return PodSample(
            pod=tracked.pod,
            state=tracked.state,
            cgroup=group.path,
            pressures=tuple(pressures),
            events=tuple(events),
            stall_rates=tracked.rates.advance(pressures, interval),
            memory_bytes=group.memory_usage(),
            memory_limit_bytes=group.memory_limit(),
            containers=_container_samples(tracked) if self._scope.containers else (),
            errors=group.errors,
            kubelet_root=tracked.kubelet_root,
            container_cgroups=tracked.container_cgroups,
            knobs=tracked.knobs,
            cpu_usage=tracked.use.advance(group.cpu_usage(), interval) if self._scope.cpu_usage else None,
            cpus=self._cpus.effective(group.path) if self._scope.cpus else None,
            pinned=alone,
            memory=pod_memory(group, tracked.protected) if self._scope.memory else None,
        )


def pinned(followed: Sequence[Tracked]) -> dict[str, CpuSet]:
    """
    By pod UID, the CPUs the kubelet's CPU manager gave to containers of this pod alone.

    It does so for Guaranteed pods, and writes down the rest of the CPUs for all others; where it is off nothing is
    written down, or the same for all. So a CPU is pinned that is some container's of a Guaranteed pod, and no other
    pod's, while another pod has anything written down at all.
    """
    owners: dict[int, set[str]] = {}
    for each in followed:
        for cpu in frozenset[int]().union(*each.container_cpus):
            owners.setdefault(cpu, set()).add(each.pod.uid)
    if len(frozenset[str]().union(*owners.values())) < 2:
        return {}
    found: dict[str, set[int]] = {each.pod.uid: set() for each in followed if _may_be_pinned(each.pod)}
    for cpu, pods in owners.items():
        if len(pods) == 1 and (only := next(iter(pods))) in found:
            found[only].add(cpu)
    return {pod: frozenset(cpus) for pod, cpus in found.items() if cpus}


def _may_be_pinned(pod: Pod) -> bool:
    return pod.object.qos_class is QosClass.GUARANTEED


def _container_samples(tracked: Tracked) -> tuple[ContainerSample, ...]:
    return tuple(
        ContainerSample(container, tuple(tracked.containers[container.id].pressures()))
        for container in tracked.pod.object.containers
        if container.id in tracked.containers
    )


def _derived(cause: str, total_us: int) -> Pressure:
    # There are no averages to be had: the kernel keeps none for it, and none is made up.
    return Pressure(cause, Source.DERIVED, None, PressureLine(None, None, None, total_us))
