"""
What this node can do and, where it cannot, why: one :class:`Capability` per fact.

Probing reads only, and nothing found absent stops the agent. Reasons come from the closed set in ``kernel/reason.py``;
how the list is shown is the business of others.
"""

from __future__ import annotations

from enum import StrEnum

from plimsoll.kernel.batch import native_available
from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.cgroup import CGROUP_ROOT, Hierarchies, Mode
from plimsoll.kernel.damon_support import damon
from plimsoll.kernel.frequency_support import FrequencySupport
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob_support import KnobSupport
from plimsoll.kernel.kubelet_share import kubelet_share
from plimsoll.kernel.kubepods import MAX_DEPTH, Kubepods
from plimsoll.kernel.lock import Held, Taken, Unusable
from plimsoll.kernel.psi_support import Absence, PsiSupport
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.kernel.swap_support import SwapSupport
from plimsoll.model.outcome import Outcome
from plimsoll.model.pressure import PSI_CAUSES
from plimsoll.model.snapshot import Capability


class Name(StrEnum):
    """Every capability, in the order it is reported."""

    CGROUP = "cgroup"
    KUBEPODS = "kubepods"
    PRESSURE_STAT = "pressure-stat"
    PSI_CPU = "psi-cpu"
    PSI_MEMORY = "psi-memory"
    PSI_IO = "psi-io"
    PSI_IRQ = "psi-irq"
    PSI_NODE = "psi-node"
    MEMORY_CONTROLLER = "memory-controller"
    CPU_CONTROLLER = "cpu-controller"
    CPU_IDLE = "cpu-idle"
    CPU_WEIGHT = "cpu-weight"
    CPU_SHARES = "cpu-shares"
    CPU_QOS_LEVEL = "cpu-qos-level"
    MEMORY_QOS_LEVEL = "memory-qos-level"
    MEMCG_QOS_ENABLE = "memcg-qos-enable"
    MEMORY_LOW = "memory-low"
    IO_MAX = "io-max"
    BLKIO_THROTTLE = "blkio-throttle"
    SWAP_LIMIT = "swap-limit"
    SWAPFILE = "swapfile"
    SWAP_TIERS = "swap-tiers"
    MEMORY_RECLAIM = "memory-reclaim"
    MEMORY_RECLAIM_SWAPPINESS = "memory-reclaim-swappiness"
    DAMON = "damon"
    LRU_GEN = "lru-gen"
    KUBELET_SWAP = "kubelet-swap"
    ZSWAP_OFF = "zswap-off"
    OOMD_OFF = "oomd-off"
    CPUSET_V2 = "cpuset-v2"
    CPUSET_V1 = "cpuset-v1"
    FREQUENCY = "frequency"
    ISST = "isst"
    CPUFREQ = "cpufreq"
    TURBO_FREQUENCY = "turbo-frequency"
    ENERGY_PREFERENCE = "energy-preference"
    EFFECTIVE_FREQUENCY = "effective-frequency"
    PACKAGE_ENERGY = "package-energy"
    NATIVE_READER = "native-reader"
    STATE_DIRECTORY = "state-directory"


