"""
The control files of a simulated node that an agent may write: what stood in each when it was made, and what stands now.

Reads them as a stranger would, without the agent's code. It must not write to any, nor know why one has changed.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from plimsoll.kernel.knob_spec import KNOBS

# The kernel refuses the way back on a live cgroup: whatever an agent does, these keep what was once written.
ONE_WAY = frozenset({"cpu.qos_level"})


class Changed(NamedTuple):
    """A control file with another text than at its beginning. ``path`` is relative to the node's root."""

    path: str
    before: str
    now: str

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


class KnobFiles:
    """
    The control files below ``root``, as far as :meth:`note` has met them.

    To be told of new cgroups before an agent can know of them, or what it wrote is taken for the beginning.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._begun: dict[str, str] = {}

    def note(self) -> None:
        """Remember what stands in files not met before."""
        for path in self._present() - self._begun.keys():
            text = self._read(path)
            if text is not None:
                self._begun[path] = text

    @property
    def count(self) -> int:
        """How many of those met are still there."""
        return sum(os.path.exists(os.path.join(self._root, path)) for path in self._begun)

    def changed(self) -> tuple[Changed, ...]:
        """The files that do not hold, byte for byte, what they began with. Those of pods that are over are gone."""
        found = ((path, before, self._read(path)) for path, before in sorted(self._begun.items()))
        return tuple(Changed(path, before, now) for path, before, now in found if now not in (None, before))

    def _present(self) -> set[str]:
        names = {name for spec in KNOBS.values() for name in (spec.v2, spec.v1 and spec.v1[1]) if name}
        cpufreq = {spec.cpufreq for spec in KNOBS.values() if spec.cpufreq}
        nodes = (spec.node for spec in KNOBS.values() if spec.node)
        found = {path for path in nodes if os.path.exists(os.path.join(self._root, path))}
        for folder, _, files in os.walk(os.path.join(self._root, "sys/fs/cgroup")):
            found |= {os.path.relpath(os.path.join(folder, name), self._root) for name in names.intersection(files)}
        for folder, _, files in os.walk(os.path.join(self._root, "sys/devices/system/cpu/cpufreq")):
            found |= {os.path.relpath(os.path.join(folder, name), self._root) for name in cpufreq.intersection(files)}
        return found

    def _read(self, path: str) -> str | None:
        try:
            with open(os.path.join(self._root, path), encoding="utf-8", errors="backslashreplace", newline="") as file:
                return file.read()
        except FileNotFoundError:
            return None
