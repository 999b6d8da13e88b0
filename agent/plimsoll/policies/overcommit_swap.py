"""
Who may swap, and how much: low-priority pods to the device, nobody else at all.

On stock kernels a swap device is everybody's, so it is theirs alone only as long as every other pod's limit is 0. The
kubelet sets that for containers and never for pods: one write on a pod's cgroup covers all below it, and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.model.memory import SwapDevice
from plimsoll.model.plan import SWAP_AUTO, SWAP_OFF, Knob, OnExit, Target, TargetKind, Write, cgroup
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.overcommit_ratio import Level, cap

# All others are kept off before one is let on, also when it is all put back.
# What is written first is put back last: a device that was off while memory came back is on again only when all limits
# are as they were.
MAKE_PHASE, DRAIN_PHASE, CLOSE_PHASE, POD_PHASE, CONTAINER_PHASE, ACTIVATE_PHASE = 68, 69, 70, 71, 72, 73
# Whatever else is in use: what goes to swap goes here first.
HIGHEST_PRIORITY = 32_767
NAME = CHAIN = "overcommit"
# Apart from the limits: that a device may not be turned off for lack of room is no reason to keep them.
DEVICE_CHAIN = "overcommit.device"
PAGE = 1 << 16  # the largest the kernel is built with: limits are rounded to pages
_LEAST = 16 << 20
_ENDLESS = 1 << 62
_HEADROOM = 1.25
_OUTGROWN, _TIGHT, _OVERSIZED = 0.9, 0.95, 2.5
AHEAD = 256 << 20
"""
How much more than it has a pod may have on the device. Reclaim that has to look far takes all it passes by as unused,
which of a large pod is gigabytes: at most this goes at once. A request is of half of it.
"""


class Route(StrEnum):
    """How a kernel keeps pods off the device, by the capability it needs."""

    SWAPFILE = "swapfile"  # openEuler: each cgroup is bound to a device
    LIMIT = "swap-limit"


class Limits(NamedTuple):
    """By UID, how much a pod may have on the device."""

    sizes: tuple[tuple[str, int], ...] = ()


def find_route(available: frozenset[str], device: SwapDevice | None) -> Route | None:
    """The best way this kernel has for this device."""
    if Route.SWAPFILE.value in available and device is not None and device.device_path is not None:
        return Route.SWAPFILE
    return Route.LIMIT if Route.LIMIT.value in available else None


def usable(device: SwapDevice, floor: float) -> int:
    """Bytes of the device that may be used; 0 where its size is not known."""
    return int((device.size or 0) * (1 - floor))


def saved(offloaded: int, device: SwapDevice) -> int:
    """Of so many bytes on the device, what is free memory for it: one that compresses keeps its part of them."""
    if not device.in_memory or not device.used:
        return offloaded
    return int(offloaded * max(0.0, 1 - device.in_memory / device.used))


def limit(
    levels: Mapping[str, Level],
    device: SwapDevice,
    floor: float,
    pod_ratio: float,
    before: Limits,
    *,
    keeps: Mapping[str, int] = MappingProxyType({}),
    stepwise: bool = False,
) -> Limits:
    """
    How much each of these pods may have. Finite in any case; what stood ``before`` stays as long as it is about right.
    ``stepwise``: little more at a time than it has there.

    The policy moves less: the limit is for what the kernel moves by itself, when memory runs short or by DAMON, which
    heeds no other protection. So it never leaves a pod less memory than ``keeps`` says.
    """
    most = usable(device, floor)
    wanted = {
        uid: max(_LEAST, int(cap(each.current + each.offloaded, pod_ratio) * _HEADROOM)) for uid, each in levels.items()
    }
    total = sum(wanted.values())
    known = dict(before.sizes)
    sizes: list[tuple[str, int]] = []
    fairly: list[tuple[str, int]] = []
    for uid, size in sorted(wanted.items()):
        room = _room(levels[uid], keeps.get(uid, 0))
        fair = min(size if total <= most else size * most // total, room) // PAGE * PAGE
        old = known.get(uid)
        # It stays until half of what it was ahead is used, or as much again came back.
        half, ahead, twice = (_ahead(levels[uid], each) if stepwise else _ENDLESS for each in (0.5, 1.0, 2.0))
        fits = old is not None and min(fair * _OUTGROWN, half) <= old <= min(fair * _OVERSIZED, room, twice)
        fairly.append((uid, min(fair, _tight(room), ahead)))
        sizes.append((uid, old if fits and old is not None else min(_generous(fair, total, most), _tight(room), ahead)))
    # What stood before leaves no room for who has come since.
    return Limits(tuple(sizes if sum(size for _, size in sizes) <= most else fairly))


def _ahead(level: Level, times: float) -> int:
    return (level.offloaded + level.swap_cached + int(AHEAD * times)) // PAGE * PAGE


def _room(level: Level, keep: int) -> int:
    """What may be on the device of a pod that keeps so much in memory."""
    return max(0, level.current + level.offloaded - keep) if keep > 0 else _ENDLESS


def _tight(room: int) -> int:
    """Somewhat less, so that it is not written again with every page cache that goes."""
    return int(room * _TIGHT) // PAGE * PAGE


def _generous(fair: int, total: int, most: int) -> int:
    """With room to grow, so that it is not written again every tick, as far as the device has that."""
    return fair if total * _HEADROOM > most else int(fair * _HEADROOM) // PAGE * PAGE


def limit_writes(others: Iterable[PodSample], low: Iterable[PodSample], limits: Limits, policy: str) -> list[Write]:
    """In cgroup v2: 0 for the pods of ``others``, and for ``low`` ones their limit, also in the containers."""
    sizes = dict(limits.sizes)
    writes = [_close(each, Knob.MEMORY_SWAP_MAX, "0", policy) for each in others]
    for sample in low:
        size = sizes.get(sample.pod.uid)
        if size is not None:
            writes.extend(_open(sample, Knob.MEMORY_SWAP_MAX, str(size), policy))
    return writes


def shut_writes(pods: Iterable[PodSample], policy: str) -> tuple[Write, ...]:
    """In cgroup v2: none of these pods may swap, whatever its priority."""
    reason = "the swap device is gone, and the kernel would still write to it"
    closed = (_close(each, Knob.MEMORY_SWAP_MAX, "0", policy) for each in pods)
    return tuple(each._replace(reason=reason) for each in closed)


def swapfile_writes(others: Iterable[PodSample], low: Iterable[PodSample], device: str, policy: str) -> list[Write]:
    """On openEuler, cgroup v1: children have a binding of their own, so the containers of both are written too."""
    writes: list[Write] = []
    for sample in others:
        pod = _close(sample, Knob.MEMORY_SWAPFILE, "none", policy)
        writes.extend((pod, *(pod._replace(target=cgroup(each)) for each in sample.container_cgroups)))
    for sample in low:
        writes.extend(_open(sample, Knob.MEMORY_SWAPFILE, device, policy))
    return writes


def activate_write(device: SwapDevice, on_exit: OnExit) -> Write | None:
    """The device shall be in use: as it is, where it is, else before all others. ``None``: it cannot be."""
    if device.device_path is None or not (device.active or device.headed):
        return None
    priority = HIGHEST_PRIORITY if not device.active else device.priority
    value = str(priority) if priority is not None and priority >= 0 else SWAP_AUTO
    reason = "swap of low-priority pods: overcommit.activate"
    # As configured: the kernel's path of a link is another one, and known only once it is in use.
    target = Target(TargetKind.SWAP, device.path if device.path.startswith("/") else device.device_path)
    return Write(target, Knob.SWAP, value, NAME, reason, on_exit, phase=ACTIVATE_PHASE, chain=DEVICE_CHAIN)


def file_write(device: SwapDevice, size: int, on_exit: OnExit) -> Write | None:
    """
    There shall be a swap file: of ``size`` bytes where nothing is, else as it is. ``None``: it is none, or cannot be.

    It is removed after it was turned off, and never before.
    """
    length = size // PAGE * PAGE if device.makeable else device.length
    if length is None or device.device_path is None:
        return None
    reason = "swap of low-priority pods: overcommit.swapFileSize"
    target = Target(TargetKind.SWAP, device.path)
    return Write(target, Knob.SWAP_FILE, str(length), NAME, reason, on_exit, phase=MAKE_PHASE, chain=DEVICE_CHAIN)


def closed(others: Iterable[PodSample]) -> bool:
    """Whether none of these pods may swap, as far as their limits were read."""
    memories = [each.memory for each in others]
    return all(each is not None and each.swap_limited and each.swap_limit == 0 for each in memories)


def drain_write(device: str) -> Write:
    """Turn the device (its path) off, so that all it holds comes back."""
    reason = "the agent ends, and overcommit.onExit is drain"
    target = Target(TargetKind.SWAP, device)
    return Write(target, Knob.SWAP, SWAP_OFF, NAME, reason, phase=DRAIN_PHASE, chain=DEVICE_CHAIN)


def _close(sample: PodSample, knob: Knob, value: str, policy: str) -> Write:
    reason = "not low priority: kept off the swap device, which is for low-priority pods only"
    return Write(cgroup(sample.cgroup or ""), knob, value, policy, reason, phase=CLOSE_PHASE, chain=CHAIN)


def _open(sample: PodSample, knob: Knob, value: str, policy: str) -> list[Write]:
    reason = f"low priority ({sample.pod.intent.origin}): cold memory may be moved to the swap device"
    pod = Write(cgroup(sample.cgroup or ""), knob, value, policy, reason, phase=POD_PHASE, chain=CHAIN)
    below = (cgroup(each) for each in sample.container_cgroups)
    return [pod, *(pod._replace(target=each, phase=CONTAINER_PHASE) for each in below)]
