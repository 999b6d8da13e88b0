"""The node's swap as the overcommit policy needs it: the configured device, and what reclaiming came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.swap import DedicatedSwap
from plimsoll.kernel.swap_rounds import Holder, Role
from plimsoll.model.memory import NodeSwap, Offload
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample


class Reclaimed(Protocol):
    """What whoever reclaims memory knows of it."""

    @property
    def offloads(self) -> Mapping[str, Offload]: ...

    @property
    def failing(self) -> tuple[str, ...]: ...

    def cold(self, pod: str) -> int | None: ...


class Nothing:
    """Nobody reclaims anything."""

    offloads: Mapping[str, Offload] = {}
    failing: tuple[str, ...] = ()

    def cold(self, pod: str) -> int | None:  # noqa: ARG002 - the protocol's
        return None


class SwapSource:
    """
    ``device`` as configured, ``None`` for none. Raises ValueError for text that names no device.

    ``make``: bytes of the file that is made where nothing is.
    """

    def __init__(self, host: HostFs, hierarchies: Hierarchies, device: str | None, make: int | None = None) -> None:
        self._device = None if device is None else DedicatedSwap(host, hierarchies, device, make)

    def sample(self, roots: Sequence[str], pods: Sequence[PodSample], reclaimed: Reclaimed, now: float) -> NodeSwap:
        """``roots`` are the kubelet's, ``pods`` as just observed, ``now`` monotonic seconds. Raises nothing."""
        device = None
        if self._device is not None:
            holders = [
                Holder(each.cgroup, _role(each), None if each.memory is None else each.memory.swapped)
                for each in pods
                if each.cgroup is not None
            ]
            device = self._device.sample(roots, holders, now)
        return NodeSwap(device, dict(reclaimed.offloads), reclaimed.failing)


def with_cold(pods: Sequence[PodSample], reclaimed: Reclaimed) -> tuple[PodSample, ...]:
    """The same samples, with what is known to be cold in them."""
    return tuple(
        each
        if each.memory is None or (cold := reclaimed.cold(each.pod.uid)) is None
        else replace(each, memory=replace(each.memory, cold=cold))
        for each in pods
    )


def _role(sample: PodSample) -> Role:
    intent = sample.pod.intent
    if not intent.managed:
        return Role.OTHER
    return Role.ALLOWED if intent.priority is Priority.LOW else Role.CLOSED
