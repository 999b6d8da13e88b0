"""What a node can do about frequencies and, where it cannot, why; and what its topology and counters say."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from plimsoll.kernel.cpufreq import read_policies
from plimsoll.kernel.energy import Energy, read_energy, spent
from plimsoll.kernel.frequency_support import FrequencySupport
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.msr import Cycles, megahertz, read_cycles
from plimsoll.kernel.reason import Reason
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.kernel.topology import Cpu, read_online, read_topology
from plimsoll.simulator.speed_select import SpeedSelect as Model
from plimsoll.simulator.speed_select_machine import Generation
from plimsoll.simulator.speed_select_sysfs import lay_out
from plimsoll.simulator.tree import Tree
from tests.fixtures.hosts import trees
from tests.isst import host, machine

CPUS = "sys/devices/system/cpu"
RAPL = "sys/class/powercap/intel-rapl:0"


def sparse_msr(path: Path, mperf: int, aperf: int) -> None:
    """A register file in which both counters can be read, each at its own offset, as the device has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Offsets 0xE7 and 0xE8 overlap in a file: what differs in the first byte only can be laid out in it.
    path.write_bytes(bytes(0xE7) + bytes([mperf]) + aperf.to_bytes(8, "little"))


@pytest.mark.parametrize("generation", list(Generation))
def test_speed_select_is_there(tmp_path: Path, generation: Generation) -> None:
    """Every feature of such a machine is available, with the generation by name."""
    description = machine(generation)
    with host(tmp_path / "node", description) as here:
        support = FrequencySupport(here, SpeedSelect(here, transport=Model(description), pause=lambda _: None))
        assert support.generation == ("tpmi" if generation is Generation.TPMI else "mailbox")
        assert support.driver == "intel_pstate"
        assert support.frequency() is support.isst() is support.cpufreq() is support.turbo_frequency() is None
        assert support.energy_preference() is None


def test_turbo_turned_off(tmp_path: Path) -> None:
    """Turbo frequency is no use while turbo is off, and where it can be turned on is said."""
    description = machine(Generation.MMIO)
    with host(tmp_path / "node", description) as here:
        (tmp_path / "node" / CPUS / "intel_pstate/no_turbo").write_text("1\n")
        found = FrequencySupport(here, SpeedSelect(here, transport=Model(description))).turbo_frequency()
        assert found is not None
        assert found.reason is Reason.TURNED_OFF


def test_cpufreq_alone(tmp_path: Path) -> None:
    """Without Speed Select frequencies can be set all the same; turbo frequency cannot."""
    lay_out(Tree(str(tmp_path)), machine(Generation.MMIO))
    with HostFs(str(tmp_path)) as here:
        support = FrequencySupport(here, SpeedSelect(here))
        assert support.frequency() is None
        absences = (support.isst(), support.turbo_frequency(), support.effective_frequency(), support.package_energy())
        assert [each.reason for each in absences if each is not None] == [Reason.NO_FILE] * 4


def test_a_virtual_machine(tmp_path: Path) -> None:
    """Nothing scales frequencies: each absence has its reason and a sentence."""
    trees.write(tmp_path, {f"{CPUS}/online": "0-1\n"})
    with HostFs(str(tmp_path)) as here:
        support = FrequencySupport(here, SpeedSelect(here))
        found = support.frequency()
        assert found is not None
        assert found.reason is Reason.NO_FILE
        assert found.detail.startswith("Neither Speed Select nor cpufreq")
        assert support.energy_preference() is not None


def test_counters_that_may_not_be_read(tmp_path: Path) -> None:
    """Denied is not absent: the cure is another one."""
    lay_out(Tree(str(tmp_path)), machine(Generation.MMIO))
    trees.write(tmp_path, {f"{RAPL}/name": "package-0\n", f"{RAPL}/energy_uj": "1\n", "dev/cpu/0/msr": ""})

    def refuse(operation: str, path: str) -> int:
        return errno.EPERM if operation == "open" and path.endswith(("energy_uj", "msr")) else 0

    with HostFs(str(tmp_path), fault=refuse) as here:
        support = FrequencySupport(here, SpeedSelect(here))
        for found in (support.effective_frequency(), support.package_energy()):
            assert found is not None
            assert found.reason is Reason.DENIED


def test_topology(tmp_path: Path) -> None:
    """Packages, siblings, NUMA nodes and the largest cache of the CPUs that are online; a package of -1 is 0."""
    tree = {f"{CPUS}/online": "0-2\n", "sys/devices/system/node/node1/cpulist": "0-1\n"}
    for cpu, siblings in ((0, "0-1"), (1, "0-1"), (2, "2-3")):
        tree[f"{CPUS}/cpu{cpu}/topology/physical_package_id"] = "-1\n" if cpu == 2 else "0\n"
        tree[f"{CPUS}/cpu{cpu}/topology/thread_siblings_list"] = f"{siblings}\n"
        for index, (level, identity) in enumerate(((1, 7), (3, 4))):
            tree[f"{CPUS}/cpu{cpu}/cache/index{index}/level"] = f"{level}\n"
            tree[f"{CPUS}/cpu{cpu}/cache/index{index}/id"] = f"{identity}\n"
    trees.write(tmp_path, tree)
    with HostFs(str(tmp_path)) as here:
        assert read_online(here) == {0, 1, 2}
        assert read_topology(here) == (
            Cpu(0, 0, frozenset({0, 1}), 1, 4),
            Cpu(1, 0, frozenset({0, 1}), 1, 4),
            Cpu(2, 0, frozenset({2}), None, 4),
        )


def test_policies(tmp_path: Path) -> None:
    """Those with an online CPU, by number; a figure the driver does not give is unknown."""
    root = f"{CPUS}/cpufreq"
    trees.write(
        tmp_path,
        {
            f"{root}/policy10/affected_cpus": "10 11\n",
            f"{root}/policy2/affected_cpus": "2\n",
            f"{root}/policy2/scaling_max_freq": "2900000\n",
            f"{root}/policy3/affected_cpus": "\n",
            f"{root}/policyX/affected_cpus": "5\n",
        },
    )
    with HostFs(str(tmp_path)) as here:
        found = read_policies(here)
    assert [(each.name, each.cpus, each.maximum, each.base) for each in found] == [
        ("policy2", frozenset({2}), 2900, None),
        ("policy10", frozenset({10, 11}), None, None),
    ]


def test_counters(tmp_path: Path) -> None:
    """Cycles and microjoules are read, also beyond the end of a counter; a CPU that was idle has no frequency."""
    sparse_msr(tmp_path / "dev/cpu/3/msr", 5, 0)
    trees.write(
        tmp_path,
        {
            f"{RAPL}/name": "package-1-die-0\n",
            f"{RAPL}/energy_uj": "30\n",
            f"{RAPL}/max_energy_range_uj": "100\n",
            "sys/class/powercap/intel-rapl:0:0/name": "core\n",
        },
    )
    with HostFs(str(tmp_path)) as here:
        assert read_cycles(here, (2, 3)) == {3: Cycles(5, 0)}
        assert read_energy(here) == (Energy("intel-rapl:0", 1, 30, 100),)
    assert spent(Energy("z", 1, 90, 100), Energy("z", 1, 30, 100)) == 40
    assert megahertz(Cycles(2**64 - 10, 0), Cycles(10, 30), 2000) == 3000
    assert megahertz(Cycles(7, 1), Cycles(7, 1), 2000) is None
