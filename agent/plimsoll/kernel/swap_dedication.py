"""
Whether the swap device holds memory of low-priority pods and nothing else.

No kernel keeps a device for some cgroups by itself: on cgroup v2 any cgroup that may swap may use any device, and
systemd makes a limit of 0 into none whenever it reloads. So it is looked at again and again: the figures of pods every
time, all other cgroups in rounds. Reads only. It must not know how a limit comes to be there, nor what to do about it.

Processes of the root cgroup and the kernel's own memory have no limit and are not told apart: what they swap shows as
what nobody accounts for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap, read_cpu_count
from plimsoll.kernel.swap_accounting import Backend, SwapAccounting
from plimsoll.kernel.swap_device import Identity
from plimsoll.kernel.swap_reason import SwapReason
from plimsoll.model.outcome import Outcome

ROUND_SECONDS = 30.0
# A pod that has just been made is open until somebody has closed it: an open one is looked at again before it counts.
CONFIRM_SECONDS = 5.0
# Of one look: a node of a thousand cgroups is gone round in ten of them.
CGROUPS_PER_LOOK = 100
# What a pod that is gone had in swap, and what was swapped between two reads, is not held against anybody at once.
PATIENCE_SECONDS = 30.0
_SLACK = 16 << 20
# mm/swap_slots.c of 6.12: each CPU keeps 64 slots to give out and 64 given back. All count as used, and those given
# back stay charged to whoever had them, so a pod of which nothing is in swap any more may still show some.
_LINGERING_PER_CPU = 64 * 4096
_ZSWAP_ENABLED = "sys/module/zswap/parameters/enabled"
_MAX_NAMED = 3
_CLOSE = (
    "Let them swap no more (memory.swap.max of 0, MemorySwapMax=0 of a unit); what is there comes back when it is used "
    "or by swapoff."
)
_MAY_CLOSE = "Set MemorySwapMax=0 for the units that shall not."
_NO_ZSWAP = "Turn zswap off, or write 0 to their memory.zswap.max."


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


class Verdict(NamedTuple):
    """
    ``dedicated`` is ``None`` while it cannot be known. ``reasons`` are empty where it is true; ``details`` may then
    still say what could make it false.
    """

    dedicated: bool | None
    reasons: tuple[SwapReason, ...] = ()
    details: tuple[str, ...] = ()


class _Round:
    """What going round the cgroups once has found so far."""

    def __init__(self, left: Iterator[tuple[str, Role | None]]) -> None:
        self.left = left
        self.swapping: list[str] = []
        self.open_pods: set[str] = set()
        self.open_others: list[str] = []
        self.compressed: list[str] = []
        self.refused: list[tuple[str, Outcome]] = []


class SwapDedication:
    """
    The continuous check of one device. One thread calls it.

    ``roots`` are the kubelet's root cgroups; ``size`` is the device's.
    """

    def __init__(
        self, host: HostFs, accounting: SwapAccounting, roots: Sequence[str], device: Identity, size: int
    ) -> None:
        self._host = host
        self._accounting = accounting
        self._roots = tuple(roots)
        self._device = device
        self._lingering = _LINGERING_PER_CPU * (read_cpu_count(host) or 1)
        self._slack = max(_SLACK, size // 100) + 2 * self._lingering
        self._done: _Round | None = None
        self._open_before: frozenset[str] = frozenset()
        self._round: _Round | None = None
        self._due = float("-inf")
        self._more_since: float | None = None

    @property
    def backend(self) -> Backend:
        """By which means the device is kept for some."""
        return self._accounting.backend

    def check(self, used: int, others: Sequence[Swap], holders: Sequence[Holder], now: float) -> Verdict:
        """
        ``used`` bytes of the device are in use, ``others`` are active beside it, ``now`` is monotonic seconds.

        The rounds take the cgroups they look at from ``holders`` as they are when one begins.
        """
        self._go_round(holders, now)
        found = [*self._other_devices(others), *self._pods(holders), *self._unaccounted(used, holders, now)]
        round_ = self._done
        if round_ is None:
            found.append((SwapReason.NOT_LOOKED, "Not all cgroups have been looked at yet."))
        else:
            found += self._around(round_, {each.cgroup for each in holders if each.role is Role.CLOSED})
        shared = [each for each in found if each[0] not in _UNKNOWN]
        unknown = [each for each in found if each[0] in _UNKNOWN]
        # What is known to be wrong says more than what is not known.
        told = shared or unknown
        if not told:
            return Verdict(dedicated=True, details=() if round_ is None else _may_yet(round_))
        return Verdict(
            dedicated=False if shared else None,
            reasons=tuple(dict.fromkeys(reason for reason, _ in told)),
            details=tuple(detail for _, detail in told),
        )

    def _other_devices(self, others: Sequence[Swap]) -> Iterator[tuple[SwapReason, str]]:
        if self._accounting.backend is not Backend.SWAP_MAX:
            # Each cgroup is bound to its device.
            return
        with_room = [each.path for each in others if each.used < each.size]
        if with_room:
            yield (
                SwapReason.OTHER_DEVICE,
                f"Swap is active on {_named(with_room)} as well, and no cgroup can be kept off it alone: turn it off.",
            )

    def _pods(self, holders: Sequence[Holder]) -> Iterator[tuple[SwapReason, str]]:
        others = [each for each in holders if each.role is not Role.ALLOWED]
        swapping = [each.cgroup for each in others if (each.swapped or 0) > self._lingering]
        if swapping:
            yield (SwapReason.OTHERS_SWAP, f"Not of low priority, but in swap: {_named(swapping)}.")

    def _unaccounted(self, used: int, holders: Sequence[Holder], now: float) -> Iterator[tuple[SwapReason, str]]:
        allowed = [each.swapped for each in holders if each.role is Role.ALLOWED]
        more = used - sum(each or 0 for each in allowed) - self._slack
        if more <= 0:
            self._more_since = None
            return
        if self._more_since is None:
            self._more_since = now
        if now - self._more_since < PATIENCE_SECONDS:
            return
        if None in allowed:
            yield (SwapReason.UNREADABLE, "What some low-priority pods have in swap cannot be read.")
        else:
            yield (
                SwapReason.UNACCOUNTED,
                f"The device holds {(more + self._slack) >> 20} MiB more than the low-priority pods have in swap.",
            )

    def _around(self, round_: _Round, closed: set[str]) -> Iterator[tuple[SwapReason, str]]:
        if round_.swapping:
            yield (
                SwapReason.OTHERS_SWAP,
                f"In swap, but no low-priority pod: {_named(round_.swapping)}. {_CLOSE}",
            )
        opened = sorted(round_.open_pods & self._open_before & closed)
        if opened:
            yield (SwapReason.POD_OPEN, f"Not of low priority, but may swap: {_named(opened)}.")
        if round_.compressed:
            yield (
                SwapReason.ZSWAP,
                f"zswap keeps in memory what these swap out: {_named(round_.compressed)}. {_NO_ZSWAP}",
            )
        if round_.refused:
            words = _named([f"{path} ({outcome.value})" for path, outcome in round_.refused])
            yield (SwapReason.UNREADABLE, f"What is in swap of some cgroups cannot be read: {words}.")

    def _go_round(self, holders: Sequence[Holder], now: float) -> None:
        if self._round is None:
            if now < self._due:
                return
            self._round = _Round(self._cgroups(holders))
        compressing = self._host.read(_ZSWAP_ENABLED).data == b"Y\n"
        for _ in range(CGROUPS_PER_LOOK):
            following = next(self._round.left, None)
            if following is None:
                self._end(self._round, now)
                return
            self._look(self._round, *following, compressing=compressing)

    def _end(self, round_: _Round, now: float) -> None:
        before = frozenset() if self._done is None else frozenset(self._done.open_pods)
        self._done, self._open_before, self._round = round_, before, None
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

    def _look(self, round_: _Round, path: str, role: Role | None, *, compressing: bool) -> None:
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


_UNKNOWN = frozenset({SwapReason.NOT_LOOKED, SwapReason.UNREADABLE})


def _may_yet(round_: _Round) -> tuple[str, ...]:
    if not round_.open_others:
        return ()
    return (f"Outside of pods these may swap, too, when memory runs out: {_named(round_.open_others)}. {_MAY_CLOSE}",)


def _named(paths: Sequence[str]) -> str:
    """The first few of them."""
    more = len(paths) - _MAX_NAMED
    return ", ".join(paths[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
