"""
Two simulated nodes with the unmodified agent on each: something for dashboards to show.

Owns the nodes' life from the tests' point of view: each call of :meth:`Fleet.live` brings it up to now. One node has an
openEuler kernel, the other a stock one with a swap device. The device is a number and a line in ``/proc/swaps``: what
is asked of ``memory.reclaim`` is taken to have gone there, and the pods allocate as much again.
"""

from __future__ import annotations

import json
import os
import stat
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from plimsoll.simulator import cast
from plimsoll.simulator.agent_process import AgentProcess
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import PodSpec, Shape, Workload

DEVICE = "/dev/plimsoll-swap"
# A number no driver has: nobody can read or write there.
NUMBER = os.makedev(4095, 7)
DEVICE_BYTES = 8 << 30
GIB = 1 << 30
# No pod of it is ever short of anything: cold memory can be moved out.
CALM = (
    *(each for each in cast.PODS if each.namespace in ("shop", "kube-system")),
    PodSpec("analytics", "warehouse", Shape.STEADY, cpu=0.4, memory=4 * GIB, io=1e6, cpu_request=0.1),
    PodSpec("analytics", "archive", Shape.STEADY, cpu=0.2, memory=2 * GIB, io=1e6, cpu_request=0.1),
    # Its owner wants its memory left alone.
    PodSpec(
        "analytics", "index", Shape.STEADY, cpu=0.1, memory=GIB, cpu_request=0.1,
        annotations={"plimsoll.io/memory-reclaim": "never"},
    ),
)  # fmt: skip
CASTS = {Kind.OPENEULER_V1: cast.PODS, Kind.STOCK_V2: CALM}
# As little and as soon as may be: nobody waits for long on a node that is looked at for a minute.
_SOON = {"stalled": 0.02, "calm": 0.001, "sustained": "10s"}
EVICTION = {"mode": "enforce", "settle": "30s", "cpu": _SOON, "memory": _SOON, "io": _SOON}
_DEMO: dict[str, Any] = {**json.loads(cast.CONFIG), "pressure": {"interval": "1s", "containers": True}}
CONFIGS: dict[Kind, dict[str, Any]] = {
    # Beside one that writes, one that only says what it would do.
    Kind.OPENEULER_V1: {**_DEMO, "eviction": EVICTION},
    Kind.STOCK_V2: {
        **_DEMO,
        "preemption": {"mode": "observe"},
        "overcommit": {
            "mode": "enforce",
            "ratio": 1.5,
            "swapDevice": DEVICE,
            "interval": "2s",
            "probation": "0s",
            "writeBudget": "64Mi",
        },
    },
}


