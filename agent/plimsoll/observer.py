"""
Turns the host and its pods into snapshots.

It owns what is read and how it goes when a read hangs or fails. It must not decide, write to the kernel, or know how a
snapshot is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from plimsoll.config.schema import Config, PrioritySection
from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.io_traffic import IoTraffic
from plimsoll.kernel.lock import Held, Taken, Unusable
from plimsoll.kernel.probe import probe
from plimsoll.kernel.reason import Reason
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.log import Event, Log
from plimsoll.model.eviction import Attempt
from plimsoll.model.pod import Pod
from plimsoll.model.snapshot import Capability, NodeSample, PodSample, PodSet, Snapshot, SourceState
from plimsoll.options import Options
from plimsoll.sources.cgroups import PodCgroups, Scope
from plimsoll.sources.disks import NodeDisks
from plimsoll.sources.frequency import NodeFrequency
from plimsoll.sources.kube import KubePods
from plimsoll.sources.manifests import ManifestPods
from plimsoll.sources.node import NodeFiles
from plimsoll.sources.swap import Nothing, Reclaimed, SwapSource, with_cold
from plimsoll.sources.traffic import PodTraffic
from plimsoll.sources.worker import Stuck, Worker

# The node's abilities change rarely (a boot, a mount, a module): look again now and then.
PROBE_SECONDS = 60.0
# A node of 250 pods and 1,000 containers has about 7,000 files; the process's own limit may lower it.
MAX_OPEN_FILES = 16384
# A read of the whole node takes milliseconds; one that takes this long is hung.
OBSERVE_DEADLINE = 10.0


class PodSource(Protocol):
    """Where this node's pods come from. ``observe`` never blocks on I/O."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def wait_complete(self, seconds: float) -> bool: ...

    def observe(self, priority: PrioritySection) -> PodSet: ...


class Evictions(Protocol):
    """What whoever has pods evicted knows of it."""

    @property
    def attempts(self) -> tuple[Attempt, ...]: ...


class _NoEvictions:
    """Nobody has pods evicted."""

    attempts: tuple[Attempt, ...] = ()


def _eviction_api(options: Options) -> Capability:
    """Whether there is anybody to ask for an eviction."""
    if options.pods is None:
        return Capability("eviction-api", available=True, detail="Pods can be evicted through the API server.")
    return Capability(
        "eviction-api",
        available=False,
        reason=Reason.NO_API_SERVER.value,
        detail="The pods come from a folder of files: nobody can be asked to evict one.",
        cure="Run the agent in the cluster, or with --kubeconfig FILE, if you want evictions.",
    )


def pod_source(options: Options, clock: Callable[[], float] = time.monotonic) -> PodSource:
    """The source the options name. Raises OSError and ValueError for one that cannot be: see the sources."""
    if options.pods is not None:
        return ManifestPods(options.pods, clock=clock)
    return KubePods(options.node_name, kubeconfig=options.kubeconfig, clock=clock)


def _scope(config: Config) -> Scope:
    return Scope(
        containers=config.pressure.containers,
        derived=config.pressure.derived,
        cpus=config.frequency.mode != "off",
        memory=_swap_wanted(config),
        usage=config.eviction.mode != "off",
    )


def _swap_wanted(config: Config) -> bool:
    """Without a device there is nothing an overcommit could do with the figures."""
    return config.overcommit.mode != "off" and config.overcommit.swap_device is not None


class _Sources(NamedTuple):
    """What one observation reads, as it was when it began: a read that hangs may outlast a change of configuration."""

    cgroups: PodCgroups
    swap: SwapSource | None
    disks: NodeDisks | None
    frequency: NodeFrequency | None
    traffic: PodTraffic | None


