"""
Whether the swap device holds memory of low-priority pods and nothing else.

No kernel keeps a device for some cgroups by itself: on cgroup v2 any cgroup that may swap may use any device, and
systemd makes a limit of 0 into none whenever it reloads. So it is looked at again and again: the figures of pods every
time, all other cgroups in rounds (``kernel/swap_rounds.py``). Reads only. It must not know how a limit comes to be
there, nor what to do about it.

Processes of the root cgroup and the kernel's own memory have no limit and are not told apart: what they swap shows as
what nobody accounts for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap, read_cpu_count, read_meminfo
from plimsoll.kernel.swap_accounting import Backend, SwapAccounting
from plimsoll.kernel.swap_device import Identity
from plimsoll.kernel.swap_reason import SwapReason
from plimsoll.kernel.swap_rounds import Holder, Role, Round, SwapRounds

# What a pod that is gone had in swap, and what was swapped between two reads, is not held against anybody at once.
PATIENCE_SECONDS = 30.0
_SLACK = 16 << 20
# mm/swap_slots.c of 6.12: each CPU keeps 64 slots to give out and 64 given back. All count as used, and those given
# back stay charged to whoever had them, so a pod of which nothing is in swap any more may still show some.
_LINGERING_PER_CPU = 64 * 4096
_MAX_NAMED = 3
_CLOSE = (
    "Let them swap no more (memory.swap.max of 0, MemorySwapMax=0 of a unit); what is there comes back when it is used "
    "or by swapoff."
)
_MAY_CLOSE = "Set MemorySwapMax=0 for the units that shall not."
_NO_ZSWAP = "Turn zswap off, or write 0 to their memory.zswap.max."


class Verdict(NamedTuple):
    """
    ``dedicated`` is ``None`` while it cannot be known. ``reasons`` are empty where it is true; ``details`` may then
    still say what could make it false.
    """

    dedicated: bool | None
    reasons: tuple[SwapReason, ...] = ()
    details: tuple[str, ...] = ()


class SwapDedication:
    """
    The continuous check of one device. One thread calls it.

    ``roots`` are the kubelet's root cgroups; ``size`` is the device's.
    """

    def __init__(
        self, host: HostFs, accounting: SwapAccounting, roots: Sequence[str], device: Identity, size: int
    ) -> None:
        self._accounting = accounting
        self._host = host
        self._lingering = _LINGERING_PER_CPU * (read_cpu_count(host) or 1)
        self._slack = max(_SLACK, size // 100) + 2 * self._lingering
        self._rounds = SwapRounds(host, accounting, roots, device, self._lingering)
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
        self._rounds.advance(holders, now)
        found = [*self._other_devices(others), *self._pods(holders), *self._unaccounted(used, holders, now)]
        round_ = self._rounds.done
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
        cached = self._uncharged() if more > 0 else 0
        more -= cached or 0
        if more <= 0:
            self._more_since = None
            return
        if self._more_since is None:
            self._more_since = now
        if now - self._more_since < PATIENCE_SECONDS:
            return
        if None in allowed:
            yield (SwapReason.UNREADABLE, "What some low-priority pods have in swap cannot be read.")
        elif cached is None:
            yield (SwapReason.UNREADABLE, "How much of the device is in memory as well (SwapCached) cannot be read.")
        else:
            yield (
                SwapReason.UNACCOUNTED,
                f"The device holds {(more + self._slack) >> 20} MiB more than the low-priority pods have in swap.",
            )

    def _uncharged(self) -> int | None:
        """
        What is on the device and charged to nobody: a page that is read back keeps its place there for a while.

        cgroup v2 charges it as long, v1 to memory only (mem_cgroup_swapin_uncharge_swap). ``None``: not known.
        """
        return 0 if self._accounting.backend is Backend.SWAP_MAX else read_meminfo(self._host).swap_cached

    def _around(self, round_: Round, closed: set[str]) -> Iterator[tuple[SwapReason, str]]:
        if round_.swapping:
            yield (
                SwapReason.OTHERS_SWAP,
                f"In swap, but no low-priority pod: {_named(round_.swapping)}. {_CLOSE}",
            )
        opened = sorted(round_.open_pods & self._rounds.open_before & closed)
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


_UNKNOWN = frozenset({SwapReason.NOT_LOOKED, SwapReason.UNREADABLE})


def _may_yet(round_: Round) -> tuple[str, ...]:
    if not round_.open_others:
        return ()
    return (f"Outside of pods these may swap, too, when memory runs out: {_named(round_.open_others)}. {_MAY_CLOSE}",)


def _named(paths: Sequence[str]) -> str:
    """The first few of them."""
    more = len(paths) - _MAX_NAMED
    return ", ".join(paths[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
