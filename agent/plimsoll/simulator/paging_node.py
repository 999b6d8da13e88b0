"""
A node of pods with hot, warm and cold memory and a swap device, for trying the overcommit policy without a kernel.

It hands out snapshots and carries decisions out. How memory behaves is ``paging.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from plimsoll.model.memory import NodeSwap, Offload, SwapDevice
from plimsoll.model.plan import Knob, Reclaim, Watch, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Capability, NodeSample, PodSample, Snapshot, SourceState
from plimsoll.simulator.paging import PodMemoryModel, Traffic, stall_rates

GIB = 1 << 30


class PagingNode:
    """
    ``pods``: who they are, without any figures; ``models``: by UID, the memory of the low-priority ones among them.

    ``capabilities`` as the probe would name them; ``silent`` as in ``stall_rates``. :attr:`device` may be replaced.
    """

    def __init__(
        self,
        pods: Sequence[PodSample],
        models: Mapping[str, PodMemoryModel],
        capabilities: Sequence[str],
        *,
        device_size: int = 4 * GIB,
        memory: int = 64 * GIB,
        silent: bool = False,
    ) -> None:
        self.pods = tuple(pods)
        self.models = dict(models)
        self.device = SwapDevice(
            "/dev/vdb", True, "254:16", device_size, 0, 0, 0, dedicated=True, kind="block", device_path="/dev/vdb"
        )
        self.now = 0.0
        self._capabilities = tuple(Capability(each, True) for each in capabilities)
        self._memory = memory
        self._silent = silent
        self._stalled = dict.fromkeys(self.models, 0.0)
        self._offloads: dict[str, Offload] = {}
        self._sequence = 0
        self._gone = Traffic(0, 0)

    @property
    def offloaded(self) -> int:
        """Bytes on the device."""
        return sum(each.swapped for each in self.models.values())

    def add(self, pod: PodSample, model: PodMemoryModel | None = None) -> None:
        """A pod starts; with a ``model`` where it is a low-priority one."""
        self.pods = (*self.pods, pod)
        if model is not None:
            self.models[pod.pod.uid] = model
            self._stalled[pod.pod.uid] = model.stalled

    def remove(self, uid: str) -> None:
        """A pod ends, and what it had on the device with it; what it has written there stays counted."""
        self.pods = tuple(each for each in self.pods if each.pod.uid != uid)
        if uid in self.models:
            read, written = self.models[uid].traffic
            self._gone = Traffic(self._gone.read + read, self._gone.written + written)
        for known in (self.models, self._stalled, self._offloads):
            known.pop(uid, None)

    def advance(self, seconds: float) -> Snapshot:
        """Let the pods work for a while, and look."""
        self.now += seconds
        self._sequence += 1
        for each in self.models.values():
            each.run(seconds, self._room())
        samples = tuple(self._sample(each, seconds) for each in self.pods)
        self.device = replace(
            self.device,
            used=self.offloaded,
            read=self._gone.read + sum(each.traffic.read for each in self.models.values()),
            written=self._gone.written + sum(each.traffic.written for each in self.models.values()),
        )
        node = NodeSample(memory_total_bytes=self._memory, swap=NodeSwap(self.device, dict(self._offloads)))
        source = SourceState("pods", ok=True, complete=True, age_seconds=0.0)
        return Snapshot(
            self._sequence, self.now, self.now, seconds, "node", samples, node, self._capabilities, (source,)
        )

    def carry_out(self, writes: Sequence[Write], watches: Sequence[Watch], reclaims: Sequence[Reclaim]) -> None:
        """Do what was decided, at once."""
        paths = {each.cgroup: each.pod.uid for each in self.pods}
        wanted = {
            paths[each.target.path]: int(each.value)
            for each in writes
            if each.knob is Knob.MEMORY_SWAP_MAX and each.target.path in paths
        }
        watched = {each.pod: each for each in watches}
        for uid, model in self.models.items():
            model.limit = wanted.get(uid, 0)
            watch = watched.get(uid)
            if watch is None:
                model.watch(None, 0, 0.0)
            else:
                model.watch(watch.selector, watch.rate, watch.window)
        for reclaim in reclaims:
            freed = self.models[reclaim.pod].reclaim(reclaim.size, self._room())
            before = self._offloads.get(reclaim.pod, Offload())
            self._offloads[reclaim.pod] = replace(
                before,
                asked=before.asked + reclaim.size,
                freed=before.freed + freed,
                partial=before.partial + int(freed < reclaim.size),
            )

    def _room(self) -> int:
        return max(0, (self.device.size or 0) - self.offloaded)

    def _sample(self, pod: PodSample, seconds: float) -> PodSample:
        model = self.models.get(pod.pod.uid)
        if model is None or pod.pod.priority is not Priority.LOW:
            return pod
        stalled = model.stalled - self._stalled[pod.pod.uid]
        self._stalled[pod.pod.uid] = model.stalled
        return replace(pod, memory=model.memory(), stall_rates=stall_rates(stalled, seconds, silent=self._silent))
