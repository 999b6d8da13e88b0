"""
Whether this node has the control files by which one pod is made to give way to another and, where not, why.

The files decide, never a version; versions are for words to a person. Everything is read, nothing written: that a file
is there does not say that a write to it will pass, but that it is mounted for reading only says that none will.
"""

from __future__ import annotations

from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.cgroup import Hierarchies, Mode
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.model.outcome import Outcome

_MEMCG_QOS_ENABLE = "proc/sys/vm/memcg_qos_enable"
_NOTHING_NEEDED = "Nothing needs to be done: what this node has instead is used."
# The kubelet's own cgroups below its root: kubepods/burstable, kubepods-burstable.slice.
_QOS_CLASSES = ("burstable", "besteffort")


class KnobSupport:
    """
    What one host's pods can be given. Each answer is ``None`` when it is there, else why not.

    Looks at the kubelet's root cgroup, which has every file its pods have and does not come and go with them.
    """

    def __init__(self, host: HostFs, hierarchies: Hierarchies, kubepods: Kubepods, build: KernelBuild) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._build = build
        self._roots = tuple(root.path for root in kubepods.roots)

    def cpu_idle(self) -> Absence | None:
        """``cpu.idle``, Linux 5.15, on both versions of cgroups."""
        outcome = self._file("cpu", "cpu.idle")
        if outcome is not Outcome.MISSING:
            return self._answer(outcome, "cpu.idle")
        too_old = self._build.older_than(5, 15)
        return Absence(
            Reason.KERNEL_TOO_OLD if too_old else Reason.NO_FILE,
            f"This kernel ({self._build.release or 'of unknown release'}) has no cpu.idle: it came with Linux 5.15.",
            "Update the kernel to 5.15 or later. Until then the smallest cpu.weight or cpu.shares is used, which "
            "leaves low-priority pods a small part of a busy CPU.",
        )

    def cpu_weight(self) -> Absence | None:
        """``cpu.weight``, cgroup v2."""
        if self._version("cpu") == 1:
            return Absence(Reason.CGROUP_V1, "cpu.weight is cgroup v2's; cgroup v1 has cpu.shares.", _NOTHING_NEEDED)
        return self._answer(self._file("cpu", "cpu.weight"), "cpu.weight")

    def cpu_shares(self) -> Absence | None:
        """``cpu.shares``, cgroup v1."""
        if self._version("cpu") == 2:
            return Absence(Reason.CGROUP_V2, "cpu.shares is cgroup v1's; cgroup v2 has cpu.weight.", _NOTHING_NEEDED)
        return self._answer(self._file("cpu", "cpu.shares"), "cpu.shares")

    def cpu_qos_level(self) -> Absence | None:
        """``cpu.qos_level``, openEuler kernels with CONFIG_QOS_SCHED, cgroup v1."""
        return self._openeuler("cpu", "cpu.qos_level", "CONFIG_QOS_SCHED")

    def memory_qos_level(self) -> Absence | None:
        """``memory.qos_level``, openEuler kernels with CONFIG_MEMCG_QOS, cgroup v1."""
        return self._openeuler("memory", "memory.qos_level", "CONFIG_MEMCG_QOS")

    def memcg_qos_enable(self) -> Absence | None:
        """``vm.memcg_qos_enable``, the switch ``memory.qos_level`` waits for: on, or to be turned on."""
        reading = self._host.read(_MEMCG_QOS_ENABLE)
        if reading.outcome is Outcome.MISSING:
            return self._not_openeuler("vm.memcg_qos_enable", "CONFIG_MEMCG_QOS")
        if (reading.text() or "").strip() == "0" and self._host.read_only(_MEMCG_QOS_ENABLE):
            return Absence(
                Reason.DENIED,
                "vm.memcg_qos_enable is 0, and a container may not set it: its /proc/sys is read-only.",
                "Set it on the node, and for every boot: vm.memcg_qos_enable = 1 in a file of /etc/sysctl.d, then "
                "sysctl --system.",
            )
        return self._answer(reading.outcome, _MEMCG_QOS_ENABLE)

    def memory_low(self) -> Absence | None:
        """``memory.low``, cgroup v2, unless the kubelet protects memory itself."""
        if self._version("memory") == 1:
            return Absence(
                Reason.CGROUP_V1,
                "cgroup v1 cannot protect a pod's memory from reclaim: memory.low is cgroup v2's.",
                "Boot with systemd.unified_cgroup_hierarchy=1, or set preemption.memory to off.",
            )
        outcome = self._file("memory", "memory.low")
        if outcome is Outcome.OK and self._kubelet_protects():
            return Absence(
                Reason.KUBELET_PROTECTS,
                "The kubelet protects pods' memory itself (MemoryQoS: memory.min above the pods is not 0).",
                "Nothing needs to be done: memory.low is left to the kubelet.",
            )
        return self._answer(outcome, "memory.low")

    def cpuset_v2(self) -> Absence | None:
        """``cpuset.cpus`` of cgroup v2, which lets a pod's own set differ from its containers'."""
        return self._cpuset(2, Reason.CGROUP_V1, "This node's cpuset controller is cgroup v1's.")

    def cpuset_v1(self) -> Absence | None:
        """``cpuset.cpus`` of cgroup v1, where no cgroup may have a CPU that the one above it lacks."""
        return self._cpuset(1, Reason.CGROUP_V2, "This node's cpuset controller is cgroup v2's.")

    def io_max(self) -> Absence | None:
        """``io.max``, cgroup v2."""
        if self._version("io") is None and self._version("blkio") is not None:
            return Absence(Reason.CGROUP_V1, "io.max is cgroup v2's; cgroup v1 has blkio.throttle.", _NOTHING_NEEDED)
        return self._answer(self._file("io", "io.max"), "io.max")

    def blkio_throttle(self) -> Absence | None:
        """``blkio.throttle.*_device``, cgroup v1."""
        if self._version("blkio") != 1 and self._version("io") == 2:
            return Absence(Reason.CGROUP_V2, "blkio.throttle is cgroup v1's; cgroup v2 has io.max.", _NOTHING_NEEDED)
        name = "blkio.throttle.read_bps_device"
        return self._answer(self._file("blkio", name), name)

    def _cpuset(self, version: int, otherwise: Reason, detail: str) -> Absence | None:
        found = self._version("cpuset")
        if found is None and self._hierarchies.mode is not Mode.NONE:
            return Absence(
                Reason.NO_CONTROLLER,
                "No mounted hierarchy has the cpuset controller.",
                "Remove cgroup_disable=cpuset from the boot arguments, or build the kernel with CONFIG_CPUSETS.",
            )
        if found is not None and found != version:
            return Absence(otherwise, detail, _NOTHING_NEEDED)
        return self._answer(self._file("cpuset", "cpuset.cpus"), "cpuset.cpus")

    def _version(self, controller: str) -> int | None:
        directory = self._hierarchies.directory(controller)
        if directory is None:
            return None
        return 2 if directory is self._hierarchies.unified else 1

    def _places(self, controller: str) -> tuple[tuple[Directory, str], ...]:
        """The kubelets' roots in the hierarchy of this controller."""
        directory = self._hierarchies.directory(controller)
        return () if directory is None else tuple((directory, root) for root in self._roots if directory.exists(root))

    def _file(self, controller: str, name: str) -> Outcome | Absence:
        """What reading the file at the kubelet's root comes to; with several kubelets, the first that has it."""
        if self._hierarchies.mode is Mode.NONE:
            return Absence(Reason.NO_CGROUP, "There is no cgroup hierarchy to look in.", "See the capability `cgroup`.")
        if self._version(controller) is None:
            return Absence(
                Reason.NO_CONTROLLER,
                f"No mounted hierarchy has the {controller} controller.",
                f"Look for {controller} in /proc/cgroups, and for cgroup_disable={controller} in /proc/cmdline.",
            )
        outcomes = [directory.read(f"{root}/{name}").outcome for directory, root in self._places(controller)]
        if not outcomes:
            return Absence(
                Reason.NO_KUBELET_ROOT,
                "The kubelet has no cgroup for pods yet, so their control files cannot be looked at.",
                "See the capability `kubepods`.",
            )
        return Outcome.OK if Outcome.OK in outcomes else outcomes[0]

    def _answer(self, found: Outcome | Absence, name: str) -> Absence | None:
        if isinstance(found, Absence):
            return found
        if found is Outcome.OK:
            return None
        if found is Outcome.DENIED:
            return Absence(
                Reason.DENIED,
                f"Reading {name} is not permitted.",
                "Run as root, and look for a security module (SELinux, AppArmor) that forbids it.",
            )
        if found is Outcome.MISSING:
            controller = name.partition(".")[0]
            return Absence(
                Reason.NO_FILE,
                f"The kubelet's root cgroup has no {name}: the {controller} controller is not turned on for it.",
                f"Look for {controller} in cgroup.subtree_control of the cgroups above it.",
            )
        return Absence(
            reason_of(found), f"Reading {name} failed: {found.value}.", "Look at the kernel's log on the node."
        )

    def _openeuler(self, controller: str, name: str, option: str) -> Absence | None:
        if self._version(controller) == 2:
            return Absence(
                Reason.CGROUP_V2 if self._build.openeuler else Reason.NOT_BUILT,
                f"{name} is known of openEuler kernels on cgroup v1 only.",
                _NOTHING_NEEDED,
            )
        outcome = self._file(controller, name)
        return self._not_openeuler(name, option) if outcome is Outcome.MISSING else self._answer(outcome, name)

    def _not_openeuler(self, name: str, option: str) -> Absence:
        if self._build.openeuler:
            return Absence(
                Reason.NOT_BUILT,
                f"This openEuler kernel was built without {option}, so it has no {name}.",
                "Update the kernel to one that has it.",
            )
        return Absence(Reason.NOT_BUILT, f"Only openEuler kernels have {name}.", _NOTHING_NEEDED)

    def _kubelet_protects(self) -> bool:
        """
        Whether ``memory.min`` stands in the cgroups above the pods: this program never writes it there.

        The kubelet sums up its pods' protection in its root and in that of the Burstable class.
        """
        for directory, root in self._places("memory"):
            classes = [
                f"{root}/{name}"
                for name in directory.directories(root).names
                if name.removesuffix(".slice").rpartition("-")[2] in _QOS_CLASSES
            ]
            for path in (root, *classes):
                text = directory.read(f"{path}/memory.min").text()
                if text is not None and text.strip() not in {"", "0"}:
                    return True
        return False
