"""The simulated node whose frequencies can be set: what an agent writes takes effect, and comes back with the pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll.config.machine import Machine
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.cpufreq import read_policies
from plimsoll.kernel.energy import read_energy, spent
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.probe import probe
from plimsoll.model.pod import QosClass
from plimsoll.simulator import cast
from plimsoll.simulator.contention import Capacity, Demand, contend
from plimsoll.simulator.cpu_sets import CpuSets
from plimsoll.simulator.knob_files import KnobFiles
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.powercap import BOUND, Powercap
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import PodSpec, Shape, Workload

GIB = 1 << 30
CPUFREQ = "sys/devices/system/cpu/cpufreq"
SPECS = (
    PodSpec("shop", "web", Shape.STEADY, cpu=6.0, memory=GIB, cpu_request=2.0),
    PodSpec("ml", "train", Shape.BATCH, cpu=6.0, memory=GIB, qos_class=QosClass.BEST_EFFORT, lifetime=20.0),
)


def simulate(folder: Path, kind: Kind) -> SimulatedNode:
    folder.mkdir()
    return SimulatedNode(str(folder), kind, Workload(SPECS), cast.NODE, frequencies=True)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_agent_finds_what_it_needs(tmp_path: Path, kind: Kind) -> None:
    """cpufreq and the cpuset controller are capabilities; eight CPUs of four cores, as many as the node has."""
    simulate(tmp_path / "node", kind)
    with HostFs(str(tmp_path / "node")) as host, Hierarchies.detect(host) as hierarchies:
        found = {each.name for each in probe(host, hierarchies, Kubepods.find(hierarchies)) if each.available}
        policies = read_policies(host)
    assert {"frequency", "cpufreq", "energy-preference"} <= found
    assert ("cpuset-v1" if kind is Kind.OPENEULER_V1 else "cpuset-v2") in found
    assert sorted(cpu for each in policies for cpu in each.cpus) == list(range(cast.NODE.cpus))


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_written_takes_effect(tmp_path: Path, kind: Kind) -> None:
    """A pod kept to two CPUs has their time and no more; a slow core is one whose threads both are."""
    node = simulate(tmp_path / "node", kind)
    folder = tmp_path / "node"

    def rate(seconds: float) -> float:
        usage = "cpuacct.usage" if kind is Kind.OPENEULER_V1 else "cpu.stat"

        def used() -> float:
            texts = [each.read_text() for each in folder.rglob(usage) if each.parent.name.endswith(uid)]
            text = texts[0].partition("\n")[0].split()[-1]
            return int(text) / (1e9 if kind is Kind.OPENEULER_V1 else 1e6)

        before = used()
        node.advance(node.seconds + seconds)
        return (used() - before) / seconds

    web = next(each for each in node.instances() if each.spec.name == "web")
    uid = web.uid if kind is Kind.OPENEULER_V1 else f"{web.uid.replace('-', '_')}.slice"
    assert rate(4) > 3
    for path in folder.rglob("cpuset.cpus"):
        if web.uid in str(path) or web.uid.replace("-", "_") in str(path):
            path.write_text("1,5\n")
    node.advance(node.seconds + 1)
    assert rate(4) == pytest.approx(2, abs=0.05)
    effective = "cpuset.effective_cpus" if kind is Kind.OPENEULER_V1 else "cpuset.cpus.effective"
    shown = [each.read_text() for each in folder.rglob(effective) if uid in str(each)]
    assert shown == ["1,5\n"] * 3
    (folder / f"{CPUFREQ}/policy1/scaling_max_freq").write_text("900000\n")
    node.advance(node.seconds + 1)
    assert (folder / f"{CPUFREQ}/policy1/scaling_cur_freq").read_text() == "4600000\n"
    (folder / f"{CPUFREQ}/policy5/scaling_max_freq").write_text("1000000\n")
    node.advance(node.seconds + 1)
    assert [(folder / f"{CPUFREQ}/policy{each}/scaling_cur_freq").read_text() for each in (1, 5)] == ["1000000\n"] * 2


@pytest.mark.parametrize("kind", list(Kind))
def test_slow_cores_take_less(tmp_path: Path, kind: Kind) -> None:
    """The package's counter, as the agent reads it: never less than the static share, and less with every core slow."""
    node = simulate(tmp_path / "node", kind)
    folder = tmp_path / "node"

    def watts(seconds: float) -> float:
        with HostFs(str(folder)) as host:
            (before,) = read_energy(host)
            node.advance(node.seconds + seconds)
            (now,) = read_energy(host)
        assert now.package == 0
        return spent(before, now) / 1e6 / seconds

    fast = watts(4)
    for path in folder.glob(f"{CPUFREQ}/policy*/scaling_max_freq"):
        path.write_text("800000\n")
    node.advance(node.seconds + 1)
    slow = watts(4)
    # Eight CPUs' worth is wanted, so all four cores are busy: 65 W, of which 0.35 are static, at 2,200 MHz.
    share = (800 / 2200) * (0.65 / 0.8) ** 2
    assert slow == pytest.approx(65 * (0.35 + 0.65 * share), rel=0.05)
    assert fast > 2 * slow


