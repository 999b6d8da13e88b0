"""
Whether the kernel measures pressure here and, where it does not, which of the many causes it is.

PSI can be missing because of the kernel's age, its configuration, its boot arguments, the cgroup version, or a switch
in one cgroup, and each asks another cure of the administrator. Reads; must not change any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.cgroup import Hierarchies, Mode
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.pressure import parse_pressure_stat, parse_psi
from plimsoll.kernel.proc import PRESSURE_DIRECTORY
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.model.outcome import Outcome

_V1_ARGUMENTS = ("psi=1", "psi_v1=1")
_BOOT = "Add {} to the kernel's boot arguments and reboot the node."


class Absence(NamedTuple):
    """Why something is not there: the reason, and two sentences for a person."""

    reason: Reason
    detail: str
    cure: str


class PsiSupport:
    """What one host's kernel measures. Looks at one cgroup only: a kubelet's root, else the hierarchy's."""

    def __init__(self, host: HostFs, hierarchies: Hierarchies, kubepods: Kubepods, build: KernelBuild) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._build = build
        self._roots = tuple(root.path for root in kubepods.roots)
        self._serving = hierarchies.pressure(self._roots)

    def resource(self, name: str) -> Absence | None:
        """``None`` when pods have pressure of this resource (cpu, memory, io, irq), else why not."""
        outcome, cgroup = self._cgroup_file(f"{name}.pressure", parse_psi)
        if outcome is Outcome.OK:
            return None
        if outcome is not Outcome.MISSING:
            return self._refused(outcome, f"{cgroup}/{name}.pressure")
        if name == "irq" and self._cgroup_file("cpu.pressure", parse_psi)[0] is Outcome.OK:
            return self._no_irq()
        return self._not_there(cgroup)

    def pressure_stat(self) -> Absence | None:
        """``None`` when pods have openEuler's ``pressure.stat``, else why not."""
        outcome, cgroup = self._cgroup_file("pressure.stat", parse_pressure_stat)
        if outcome is Outcome.OK:
            return None
        if outcome is not Outcome.MISSING:
            return self._refused(outcome, f"{cgroup}/pressure.stat")
        if not self._build.openeuler:
            return Absence(
                Reason.NOT_BUILT,
                "Only openEuler kernels split pressure by cause (pressure.stat).",
                "Nothing needs to be done: the stock PSI figures are used. For the split, boot an openEuler kernel "
                "that has CONFIG_PSI_FINE_GRAINED, with cgroup v1.",
            )
        if self._hierarchies.mode is Mode.V2:
            return Absence(
                Reason.CGROUP_V2,
                "openEuler kernels have pressure.stat on cgroup v1 only, and this node uses cgroup v2.",
                "Nothing needs to be done: the stock PSI figures are used. For the split, boot with "
                "systemd.unified_cgroup_hierarchy=0 psi=1 psi_v1=1.",
            )
        if self._build.missing_arguments(*_V1_ARGUMENTS) and not self._build.lacks("CONFIG_PSI_FINE_GRAINED"):
            return self._disabled()
        return Absence(
            Reason.NOT_BUILT,
            "This openEuler kernel was built without CONFIG_PSI_FINE_GRAINED.",
            "Update the kernel to one that has it (5.10 from late 2023, or 6.6).",
        )

    def node(self) -> Absence | None:
        """``None`` when the kernel measures the whole node's pressure, else why not."""
        path = f"{PRESSURE_DIRECTORY}/memory"
        reading = self._host.read(path)
        if reading.outcome is Outcome.OK:
            return None if _parses(parse_psi, reading.text()) else self._refused(Outcome.MALFORMED, path)
        if reading.outcome is not Outcome.MISSING:
            return self._refused(reading.outcome, path)
        if not self._host.exists("proc/stat"):
            return Absence(
                Reason.NO_FILE,
                f"There is no /proc below {self._host.root}.",
                "Mount the host's /proc there, or give the root directory that has it.",
            )
        return self._kernel_without() or self._disabled()

    def _cgroup_file(self, name: str, parse: Callable[[str], object]) -> tuple[Outcome, str]:
        """What reading ``name`` in a cgroup that stands for the pods' comes to, and that cgroup."""
        if self._serving is None:
            return Outcome.MISSING, "."
        directory = self._serving[0]
        cgroup = self._sample(directory)
        reading = directory.read(f"{cgroup}/{name}")
        if reading.outcome is Outcome.OK and not _parses(parse, reading.text()):
            return Outcome.MALFORMED, cgroup
        return reading.outcome, cgroup

    def _sample(self, directory: Directory) -> str:
        for root in self._roots:
            if directory.exists(root):
                return root
        if not directory.exists("cpu.pressure"):
            # The root cgroup has pressure files since Linux 5.2 only, its children since 4.20.
            for name in directory.directories().names[:1]:
                return name
        return "."

    def _not_there(self, cgroup: str) -> Absence:
        mode = self._hierarchies.mode
        if mode is Mode.NONE:
            return Absence(
                Reason.NO_CGROUP,
                "No cgroup hierarchy was found, so no pod's pressure can be read.",
                "Mount the host's /sys/fs/cgroup below the root directory.",
            )
        if self._serving is not None and self._serving[0].read(f"{cgroup}/cgroup.pressure").data == b"0\n":
            return Absence(
                Reason.CGROUP_PRESSURE_OFF,
                f"Somebody wrote 0 to {cgroup}/cgroup.pressure, which removes that cgroup's pressure files.",
                "Write 1 to that file, and find out who turned it off.",
            )
        known = self._kernel_without()
        if known is not None:
            return known
        if "cgroup_disable=pressure" in (self._build.arguments or ()):
            return Absence(
                Reason.PSI_DISABLED,
                "The kernel was booted with cgroup_disable=pressure.",
                "Remove that boot argument and reboot the node.",
            )
        if mode is Mode.V2:
            # A kernel that measures no pressure shows no file of it, built without or turned off alike.
            return self._disabled()
        if self._build.openeuler:
            missing = self._build.missing_arguments(*_V1_ARGUMENTS)
            return self._disabled() if missing else self._not_built("CONFIG_PSI_CGROUP_V1")
        if mode is Mode.HYBRID and not self._roots:
            return Absence(
                Reason.NO_KUBELET_ROOT,
                "On a hybrid cgroup layout pressure is read where the pods are, and there are none yet.",
                "Wait for the kubelet to start its first pod.",
            )
        return Absence(
            Reason.CGROUP_V1,
            "This kernel measures pods' pressure on cgroup v2 only, and this node uses cgroup v1.",
            "Boot with systemd.unified_cgroup_hierarchy=1, or use an openEuler kernel with psi=1 psi_v1=1.",
        )

    def _kernel_without(self) -> Absence | None:
        """The causes that the kernel's version, configuration and boot arguments prove by themselves."""
        build = self._build
        if build.older_than(4, 20):
            return Absence(
                Reason.KERNEL_TOO_OLD,
                f"Linux {build.release} does not measure pressure (PSI): it came with 4.20.",
                "Update the kernel.",
            )
        if build.lacks("CONFIG_PSI"):
            return self._not_built()
        if "psi=0" in (build.arguments or ()):
            return self._disabled()
        return None

    def _refused(self, outcome: Outcome, path: str) -> Absence:
        if outcome is Outcome.UNSUPPORTED:
            return self._disabled()
        if outcome is Outcome.DENIED:
            return Absence(
                Reason.DENIED,
                f"Reading {path} is not permitted.",
                "Run as root, and look for a security module (SELinux, AppArmor) that forbids it.",
            )
        if outcome is Outcome.MALFORMED:
            return Absence(
                Reason.MALFORMED,
                f"{path} has a format this version does not know.",
                "Please report it together with the file's content and the kernel's release.",
            )
        return Absence(
            reason_of(outcome), f"Reading {path} failed: {outcome.value}.", "Look at the kernel's log on the node."
        )

    def _disabled(self) -> Absence:
        v1 = self._hierarchies.mode in (Mode.V1, Mode.HYBRID) and self._build.openeuler
        wanted = _V1_ARGUMENTS if v1 else _V1_ARGUMENTS[:1]
        if self._serving is not None and self._serving[1] == 1:
            wanted = _V1_ARGUMENTS
        missing = self._build.missing_arguments(*wanted) or wanted
        if "psi=0" in (self._build.arguments or ()):
            return Absence(
                Reason.PSI_DISABLED,
                "The kernel was booted with psi=0: pressure (PSI) is off.",
                f"Write {' '.join(wanted)} in place of psi=0 in the boot arguments, and reboot the node.",
            )
        cure = _BOOT.format(" ".join(missing))
        if self._build.options is None:
            cure += " If that changes nothing, the kernel was built without CONFIG_PSI."
        return Absence(Reason.PSI_DISABLED, "Pressure (PSI) is turned off in this kernel until it is asked for.", cure)

    def _not_built(self, option: str = "CONFIG_PSI") -> Absence:
        arguments = _V1_ARGUMENTS if option == "CONFIG_PSI_CGROUP_V1" else _V1_ARGUMENTS[:1]
        return Absence(
            Reason.NOT_BUILT,
            f"This kernel was built without {option}.",
            f"Use a kernel with {option}=y, booted with {' '.join(arguments)}.",
        )

    def _no_irq(self) -> Absence:
        if self._build.older_than(6, 1) and not self._build.openeuler:
            return Absence(
                Reason.KERNEL_TOO_OLD,
                f"Linux {self._build.release} does not measure interrupt pressure: it came with 6.1.",
                "Nothing needs to be done: the other resources are measured.",
            )
        return Absence(
            Reason.NOT_BUILT,
            "Interrupt pressure needs a kernel built with CONFIG_IRQ_TIME_ACCOUNTING.",
            "Nothing needs to be done: the other resources are measured.",
        )


def _parses(parse: Callable[[str], object], text: str | None) -> bool:
    try:
        parse(text or "")
    except ValueError:
        return False
    return True
