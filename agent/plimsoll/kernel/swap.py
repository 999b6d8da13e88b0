"""
The swap device set aside for low-priority memory, as it is now: there or not, in use or not, dedicated or not.

Owns which device was meant by the configuration, over its coming and going. Reads only. It must not know policies; who
may turn the device on or off is ``kernel/swap_activation.py``.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import Swap, read_swaps
from plimsoll.kernel.swap_accounting import accounting
from plimsoll.kernel.swap_dedication import SwapDedication
from plimsoll.kernel.swap_device import (
    Device,
    DeviceName,
    Identity,
    Kind,
    Unidentified,
    active_swap,
    identify,
    identity_of,
    read_in_memory,
    read_traffic,
)
from plimsoll.kernel.swap_file import hindrance, length
from plimsoll.kernel.swap_reason import SwapReason
from plimsoll.kernel.swap_rounds import Holder
from plimsoll.kernel.swap_signature import foreign
from plimsoll.kernel.swap_traffic import FileTraffic
from plimsoll.kernel.swap_use import use_of
from plimsoll.model.memory import SwapDevice
from plimsoll.model.outcome import Outcome

# Looking for a device that is not there goes through all of them.
LOOK_SECONDS = 30.0
# What the kernel puts after the path of what is in use as swap, and not there any more.
_DELETED = " (deleted)"


class DedicatedSwap:
    """
    One configured device. One thread calls it.

    ``name`` as configured: a path, ``UUID=...`` or ``LABEL=...``. Raises ValueError for any other. ``make``: bytes of
    the file that somebody makes where nothing is.
    """

    def __init__(self, host: HostFs, hierarchies: Hierarchies, name: str, make: int | None = None) -> None:
        self._host = host
        self._make = make
        self._hierarchies = hierarchies
        self._configured = name
        self._name = DeviceName.parse(name)
        self._found: Device | Unidentified | None = None
        self._due = float("-inf")
        self._foreign = ""
        self._check: tuple[object, SwapDedication] | None = None
        self._file = FileTraffic(host)
        # What the kernel calls it, as far as it was seen in use.
        self._by_kernel = self._name.value

    def sample(self, roots: Sequence[str], holders: Sequence[Holder], now: float) -> SwapDevice:
        """
        ``roots`` are the kubelet's root cgroups, ``holders`` all pods as just observed, ``now`` monotonic seconds.

        Never raises for what the kernel may answer.
        """
        swaps = read_swaps(self._host)
        seen = self._sample(swaps, roots, holders, now)
        if seen.active or not any(self._is_removed(each) for each in swaps or ()):
            return seen
        detail = (
            f"{self._by_kernel} was taken away while it was in use as swap. What was on it is lost: a process that "
            "needs it is killed (SIGBUS). Until the node is restarted the kernel goes on using it, in vain, so no pod "
            "may swap."
        )
        reasons, details = (SwapReason.DEVICE_REMOVED.value, *seen.reasons), (detail, *seen.details)
        return replace(seen, removed=True, dedicated=False, reasons=reasons, details=details)

    def _is_removed(self, swap: Swap) -> bool:
        """Whether this is ours, pulled out. A file that was only unlinked works on."""
        return swap.kind == "partition" and swap.path == f"{self._by_kernel}{_DELETED}"

    def _sample(
        self, swaps: tuple[Swap, ...] | None, roots: Sequence[str], holders: Sequence[Holder], now: float
    ) -> SwapDevice:
        active = {} if swaps is None else {active_swap(self._host, each): each for each in swaps}
        device = self._device(active, now)
        if isinstance(device, Unidentified):
            return self._absent(device)
        seen = SwapDevice(
            self._configured,
            active=False,
            device=str(device.identity),
            size=None if device.header is None else device.header.size,
            kind=device.kind.value,
            device_path=device.path,
            headed=device.header is not None and not self._foreign,
            in_memory=read_in_memory(self._host, device),
            length=length(self._host, device.path) if device.kind is Kind.FILE else None,
        )
        ours = use_of(self._host, swaps or (), device)
        if device.kind is Kind.FILE:
            traffic = self._file.look(alone=ours is not None and len(swaps or ()) == 1)
        else:
            traffic = read_traffic(self._host, device)
        if traffic is not None:
            seen = replace(seen, read=traffic.read, written=traffic.written)
        if swaps is None:
            return _doubtful(seen, SwapReason.UNREADABLE, "The active swap (/proc/swaps) cannot be read.")
        if ours is None:
            reason, detail = _idle(device, self._foreign)
            return _doubtful(seen, reason, detail)
        self._by_kernel = ours.path
        # Ours may be a link, or no path at all; a container may not have the kernel's.
        path = ours.path if identity_of(self._host, ours.path) == device.identity else device.path
        seen = replace(seen, active=True, size=ours.size, used=ours.used, device_path=path, priority=ours.priority)
        check = self._dedication(device.identity, ours.size, roots)
        if check is None:
            return _doubtful(
                seen,
                SwapReason.NO_ACCOUNTING,
                "The kubelet's cgroups do not say who swaps: see the capabilities swap-limit and swapfile.",
            )
        verdict = check.check(ours.used, [each for each in swaps if each is not ours], holders, now)
        return replace(
            seen,
            dedicated=verdict.dedicated,
            reasons=tuple(each.value for each in verdict.reasons),
            details=verdict.details,
            backend=check.backend.value,
        )

    def _device(self, active: Container[Identity | None], now: float) -> Device | Unidentified:
        found = self._found
        # A device of the same name may be another one: a disk that was pulled and put back.
        there = isinstance(found, Device) and identity_of(self._host, found.path) == found.identity
        if isinstance(found, Device) and there and found.identity in active:
            # What is in use keeps its header, and reading it would wait for the disk: a hung one would hang us, too.
            # Once it is not, it is looked at.
            self._due = now
            return found
        # mkswap may be run, or run again, while it is not in use.
        if found is None or now >= self._due or (isinstance(found, Device) and not there):
            found = self._unchanged(found, there=there) or identify(self._host, self._name, active)
            self._found = found
            self._foreign = self._look_for_others(found, active)
            self._due = now if isinstance(found, Device) and found.identity in active else now + LOOK_SECONDS
        return found

    def _look_for_others(self, found: Device | Unidentified, active: Container[Identity | None]) -> str:
        """What else the device carries, while it is not in use."""
        if isinstance(found, Unidentified) or found.header is None or found.identity in active:
            return ""
        mark = foreign(self._host, found.path)
        return f"what could not be read ({mark.value})" if isinstance(mark, Outcome) else mark

    def _unchanged(self, found: Device | Unidentified | None, *, there: bool) -> Device | None:
        """Nothing to look for while the device that carries the name is still the same: by path that is one look."""
        if not there or not isinstance(found, Device) or found.header is None or self._name.by == "path":
            return None
        again = identify(self._host, DeviceName("path", found.path))
        if isinstance(again, Device) and again.header is not None and self._name.matches(again.header):
            return again
        return None

    def _dedication(self, device: Identity, size: int, roots: Sequence[str]) -> SwapDedication | None:
        basis = (device, size, tuple(roots))
        if self._check is None or self._check[0] != basis:
            found = accounting(self._host, self._hierarchies, roots)
            if found is None:
                self._check = None
                return None
            self._check = (basis, SwapDedication(self._host, found, roots, device, size))
        return self._check[1]

    def _absent(self, found: Unidentified) -> SwapDevice:
        seen = SwapDevice(self._configured, active=False)
        if self._make is None or self._name.by != "path" or found.reason is not SwapReason.DEVICE_MISSING:
            return _doubtful(seen, found.reason, found.detail)
        # Made it may be at any moment, and that is one look.
        self._found = None
        hindered = hindrance(self._host, self._configured, self._make)
        if hindered:
            return _doubtful(seen, SwapReason.NOT_MADE, hindered)
        seen = replace(seen, kind=Kind.FILE.value, device_path=self._configured, makeable=True)
        return _doubtful(
            seen, found.reason, f"{self._configured} is not there yet: overcommit.swapFileSize has it made."
        )


def _idle(device: Device, other: str) -> tuple[SwapReason, str]:
    if other:
        return (
            SwapReason.NOT_SWAP,
            f"{device.path} carries {other} beside a swap header: see wipefs; mkswap --force makes it swap again.",
        )
    if device.header is None:
        return SwapReason.NOT_SWAP, f"{device.path} has no swap header: run mkswap on it, which destroys what it holds."
    return SwapReason.NOT_ACTIVE, f"{device.path} is not in use as swap: run swapon, or set overcommit.activate."


def _doubtful(seen: SwapDevice, reason: SwapReason, detail: str) -> SwapDevice:
    return replace(seen, reasons=(reason.value,), details=(detail,))
