"""
A whole node in a folder: the files an agent reads below a root, following a workload as time goes by.

Owns the pods' books and when which file changes. It must not know time by itself (:meth:`SimulatedNode.advance` is
told), nor Kubernetes beyond the pod objects it gives. Of what the agent writes into the folder, the CPU knobs take
effect, its cpuset among them; memory's are kept, and change nothing but what is in a swap file.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from enum import StrEnum
from random import Random

from plimsoll.model.pod import QosClass
from plimsoll.simulator.account import Account
from plimsoll.simulator.contention import Capacity, contend
from plimsoll.simulator.openeuler_v1 import OpenEulerV1
from plimsoll.simulator.pod_object import pod_object
from plimsoll.simulator.proc_files import DISK, ProcFiles
from plimsoll.simulator.processors import Processors
from plimsoll.simulator.stock_v2 import StockV2
from plimsoll.simulator.swap_file import PATH as SWAP_PATH
from plimsoll.simulator.swap_file import SwapFile, with_swap
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import Instance, Workload

# Demands are taken as constant for so long; a batch job that ends within is gone at the end of it.
_STEP_NS = 250_000_000


class Kind(StrEnum):
    """Which kernel the node has."""

    OPENEULER_V1 = "openeuler-v1"
    STOCK_V2 = "stock-v2"


class SimulatedNode:
    """
    The node below ``root``, an empty directory. ``seed`` decides its boot ID; the workload has its own.
    ``frequencies``: those of its CPUs can be set, and pods be kept to some of them. ``swap_file``: all of the node's
    swap is a file, to which goes what an agent asks for and nothing else. Raises ValueError for any other kind of node
    than STOCK_V2.

    Time starts at 0 with the pods of that moment already there.
    """

    def __init__(
        self,
        root: str,
        kind: Kind,
        workload: Workload,
        capacity: Capacity,
        *,
        name: str = "node",
        seed: int = 0,
        frequencies: bool = False,
        swap_file: bool = False,
    ) -> None:
        if swap_file and kind is not Kind.STOCK_V2:
            raise ValueError(f"a node of kind {kind} has no limits of swap")
        self.root = root
        self.kind = kind
        self.name = name
        self.seconds = 0.0
        self._workload = workload
        self._capacity = capacity
        tree = Tree(root)
        self._cgroups = OpenEulerV1(tree) if kind is Kind.OPENEULER_V1 else StockV2(tree)
        self._now_ns = 0
        self._groups = {key: self._account() for key in ("", QosClass.BURSTABLE, QosClass.BEST_EFFORT)}
        self._running: dict[str, tuple[Instance, Account]] = {}
        self._ended: set[str] = set()
        tree.directory("run")  # the agent makes its own state directory below
        self._proc = ProcFiles(
            tree,
            capacity,
            release=self._cgroups.release,
            arguments=self._cgroups.arguments,
            resources=self._cgroups.resources,
            swap=(SWAP_PATH, "file") if swap_file else DISK,
        )
        self._proc.boot(str(uuid.UUID(int=Random(seed).getrandbits(128), version=4)))
        self._cgroups.boot(self._groups)
        self._processors = Processors(tree, capacity.cpus, self._cgroups) if frequencies else None
        self._swap = SwapFile(tree, self._cgroups, capacity.swap) if swap_file else None
        if swap_file:
            # The kernel swaps nothing of its own accord.
            self._capacity = capacity._replace(swap=0)
        self._follow()
        self._show()

    def advance(self, seconds: float) -> None:
        """
        Let the node live until ``seconds`` after its start, and show in its files what it has come to.

        A time that is not later changes nothing.
        """
        goal = round(seconds * 1e9)
        if goal <= self._now_ns:
            return
        while self._now_ns < goal:
            step = min(_STEP_NS, goal - self._now_ns)
            self._live(step)
            self._now_ns += step
            self.seconds = self._now_ns / 1e9
            self._follow()
        self._show()

    def instances(self) -> tuple[Instance, ...]:
        """The pods that exist now, finished ones among them."""
        return tuple(each for each in self._workload.instances(self.seconds) if each.uid not in self._ended)

    def end(self, uid: str) -> None:
        """
        End a pod before its time, as the kubelet does when the API server says so.

        Nothing makes it anew; where it is one of a row of jobs, the next of them comes when its time has come.
        """
        self._ended.add(uid)
        self._follow()

    def objects(self) -> dict[tuple[str, str], dict[str, object]]:
        """The pod objects as an API server has them now, by namespace and name."""
        return {
            (each.spec.namespace, each.name): pod_object(each, self.name, self._cgroups.runtime)
            for each in self.instances()
        }

    def _account(self) -> Account:
        return Account(split=self._cgroups.split)

    def _live(self, step_ns: int) -> None:
        demands = {
            uid: replace(
                self._workload.demand(pod, self.seconds),
                offline=self._cgroups.gives_way(pod),
                cpus=None if self._processors is None else self._processors.allowed(pod),
            )
            for uid, (pod, _) in self._running.items()
        }
        if self._swap is not None:
            demands = {
                uid: replace(each, memory=max(0, each.memory - self._swap.swapped(uid)))
                for uid, each in demands.items()
            }
        uses = contend(self._capacity, demands)
        if self._swap is not None:
            seconds = step_ns / 1e9
            uses = {
                uid: with_swap(each, self._swap.live(uid, self.seconds, seconds), seconds) for uid, each in uses.items()
            }
        if self._processors is not None:
            self._processors.spend(step_ns / 1e9, [(pod, uses[uid].cpu) for uid, (pod, _) in self._running.items()])
        for uid, (_, account) in self._running.items():
            account.advance(step_ns, (uses[uid],))
        for key, account in self._groups.items():
            account.advance(
                step_ns, (uses[uid] for uid, (pod, _) in self._running.items() if key in ("", pod.spec.qos_class))
            )

    def _follow(self) -> None:
        """Start the pods that are new and remove those that are over."""
        present = {each.uid: each for each in self.instances() if not each.finished}
        for uid in [uid for uid in self._running if uid not in present]:
            pod = self._running.pop(uid)[0]
            if self._processors is not None:
                self._processors.remove(pod)
            if self._swap is not None:
                self._swap.remove(uid)
            self._cgroups.remove(pod)
        for uid, pod in present.items():
            if uid not in self._running:
                account = self._account()
                self._cgroups.add(pod)
                self._cgroups.show(pod, account)
                if self._processors is not None:
                    self._processors.add(pod)
                if self._swap is not None:
                    self._swap.add(pod)
                self._running[uid] = pod, account

    def _show(self) -> None:
        if self._processors is not None:
            self._processors.follow()
        if self._swap is not None:
            self._swap.show()
        for pod, account in self._running.values():
            self._cgroups.show(pod, account)
        self._cgroups.show_groups(self._groups)
        self._proc.show(self._groups[""], self.seconds, split=self._cgroups.split)
