"""
Limits of I/O: a pod gets no more of a disk than its owner says.

Decides only; ``docs/policies/io-limit.md`` is the contract. Nobody but a pod's own owner limits it, and what cannot be
followed is told instead of being written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.config.policy_sections import IoLimitSection
from plimsoll.model.acting import Note
from plimsoll.model.disk import Disk, IoLimit, IoRate
from plimsoll.model.plan import Knob, Write, disk
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies.policy import Decision, Policy

NAME = "io-limit"
REFUSED = "IoLimitRefused"
REASONS = (REFUSED,)
"""Every reason a note of this policy may carry."""

_IO_MAX, _BLKIO = "io-max", "blkio-throttle"
# cgroup v1 has a file for each, and spells no limit as 0.
_V1: Mapping[str, Knob] = MappingProxyType(
    {
        "rbps": Knob.BLKIO_READ_BPS,
        "wbps": Knob.BLKIO_WRITE_BPS,
        "riops": Knob.BLKIO_READ_IOPS,
        "wiops": Knob.BLKIO_WRITE_IOPS,
    }
)
# A message names no more of them than a person reads.
_SHOWN = 8


class State(NamedTuple):
    """The limits each pod had when its owner's words could last be read, by UID in order."""

    read: tuple[tuple[str, tuple[IoLimit, ...]], ...] = ()


def decide(snapshot: Snapshot, config: IoLimitSection, state: State) -> Decision[State]:
    """Everything this policy wants of the node that the snapshot shows."""
    capabilities = frozenset(each.name for each in snapshot.capabilities if each.available)
    last = dict(state.read)
    read: list[tuple[str, tuple[IoLimit, ...]]] = []
    writes: list[Write] = []
    notes: list[Note] = []
    wanted = False
    for sample in snapshot.pods:
        if not sample.pod.intent.managed or sample.state is not CgroupState.FOUND:
            continue
        limits = sample.pod.intent.io_limits
        if limits is None:
            # A slip of the pen shall not lift the limit; the owner is told of it as of any text that cannot be read.
            limits = last.get(sample.pod.uid, ())
        if not limits:
            continue
        wanted = True
        read.append((sample.pod.uid, limits))
        if snapshot.node.disks is None:
            continue
        refusals: list[str] = []
        for device, limit in _by_disk(limits, snapshot.node.disks, config, refusals):
            writes.extend(_writes(sample, device, limit, capabilities))
        if refusals:
            notes.append(Note(sample.pod.uid, REFUSED, " ".join(refusals)))
    lacking = (_IO_MAX, _BLKIO) if wanted and not capabilities & {_IO_MAX, _BLKIO} else ()
    return Decision(tuple(writes), State(tuple(sorted(read))), tuple(notes), lacking)


def _by_disk(
    limits: Sequence[IoLimit], disks: Sequence[Disk], config: IoLimitSection, refusals: list[str]
) -> Iterator[tuple[Disk, IoLimit]]:
    """The limits that can be followed, with their disks; ``refusals`` gets a sentence for each of the others."""
    taken: dict[str, str] = {}
    for limit in limits:
        device = _find(limit.device, disks)
        if device is None:
            refusals.append(f"{limit.device} is not limited: {_unknown(limit.device, disks)}")
        elif device.system and config.system_disk == "refuse":
            refusals.append(
                f"{limit.device} is not limited: the node itself lives on it, and the administrator lets no "
                "pod be limited there (ioLimit.systemDisk)."
            )
        elif device.number in taken:
            refusals.append(f"{limit.device} is not limited: it is the same disk as {taken[device.number]}.")
        else:
            taken[device.number] = limit.device
            yield device, limit


def _find(name: str, disks: Sequence[Disk]) -> Disk | None:
    short = name.removeprefix("/dev/")
    return next((each for each in disks if name == each.number or short in each.names), None)


def _unknown(name: str, disks: Sequence[Disk]) -> str:
    short = name.removeprefix("/dev/")
    whole = next((each for each in disks if short in each.parts), None)
    if whole is not None:
        return f"it is a part of a disk, and the kernel limits whole disks only. Name /dev/{whole.names[0]}."
    there = [f"/dev/{each.names[-1]}" for each in disks[:_SHOWN]]
    return f"this node has no such disk. It has: {', '.join(there) or 'none'}{', ...' if len(disks) > _SHOWN else ''}."


def _writes(sample: PodSample, device: Disk, limit: IoLimit, capabilities: frozenset[str]) -> Iterator[Write]:
    rate = limit.rate
    reason = f"Its owner lets it have no more of {limit.device} than {_words(rate)}."
    if _IO_MAX in capabilities and sample.cgroup is not None:
        yield Write(disk(sample.cgroup, device.number), Knob.IO_MAX, str(rate), NAME, reason)
    elif _BLKIO in capabilities:
        # cgroup v1 does not count what the cgroups below a cgroup do: each container gets the limit.
        for path in sample.container_cgroups:
            for field, value in zip(IoRate._fields, rate, strict=True):
                if value is not None:
                    yield Write(disk(path, device.number), _V1[field], str(value), NAME, reason)


def _words(rate: IoRate) -> str:
    units = {"rbps": "bytes/s read", "wbps": "bytes/s written", "riops": "reads/s", "wiops": "writes/s"}
    return ", ".join(f"{value} {units[name]}" for name, value in rate._asdict().items() if value is not None)


POLICY: Policy[IoLimitSection, State] = Policy(
    name=NAME,
    interval=0.0,
    needs=("cgroup", "kubepods"),
    bounds=frozenset({Knob.IO_MAX, *_V1.values()}),
    initial=State(),
    decide=decide,
)
