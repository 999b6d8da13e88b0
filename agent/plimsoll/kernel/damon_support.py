"""
Whether the kernel's data access monitor (DAMON) can be used on this node, and by us, and where not, why.

Files decide where there are any; nothing is written. One that others use is theirs: it has one tree for all of them.
"""

from __future__ import annotations

import errno
import os

from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.reclaim.damon_layout import MEMORY, memory_ranges
from plimsoll.kernel.reclaim.kdamonds import COUNT, MODULES, Kdamonds
from plimsoll.model.kdamonds import CLAIMED, NONE, UNMARKED
from plimsoll.model.outcome import Outcome, outcome_of

_OPTIONS = ("CONFIG_DAMON", "CONFIG_DAMON_PADDR", "CONFIG_DAMON_SYSFS")
_OTHERWISE = "Until then cold memory is found in another way."


def damon(host: HostFs, build: KernelBuild) -> Absence | None:
    """``None`` where containers' cold memory can be paged out by it."""
    if build.older_than(6, 12):
        # Earlier ones take pages as old as their range, without a look at the page itself.
        return Absence(
            Reason.KERNEL_TOO_OLD,
            f"DAMON looks at every page before it pages it out since Linux 6.12; this is {build.release}.",
            f"Update the kernel. {_OTHERWISE}",
        )
    lacking = [each for each in _OPTIONS if build.lacks(each)]
    if lacking:
        return Absence(
            Reason.NOT_BUILT,
            f"This kernel was built without {', '.join(lacking)}.",
            f"Use a kernel that has DAMON. {_OTHERWISE}",
        )
    return _closed(host) or _used(host) or _nowhere(host)


def _closed(host: HostFs) -> Absence | None:
    try:
        # For writing, too, though nothing is written: sysfs is read-only in a container.
        os.close(host.open(COUNT, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        outcome = outcome_of(error.errno or errno.EIO)
    else:
        return None
    if outcome is Outcome.MISSING:
        return Absence(
            Reason.NO_FILE,
            f"/{COUNT} is not there: the kernel has no DAMON, or it is not in this container.",
            f"Use a kernel with CONFIG_DAMON_SYSFS, and mount /sys/kernel/mm/damon into the container. {_OTHERWISE}",
        )
    return Absence(
        reason_of(outcome),
        f"/{COUNT} cannot be opened for writing: {outcome.value}.",
        "Run as root, mount /sys/kernel/mm/damon writable into the agent's container, and look for a security module "
        f"(SELinux, AppArmor) that forbids it. {_OTHERWISE}",
    )


def _used(host: HostFs) -> Absence | None:
    outcome, standing = Kdamonds(host).standing()
    # Busy: whose they are is not shown for now, how many there are is.
    if outcome is not Outcome.OK and not (outcome is Outcome.BUSY and standing):
        return Absence(reason_of(outcome), f"/{COUNT} cannot be read: {outcome.value}.", _OTHERWISE)
    # As many as ours without our mark are ours, too, a moment after we were killed; else they are refused later.
    if standing not in (NONE, CLAIMED, UNMARKED):
        return Absence(
            Reason.IN_USE,
            f"Somebody else uses DAMON: there are {standing} kdamonds.",
            f"End what made them, and write 0 to /{COUNT}. {_OTHERWISE}",
        )
    for module in MODULES:
        if host.read(f"sys/module/{module}/parameters/enabled").data == b"Y\n":
            return Absence(
                Reason.IN_USE,
                f"The kernel's own {module} uses DAMON, and nobody else can meanwhile.",
                f"Write N to /sys/module/{module}/parameters/enabled, and remove it from the boot arguments. "
                f"{_OTHERWISE}",
            )
    return None


def _nowhere(host: HostFs) -> Absence | None:
    if memory_ranges(host):
        return None
    return Absence(
        Reason.NO_FILE,
        f"Where the node's memory is cannot be read in /{MEMORY}.",
        f"Use a kernel with CONFIG_MEMORY_HOTPLUG. {_OTHERWISE}",
    )
