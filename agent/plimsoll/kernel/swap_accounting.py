"""
Who may swap, and who has: what each version of cgroups says of one cgroup and everything below it.

``memory.swap.max`` on cgroup v2; on v1 ``memory.swapfile`` of openEuler kernels, which binds a cgroup to one device.
Reads only; what follows from it is ``kernel/swap_dedication.py``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.swap_device import Identity, identity_by_kernel
from plimsoll.model.outcome import Outcome


class Backend(StrEnum):
    """By which of the kernel's means only some cgroups may use the device."""

    SWAP_MAX = "memory.swap.max"
    SWAPFILE = "memory.swapfile"


class Share(NamedTuple):
    """
    What one cgroup has to do with swap. ``used``: bytes it has there, what is in memory as well included; ``may``:
    whether more may come. Both ``None`` and MISSING where the kernel does not account for this cgroup by itself.
    """

    outcome: Outcome
    used: int | None = None
    may: bool | None = None


class SwapAccounting(Protocol):
    """Reads one cgroup's part."""

    @property
    def backend(self) -> Backend: ...

    @property
    def directory(self) -> Directory: ...

    def share(self, path: str, device: Identity) -> Share: ...


def accounting(host: HostFs, hierarchies: Hierarchies, roots: Sequence[str]) -> SwapAccounting | None:
    """What this node has, by the files of the kubelet's ``roots``; ``None``: it has none (or no kubelet yet)."""
    directory = hierarchies.directory("memory")
    if directory is None:
        return None
    unified = directory is hierarchies.unified
    file = Backend.SWAP_MAX if unified else Backend.SWAPFILE
    if not any(directory.exists(f"{root}/{file}") for root in roots):
        return None
    return _Unified(directory) if unified else _Bound(host, directory)


class _Unified:
    backend = Backend.SWAP_MAX

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    def share(self, path: str, device: Identity) -> Share:  # noqa: ARG002 - v2 cannot bind a cgroup to a device
        found = _texts(self.directory, path, "memory.swap.current", Backend.SWAP_MAX)
        if isinstance(found, Outcome):
            return Share(found)
        used, limit = found
        return Share(Outcome.OK, int(used), limit != "0") if used.isdecimal() else Share(Outcome.MALFORMED)


class _Bound:
    backend = Backend.SWAPFILE

    def __init__(self, host: HostFs, directory: Directory) -> None:
        self._host = host
        self.directory = directory

    def share(self, path: str, device: Identity) -> Share:
        found = _texts(self.directory, path, Backend.SWAPFILE, "memory.stat")
        if isinstance(found, Outcome):
            return Share(found)
        where, figures = found
        used = [line.rpartition(" ")[2] for line in figures.splitlines() if line.startswith("total_swap ")]
        if len(used) != 1 or not used[0].isdecimal():
            return Share(Outcome.MALFORMED)
        # `all` is any device, `none` is none; else the path of one.
        may = where == "all" or (where != "none" and identity_by_kernel(self._host, where) == device)
        return Share(Outcome.OK, int(used[0]), may)


def _texts(directory: Directory, path: str, *names: str) -> tuple[str, ...] | Outcome:
    """The content of files of one cgroup, or what reading the first of them that failed came to."""
    texts = []
    for name in names:
        reading = directory.read(f"{path}/{name}")
        text = reading.text()
        if text is None:
            # A cgroup that went meanwhile has nothing in swap: the same as one the controller is not turned on for.
            return Outcome.MISSING if reading.outcome is Outcome.GONE else reading.outcome
        texts.append(text.strip())
    return tuple(texts)