def probe(
    host: HostFs,
    hierarchies: Hierarchies,
    kubepods: Kubepods,
    state_directory: Held | Taken | Unusable | None = None,
    speed_select: SpeedSelect | None = None,
) -> tuple[Capability, ...]:
    """
    Every capability of this node, in the order of :class:`Name`.

    ``state_directory`` is what :meth:`InstanceLock.acquire` came to; without it that capability is left out (a command
    that only looks takes no lock). ``speed_select`` is what others have of this host; without it, it is looked for.
    """
    build = KernelBuild.read(host)
    psi = PsiSupport(host, hierarchies, kubepods, build)
    knobs = KnobSupport(host, hierarchies, kubepods, build)
    found = [
        _cgroup(hierarchies),
        _kubepods(hierarchies, kubepods),
        _capability(Name.PRESSURE_STAT, psi.pressure_stat(), "Pods' pressure is split by cause."),
        *(
            _capability(Name(f"psi-{cause}"), psi.resource(cause), f"Pods' {cause} pressure is measured.")
            for cause in PSI_CAUSES
        ),
        _capability(Name.PSI_NODE, psi.node(), "The node's pressure is measured."),
        _controller(Name.MEMORY_CONTROLLER, hierarchies, "memory"),
        _controller(Name.CPU_CONTROLLER, hierarchies, "cpu"),
        _capability(Name.CPU_IDLE, knobs.cpu_idle(), "A pod can be left only what CPU time its siblings do not want."),
        _capability(Name.CPU_WEIGHT, knobs.cpu_weight(), "A pod's part of the CPU can be weighed (cgroup v2)."),
        _capability(Name.CPU_SHARES, knobs.cpu_shares(), "A pod's part of the CPU can be weighed (cgroup v1)."),
        _capability(Name.CPU_QOS_LEVEL, knobs.cpu_qos_level(), "A pod's tasks can give way to all online tasks."),
        _capability(
            Name.MEMORY_QOS_LEVEL,
            knobs.memory_qos_level(),
            "A pod can be the first to lose its memory when it runs out.",
        ),
        _capability(Name.MEMCG_QOS_ENABLE, knobs.memcg_qos_enable(), "memory.qos_level can be turned on."),
        _capability(Name.MEMORY_LOW, knobs.memory_low(), "A pod's memory can be protected from reclaim."),
        _capability(Name.IO_MAX, knobs.io_max(), "A pod's part of a disk can be limited (cgroup v2)."),
        _capability(Name.BLKIO_THROTTLE, knobs.blkio_throttle(), "A pod's part of a disk can be limited (cgroup v1)."),
        *_swap(SwapSupport(host, hierarchies, kubepods, build), damon(host, build)),
        _capability(Name.CPUSET_V2, knobs.cpuset_v2(), "A pod can be kept to some CPUs (cgroup v2)."),
        _capability(Name.CPUSET_V1, knobs.cpuset_v1(), "A pod can be kept to some CPUs (cgroup v1)."),
        *_frequency(FrequencySupport(host, speed_select or SpeedSelect(host))),
        _native_reader(),
    ]
    if state_directory is not None:
        found.append(_capability(Name.STATE_DIRECTORY, _state(state_directory), "The state directory can be written."))
    return tuple(found)


def _capability(name: Name, absence: Absence | None, good: str) -> Capability:
    if absence is None:
        return Capability(name.value, available=True, detail=good)
    return Capability(
        name.value, available=False, reason=absence.reason.value, detail=absence.detail, cure=absence.cure
    )


def _cgroup(hierarchies: Hierarchies) -> Capability:
    absence = None
    if hierarchies.mode is Mode.NONE:
        if hierarchies.outcome is Outcome.DENIED:
            absence = Absence(
                Reason.DENIED,
                f"/{CGROUP_ROOT} may not be read.",
                "Run as root, and look for a security module (SELinux, AppArmor) that forbids it.",
            )
        else:
            absence = Absence(
                Reason.NO_CGROUP,
                f"No cgroup hierarchy was found in /{CGROUP_ROOT} below the root directory.",
                "Mount the host's /sys/fs/cgroup there.",
            )
    controllers = ", ".join(hierarchies.controllers) or "none"
    return _capability(Name.CGROUP, absence, f"cgroup {hierarchies.mode.value}; controllers: {controllers}.")


def _kubepods(hierarchies: Hierarchies, kubepods: Kubepods) -> Capability:
    absence = None
    if not kubepods.roots:
        if hierarchies.mode is Mode.NONE:
            absence = Absence(
                Reason.NO_CGROUP, "There is no cgroup hierarchy to look in.", "See the capability `cgroup`."
            )
        elif kubepods.truncated:
            absence = Absence(
                Reason.SEARCH_CAPPED,
                "The kubelet's root cgroup was not found before the search stopped at its cap.",
                "Find out why this node has so many cgroups outside the kubelet's.",
            )
        elif kubepods.denied:
            absence = Absence(
                Reason.DENIED,
                f"The kubelet's root cgroup was not found; {kubepods.denied} directories may not be listed.",
                "Run as root, and look for a security module (SELinux, AppArmor) that forbids it.",
            )
        else:
            absence = Absence(
                Reason.NO_KUBELET_ROOT,
                f"No kubepods cgroup yet, {MAX_DEPTH} levels deep: normal before the kubelet's first start.",
                "If pods do run here, check that the host's own /sys/fs/cgroup is mounted, not the container's.",
            )
    places = "; ".join(
        f"{root.driver.value} driver at /{root.path}" + (f" ({share})" if share else "")
        for root in kubepods.roots
        for share in (kubelet_share(hierarchies, root.path),)
    )
    return _capability(Name.KUBEPODS, absence, f"{places}.")


