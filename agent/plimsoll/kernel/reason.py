"""Why a capability is absent: the closed set of short identifiers, which are label values. Keep them stable."""

from __future__ import annotations

from enum import StrEnum

from plimsoll.model.outcome import Outcome


class Reason(StrEnum):
    """Each is one cause a person can act on; ``Capability.detail`` and ``cure`` say it in sentences."""

    CGROUP_PRESSURE_OFF = "cgroup-pressure-off"  # 0 was written to cgroup.pressure
    CGROUP_V1 = "cgroup-v1"  # the kernel offers this on cgroup v2 only
    CGROUP_V2 = "cgroup-v2"  # the kernel offers this on cgroup v1 only
    DENIED = "denied"
    FAILED = "failed"
    FAIL_SWAP_ON = "fail-swap-on"  # the kubelet does not start on a node with swap
    IN_CONTAINER = "in-container"  # it is the node's, and cannot be seen from here
    IN_USE = "in-use"  # somebody else has it, and it cannot be shared
    KERNEL_TOO_OLD = "kernel-too-old"
    KUBELET_PROTECTS = "kubelet-protects"  # the kubelet's own MemoryQoS has this in hand
    LIMITED_SWAP = "limited-swap"  # the kubelet lets pods of any priority swap
    LOCKED_DOWN = "locked-down"  # the kernel is, and keeps the file closed
    LOCKED = "locked"  # another instance holds the state directory
    MALFORMED = "malformed"
    NO_API_SERVER = "no-api-server"  # the pods come from a folder of files
    NO_CGROUP = "no-cgroup"
    NO_CONTROLLER = "no-controller"
    NO_FILE = "no-file"
    NO_HARDWARE = "no-hardware"  # this machine does not have it
    NO_KUBELET_ROOT = "no-kubelet-root"
    NO_SPACE = "no-space"
    NOT_BUILT = "not-built"  # the kernel, or this program, was built without it
    NOT_USED = "not-used"  # it is there, and this program leaves it alone
    OOMD_RUNS = "oomd-runs"  # systemd-oomd may kill for what is done here
    PSI_DISABLED = "psi-disabled"
    SEARCH_CAPPED = "search-capped"
    TURNED_OFF = "turned-off"  # there, but somebody turned it off
    ZSWAP_ON = "zswap-on"  # swapped memory stays in memory, compressed


_BY_OUTCOME = {
    Outcome.DENIED: Reason.DENIED,
    Outcome.ESCAPED: Reason.DENIED,
    Outcome.GONE: Reason.NO_FILE,
    Outcome.MALFORMED: Reason.MALFORMED,
    Outcome.MISSING: Reason.NO_FILE,
    Outcome.NOSPACE: Reason.NO_SPACE,
}


def reason_of(outcome: Outcome) -> Reason:
    """The reason an outcome gives where nothing more is known."""
    return _BY_OUTCOME.get(outcome, Reason.FAILED)
