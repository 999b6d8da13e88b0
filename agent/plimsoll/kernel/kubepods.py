"""
Where pods and containers are in the cgroup hierarchies: the kubelet's roots, and from a pod's UID to its directory.

The cgroup driver is read off the names found, never assumed. A path is only ever built from a UID of the one legal
shape, and is looked up, never created. This module must not read values.
"""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from enum import StrEnum
from typing import NamedTuple

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import Directory
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.pod import QosClass
from plimsoll.model.snapshot import CgroupState

# kind on cgroupfs: docker/<id>/kubelet/kubepods; on systemd: system.slice/docker-<id>.scope/kubelet.slice/...
MAX_DEPTH = 4
# A node has some hundred services and sessions; this bounds the search on one with a hundred thousand.
MAX_DIRECTORIES = 4096

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_SYSTEMD_ROOT = "kubepods.slice"
_CGROUPFS_ROOT = "kubepods"
_QOS_DIRECTORY = {
    QosClass.GUARANTEED: "",
    QosClass.BURSTABLE: "burstable",
    QosClass.BEST_EFFORT: "besteffort",
}
# `crio-conmon-<id>.scope` is the monitor of a container, not the container.
_SCOPE = re.compile(r"(cri-containerd|crio|docker|isulad)-([0-9a-f]{64})\.scope", re.ASCII)
_PLAIN = re.compile(r"(crio-)?([0-9a-f]{64})", re.ASCII)
_RUNTIMES = {"cri-containerd": "containerd", "crio": "cri-o", "docker": "docker", "isulad": "isulad"}


class Driver(StrEnum):
    """The kubelet's ``cgroupDriver``: who names the directories."""

    SYSTEMD = "systemd"
    CGROUPFS = "cgroupfs"


class PodCgroup(NamedTuple):
    """A pod's directory; ``inode`` is that of the hierarchy searched, and changes when the cgroup is made again."""

    path: str
    inode: int


class ContainerCgroup(NamedTuple):
    """
    A container's directory below its pod's. ``id`` is 64 hex digits; ``runtime`` as in a container status, ``None``
    where the name does not say (cgroupfs driver). The pod's sandbox (pause) container is among them.
    """

    id: str
    runtime: str | None
    path: str


class KubepodsRoot(NamedTuple):
    """The kubelet's root cgroup: ``path`` below the root of every hierarchy."""

    driver: Driver
    path: str

    def pod_path(self, uid: str, qos_class: QosClass) -> tuple[str, ...]:
        """
        The paths a pod may have, the declared class first: the API's class and the kubelet's can differ for a while.

        Empty for a UID of any other shape than Kubernetes': no path is built from it.
        """
        if not legal_uid(uid):
            return ()
        classes = (qos_class, *(each for each in QosClass if each is not qos_class))
        return tuple(self._join(uid, _QOS_DIRECTORY[each]) for each in classes)

    def _join(self, uid: str, qos: str) -> str:
        if self.driver is Driver.CGROUPFS:
            return "/".join(part for part in (self.path, qos, f"pod{uid}") if part)
        # systemd nests by name: a-b.slice stands in a.slice. The dashes of a UID would nest too, so the kubelet writes
        # them as underscores.
        base = self.path.rpartition("/")[2].removesuffix(".slice")
        parent = self.path
        if qos:
            base = f"{base}-{qos}"
            parent = f"{parent}/{base}.slice"
        return f"{parent}/{base}-pod{uid.replace('-', '_')}.slice"


def legal_uid(uid: str) -> bool:
    """Whether a path may be built from this UID: lower-case hexadecimal of the RFC 4122 shape and nothing else."""
    return _UID.fullmatch(uid) is not None