def _controller(name: Name, hierarchies: Hierarchies, controller: str) -> Capability:
    absence = None
    if hierarchies.mode is Mode.NONE:
        absence = Absence(Reason.NO_CGROUP, "There is no cgroup hierarchy to look in.", "See the capability `cgroup`.")
    elif controller not in hierarchies.controllers:
        absence = Absence(
            Reason.NO_CONTROLLER,
            f"No mounted hierarchy has the {controller} controller.",
            f"Remove cgroup_disable={controller} from the boot arguments; on some ARM boards add "
            f"cgroup_enable={controller}. Then reboot the node.",
        )
    return _capability(name, absence, f"The {controller} controller is there.")


def _swap(support: SwapSupport, no_damon: Absence | None) -> tuple[Capability, ...]:
    return (
        _capability(Name.SWAP_LIMIT, support.swap_limit(), "Each pod can be kept from swapping, or let."),
        _capability(Name.SWAPFILE, support.swapfile(), "Each pod can be bound to a swap device of its own."),
        _capability(Name.SWAP_TIERS, support.swap_tiers(), ""),
        _capability(Name.MEMORY_RECLAIM, support.memory_reclaim(), "Some of a pod's memory can be reclaimed."),
        _capability(
            Name.MEMORY_RECLAIM_SWAPPINESS,
            support.memory_reclaim_swappiness(),
            "Reclaim can prefer swap over the page cache (by the kernel's version).",
        ),
        _capability(Name.DAMON, no_damon, "Cold memory can be found and paged out by DAMON, container by container."),
        _capability(Name.LRU_GEN, support.lru_gen(), "Cold memory can be told by the generations of the LRU."),
        _capability(Name.KUBELET_SWAP, support.kubelet_swap(), "The kubelet starts on a node with swap."),
        _capability(Name.ZSWAP_OFF, support.zswap_off(), "What is swapped out leaves memory: zswap is off."),
        _capability(Name.OOMD_OFF, support.oomd_off(), "systemd-oomd does not run."),
    )


def _frequency(support: FrequencySupport) -> tuple[Capability, ...]:
    by = f"Speed Select ({support.generation})" if support.generation else f"cpufreq ({support.driver})"
    return (
        _capability(Name.FREQUENCY, support.frequency(), f"How fast a CPU may be can be set, by {by}."),
        _capability(Name.ISST, support.isst(), f"Power can be shared out by class of service ({support.generation})."),
        _capability(Name.CPUFREQ, support.cpufreq(), f"CPUs have ceilings of their own (driver {support.driver})."),
        _capability(Name.TURBO_FREQUENCY, support.turbo_frequency(), "Some CPUs can be given the turbo of others."),
        _capability(Name.ENERGY_PREFERENCE, support.energy_preference(), "Slow CPUs can prefer saving power."),
        _capability(Name.EFFECTIVE_FREQUENCY, support.effective_frequency(), "How fast CPUs really run is measured."),
        _capability(Name.PACKAGE_ENERGY, support.package_energy(), "What each package takes is measured."),
    )


def _native_reader() -> Capability:
    available, reason = native_available()
    absence = None
    if not available:
        absence = Absence(
            Reason.NOT_BUILT,
            f"The C reader is not in use ({reason}); the slower one in Python is.",
            "Install the wheel built for this platform and Python.",
        )
    return _capability(Name.NATIVE_READER, absence, "Files are read in batches by the C reader.")


def _state(state: Held | Taken | Unusable) -> Absence | None:
    if isinstance(state, Taken):
        holder = "another process" if state.holder_pid is None else f"process {state.holder_pid}"
        return Absence(
            Reason.LOCKED,
            f"The state directory is in use by {holder}, counted in its own PID namespace.",
            "Stop the other agent; a node takes only one.",
        )
    outcome = state.outcome if isinstance(state, Unusable) else state.recorded
    if outcome is Outcome.OK:
        return None
    where = state.path if isinstance(state, Unusable) else "the lock file"
    return Absence(
        reason_of(outcome),
        f"The state directory cannot be written: {where}: {outcome.value}.",
        "Mount a writable directory of the host there, with free space and owned by root.",
    )