def test_the_counter_runs_over_as_the_kernels_does(tmp_path: Path) -> None:
    """What the agent makes of two readings around its bound is what was spent."""
    powercap = Powercap(Tree(str(tmp_path)), Machine(tdpWatts=200.0, staticShare=0.5))
    powercap.spend(BOUND / 1e8 - 1, ())
    powercap.show()
    with HostFs(str(tmp_path)) as host:
        (before,) = read_energy(host)
        powercap.spend(3, ())
        powercap.show()
        (now,) = read_energy(host)
    assert now.used < before.used
    assert spent(before, now) == pytest.approx(300e6, abs=2)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_pod_that_is_over_leaves_nothing(tmp_path: Path, kind: Kind) -> None:
    """Its files go with it, and the next one starts with all CPUs."""
    node = simulate(tmp_path / "node", kind)
    folder = tmp_path / "node"
    first = {each.uid for each in node.instances() if each.spec.name == "train" and not each.finished}
    while first & {each.uid for each in node.instances() if not each.finished}:
        node.advance(node.seconds + 1)
    node.advance(node.seconds + 5)
    (uid,) = first
    assert not [each for each in folder.rglob("*") if uid in str(each) or uid.replace("-", "_") in str(each)]
    assert not list(folder.rglob("*.new"))


def test_its_control_files_are_known(tmp_path: Path) -> None:
    """What an agent may write of frequencies and sets of CPUs is compared in the end, too."""
    simulate(tmp_path / "node", Kind.STOCK_V2)
    files = KnobFiles(str(tmp_path / "node"))
    files.note()
    (tmp_path / f"node/{CPUFREQ}/policy3/scaling_max_freq").write_text("900000\n")
    next((tmp_path / "node").rglob("*.scope/cpuset.cpus")).write_text("0\n")
    assert [each.name for each in files.changed()] == ["scaling_max_freq", "cpuset.cpus"]


def test_sets_follow_their_parents(tmp_path: Path) -> None:
    """Of cgroup v2: what inherits has its parent's, what asks for nothing its parent has gets that one's, too."""
    found = CpuSets(Tree(str(tmp_path)), "base", "effective", frozenset(range(8)), inherits=True)
    found.make(("a", "a/b", "a/b/c"))
    for path, text, expected in (("a", "0-3\n", {0, 1, 2, 3}), ("a/b", "2-5\n", {2, 3}), ("a/b/c", "7\n", {2, 3})):
        (tmp_path / f"base/{path}/cpuset.cpus").write_text(text)
        found.follow()
        assert found.allowed("a/b/c") == expected
        assert (tmp_path / "base/a/b/c/effective").read_text() == ("0-3\n" if len(expected) == 4 else "2-3\n")
    found.forget("a/b")
    with pytest.raises(KeyError):
        found.allowed("a/b/c")


def test_pods_on_the_same_cpus_share_them() -> None:
    """Whoever is kept to a few CPUs gets no more than those have, beside others that are kept to the same."""
    capacity = Capacity(cpus=8, memory=64 * GIB, swap=0, io=1e9)
    two = frozenset({0, 1})
    demand = Demand(cpu=4.0, memory=GIB, io=0.0, weight=100)
    uses = contend(
        capacity,
        {
            "a": Demand(cpu=4.0, memory=GIB, io=0.0, weight=100, cpus=two),
            "b": Demand(cpu=4.0, memory=GIB, io=0.0, weight=300, cpus=two),
            "c": demand,
        },
    )
    assert [uses[name].cpu for name in "abc"] == [0.5, 1.5, 4.0]
    assert uses["a"].stalls["cpu"].full > 0
    assert uses["c"].stalls["cpu"].full == 0
