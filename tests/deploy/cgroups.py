"""
Cgroups of the running kernel that look like a kubelet's: one pod, in every hierarchy of this machine.

They are below a cgroup of their own, as those of a kubelet in a container are, so that nothing of the machine's own
Kubernetes, if it has one, is touched. Nothing is in them and no limit is set.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from tests.running import until

ROOT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """This machine's: one (v2), or one for each v1 controller and for v2 as ``unified``. Links are other names."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [each for each in ROOT.iterdir() if not each.is_symlink() and (each / "cgroup.procs").exists()]


@contextmanager
def parent() -> Iterator[str]:
    """The name of a cgroup for a runtime to put containers in; its own default would stay behind."""
    name = f"plimsoll-test-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        for hierarchy in hierarchies():
            # Only a runtime that ran makes it, and it may leave its container's for a moment.
            if (hierarchy / name).exists():
                until(partial(_removed, hierarchy / name), f"{name} removed from {hierarchy}")


def _removed(cgroup: Path) -> bool:
    """Whether it is gone, with all below it."""
    try:
        for each in sorted(cgroup.rglob("*/"), reverse=True):
            each.rmdir()
        cgroup.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


class Kubepods:
    """A context manager; the cgroups are gone afterwards."""

    def __init__(self, uid: str) -> None:
        self._pod = f"plimsoll-test-{uuid.uuid4().hex[:8]}/kubepods/besteffort/pod{uid}"
        self.hierarchies = hierarchies()

    def __enter__(self) -> Self:
        for hierarchy in self.hierarchies:
            (hierarchy / self._pod).mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        for hierarchy in self.hierarchies:
            path = hierarchy / self._pod
            while path != hierarchy:
                path.rmdir()
                path = path.parent

    def files(self, name: str) -> list[Path]:
        """The pod's files of this name, one for each hierarchy that has it."""
        return [path for each in self.hierarchies if (path := each / self._pod / name).exists()]
