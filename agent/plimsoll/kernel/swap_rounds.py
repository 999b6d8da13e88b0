"""
Going round the cgroups of a node again and again, to see which are in swap and which may be.

A node may have a thousand of them, so each look takes some. Reads only. It must not know what follows from what is
found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.swap_accounting import SwapAccounting
from plimsoll.kernel.swap_device import Identity
from plimsoll.model.outcome import Outcome

ROUND_SECONDS = 30.0
# A pod that has just been made is open until somebody has closed it: an open one is looked at again before it counts.
CONFIRM_SECONDS = 5.0
# Of one look: a node of a thousand cgroups is gone round in ten of them.
CGROUPS_PER_LOOK = 100
_ZSWAP_ENABLED = "sys/module/zswap/parameters/enabled"


class Role(StrEnum):
    """What a pod may do with the device."""

    ALLOWED = "allowed"  # it is there for this one
    CLOSED = "closed"  # somebody sees to it that this one may not swap
    OTHER = "other"  # nobody's business: it may be open, but shall not swap


class Holder(NamedTuple):
    """One pod: its cgroup's path, and the bytes it has in swap as observed (``None``: unknown)."""

    cgroup: str
    role: Role
    swapped: int | None


class Round:
    """What going round the cgroups once has found so far."""

    def __init__(self, left: Iterator[tuple[str, Role | None]]) -> None:
        self.left = left
        self.swapping: list[str] = []
        self.open_pods: set[str] = set()
        self.open_others: list[str] = []
        self.compressed: list[str] = []
        self.refused: list[tuple[str, Outcome]] = []


class SwapRounds:
    """
    One round after the other. One thread calls it.

    ``roots`` are the kubelet's root cgroups. No more than ``lingering`` bytes in swap are taken for none. ``done`` is
    the last whole round, ``None`` before the first; ``open_before``: the pods that were open in the one before it.
    """

    def __init__(
        self, host: HostFs, accounting: SwapAccounting, roots: Sequence[str], device: Identity, lingering: int
    ) -> None:
        self._host = host
        self._accounting = accounting
        self._roots = tuple(roots)
        self._device = device
        self._lingering = lingering
        self._round: Round | None = None
        self._due = float("-inf")
        self.done: Round | None = None
        self.open_before: frozenset[str] = frozenset()

    def advance(self, holders: Sequence[Holder], now: float) -> None:
        """
        Look at the next cgroups; ``now`` is monotonic seconds.

        A round takes the pods it looks at from ``holders`` as they are when it begins.
        """
        if self._round is None:
            if now < self._due:
                return
            self._round = Round(self._cgroups(holders))
        compressing = self._host.read(_ZSWAP_ENABLED).data == b"Y\n"
        for _ in range(CGROUPS_PER_LOOK):
            following = next(self._round.left, None)
            if following is None:
                self._end(self._round, now)
                return
            self._look(self._round, *following, compressing=compressing)

    def _end(self, round_: Round, now: float) -> None:
        before = frozenset() if self.done is None else frozenset(self.done.open_pods)
        self.done, self.open_before, self._round = round_, before, None
        fresh = round_.open_pods - before
        self._due = now + (CONFIRM_SECONDS if fresh else ROUND_SECONDS)

    def _cgroups(self, holders: Sequence[Holder]) -> Iterator[tuple[str, Role | None]]:
        """Pods as they are, and what is beside the kubelets' roots: the highest cgroups that hold no root."""
        yield from [(each.cgroup, each.role) for each in holders]
        waiting = ["."]
        while waiting:
            above = waiting.pop()
            for name in self._accounting.directory.directories(above).names:
                path = name if above == "." else f"{above}/{name}"
                if path in self._roots:
                    continue
                if any(root.startswith(f"{path}/") for root in self._roots):
                    waiting.append(path)
                else:
                    yield (path, None)

    def _look(self, round_: Round, path: str, role: Role | None, *, compressing: bool) -> None:
        if role is Role.ALLOWED:
            limit = self._accounting.directory.read(f"{path}/memory.zswap.max").data if compressing else None
            if limit is not None and limit != b"0\n":
                round_.compressed.append(path)
            return
        share = self._accounting.share(path, self._device)
        if share.outcome is Outcome.MISSING:
            # The cgroup is gone, or the controller is not turned on here: then the one above accounts for it.
            return
        if share.outcome is not Outcome.OK:
            round_.refused.append((path, share.outcome))
            return
        # Pods are told every time, by what was observed of them.
        if (share.used or 0) > self._lingering and role is None:
            round_.swapping.append(path)
        if not share.may:
            return
        if role is Role.CLOSED:
            if self._containers_may(path):
                round_.open_pods.add(path)
        elif role is None:
            round_.open_others.append(path)

    def _containers_may(self, pod: str) -> bool:
        """A limit holds below as well, so the kubelet's own 0 on each container is as good; a pod has few."""
        names = self._accounting.directory.directories(pod).names
        shares = (self._accounting.share(f"{pod}/{name}", self._device) for name in names)
        return any(each.may is not False for each in shares if each.outcome is not Outcome.MISSING)
