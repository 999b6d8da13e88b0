"""
What the kubelet leaves to all pods together, in words: the limits of its root cgroup on cgroup v1.

For ``plimsoll doctor``. On v2 one directory shows it; here it is spread over three hierarchies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.cgroup_v1 import read_cpu, read_cpuset, read_memory
from plimsoll.kernel.hostfs import Directory
from plimsoll.model.cpus import format_cpus
from plimsoll.model.outcome import Outcome

_GIB = 1 << 30


def kubelet_share(hierarchies: Hierarchies, root: str) -> str:
    """Of the root cgroup at this path; empty where nothing of it can be read."""
    found: list[str] = []
    for controller, told in _READERS.items():
        hierarchy = hierarchies.v1.get(controller)
        if hierarchy is None:
            continue
        try:
            directory = hierarchy.directory(root)
        except OSError:
            # Not in this hierarchy, or not for us: what the others say stands.
            continue
        with directory:
            found.extend(told(directory))
    return ", ".join(found)


def _cpu(directory: Directory) -> Iterator[str]:
    shares = read_cpu(directory).shares.value
    if shares is not None:
        yield f"CPU shares {shares}"


def _cpuset(directory: Directory) -> Iterator[str]:
    cpus = read_cpuset(directory).cpus.value
    if cpus:
        yield f"CPUs {format_cpus(cpus)}"


def _memory(directory: Directory) -> Iterator[str]:
    limit = read_memory(directory).limit_bytes
    if limit.value is not None:
        yield f"at most {limit.value / _GIB:.1f} GiB of memory"
    elif limit.outcome is Outcome.OK:
        yield "memory without a limit"


_READERS: Mapping[str, Callable[[Directory], Iterator[str]]] = MappingProxyType(
    {"cpu": _cpu, "cpuset": _cpuset, "memory": _memory}
)
