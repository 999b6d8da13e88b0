"""
The node's whole disks as sysfs names them: number, names in /dev, partitions, and which the node itself lives on.

Needs no /dev: a pod that only observes has none. Reads only; keeps nothing between calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.disk import Disk, is_number

BLOCK = "sys/class/block"
# Disks of a large storage node with their partitions.
MAX_DEVICES = 4096
# Where the node's own file systems are on the host, and where a container has files of them: an agent in a container
# does not see the host's mounts, but the kubelet and the runtime put these into it from theirs.
_SYSTEM = frozenset(
    {
        "/",
        "/usr",
        "/var",
        "/var/lib",
        "/var/lib/kubelet",
        "/var/lib/containerd",
        "/var/lib/containers",
        "/dev/termination-log",
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
    }
)


def device_names(host: HostFs) -> tuple[str, ...]:
    """The kernel's names of all block devices there are now, partitions too: cheap, to see whether any came or went."""
    return tuple(sorted(host.names(BLOCK).names))[:MAX_DEVICES]


def read_disks(host: HostFs, names: Iterable[str]) -> tuple[Disk, ...]:
    """The whole disks among ``names`` by number. One that goes meanwhile is left out."""
    numbers = {name: number for name in names if (number := _line(host, f"{BLOCK}/{name}/dev")) and is_number(number)}
    wholes = [name for name in numbers if not host.exists(f"{BLOCK}/{name}/partition")]
    partitions = numbers.keys() - set(wholes)
    parts = {name: tuple(sorted(partitions.intersection(host.directories(f"{BLOCK}/{name}").names))) for name in wholes}
    system = _below(host, _system_devices(host, numbers), {part: name for name in wholes for part in parts[name]})
    found = (
        Disk(numbers[name], tuple(_names(host, name)), tuple(map(_spelled, parts[name])), system=name in system)
        for name in wholes
    )
    return tuple(sorted(found))


def _names(host: HostFs, name: str) -> Iterable[str]:
    yield _spelled(name)
    mapped = _line(host, f"{BLOCK}/{name}/dm/name")
    if mapped:
        yield f"mapper/{mapped}"


def _spelled(name: str) -> str:
    # A slash of a name in /dev is an exclamation mark in sysfs (cciss!c0d0).
    return name.replace("!", "/")


def _system_devices(host: HostFs, numbers: Mapping[str, str]) -> Iterable[str]:
    """The block devices of the node's own file systems; none for what is on none (NFS, a RAM disk)."""
    names = {number: name for name, number in numbers.items()}
    paths = {path: name for name in numbers for path in _names(host, name)}
    for line in (host.read("proc/1/mountinfo").text() or "").split("\n"):
        # proc_pid_mountinfo(5): id, parent, MAJOR:MINOR, root, mount point, options, optional fields, -, type, source.
        head, _, tail = line.partition(" - ")
        fields, source = head.split(" "), tail.split(" ")
        if len(fields) < 5 or fields[4] not in _SYSTEM or len(source) < 2:
            continue
        # btrfs makes up a number for each subvolume; what it was mounted from is still said.
        name = names.get(fields[2]) or paths.get(source[1].removeprefix("/dev/"))
        if name is not None:
            yield name


def _below(host: HostFs, devices: Iterable[str], wholes: Mapping[str, str]) -> frozenset[str]:
    """The disks these are made of, by way of partitions, volumes and arrays; those on the way are among them."""
    found: set[str] = set()
    due = list(devices)
    while due:
        name = due.pop()
        name = wholes.get(name, name)
        if name not in found:
            found.add(name)
            due.extend(host.names(f"{BLOCK}/{name}/slaves").names)
    return frozenset(found)


def _line(host: HostFs, path: str) -> str | None:
    text = host.read(path).text()
    return None if text is None else text.strip() or None
