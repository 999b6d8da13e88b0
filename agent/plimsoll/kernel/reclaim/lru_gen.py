"""
``/sys/kernel/debug/lru_gen``: the generations of the multi-generational LRU, by memory cgroup and NUMA node.

Owns the file's format (Documentation/admin-guide/mm/multigen_lru.rst; debugfs, so no stable interface: what has another
shape is MALFORMED). Reads, and asks for ageing; must not evict, nor know what is done with what it reads.
"""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome

FILE = "sys/kernel/debug/lru_gen"
# A line for each generation, four at most, of each node of each cgroup: 2,000 cgroups on 8 nodes.
READ_LIMIT = 16 << 20


class Generation(NamedTuple):
    """Pages that were last seen in use at about the same time; a larger ``number`` is younger."""

    number: int
    age_ms: int
    anon_pages: int  # tmpfs as well: what goes to swap
    file_pages: int


class Lruvec(NamedTuple):
    """
    One cgroup's pages on one NUMA node, the oldest generation first.

    ``memcg`` is the kernel's number, given to another cgroup after this one is gone; ``path`` is the cgroup's below the
    hierarchy's root. What is in cgroups below it is not counted in.
    """

    memcg: int
    path: str
    node: int
    generations: tuple[Generation, ...]

    @property
    def newest(self) -> int:
        return self.generations[-1].number

    def anon_pages(self, below: int | None = None) -> int:
        """Pages that would go to swap, of the generations with a number smaller than ``below``."""
        return sum(each.anon_pages for each in self.generations if below is None or each.number < below)


def parse(text: str) -> tuple[Lruvec, ...]:
    """The whole file. Raises ValueError for another format."""
    found: list[Lruvec] = []
    memcg, path = -1, ""
    node = -1
    generations: list[Generation] = []

    def flush() -> None:
        if node >= 0 and generations:
            found.append(Lruvec(memcg, path, node, tuple(generations)))
        generations.clear()

    for line in text.splitlines():
        # A cgroup's name may hold spaces.
        first, _, rest = line.strip().partition(" ")
        if first == "memcg":
            flush()
            number, _, path = rest.strip().partition(" ")
            memcg, path, node = int(number), path.strip("/"), -1
        elif first == "node":
            flush()
            node = int(rest)
        else:
            fields = line.split()
            if memcg < 0 or node < 0 or len(fields) != 4:
                raise ValueError(f"not a line of lru_gen: {line[:80]!r}")
            # `x`: this generation is older than the oldest of its type; the count before it still is one.
            generations.append(Generation(*(int(each.rstrip("x")) for each in fields)))
    flush()
    return tuple(found)


class LruGen:
    """The file of one host. Nothing is held open between calls."""

    def __init__(self, host: HostFs) -> None:
        self._host = host

    def read(self) -> tuple[Lruvec, ...] | Outcome:
        """Everything, or why not: MISSING without debugfs or MGLRU, DENIED under lockdown."""
        reading = self._host.read(FILE, READ_LIMIT)
        text = reading.text()
        if text is None:
            return reading.outcome
        try:
            return parse(text)
        except ValueError:
            return Outcome.MALFORMED

    def age(self, lruvec: Lruvec) -> Outcome:
        """
        Look through the page tables of the cgroup's tasks, and begin a new generation for what is used from now on.

        OK also when somebody else began one since ``lruvec`` was read; REJECTED when the cgroup is gone. It takes
        milliseconds for each GiB that is mapped and cannot be stopped meanwhile.
        """
        # `1 1`: swappable pages, too, and all page tables: by itself the kernel leaves out those in which it found
        # little the last time, and does nothing when there are four generations already.
        text = f"+ {lruvec.memcg} {lruvec.node} {lruvec.newest} 1 1\n"
        outcome, _ = self._host.write(FILE, text.encode("ascii"))
        return outcome