class Kubepods:
    """
    The kubelet's roots on this host, and the look-ups below them.

    ``roots`` is empty on a node where the kubelet has not started a pod yet; there are several where kubelets are
    nested (kind). ``truncated``: the search stopped at its cap. ``denied``: how many directories could not be listed.
    """

    def __init__(
        self,
        directory: Directory | None,
        roots: tuple[KubepodsRoot, ...] = (),
        *,
        truncated: bool = False,
        denied: int = 0,
    ) -> None:
        self.directory = directory
        self.roots = roots
        self.truncated = truncated
        self.denied = denied

    @classmethod
    def find(cls, hierarchies: Hierarchies, *, max_directories: int = MAX_DIRECTORIES) -> Kubepods:
        """
        Search the hierarchies, the ones every kubelet needs first, and keep the roots of the first that has any.

        A kubelet makes the same paths in all v1 hierarchies. The directories belong to ``hierarchies``: keep it open.
        """
        searched = [cls(None)]
        for directory in hierarchies.roots():
            searched.append(cls._search(directory, max_directories))
            if searched[-1].roots:
                return searched[-1]
        # None has a root: the one whose search was hindered says most about why.
        return max(searched, key=lambda each: (each.truncated, each.denied))

    @classmethod
    def _search(cls, directory: Directory, max_directories: int) -> Kubepods:
        roots: list[KubepodsRoot] = []
        denied = 0
        # Breadth first: the host's own kubelet is found before one nested in a container, and is asked first.
        waiting: deque[tuple[str, int]] = deque([(".", 0)])
        seen = 0
        while waiting:
            if seen == max_directories:
                return cls(directory, tuple(roots), truncated=True, denied=denied)
            seen += 1
            path, depth = waiting.popleft()
            listing = directory.directories(path)
            denied += listing.outcome is Outcome.DENIED
            for name in listing.names:
                below = name if path == "." else f"{path}/{name}"
                driver = _driver(path.rpartition("/")[2], name)
                if driver is not None:
                    roots.append(KubepodsRoot(driver, below))
                elif depth + 1 < MAX_DEPTH:
                    waiting.append((below, depth + 1))
        return cls(directory, tuple(roots), denied=denied)

    def find_pod(self, uid: str, qos_class: QosClass) -> PodCgroup | CgroupState:
        """
        ``ILLEGAL`` for a UID no path may be built from, ``PENDING`` when no root has the pod (yet), ``DENIED`` when
        that could not be seen.
        """
        if not legal_uid(uid):
            return CgroupState.ILLEGAL
        absent = CgroupState.PENDING
        if self.directory is not None:
            for root in self.roots:
                for path in root.pod_path(uid, qos_class):
                    try:
                        return PodCgroup(path, _inode(self.directory, path))
                    except OSError as error:
                        # Not there, or vanished just now, is everyday; only a refusal is worth a word.
                        if outcome_of(error.errno or errno.EIO) is Outcome.DENIED:
                            absent = CgroupState.DENIED
        return absent

    def containers(self, pod_path: str) -> tuple[ContainerCgroup, ...]:
        """
        The containers directly below a pod's cgroup, by name; empty also when the pod has just vanished.

        What a container makes inside itself (``init.scope``, a nested kubelet's ``kubepods``) is one level deeper.
        """
        if self.directory is None:
            return ()
        found = []
        for name in self.directory.directories(pod_path).names:
            if match := _SCOPE.fullmatch(name):
                found.append(ContainerCgroup(match[2], _RUNTIMES[match[1]], f"{pod_path}/{name}"))
            elif match := _PLAIN.fullmatch(name):
                found.append(ContainerCgroup(match[2], "cri-o" if match[1] else None, f"{pod_path}/{name}"))
        return tuple(found)


def _driver(parent: str, name: str) -> Driver | None:
    if name == _CGROUPFS_ROOT:
        return Driver.CGROUPFS
    # With --cgroup-root=/a/b systemd nests a.slice/a-b.slice/a-b-kubepods.slice; elsewhere the name is a coincidence.
    if name == _SYSTEMD_ROOT or name == f"{parent.removesuffix('.slice')}-{_SYSTEMD_ROOT}":
        return Driver.SYSTEMD
    return None


def _inode(directory: Directory, path: str) -> int:
    descriptor = directory.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)