class Swap:
    """What a kernel with a swap device shows beside the simulated node's own files. Needs root, for the device."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cgroups = root / "sys/fs/cgroup"
        (root / "dev").mkdir()
        os.mknod(root / DEVICE.lstrip("/"), stat.S_IFBLK | 0o600, NUMBER)
        self._block = f"sys/dev/block/{os.major(NUMBER)}:{os.minor(NUMBER)}"
        (root / self._block).mkdir(parents=True)
        self._written = 0
        self.follow()

    def follow(self) -> None:
        """Do what was asked of ``memory.reclaim`` since the last time; give new cgroups their files."""
        used = 0
        for folder in [each.parent for each in self._cgroups.glob("kubepods.slice/**/cgroup.controllers")]:
            current, asked = folder / "memory.swap.current", folder / "memory.reclaim"
            if not asked.exists():
                (folder / "memory.swap.max").write_text("max\n")
                current.write_text("0\n")
                asked.write_text("")
            size = int((asked.read_text().split() or ["0"])[0])
            if size:
                asked.write_text("")
                current.write_text(f"{int(current.read_text()) + size}\n")
                self._written += size
            used += int(current.read_text())
        line = f"{DEVICE} partition {DEVICE_BYTES >> 10} {used >> 10} -2"
        self._put("proc/swaps", f"Filename Type Size Used Priority\n{line}\n")
        self._put(f"{self._block}/stat", f"0 0 {self._written >> 14} 0 0 0 {self._written >> 9} 0 0 0 0\n")

    def _put(self, path: str, text: str) -> None:
        # A kernel's file is whole whenever it is read.
        unfinished = self._root / "unfinished"
        unfinished.write_text(text)
        unfinished.replace(self._root / path)


class LivingNode:
    """
    One node and its agent, whose files are below ``folder``; ends with the block. ``refuses``: the pattern of files,
    below the node's root, that its kernel does not let anybody open (EISDIR).
    """

    def __init__(self, folder: Path, kind: Kind, *, refuses: str = "") -> None:
        self.name = f"node-{kind.value}"
        root = folder / "host"
        root.mkdir(parents=True)
        self._node = SimulatedNode(str(root), kind, Workload(CASTS[kind]), cast.NODE, name=self.name, frequencies=True)
        self._swap = Swap(root) if kind is Kind.STOCK_V2 else None
        self._folder = folder
        self._root = root
        self._config = CONFIGS[kind]
        self._refuses = refuses
        self._known: dict[tuple[str, str], dict[str, object]] = {}
        self._api = ApiServer()
        self._born = time.monotonic()
        self._ended = ExitStack()
        self.agent: AgentProcess

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            self._api.start()
            begun.callback(self._api.stop)
            self.live()
            (self._folder / "plimsoll.yaml").write_text(json.dumps(self._config))
            arguments = ["--root", str(self._root), "--config", str(self._folder / "plimsoll.yaml")]
            arguments += ["--kubeconfig", self._api.write_kubeconfig(str(self._folder / "kubeconfig"))]
            arguments += ["--node-name", self.name, "--listen", "127.0.0.1:0"]
            self.agent = begun.enter_context(AgentProcess(arguments, str(self._folder / "log")))
            self._ended = begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def live(self) -> None:
        """Up to now."""
        self._node.advance(time.monotonic() - self._born)
        if self._swap is not None:
            self._swap.follow()
        # Before the agent can know of them: it holds what it has opened.
        for path in [each for each in self._root.glob(self._refuses) if each.is_file()] if self._refuses else ():
            path.unlink()
            path.mkdir()
        for each in self._api.pods:
            # Its kubelet ends what was evicted.
            if "deletionTimestamp" in each["metadata"]:
                self._node.end(each["metadata"]["uid"])
        objects = self._node.objects()
        for gone in self._known.keys() - objects.keys():
            self._api.delete_pod(*gone)
        for key, item in objects.items():
            if self._known.get(key) != item:
                self._api.put_pod(item)
        self._known = objects

    def break_down(self) -> None:
        """
        What goes wrong while an agent runs, and it outlives: no journal, no API server, a configuration nobody can
        read.
        """
        state = self._root / "run/plimsoll"
        # In its way first: a journal that is not there is made anew.
        (state / "journal.new").mkdir()
        (state / "journal").unlink()
        (self._folder / "plimsoll.yaml").write_text("{")
        self._api.stop()

    def meddle(self) -> None:
        """What the agent wrote is overwritten by somebody else, once."""
        for path in self._root.glob("sys/fs/cgroup/**/cpu.qos_level"):
            path.write_text("0\n")


class Fleet:
    """Both nodes; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [LivingNode(folder / kind.value, kind) for kind in Kind]
        self._ended = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            for each in self.nodes:
                begun.enter_context(each)
            self._ended = begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def live(self) -> None:
        for each in self.nodes:
            each.live()

    def meddle(self) -> None:
        for each in self.nodes:
            each.meddle()

    def addresses(self) -> dict[str, str]:
        """Where each agent serves, by its node's name, of those that do."""
        return {each.name: address for each in self.nodes if (address := each.agent.address()) is not None}
