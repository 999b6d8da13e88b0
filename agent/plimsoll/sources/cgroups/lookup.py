"""
Which cgroup a pod has, and which its containers: looked up rarely, so that a tick costs no directory look-up.

Owns when to look again and what is held open of a pod meanwhile. It must not read figures, but for one mark that can
be known in no other way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.model.cpus import CpuSet
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Pod
from plimsoll.model.snapshot import CgroupState
from plimsoll.sources.cgroups.cpus import CpuFiles, CpuUse
from plimsoll.sources.cgroups.group import Group, GroupFiles
from plimsoll.sources.cgroups.memory import ContainerProtections
from plimsoll.sources.cgroups.stall_rates import StallRates
from plimsoll.sources.cgroups.throttle import PodThrottle

# A container started while the API server is away is found by looking again; a status update triggers it at once.
RESCAN_SECONDS = 30.0
# While the kubelet has not made its root cgroup, or a pod has no cgroup yet, look more often.
PENDING_SECONDS = 5.0


@dataclass(slots=True)
class Tracked:
    """
    What is kept of one pod. ``group`` and ``containers`` (by container ID) are open; ``scanned`` is monotonic seconds.

    ``kubelet_root``, ``container_cgroups`` and ``knobs`` are as in its sample. ``container_cpus``: what is written down
    for each of its containers, where that is asked for; so is ``protected``: the bytes they ask to be kept, together.
    """

    pod: Pod
    state: CgroupState = CgroupState.PENDING
    scanned: float = float("-inf")
    group: Group | None = None
    inode: int = 0
    containers: dict[str, Group] = field(default_factory=dict)
    kubelet_root: str | None = None
    container_cgroups: tuple[str, ...] = ()
    knobs: dict[Knob, str] = field(default_factory=dict)
    container_cpus: tuple[CpuSet, ...] = ()
    protected: int = 0
    use: CpuUse = field(default_factory=CpuUse)
    throttle: PodThrottle = field(default_factory=PodThrottle)
    rates: StallRates = field(default_factory=StallRates)

    def release(self) -> None:
        """Let go of its cgroups. What their counters came to stays: it goes on with those that take their place."""
        for group in (self.group, *self.containers.values()):
            if group is not None:
                group.close()
        self.group = None
        self.containers = {}
        self.container_cgroups = ()
        self.container_cpus = ()
        self.protected = 0
        self.knobs = {}
        self.use.forget()
        self.rates.forget()

    def lost(self) -> None:
        """Its cgroup was removed under our hands: it is looked for in the next tick."""
        self.release()
        self.state = CgroupState.GONE
        self.scanned = float("-inf")


class Lookup:
    """The way from pods to cgroups on this host."""

    def __init__(
        self, hierarchies: Hierarchies, files: GroupFiles, *, cpus: bool = False, memory: bool = False
    ) -> None:
        """``cpus``: containers' CPU sets are wanted, too; ``memory``: what they ask to be kept of theirs."""
        self._hierarchies = hierarchies
        self._files = files
        self._cpus = CpuFiles(hierarchies) if cpus else None
        self._protections = ContainerProtections(hierarchies) if memory else None
        self.kubepods = Kubepods.find(hierarchies)
        self._searched = float("-inf")

    def find_roots(self, now: float) -> None:
        """Look for the kubelet's roots, while there are none."""
        if not self.kubepods.roots and now - self._searched >= PENDING_SECONDS:
            self.kubepods = Kubepods.find(self._hierarchies)
            self._searched = now

    def follow(self, tracked: Tracked, pod: Pod, now: float) -> None:
        """Look up the pod's cgroups if it is time to, or if the pod has changed."""
        changed = tracked.pod.object is not pod.object
        tracked.pod = pod
        if tracked.state is CgroupState.ILLEGAL:
            return
        wait = RESCAN_SECONDS if tracked.group is not None else PENDING_SECONDS
        if changed or now - tracked.scanned >= wait:
            tracked.scanned = now
            self._scan(tracked)

    def _scan(self, tracked: Tracked) -> None:
        if tracked.pod.object.mirror:
            # A static pod's cgroup is named by a hash that any pod could claim: it is not looked for.
            tracked.state = CgroupState.PENDING
            return
        found = self.kubepods.find_pod(tracked.pod.uid, tracked.pod.object.qos_class)
        if isinstance(found, CgroupState):
            tracked.release()
            tracked.state = found
            return
        roots = tuple(root.path for root in self.kubepods.roots)
        if tracked.group is None or tracked.inode != found.inode or tracked.group.path != found.path:
            tracked.release()
            tracked.inode = found.inode
            tracked.kubelet_root = next((root for root in roots if found.path.startswith(f"{root}/")), None)
        tracked.group = self._files.of_pod(found.path, roots, tracked.group)
        tracked.state = CgroupState.FOUND
        self._scan_containers(tracked, found.path, roots)
        tracked.knobs = self._knobs(found.path)
        if self._cpus is not None:
            tracked.container_cpus = tuple(self._cpus.written(path) for path in tracked.container_cgroups)
        if self._protections is not None:
            tracked.protected = self._protections.kept(tracked.container_cgroups)

    def _scan_containers(self, tracked: Tracked, pod_path: str, roots: tuple[str, ...]) -> None:
        present = {each.id: each.path for each in self.kubepods.containers(pod_path)}
        for gone in [each for each in tracked.containers if each not in present]:
            tracked.containers.pop(gone).close()
            tracked.throttle.bury(gone)
        for each, path in present.items():
            tracked.containers[each] = self._files.of_container(path, roots, tracked.containers.get(each))
        tracked.container_cgroups = tuple(present.values())

    def _knobs(self, path: str) -> dict[Knob, str]:
        """A mark that outlives the priority it was made for can only be known by reading it."""
        hierarchy = self._hierarchies.v1.get("cpu")
        text = None if hierarchy is None else hierarchy.read(f"{path}/{Knob.CPU_QOS_LEVEL}").text()
        return {} if text is None else {Knob.CPU_QOS_LEVEL: text.strip()}
