"""What is wanted of each container, from the watches of pods. Reads how large they are; must not set anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.model.plan import Target, Watch

# Not worth a monitor that looks at all of the node's memory: a sandbox's, say, which every pod has.
LEAST = 16 << 20


class Wish(NamedTuple):
    """
    ``rate`` bytes per second of the ``pod``, which is of ``size`` bytes; ``worth`` one of its own: large enough.
    ``window``: as in the watch.
    """

    pod: str
    path: str
    rate: int
    size: int
    worth: bool
    window: float


def wishes(hierarchies: Hierarchies, watches: Sequence[Watch], kept: Collection[str]) -> Mapping[str, Wish]:
    """
    By the container's cgroup. Pods that are not ``kept``, or shall halt, have none.

    A page belongs to the cgroup that charged it, and to none above: of a pod with containers its own has hardly any.
    """
    found: dict[str, Wish] = {}
    for watch in watches:
        if watch.halt or watch.pod not in kept:
            continue
        sizes = {path: _size(hierarchies, path) for path in _leaves(watch.targets)}
        whole = sum(each or 0 for each in sizes.values())
        for path, size in sizes.items():
            if size is not None:
                found[path] = Wish(watch.pod, path, watch.rate, whole, size >= LEAST, watch.window)
    return found


def _leaves(targets: Sequence[Target]) -> tuple[str, ...]:
    paths = [each.path for each in targets]
    return tuple(each for each in paths if not any(other.startswith(f"{each}/") for other in paths))


def _size(hierarchies: Hierarchies, path: str) -> int | None:
    location = hierarchies.locate("memory.usage")
    if location is None:
        return None
    text = (location.directory.read(f"{path}/{location.file}").text() or "").strip()
    return int(text) if text.isdecimal() else None