class Observer:
    """
    Turns the host and the pods into snapshots, one per call.

    ``host``, ``hierarchies`` and ``speed_select`` are there for others too, and stay open until :meth:`close`;
    ``sequence`` counts the snapshots made.
    """

    def __init__(
        self, options: Options, config: Config, source: PodSource, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options = options
        self._config = config
        self._source = source
        self._clock = clock
        self.host = HostFs(options.root)
        self.hierarchies = Hierarchies.detect(self.host)
        self._cgroups = self._pod_cgroups()
        self._node = NodeFiles(self.host)
        self._swap = self._swap_source()
        self._disks = self._disk_source()
        self.speed_select = SpeedSelect(self.host)
        """Looked for once, for all who ask."""
        self._frequency = self._frequency_source()
        self.registers_held: Callable[[], bool] = lambda: False
        """Whether the registers of Speed Select are as an agent left them. Called on the observer's own thread."""
        self._traffic = self._traffic_source()
        self.reclaimed: Reclaimed = Nothing()
        """Whoever reclaims memory, once there is somebody."""
        self.evictions: Evictions = _NoEvictions()
        """Whoever has pods evicted, likewise."""
        self._worker: Worker[tuple[tuple[PodSample, ...], NodeSample]] = Worker("observe", clock)
        self._samples: tuple[PodSample, ...] = ()
        self._node_sample = NodeSample()
        self._capabilities: tuple[Capability, ...] = ()
        self._probed = float("-inf")
        # What taking the lock came to, once somebody tried: one of the things a node can or cannot do.
        self.state_directory: Held | Taken | Unusable | None = None
        self._last: float | None = None
        self.sequence = 0
        self._seen: float | None = None
        self._failures = 0

    def _swap_source(self) -> SwapSource | None:
        if not _swap_wanted(self._config):
            return None
        said = self._config.overcommit
        return SwapSource(self.host, self.hierarchies, said.swap_device, said.swap_file_size)

    def _disk_source(self) -> NodeDisks | None:
        return None if self._config.io_limit.mode == "off" else NodeDisks(self.host)

    def _frequency_source(self) -> NodeFrequency | None:
        return (
            None if self._config.frequency.mode == "off" else NodeFrequency(self.host, self.speed_select, self._clock)
        )

    def _traffic_source(self) -> PodTraffic | None:
        wanted = self._config.eviction.mode != "off" and self._config.eviction.io is not None
        return PodTraffic(IoTraffic(self.hierarchies)) if wanted else None

    def _pod_cgroups(self) -> PodCgroups:
        return PodCgroups(self.hierarchies, BatchReader(MAX_OPEN_FILES), _scope(self._config), clock=self._clock)

    def reconfigure(self, config: Config) -> None:
        """Follow a new configuration; the cgroups are opened afresh only when what is read changes."""
        before, self._config = self._config, config
        if _scope(before) != _scope(config):
            self._cgroups.close()
            self._cgroups = self._pod_cgroups()
        if before.overcommit != config.overcommit:
            self._swap = self._swap_source()
        if before.io_limit != config.io_limit:
            self._disks = self._disk_source()
        if (self._frequency is None) != (config.frequency.mode == "off"):
            self._frequency = self._frequency_source()
        if before.eviction != config.eviction:
            self._traffic = self._traffic_source()

    def snapshot(self) -> Snapshot:
        """Observe once. Raises nothing that the kernel or the API server may cause."""
        now = self._clock()
        pods = self._source.observe(self._config.priority)
        sources = _Sources(self._cgroups, self._swap, self._disks, self._frequency, self._traffic)
        result = self._worker.call(lambda: self._observe(sources, pods.pods, now), OBSERVE_DEADLINE)
        # While nothing new comes the last figures stand, and the source's age says how old they are. Pods that were
        # deleted meanwhile vanish all the same.
        alive = {pod.uid for pod in pods.pods}
        samples = tuple(sample for sample in self._samples if sample.pod.uid in alive)
        node = self._node_sample
        if isinstance(result, Stuck):
            state = self._state(now, ok=False, detail="a read of the kernel does not come back", stuck=result.seconds)
            _log.warning(Event.SOURCE_STUCK, source="kernel", seconds=round(result.seconds, 1), limit="kernel")
        elif result.error is not None or result.value is None:
            self._failures += 1
            state = self._state(now, ok=False, detail=repr(result.error))
            _log.error(Event.TICK_FAILED, source="kernel", error=repr(result.error), limit="kernel")
        else:
            samples, node = self._samples, self._node_sample = result.value
            self._seen = now
            state = self._state(now, ok=True)
        if now - self._probed >= PROBE_SECONDS and not isinstance(result, Stuck):
            self._probe(now)
        interval = None if self._last is None else now - self._last
        self._last = now
        self.sequence += 1
        return Snapshot(
            sequence=self.sequence,
            monotonic=now,
            unix=time.time(),
            interval=interval,
            node_name=self._options.node_name,
            pods=samples,
            node=node,
            capabilities=self._capabilities,
            sources=(pods.state, state),
            poison=pods.poison,
            evictions=self.evictions.attempts,
        )

    def _observe(self, sources: _Sources, pods: Sequence[Pod], now: float) -> tuple[tuple[PodSample, ...], NodeSample]:
        samples, node = sources.cgroups.observe(pods, now), self._node.sample()
        if sources.disks is not None:
            node = replace(node, disks=sources.disks.sample(now))
        if sources.frequency is not None:
            node = replace(node, frequency=sources.frequency.sample(ours=self.registers_held()))
        if sources.traffic is not None:
            samples = sources.traffic.with_rates(samples, now)
        if sources.swap is None:
            return samples, node
        samples = with_cold(samples, self.reclaimed)
        roots = [root.path for root in sources.cgroups.kubepods.roots]
        return samples, replace(node, swap=sources.swap.sample(roots, samples, self.reclaimed, now))

    def _state(self, now: float, *, ok: bool, detail: str = "", stuck: float = 0.0) -> SourceState:
        age = None if self._seen is None else now - self._seen
        errors = {"exception": self._failures} if self._failures else {}
        return SourceState("kernel", ok, self._seen is not None, age, detail, stuck, errors)

    def _probe(self, now: float) -> None:
        self._probed = now
        before = {each.name: each for each in self._capabilities}
        found = probe(self.host, self.hierarchies, self._cgroups.kubepods, self.state_directory, self.speed_select)
        self._capabilities = (*found, _eviction_api(self._options))
        for each in self._capabilities:
            if each.name in before and before[each.name].available != each.available:
                _log.info(Event.CAPABILITY_CHANGED, capability=each.name, available=each.available, reason=each.reason)

    def close(self) -> None:
        """Let go of the host."""
        self._worker.stop()
        self._cgroups.close()
        self.hierarchies.close()
        self.host.close()


_log = Log("observer")
