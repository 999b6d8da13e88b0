"""
A swap file and what pods have in it, on a simulated node with cgroup v2: limits, requests to reclaim, what comes back.

Of every pod some memory has not been used for long (``simulator/paging.py``). Nothing goes to swap by itself here, only
what an agent asks for. ``memory.reclaim`` is a FIFO, so that no request is lost between two looks. So it takes any
words, never answers that it found less, and what came of a request is seen in ``memory.current`` a moment later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from plimsoll.simulator import spelling
from plimsoll.simulator.contention import Use
from plimsoll.simulator.paging import MIB, PAGE, Part, PodMemoryModel
from plimsoll.simulator.psi import Stall
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance

PATH = "/swap.img"
_HOT_SECONDS = 2.6
# What comes back into use is used so often: it comes back over as many seconds.
_WAKING_SECONDS = 10.0
# Pods here have gigabytes, and must cost next to nothing.
_CHUNK = 8 * MIB
_LOOK_SECONDS = 0.4
_REQUESTS = 1 << 16
# The first words an agent tries. Requests end in no newline: without words they could not be told apart.
_REQUEST = re.compile(r"(\d+) type=anon", re.ASCII)


class Cgroups(Protocol):
    """Where the cgroups are, whatever for."""

    cpuset_base: str

    @property
    def cpuset_roots(self) -> Sequence[str]:
        """The kubelet's cgroups, a parent before its children."""
        ...

    def cpuset_paths(self, pod: Instance) -> Sequence[str]:
        """The pod's own, then what is in it: its container last."""
        ...


class Felt(NamedTuple):
    """What became of a pod's memory in a while: bytes in swap, bytes read back, and the share of time it waited."""

    swapped: int
    read: int
    waited: float


class _Pod:
    def __init__(self, pod: Instance, paths: Sequence[str], requests: int) -> None:
        spec = pod.spec
        idle = int(spec.memory * spec.idle)
        # What is idle was there first, so reclaim comes by it first.
        parts = (Part(idle), Part(spec.memory - idle, _HOT_SECONDS))
        self.model = PodMemoryModel(parts, chunk=_CHUNK)
        self.paths = paths
        self.requests = requests
        self.sleeps = spec.wakes
        self.wakes: float | None = None
        self.waking = idle // 4
        self.since = 0.0
        self.debt = 0.0


class SwapFile:
    """``size`` bytes of it; ``tree`` and ``cgroups`` are the node's."""

    def __init__(self, tree: Tree, cgroups: Cgroups, size: int) -> None:
        self._tree = tree
        self._cgroups = cgroups
        self._size = size
        self._pods: dict[str, _Pod] = {}
        tree.fixed(PATH.lstrip("/"), "")
        # Or the kubelet would not be running here.
        tree.fixed("var/lib/kubelet/config.yaml", "failSwapOn: false\n")
        for path in cgroups.cpuset_roots:
            self._make(path, "max\n")

    def add(self, pod: Instance) -> None:
        """A pod that starts. The kubelet lets no container swap."""
        paths = self._cgroups.cpuset_paths(pod)
        for path in paths:
            self._make(path, "max\n" if path == paths[0] else "0\n")
        requests = os.open(self._file(paths[0], "memory.reclaim"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._pods[pod.uid] = _Pod(pod, paths, requests)

    def remove(self, uid: str) -> None:
        """A pod that is over, and with it what it had in swap."""
        os.close(self._pods.pop(uid).requests)

    def swapped(self, uid: str) -> int:
        """Bytes of a pod that are in swap and not in memory."""
        return self._pods[uid].model.swapped

    def live(self, uid: str, now: float, seconds: float) -> Felt:
        """Let a pod use its memory for a while; before that, do what was asked for. ``now``: the workload's time."""
        pod = self._pods[uid]
        pod.since += seconds
        read = 0
        if pod.since >= _LOOK_SECONDS:
            read = self._use(pod, now)
            pod.since = 0.0
        # Of a chunk that is read back whole the pod waits for longer than one step.
        waited = min(pod.debt, seconds)
        pod.debt -= waited
        return Felt(pod.model.swapped, read, waited / seconds)

    def _use(self, pod: _Pod, now: float) -> int:
        """All that is due since the last look; how much was read back."""
        model = pod.model
        model.limit = self._limit(pod.paths)
        # Slices of one request, each far smaller than what is used and reclaimed as one here.
        model.reclaim(sum(self._asked(pod.requests)), self._room())
        if pod.sleeps is not None and model.swapped:
            pod.wakes, pod.sleeps = now + pod.sleeps, None
        if pod.wakes is not None and now >= pod.wakes:
            pod.wakes = None
            model.phase(None, _WAKING_SECONDS, pod.waking)
        read, stalled = model.refaulted, model.stalled
        model.run(pod.since, self._room())
        pod.debt += model.stalled - stalled
        return model.refaulted - read

    def show(self) -> None:
        """Write what is in swap of each cgroup."""
        for pod in self._pods.values():
            own, *below = pod.paths
            self._put(own, pod.model.swapped)
            for path in below:
                self._put(path, pod.model.swapped if path == below[-1] else 0)
        for group in self._cgroups.cpuset_roots:
            inside = (each.model.swapped for each in self._pods.values() if each.paths[0].startswith(f"{group}/"))
            self._put(group, sum(inside))

    def _make(self, path: str, limit: str) -> None:
        self._tree.fixed(self._below(path, "memory.swap.max"), limit)
        self._put(path, 0)
        os.mkfifo(self._file(path, "memory.reclaim"))

    def _limit(self, paths: Sequence[str]) -> int:
        """A parent's holds for its children, too."""
        texts = (self._tree.read(self._below(each, "memory.swap.max")).strip() for each in (paths[0], paths[-1]))
        return min(self._size if text == "max" else int(text or 0) for text in texts)

    def _asked(self, requests: int) -> list[int]:
        try:
            text = os.read(requests, _REQUESTS).decode("ascii")
        except BlockingIOError:
            return []
        if _REQUEST.sub("", text):
            raise ValueError(f"memory.reclaim: {text!r} cannot be told apart")
        return [int(each) for each in _REQUEST.findall(text)]

    def _room(self) -> int:
        return self._size - sum(each.model.swapped for each in self._pods.values())

    def _put(self, path: str, size: int) -> None:
        self._tree.put(self._below(path, "memory.swap.current"), spelling.number(size))

    def _file(self, path: str, name: str) -> str:
        return self._tree.path(self._below(path, name))

    def _below(self, path: str, name: str) -> str:
        return f"{self._cgroups.cpuset_base}/{path}/{name}"


def with_swap(use: Use, felt: Felt, seconds: float) -> Use:
    """What a pod got in so many seconds, and what became of its memory meanwhile."""
    waits = use.stalls["swap"]
    some = 1 - (1 - (waits.some or 0.0)) * (1 - felt.waited)
    # Its other tasks go on as far as they are not waiting for the same.
    full = 1 - (1 - waits.full) * (1 - felt.waited * (1 - min(1.0, use.cpu)))
    return replace(
        use,
        swapped=use.swapped + felt.swapped,
        io=use.io + felt.read / seconds,
        refaults=use.refaults + felt.read / PAGE / seconds,
        stalls={**use.stalls, "swap": Stall(some, min(some, full))},
    )
