"""
The files below ``/sys/devices/system/cpu`` that go with a machine with Speed Select: topology, online CPUs, cpufreq.

Owns their names and first content. They are plain files: what cpufreq does to a value that is written, they do not.
"""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll.model.cpus import format_cpus
from plimsoll.simulator.speed_select_machine import MachineDescription, PerfLevel
from plimsoll.simulator.tree import Tree

FOLDER = "sys/devices/system/cpu"
_KHZ = 100_000
# The kernel writes masks in words of 32 bits, the highest first and no longer than needed.
_WORD_BITS = 32


def lay_out(tree: Tree, machine: MachineDescription, *, offline: frozenset[int] = frozenset()) -> None:
    """
    Make the files of ``machine`` in an empty tree. CPUs that are ``offline`` have no topology and no cpufreq.

    A die is a power domain with cores, as CPUID tells it where there is more than one. Each CPU is a cpufreq policy of
    its own, as with intel_pstate.
    """
    level = machine.levels[machine.level]
    if level is None:
        raise ValueError(f"the machine has no level {machine.level}")
    cpus = machine.cpus
    tree.fixed(f"{FOLDER}/online", f"{format_cpus(set(cpus) - offline)}\n")
    tree.fixed(f"{FOLDER}/present", f"{format_cpus(cpus)}\n")
    tree.fixed(f"{FOLDER}/possible", f"{format_cpus(cpus)}\n")
    tree.fixed(f"{FOLDER}/intel_pstate/no_turbo", "0\n")
    tree.fixed(f"{FOLDER}/intel_pstate/status", "active\n")
    for index, core in enumerate(machine.cores):
        siblings = set(core.cpus) - offline
        topology = {
            "physical_package_id": str(core.package),
            "die_id": str(core.domain),
            "core_id": str(index),
            "thread_siblings_list": format_cpus(siblings),
            "core_cpus_list": format_cpus(siblings),
            "thread_siblings": _mask(siblings, cpus[-1] + 1),
        }
        for cpu in core.cpus:
            place = f"{FOLDER}/cpu{cpu}"
            tree.directory(place)
            # Linux gives the boot CPU no such file: it cannot be taken offline.
            if cpu:
                tree.fixed(f"{place}/online", f"{int(cpu not in offline)}\n")
            if cpu not in offline:
                _fill(tree, f"{place}/topology", topology)
                _fill(tree, f"{FOLDER}/cpufreq/policy{cpu}", _policy(cpu, level))
                tree.link(f"{place}/cpufreq", f"../cpufreq/policy{cpu}")


def _fill(tree: Tree, folder: str, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        tree.fixed(f"{folder}/{name}", f"{text}\n")


def _policy(cpu: int, level: PerfLevel) -> Mapping[str, str]:
    highest = max(*level.limits[0], *(level.turbo.ratios[0] if level.turbo else ()))
    lowest, base = level.core[2] * _KHZ, level.base[0] * _KHZ
    return {
        "affected_cpus": str(cpu),
        "related_cpus": str(cpu),
        "base_frequency": str(base),
        "cpuinfo_min_freq": str(lowest),
        "cpuinfo_max_freq": str(highest * _KHZ),
        "scaling_min_freq": str(lowest),
        "scaling_max_freq": str(highest * _KHZ),
        "scaling_cur_freq": str(base),
        "scaling_driver": "intel_pstate",
        "scaling_governor": "powersave",
        "scaling_available_governors": "performance powersave",
        "energy_performance_preference": "balance_performance",
        "energy_performance_available_preferences": "default performance balance_performance balance_power power",
    }


def _mask(cpus: set[int], count: int) -> str:
    value = sum(1 << cpu for cpu in cpus)
    words = -(-count // _WORD_BITS)
    digits = -(-(count - _WORD_BITS * (words - 1)) // 4)
    parts = [f"{value >> _WORD_BITS * word & 0xFFFFFFFF:08x}" for word in reversed(range(words))]
    return ",".join([parts[0][-digits:], *parts[1:]])
