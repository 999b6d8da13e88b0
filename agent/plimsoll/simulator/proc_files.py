"""The ``/proc`` of a simulated node: the files the agent reads, in the kernel's shapes."""

from __future__ import annotations

from collections.abc import Sequence

from plimsoll.model.pressure import PRESSURE_STAT_CAUSES
from plimsoll.simulator import spelling
from plimsoll.simulator.account import Account
from plimsoll.simulator.contention import Capacity
from plimsoll.simulator.tree import Tree

DISK = ("/dev/vdb", "partition")
"""What the node swaps to."""

_NO_LINE = "avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


class ProcFiles:
    """
    ``resources`` are the names below ``/proc/pressure`` this kernel has, ``stat`` not among them. ``swap``: what the
    swap is on, and whether that is a ``partition`` or a ``file``.
    """

    def __init__(
        self,
        tree: Tree,
        capacity: Capacity,
        *,
        release: str,
        arguments: str,
        resources: Sequence[str],
        swap: tuple[str, str] = DISK,
    ) -> None:
        self._tree = tree
        self._capacity = capacity
        self._release = release
        self._arguments = arguments
        self._resources = tuple(resources)
        self._swap, self._swap_kind = swap

    def boot(self, boot_id: str) -> None:
        """The files that never change."""
        self._tree.fixed("proc/sys/kernel/osrelease", f"{self._release}\n")
        self._tree.fixed("proc/sys/kernel/random/boot_id", f"{boot_id}\n")
        self._tree.fixed("proc/cmdline", f"BOOT_IMAGE=/vmlinuz-{self._release} root=/dev/vda1 ro {self._arguments}\n")

    def show(self, node: Account, seconds: float, *, split: bool) -> None:
        """``node`` is the whole node's account, ``seconds`` its age."""
        for name in self._resources:
            text = spelling.psi(node.psi, name)
            if name == "cpu":
                # Some task always runs while CPU is what is short; kernels from 5.13 print zeros for old parsers' sake.
                text = text.partition("full")[0] + f"full {_NO_LINE}"
            self._tree.put(f"proc/pressure/{name}", text)
        if split:
            self._tree.put("proc/pressure/stat", spelling.pressure_stat(node.psi, PRESSURE_STAT_CAUSES))
        total, swap = self._capacity.memory, self._capacity.swap
        free = max(0, total - node.memory)
        # A tenth of what pods hold is clean page cache, which is as good as free.
        meminfo = {
            "MemTotal": total,
            "MemFree": free,
            "MemAvailable": min(total, free + node.memory // 10),
            "SwapTotal": swap,
            "SwapFree": max(0, swap - node.swapped),
        }
        self._tree.put("proc/meminfo", spelling.meminfo(meminfo))
        self._tree.put("proc/stat", spelling.stat(self._capacity.cpus, node.cpu_ns / 1e9, seconds))
        used = min(swap, node.swapped) // 1024
        self._tree.put(
            "proc/swaps",
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
            f"{self._swap:<40}{self._swap_kind}\t{swap // 1024}\t\t{used:012d}\t\t-2\n",
        )
