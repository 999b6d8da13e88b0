"""
Whether memory of low-priority pods can be moved to a swap device on this node and, where not, why.

Files decide where there are any; nothing is written and no cgroup is asked for memory. What the kubelet, zswap and
systemd-oomd do about swap counts as well: each of them can make it useless or dangerous.
"""

from __future__ import annotations

import errno
import os

from plimsoll.kernel.knob_support import KnobSupport
from plimsoll.kernel.kubelet_swap import in_pod, told
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.kernel.reclaim.lru_gen import FILE as LRU_GEN
from plimsoll.model.outcome import Outcome, outcome_of

_LRU_GEN_ENABLED = "sys/kernel/mm/lru_gen/enabled"
# Documentation/admin-guide/mm/multigen_lru.rst: the main switch, and looking through page tables for what was used.
_MAIN, _PAGE_TABLES = 0x1, 0x2
_LOCKDOWN = "sys/kernel/security/lockdown"
_SWAP_QOS_ENABLE = "proc/sys/vm/memcg_swap_qos_enable"
_SWAP_TIERS = "sys/kernel/mm/swap/tiers"
_ZSWAP_ENABLED = "sys/module/zswap/parameters/enabled"
_OOMD = "system.slice/systemd-oomd.service"


class SwapSupport(KnobSupport):
    """What one host can do about swap. Each answer is ``None`` when it can, else why not."""

    def swap_limit(self) -> Absence | None:
        """``memory.swap.max``, cgroup v2: by it only some pods may swap."""
        if self._version("memory") == 1:
            return Absence(
                Reason.CGROUP_V1,
                "cgroup v1 cannot keep a pod from swapping alone: memory.swap.max is cgroup v2's.",
                "Boot with systemd.unified_cgroup_hierarchy=1, or see the capability swapfile (openEuler).",
            )
        outcome = self._file("memory", "memory.swap.max")
        if outcome is Outcome.MISSING and self._file("memory", "memory.max") is Outcome.OK:
            return Absence(
                Reason.NOT_BUILT,
                "The kernel does not account for swap by cgroup: there is no memory.swap.max.",
                "Remove swapaccount=0 from the boot arguments; else use a kernel with CONFIG_SWAP=y.",
            )
        return self._answer(outcome, "memory.swap.max")

    def memory_reclaim(self) -> Absence | None:
        """``memory.reclaim``, Linux 5.19 on cgroup v2; openEuler kernels have one on v1."""
        usage = self._file("memory", "memory.usage_in_bytes" if self._version("memory") == 1 else "memory.current")
        if usage is not Outcome.OK:
            return self._answer(usage, "memory.current")
        # Nobody can read it: that it is there is all there is to see.
        if any(directory.exists(f"{root}/memory.reclaim") for directory, root in self._places("memory")):
            return None
        if self._version("memory") == 1:
            return Absence(
                Reason.CGROUP_V1,
                "cgroup v1 cannot be asked to reclaim some of a pod's memory: memory.reclaim is cgroup v2's.",
                "Boot with systemd.unified_cgroup_hierarchy=1, or use an openEuler kernel.",
            )
        return Absence(
            Reason.KERNEL_TOO_OLD if self._build.older_than(5, 19) else Reason.NO_FILE,
            f"Linux {self._build.release or 'of unknown release'} has no memory.reclaim: it came with 5.19.",
            "Update the kernel to 5.19 or later.",
        )

    def memory_reclaim_swappiness(self) -> Absence | None:
        """
        Whether ``memory.reclaim`` can be told to prefer swap over the page cache.

        By the kernel's version alone: no file says so, and a probe does not write, not even a request for nothing.
        """
        absence = self.memory_reclaim()
        if absence is not None:
            return absence
        if self._version("memory") == 1:
            return Absence(
                Reason.CGROUP_V1,
                "memory.reclaim of cgroup v1 (openEuler's) takes no swappiness.",
                "Nothing needs to be done: openEuler's takes type=anon, which the agent tries first.",
            )
        if self._build.version is None or self._build.older_than(6, 12):
            return Absence(
                Reason.KERNEL_TOO_OLD,
                f"memory.reclaim takes swappiness= since Linux 6.12; this is {self._build.release or 'unknown'}.",
                "Nothing needs to be done: reclaim then takes the page cache first.",
            )
        return None

    def lru_gen(self) -> Absence | None:
        """The multi-generational LRU's own file, by which cold memory is told from memory in use."""
        reading = self._host.read(_LRU_GEN_ENABLED)
        if reading.outcome is Outcome.MISSING:
            return Absence(
                Reason.KERNEL_TOO_OLD if self._build.older_than(6, 1) else Reason.NOT_BUILT,
                "This kernel has no multi-generational LRU (Linux 6.1 with CONFIG_LRU_GEN).",
                f"Use a kernel that has it. {_PLAIN}",
            )
        text = (reading.text() or "").strip()
        try:
            enabled = int(text, 16)
        except ValueError:
            outcome = Outcome.MALFORMED if reading.outcome is Outcome.OK else reading.outcome
            return Absence(reason_of(outcome), f"/{_LRU_GEN_ENABLED}: {outcome.value}.", _PLAIN)
        if enabled & (_MAIN | _PAGE_TABLES) != _MAIN | _PAGE_TABLES:
            return Absence(
                Reason.TURNED_OFF,
                f"The multi-generational LRU, or its page table walk, is off (/{_LRU_GEN_ENABLED}: {text}).",
                f"Write y to that file. {_PLAIN}",
            )
        return self._lru_gen_file()

    def _lru_gen_file(self) -> Absence | None:
        try:
            # For writing, too, though nothing is written: lockdown and a read-only mount answer to that.
            os.close(self._host.open(LRU_GEN, os.O_RDWR | os.O_NONBLOCK))
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
        else:
            return None
        if outcome is Outcome.MISSING:
            return Absence(
                Reason.NO_FILE,
                f"/{LRU_GEN} is not there: debugfs is not mounted, or not in this container.",
                f"Mount debugfs at /sys/kernel/debug on the node, and that into the agent's container. {_PLAIN}",
            )
        lockdown = self._host.read(_LOCKDOWN).text() or "[none]"
        if outcome is Outcome.DENIED and "[none]" not in lockdown:
            return Absence(
                Reason.LOCKED_DOWN,
                f"The kernel is locked down ({lockdown.strip()}), which closes debugfs.",
                f"Nothing needs to be done where lockdown is wanted. {_PLAIN}",
            )
        return Absence(
            reason_of(outcome),
            f"/{LRU_GEN} cannot be opened for writing: {outcome.value}.",
            f"Run as root, and mount it writable into the agent's container. {_PLAIN}",
        )

    def swapfile(self) -> Absence | None:
        """``memory.swapfile``, openEuler kernels with CONFIG_MEMCG_SWAP_QOS, cgroup v1: a device for each cgroup."""
        absence = self._openeuler("memory", "memory.swapfile", "CONFIG_MEMCG_SWAP_QOS")
        return self._swap_qos_enable() if absence is None else absence

    def _swap_qos_enable(self) -> Absence | None:
        """Its switch. While it is off every cgroup reads `all`, and a write answers EACCES."""
        reading = self._host.read(_SWAP_QOS_ENABLE)
        if reading.outcome is Outcome.MISSING:
            return Absence(
                Reason.TURNED_OFF,
                "memory.swapfile is there, but vm.memcg_swap_qos_enable is not: the kernel accounts for no swap.",
                "Remove swapaccount=0 from the boot arguments.",
            )
        if reading.outcome is not Outcome.OK:
            return self._answer(reading.outcome, _SWAP_QOS_ENABLE)
        if (reading.text() or "").strip() != "0":
            # 1, and 2 of 6.6: what cgroups begin with is any device, or none. Each is written by us.
            return None
        return Absence(
            Reason.TURNED_OFF,
            "memory.swapfile is there, but vm.memcg_swap_qos_enable is 0: the kernel refuses what is written to it "
            "(EACCES).",
            "Set vm.memcg_swap_qos_enable=1 once at boot and leave it: turning it on resets every cgroup. Kernels of "
            "6.6 have a second mode, in which cgroups begin with no device; from one to the other leads only 0, and "
            "all is reset again.",
        )

    def swap_tiers(self) -> Absence:
        """
        Tiers of swap devices that each cgroup may use or not, proposed for Linux since 2025: seen, never used.

        What the file is called and takes has changed from one version of the patches to the next (memory.swap.tiers
        with + and -, memory.swap.tiers.max with 0 and max): what is guessed here could let the wrong pods on.
        """
        if self._host.exists(_SWAP_TIERS):
            return Absence(
                Reason.NOT_USED,
                f"This kernel has swap tiers (/{_SWAP_TIERS}). They are not used: no release of Linux has settled how.",
                "Nothing needs to be done: memory.swap.max keeps pods off. Other swap must be off here, too.",
            )
        return Absence(
            Reason.NOT_BUILT,
            "This kernel cannot give swap devices to some cgroups by tiers; no release of Linux can yet.",
            "Nothing needs to be done: memory.swap.max keeps pods off.",
        )

    def kubelet_swap(self) -> Absence | None:
        """Whether the kubelet starts on a node with swap and lets no pod have any by itself, as far as is seen."""
        found = told(self._host)
        if found.unread is not None:
            path, outcome = found.unread
            if outcome is Outcome.MALFORMED:
                return Absence(Reason.MALFORMED, f"/{path} is not a configuration of the kubelet.", _FAIL)
            return Absence(reason_of(outcome), f"/{path} cannot be read: {outcome.value}.", _FAIL)
        if not found.seen and in_pod(self._host):
            return Absence(
                Reason.IN_CONTAINER,
                "The kubelet's configuration cannot be seen from a container: it may refuse to start with swap.",
                f"Look on the node itself: {_LOOK} {_FAIL}",
            )
        if not found.seen:
            return Absence(
                Reason.NO_FILE,
                "The kubelet's configuration file was not found: it may refuse to start with swap.",
                f"{_FAIL} {_LOOK}",
            )
        if found.fail_swap_on is not False:
            where = f" in {found.fail_source}" if found.fail_source else ""
            return Absence(
                Reason.FAIL_SWAP_ON,
                f"The kubelet will not start again while swap is active: failSwapOn is not false{where}.",
                "Set failSwapOn: false and leave memorySwap.swapBehavior at NoSwap, then restart the kubelet.",
            )
        if found.behavior not in (None, "", "NoSwap"):
            return Absence(
                Reason.LIMITED_SWAP,
                f"The kubelet lets Burstable pods of any priority swap (memorySwap.swapBehavior: {found.behavior} in "
                f"{found.behavior_source}): those that no policy keeps off share the device.",
                "Set swapBehavior: NoSwap and restart the kubelet: low-priority pods are let on by plimsoll. Running "
                "containers keep what they have until they are made anew.",
            )
        return None

    def zswap_off(self) -> Absence | None:
        """Whether what is swapped out leaves memory: zswap would keep it there, compressed."""
        if self._host.read(_ZSWAP_ENABLED).data != b"Y\n":
            return None
        return Absence(
            Reason.ZSWAP_ON,
            "zswap is on: what is swapped out stays in memory, compressed, until its pool is full.",
            f"Write N to /{_ZSWAP_ENABLED} and remove zswap.enabled=1 from the boot arguments.",
        )

    def oomd_off(self) -> Absence | None:
        """Whether systemd-oomd leaves this node alone: a full swap device is a reason for it to kill."""
        unified = self._hierarchies.unified
        if unified is None or not (unified.read(f"{_OOMD}/cgroup.procs").data or b"").strip():
            return None
        return Absence(
            Reason.OOMD_RUNS,
            "systemd-oomd runs: with memory and swap both nearly full it kills whoever has most in swap.",
            "Set SwapUsedLimit=100% in oomd.conf, or leave enough of the device free (overcommit.deviceFloor).",
        )


_PLAIN = "Until then it is the kernel's reclaim that chooses what goes to swap."
_LOOK = (
    "/var/lib/kubelet/config.yaml, what systemctl cat kubelet shows for --config and --config-dir, and --fail-swap-on."
)
_FAIL = "See that the kubelet runs with failSwapOn: false, or it will not survive its next restart on this node."
