"""
What an agent leaves on a simulated node: when it was killed, and when it has ended. For a person, and as a verdict.

Judges by the files alone; an agent's own word counts for nothing here. It must not start or end anything.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from plimsoll.actuators.journal import Journal
from plimsoll.actuators.record import Key, Record
from plimsoll.kernel.knob_spec import KNOBS
from plimsoll.model.plan import TargetKind
from plimsoll.simulator.knob_files import ONE_WAY, Changed, KnobFiles


class Estate(NamedTuple):
    """
    What a killed agent left: the files it ``changed``, and those of them that can be put back.

    ``known``: their paths and the originals its journal holds, as the kernel spelled them.
    """

    changed: tuple[Changed, ...]
    known: Mapping[str, str]

    @property
    def whole(self) -> bool:
        """Whether the journal knows what each of the files held."""
        return all(_holds(self.known.get(each.path), each.before) for each in self.changed)

    def lines(self) -> list[str]:
        """One for each kind of change, then the journal."""
        kinds = Counter((each.name, each.now.strip(), each.before.strip()) for each in self.changed)
        width = max((len(name) for name, _, _ in kinds), default=0)
        held = sum(_holds(self.known.get(each.path), each.before) for each in self.changed)
        return [
            *(
                f"  {name:<{width}}  holds {now} in {_files(count)}; before the agent: {before}"
                for (name, now, before), count in sorted(kinds.items())
            ),
            f"The journal holds {held} of {len(self.changed)} originals.",
        ]


def estate(root: str, state_directory: str, files: KnobFiles) -> Estate:
    """Look at a node whose agent is dead. ``state_directory`` is a path below ``root``."""
    with open(os.path.join(root, "proc/sys/kernel/random/boot_id"), encoding="ascii") as file:
        boot = file.read().strip()
    changed = files.changed()
    with Journal.open(os.path.join(root, state_directory), boot, read_only=True) as journal:
        originals = {_place(key): _original(key, record) for key, record in journal.originals.items()}
    known = {each.path: originals[place] for each in changed for place in _places(each.path) if place in originals}
    return Estate(changed, known)


class Verdict(NamedTuple):
    """
    How the control files of a node compare with their beginning: ``files`` of them in all.

    ``kept`` are those that no agent could have put back, ``wrong`` all others that differ.
    """

    files: int
    kept: tuple[Changed, ...]
    wrong: tuple[Changed, ...]

    def lines(self) -> list[str]:
        """How many are as they were, and which are not."""
        same = self.files - len(self.kept) - len(self.wrong)
        told = [f"{same} of {self.files} control files are as they were when they were made."]
        kept = Counter((each.name, each.now.strip(), each.before.strip()) for each in self.kept)
        told += [
            f"{name} stays at {now} in {_files(count)} of pods that still run: this kernel has no way back from there."
            for (name, now, _), count in sorted(kept.items())
        ]
        return told + _named(self.wrong)


def verdict(files: KnobFiles) -> Verdict:
    """Compare now."""
    changed = files.changed()
    return Verdict(
        files.count,
        tuple(each for each in changed if each.name in ONE_WAY),
        tuple(each for each in changed if each.name not in ONE_WAY),
    )


def _named(changed: Sequence[Changed]) -> list[str]:
    return [f"NOT as before: {each.path}: {each.before.strip()} -> {each.now.strip()}" for each in changed]


def _place(key: Key) -> str:
    """A cgroup's file from the root of its hierarchy, another one from the root of the host."""
    spec = KNOBS[key.knob]
    return f"{key.target.path}/{key.knob}" if key.target.kind is TargetKind.CGROUP else spec.file_of(key.target) or ""


def _original(key: Key, record: Record) -> str:
    return "" if record.original == KNOBS[key.knob].blank else record.original


def _places(path: str) -> Iterator[str]:
    """``path``, and all that it may be called from a hierarchy's root, of which the node has one or many."""
    while path:
        yield path
        path = path.partition("/")[2]


def _holds(original: str | None, before: str) -> bool:
    """``original`` may go on with what stood in a file beside."""
    return original is not None and original.partition(" ")[0] == before.strip()


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
