"""
Every write to a ``scaling_max_freq`` of a guest, as the kernel itself sees it: a probe on the function that takes them.

To be started after cpusets.Witness, whose clock it uses.
"""

from __future__ import annotations

import re
from typing import Any

from tests.vm.cpusets import TRACING
from tests.vm.machine import Machine

EVENT = "plimsoll_ceiling"
# struct cpufreq_policy of 6.12 with CONFIG_CPUMASK_OFFSTACK: three pointers to masks, shared_type, then the CPU.
_PROBE = f"p:{EVENT} store_scaling_max_freq cpu=+28($arg1):u32 value=+0($arg2):string"
_LINE = re.compile(
    rf"\s(?P<seconds>\d+)\.(?P<micros>\d{{6}}): {EVENT}: [^\n]*cpu=(?P<cpu>\d+) value=\"(?P<value>[^\"]*)\""
)


class Ceilings:
    """Sees the writes of one guest from now on; ``highest`` (kHz) is what its CPUs can do."""

    def __init__(self, guest: Machine, highest: int) -> None:
        self._guest = guest
        self._highest = highest
        guest.sh(f"echo '{_PROBE}' >> {TRACING}/kprobe_events; echo 1 > {TRACING}/events/kprobes/{EVENT}/enable")

    def changes(self) -> list[dict[str, Any]]:
        """After each of them so far, which CPUs were ``slow``, and when it began. Raises ValueError if one is lost."""
        text = self._guest.pull(f"{TRACING}/trace").decode()
        matches = list(_LINE.finditer(text))
        if len(matches) != text.count(f" {EVENT}: "):
            raise ValueError(f"not all of these are writes to a ceiling:\n{text}")
        slow: frozenset[int] = frozenset()
        found = []
        for each in sorted(matches, key=lambda line: (int(line["seconds"]), int(line["micros"]))):
            cpu = frozenset({int(each["cpu"])})
            slow = slow | cpu if int(each["value"]) < self._highest else slow - cpu
            when = int(each["seconds"]) * 10**9 + int(each["micros"]) * 1000
            found.append({"time_ns": when, "slow": sorted(slow)})
        return found
