"""
Per-pod samples: which cgroup a pod has, what its files say in this tick, and how that changed since the last one.

One pass of the batch reader serves the whole tick. This module knows what to read and what the figures mean; it must
not know formats (``kernel/``) nor decide anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from plimsoll.kernel.batch import UNLIMITED, BatchReader, FileSpec, Format
from plimsoll.kernel.cgroup import Hierarchies, limit_bytes
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Container, Pod
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import CgroupState, ContainerSample, EventCount, PodSample

# A container started while the API server is away is found by looking again; a status update triggers it at once.
RESCAN_SECONDS = 30.0
# While the kubelet has not made its root cgroup, or a pod has no cgroup yet, look more often.
PENDING_SECONDS = 5.0

_PRESSURE_FILES = ("pressure.stat", "cpu.pressure", "memory.pressure", "io.pressure", "irq.pressure")
_PSI_SUFFIX = ".pressure"
# Time a group was kept off the CPU by its own quota: v2 in microseconds, v1 in nanoseconds.
_THROTTLE_KEYS = ("nr_throttled", "throttled_usec", "throttled_time")
_REFAULT_KEYS = ("workingset_refault_anon", "total_workingset_refault_anon", "pswpin")
_LIMIT_KEYS = ("high", "max")

# Outcomes that a capability explains for the whole node, or that are a cgroup's everyday life.
_EXPLAINED = frozenset({Outcome.OK, Outcome.GONE, Outcome.MISSING, Outcome.UNSUPPORTED})


@dataclass(slots=True)
class _Monotonic:
    """Adds up a counter over the lives of its cgroup: a value that went backwards starts a new epoch, not a loss."""

    total: int = 0
    last: int = 0

    def advance(self, value: int) -> None:
        self.total += value - self.last if value >= self.last else value
        self.last = value


@dataclass(slots=True)
class _Group:
    """The slots of one cgroup, by file name of the knob table; those with PSI in them also by cause."""

    path: str
    slots: dict[str, int] = field(default_factory=dict)
    psi: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Tracked:
    pod: Pod
    group: _Group | None = None
    inode: int = 0
    state: CgroupState = CgroupState.PENDING
    scanned: float = float("-inf")
    containers: dict[str, _Group] = field(default_factory=dict)
    kubelet_root: str | None = None
    container_cgroups: tuple[str, ...] = ()
    knobs: dict[Knob, str] = field(default_factory=dict)
    throttled_us: _Monotonic = field(default_factory=_Monotonic)
    throttled_periods: _Monotonic = field(default_factory=_Monotonic)
    child_throttle: dict[str, tuple[_Monotonic, _Monotonic]] = field(default_factory=dict)
    # What containers that are gone had added: a sum that loses a summand would look like a counter reset.
    buried_us: int = 0
    buried_periods: int = 0
    totals: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    generation: int = -1


class PodCgroups:
    """The cgroups of this node's pods, followed from tick to tick."""

    def __init__(
        self,
        hierarchies: Hierarchies,
        reader: BatchReader,
        *,
        containers: bool = False,
        derived: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hierarchies = hierarchies
        self._reader = reader
        self.with_containers = containers
        self.derived = derived
        self._clock = clock
        self._kubepods = Kubepods.find(hierarchies)
        self._searched = float("-inf")
        self._tracked: dict[str, _Tracked] = {}
        self._read_since: float | None = None

    @property
    def kubepods(self) -> Kubepods:
        """The kubelet's roots, as found last."""
        return self._kubepods

    def observe(self, pods: Sequence[Pod], now: float) -> tuple[PodSample, ...]:
        """
        Sample every pod. ``now`` is monotonic seconds. Finished pods are left out: they have no processes.

        Never raises for what a cgroup may do meanwhile; a pod whose cgroup vanished is ``GONE`` in this tick.
        """
        alive = [pod for pod in pods if not pod.object.finished]
        self._forget({pod.uid for pod in alive})
        if not self._kubepods.roots and now - self._searched >= PENDING_SECONDS:
            self._kubepods = Kubepods.find(self._hierarchies)
            self._searched = now
        for pod in alive:
            self._follow(pod, now)
        # From before the last pass to after this one: however long a pass took, no share of time comes out above one.
        since, self._read_since = self._read_since, self._clock()
        self._reader.read()
        interval = None if since is None else self._clock() - since
        return tuple(self._sample(self._tracked[pod.uid], interval) for pod in alive)

    def close(self) -> None:
        """Let go of every descriptor."""
        self._forget(set())

    def _forget(self, keep: set[str]) -> None:
        for uid in [uid for uid in self._tracked if uid not in keep]:
            self._release(self._tracked.pop(uid))

    def _release(self, tracked: _Tracked) -> None:
        for group in (tracked.group, *tracked.containers.values()):
            if group is not None:
                self._drop(group)
        tracked.group = None
        tracked.containers = {}
        tracked.container_cgroups = ()
        tracked.knobs = {}

    def _drop(self, group: _Group) -> None:
        for slot in group.slots.values():
            self._reader.remove(slot)

    def _follow(self, pod: Pod, now: float) -> None:
        tracked = self._tracked.get(pod.uid)
        if tracked is None:
            tracked = self._tracked[pod.uid] = _Tracked(pod)
        changed = tracked.pod.object is not pod.object
        tracked.pod = pod
        if tracked.state is CgroupState.ILLEGAL:
            return
        wait = RESCAN_SECONDS if tracked.group is not None else PENDING_SECONDS
        if changed or now - tracked.scanned >= wait:
            tracked.scanned = now
            self._scan(tracked)

    def _scan(self, tracked: _Tracked) -> None:
        """Find the pod's cgroup, and its containers'; called rarely, so that a tick costs no directory look-up."""
        if tracked.pod.object.mirror:
            # A static pod's cgroup is named by a hash that any pod could claim: it is not looked for.
            tracked.state = CgroupState.PENDING
            return
        found = self._kubepods.find_pod(tracked.pod.uid, tracked.pod.object.qos_class)
        if isinstance(found, CgroupState):
            if tracked.group is not None:
                self._release(tracked)
            tracked.state = found
            return
        if tracked.group is None or tracked.inode != found.inode or tracked.group.path != found.path:
            self._release(tracked)
            tracked.inode = found.inode
            tracked.totals = {}
            tracked.group = self._open(found.path, pod_level=True)
            tracked.kubelet_root = self._kubelet_root(found.path)
        tracked.state = CgroupState.FOUND
        self._scan_containers(tracked)
        tracked.knobs = self._knobs(found.path)

    def _scan_containers(self, tracked: _Tracked) -> None:
        assert tracked.group is not None  # noqa: S101 - the caller has just set it
        present = {each.id: each.path for each in self._kubepods.containers(tracked.group.path)}
        for gone in [each for each in tracked.containers if each not in present]:
            self._drop(tracked.containers.pop(gone))
            microseconds, periods = tracked.child_throttle.pop(gone, (_Monotonic(), _Monotonic()))
            tracked.buried_us += microseconds.total
            tracked.buried_periods += periods.total
        for each, path in present.items():
            if each not in tracked.containers:
                tracked.containers[each] = self._open(path, pod_level=False)
        tracked.container_cgroups = tuple(present.values())

    def _kubelet_root(self, path: str) -> str | None:
        return next((root.path for root in self._kubepods.roots if path.startswith(f"{root.path}/")), None)

    def _knobs(self, path: str) -> dict[Knob, str]:
        """A mark that outlives the priority it was made for can only be known by reading it."""
        hierarchy = self._hierarchies.v1.get("cpu")
        text = None if hierarchy is None else hierarchy.read(f"{path}/{Knob.CPU_QOS_LEVEL}").text()
        return {} if text is None else {Knob.CPU_QOS_LEVEL: text.strip()}

    def _open(self, path: str, *, pod_level: bool) -> _Group:
        group = _Group(path)
        if pod_level or self.with_containers:
            for name in _PRESSURE_FILES:
                self._add(group, name)
        if self.derived:
            self._add(group, "cpu.stat", _THROTTLE_KEYS)
        if pod_level:
            self._add(group, "memory.usage")
            self._add(group, "memory.limit")
            self._add(group, "memory.stat", _REFAULT_KEYS)
            self._add(group, "memory.events", _LIMIT_KEYS)
        group.psi = tuple(
            (name.removesuffix(_PSI_SUFFIX), slot) for name, slot in group.slots.items() if name.endswith(_PSI_SUFFIX)
        )
        return group

    def _add(self, group: _Group, name: str, keys: tuple[str, ...] = ()) -> None:
        roots = tuple(root.path for root in self._kubepods.roots)
        location = self._hierarchies.locate(name, (*roots, group.path))
        if location is None or not location.directory.exists(f"{group.path}/{location.file}"):
            # Not on this kernel; a look in vain on every tick would cost more than reading the others.
            return
        spec = FileSpec(location.file, Format[location.format.name], keys)
        group.slots[name] = self._reader.add(location.directory, f"{group.path}/{location.file}", spec)

    def _sample(self, tracked: _Tracked, interval: float | None) -> PodSample:
        group = tracked.group
        if group is None:
            return PodSample(tracked.pod, tracked.state)
        pressures = self._pressures(group)
        if not pressures and self._vanished(group):
            self._release(tracked)
            tracked.state = CgroupState.GONE
            tracked.scanned = float("-inf")
            tracked.totals = {}
            return PodSample(tracked.pod, CgroupState.GONE, group.path)
        events = list(self._events(group))
        if self.derived and not any(each.cause == "cpu_cfs_bandwidth" for each in pressures):
            throttled = self._throttled(tracked)
            if throttled is not None:
                microseconds, periods = throttled
                pressures.append(_derived("cpu_cfs_bandwidth", microseconds))
                events.append(EventCount("cpu_cfs_bandwidth", "nr_throttled", periods))
        usage = self._value(group, "memory.usage")
        return PodSample(
            pod=tracked.pod,
            state=tracked.state,
            cgroup=group.path,
            pressures=tuple(pressures),
            events=tuple(events),
            stall_rates=self._rates(tracked, pressures, interval),
            memory_bytes=usage,
            memory_limit_bytes=limit_bytes(self._value(group, "memory.limit")),
            containers=self._container_samples(tracked) if self.with_containers else (),
            errors=self._errors(group),
            kubelet_root=tracked.kubelet_root,
            container_cgroups=tracked.container_cgroups,
            knobs=tracked.knobs,
        )

    def _vanished(self, group: _Group) -> bool:
        """Nothing of a cgroup that was found can be read any more: it was removed."""
        return bool(group.slots) and all(
            self._reader.outcome(slot) in (Outcome.GONE, Outcome.MISSING) for slot in group.slots.values()
        )

    def _pressures(self, group: _Group) -> list[Pressure]:
        reader = self._reader
        found: list[Pressure] = []
        split = group.slots.get("pressure.stat")
        if split is not None:
            found.extend(reader.pressure_stat(split))
        for cause, slot in group.psi:
            some, full = reader.psi(slot)
            if some is not None or full is not None:
                found.append(Pressure(cause, Source.PSI, some, full))
        return found

    def _errors(self, group: _Group) -> dict[str, Outcome]:
        outcome = self._reader.outcome
        return {name: answer for name, slot in group.slots.items() if (answer := outcome(slot)) not in _EXPLAINED}

    def _container_samples(self, tracked: _Tracked) -> tuple[ContainerSample, ...]:
        known: Iterable[Container] = tracked.pod.object.containers
        return tuple(
            ContainerSample(container, tuple(self._pressures(tracked.containers[container.id])))
            for container in known
            if container.id in tracked.containers
        )

    def _value(self, group: _Group, name: str) -> int | None:
        slot = group.slots.get(name)
        value = None if slot is None else self._reader.value(slot)
        return None if value == UNLIMITED else value

    def _keyed(self, group: _Group, name: str) -> tuple[int | None, ...]:
        slot = group.slots.get(name)
        return () if slot is None else self._reader.keyed(slot)

    def _events(self, group: _Group) -> Iterable[EventCount]:
        refaults = self._keyed(group, "memory.stat")
        if refaults:
            local, hierarchical, swapped_in = refaults
            # v1 prints both the cgroup's own count and the `total_` of its children; the containers hold the pages.
            anonymous = hierarchical if hierarchical is not None else local
            if anonymous is not None:
                yield EventCount("swap", "workingset_refault_anon", anonymous)
            if swapped_in is not None:
                yield EventCount("swap", "pswpin", swapped_in)
        for key, count in zip(_LIMIT_KEYS, self._keyed(group, "memory.events"), strict=False):
            if count is not None:
                yield EventCount("cgroup_memory_reclaim", f"memory_{key}", count)

    def _throttled(self, tracked: _Tracked) -> tuple[int, int] | None:
        """
        Microseconds and periods this pod's quotas kept it off the CPU, its own and its containers' added up.

        ``cpu.stat`` counts only the throttling by a group's own quota, so the levels are summed; while both are
        throttled at once the time counts twice. ``None`` where no level has a quota counter.
        """
        own = _throttle(self._keyed(tracked.group, "cpu.stat")) if tracked.group is not None else None
        if own is not None:
            tracked.throttled_us.advance(own[0])
            tracked.throttled_periods.advance(own[1])
        seen = own is not None
        for each, group in tracked.containers.items():
            below = _throttle(self._keyed(group, "cpu.stat"))
            if below is not None:
                seen = True
                microseconds, periods = tracked.child_throttle.setdefault(each, (_Monotonic(), _Monotonic()))
                microseconds.advance(below[0])
                periods.advance(below[1])
        if not seen:
            return None
        return (
            tracked.throttled_us.total
            + tracked.buried_us
            + sum(microseconds.total for microseconds, _ in tracked.child_throttle.values()),
            tracked.throttled_periods.total
            + tracked.buried_periods
            + sum(periods.total for _, periods in tracked.child_throttle.values()),
        )

    @staticmethod
    def _rates(
        tracked: _Tracked, pressures: Sequence[Pressure], interval: float | None
    ) -> dict[str, tuple[float | None, float | None]]:
        rates: dict[str, tuple[float | None, float | None]] = {}
        totals: dict[str, tuple[int | None, int | None]] = {}
        for each in pressures:
            now = (
                each.some.total_us if each.some is not None else None,
                each.full.total_us if each.full is not None else None,
            )
            before = tracked.totals.get(each.cause, (None, None))
            totals[each.cause] = now
            rates[each.cause] = (_rate(before[0], now[0], interval), _rate(before[1], now[1], interval))
        tracked.totals = totals
        return rates


def _throttle(keyed: tuple[int | None, ...]) -> tuple[int, int] | None:
    """(microseconds, periods) from the throttle keys; ``None`` when the kernel has no CFS bandwidth control."""
    if not keyed:
        return None
    periods, microseconds, nanoseconds = keyed
    if microseconds is None and nanoseconds is not None:
        microseconds = nanoseconds // 1000
    if microseconds is None or periods is None:
        return None
    return microseconds, periods


def _derived(cause: str, total_us: int) -> Pressure:
    # There are no averages to be had: the kernel keeps none for it, and none is made up.
    return Pressure(cause, Source.DERIVED, None, PressureLine(None, None, None, total_us))


def _rate(before: int | None, now: int | None, interval: float | None) -> float | None:
    if before is None or now is None or interval is None or interval <= 0 or now < before:
        return None
    return (now - before) / 1e6 / interval
