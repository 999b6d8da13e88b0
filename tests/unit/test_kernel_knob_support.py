"""Which control files a node's pods can be given and, where not, exactly why."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.probe import Name
from plimsoll.kernel.reason import Reason
from plimsoll.model.snapshot import Capability
from tests.fixtures.hosts import capabilities, trees
from tests.fixtures.hosts.capabilities import DISKS, PREEMPTION, reasons
from tests.fixtures.hosts.faults import Faults

ROOT = f"{trees.CGROUP}/kubepods.slice"
V2_FILES = {"cpu.weight": "39\n", "cpu.idle": "0\n", "memory.low": "0\n", "memory.min": "0\n"}
NOT_OPENEULER = dict.fromkeys(("cpu-qos-level", "memory-qos-level", "memcg-qos-enable"), "not-built")


def stock_v2() -> trees.Tree:
    return trees.v2_systemd() | trees.below(ROOT, V2_FILES)


def openeuler_v1() -> trees.Tree:
    tree = trees.openeuler_v1() | {"proc/sys/vm/memcg_qos_enable": "0\n"}
    for hierarchy, files in (
        ("cpu,cpuacct", {"cpu.qos_level": "0\n"}),
        ("memory", {"memory.qos_level": "0\n"}),
    ):
        tree |= trees.below(f"{trees.CGROUP}/{hierarchy}/kubepods.slice", files)
    return tree


def probed(root: Path, tree: trees.Tree, fault: Faults | None = None) -> dict[str, Capability]:
    """What is known of the knobs, by name."""
    return capabilities.probed(root, tree, fault, only=PREEMPTION)


def test_stock_v2(tmp_path: Path) -> None:
    """Linux 6.1 on cgroup v2: all but v1's shares and openEuler's own."""
    assert reasons(probed(tmp_path, stock_v2())) == {"cpu-shares": "cgroup-v2", **NOT_OPENEULER}


def test_openeuler_v1(tmp_path: Path) -> None:
    """openEuler 22.03 on cgroup v1: its own files, and no cpu.idle (its kernel is 5.10)."""
    assert reasons(probed(tmp_path, openeuler_v1())) == {
        "cpu-idle": "kernel-too-old",
        "cpu-weight": "cgroup-v1",
        "memory-low": "cgroup-v1",
    }


def test_stock_v1(tmp_path: Path) -> None:
    """An old distribution on cgroup v1 has only shares."""
    found = probed(tmp_path, trees.stock_v1())
    assert found["cpu-shares"].available
    assert "5.15" in found["cpu-idle"].cure
    assert reasons(found) == {
        "cpu-idle": "kernel-too-old",
        "cpu-weight": "cgroup-v1",
        "memory-low": "cgroup-v1",
        **NOT_OPENEULER,
    }


def test_v1_with_idle(tmp_path: Path) -> None:
    """A newer kernel on cgroup v1: cpu.idle is there too, and the file counts, not the version."""
    idle = {f"{trees.CGROUP}/cpu,cpuacct/kubepods/cpu.idle": "0\n"}
    assert probed(tmp_path, trees.stock_v1() | idle)["cpu-idle"].available


@pytest.mark.parametrize(("release", "reason"), [("5.10.0-28-amd64", "kernel-too-old"), ("6.1.0", "no-file")])
def test_no_cpu_idle(tmp_path: Path, release: str, reason: str) -> None:
    """Without cpu.idle the version that brought it is named, and what is used instead."""
    found = probed(tmp_path, trees.without(stock_v2(), "/cpu.idle") | trees.proc(release))
    assert found["cpu-weight"].available
    assert found["cpu-idle"].reason == reason
    assert "5.15" in found["cpu-idle"].cure
    assert "cpu.weight" in found["cpu-idle"].cure


def test_controller_not_turned_on(tmp_path: Path) -> None:
    """A kubelet's root without the controller's files is told from a kernel without them."""
    found = probed(tmp_path, trees.without(stock_v2(), "/cpu.idle", "/cpu.weight", "/memory.low"))
    assert [found[name].reason for name in ("cpu-weight", "memory-low")] == ["no-file", "no-file"]
    assert "cgroup.subtree_control" in found["memory-low"].cure


def test_openeuler_without_its_features(tmp_path: Path) -> None:
    """An openEuler kernel without them is told to be updated; any other kernel is told that nothing is wrong."""
    plain = probed(tmp_path / "plain", trees.without(openeuler_v1(), "qos_level", "memcg_qos_enable"))
    assert {plain[name].reason for name in NOT_OPENEULER} == {"not-built"}
    assert "CONFIG_QOS_SCHED" in plain["cpu-qos-level"].detail
    assert "CONFIG_MEMCG_QOS" in plain["memory-qos-level"].detail
    assert "CONFIG_MEMCG_QOS" in plain["memcg-qos-enable"].detail
    stock = probed(tmp_path / "stock", trees.stock_v1())
    assert "Nothing needs to be done" in stock["cpu-qos-level"].cure


def test_openeuler_v2(tmp_path: Path) -> None:
    """openEuler on cgroup v2 gets what a stock kernel does."""
    found = probed(tmp_path, stock_v2() | trees.proc("6.6.0-28.0.0.34.oe2403.x86_64"))
    assert [found[name].reason for name in ("cpu-qos-level", "memory-qos-level")] == ["cgroup-v2", "cgroup-v2"]
    assert found["cpu-idle"].available


@pytest.mark.parametrize("where", ["", "/kubepods-burstable.slice"])
def test_the_kubelet_protects_memory_itself(tmp_path: Path, where: str) -> None:
    """memory.min above the pods is the kubelet's MemoryQoS: memory.low is left to it."""
    tree = stock_v2() | {f"{ROOT}{where}/memory.min": "1073741824\n"}
    found = probed(tmp_path, tree)["memory-low"]
    assert found.reason == "kubelet-protects"


def test_a_pod_with_memory_min_is_not_the_kubelet(tmp_path: Path) -> None:
    """What an administrator gave one pod says nothing about the kubelet."""
    pod = f"{trees.CGROUP}/{trees.systemd_names()[trees.GUARANTEED_POD]}"
    assert probed(tmp_path, stock_v2() | {f"{pod}/memory.min": "4096\n"})["memory-low"].available


def test_before_the_kubelet(tmp_path: Path) -> None:
    """Without a kubelet's root nothing is claimed either way."""
    found = probed(tmp_path, trees.proc() | trees.v2_root())
    assert {found[name].reason for name in ("cpu-idle", "cpu-weight", "memory-low")} == {"no-kubelet-root"}


def test_no_cgroups(tmp_path: Path) -> None:
    """Without a hierarchy, or without the controller, that is the reason."""
    bare = probed(tmp_path / "bare", trees.bare())
    assert {bare[name].reason for name in PREEMPTION if name != "memcg-qos-enable"} == {"no-cgroup"}
    v1 = trees.v1({"cpu,cpuacct": ("cpu", "cpuacct"), "cpuset": ("cpuset",)})
    assert probed(tmp_path / "v1", trees.proc() | v1)["memory-qos-level"].reason == "no-controller"


@pytest.mark.parametrize(("code", "reason"), [(errno.EACCES, "denied"), (errno.EIO, "failed")])
def test_refused_files(tmp_path: Path, code: int, reason: str) -> None:
    """A file that may not be read, or cannot be, is not called absent."""
    faults = Faults({("read", "kubepods.slice/cpu.idle"): code, ("read", "vm/memcg_qos_enable"): code})
    found = probed(tmp_path, stock_v2() | {"proc/sys/vm/memcg_qos_enable": "0\n"}, faults)
    assert (found["cpu-idle"].reason, found["memcg-qos-enable"].reason) == (reason, reason)


@pytest.mark.parametrize(("stands", "reason"), [("0\n", "denied"), ("1\n", "")])
def test_a_switch_that_a_container_may_not_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands: str, reason: str
) -> None:
    """As in every pod that is not privileged /proc/sys is read-only: whoever has the node must have turned it on."""
    monkeypatch.setattr(HostFs, "read_only", lambda self, path: path.startswith("proc/sys/"))
    found = probed(tmp_path, openeuler_v1() | {"proc/sys/vm/memcg_qos_enable": stands})["memcg-qos-enable"]
    assert (found.reason, found.available) == (reason, not reason)
    if reason:
        assert "sysctl.d" in found.cure


def test_probing_only_reads(tmp_path: Path) -> None:
    """F29: every file is as it was."""
    trees.write(tmp_path, openeuler_v1())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    probed(tmp_path, {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("tree", [stock_v2, openeuler_v1, trees.stock_v1, trees.hybrid, trees.bare])
def test_every_answer_is_complete(tmp_path: Path, tree: object) -> None:
    """All seven, in order; an absence has a reason of the closed set and two sentences, a presence has none."""
    assert callable(tree)
    found = probed(tmp_path, tree())
    assert tuple(found) == PREEMPTION
    for each in found.values():
        assert each.detail.endswith(".")
        assert each.available is (each.reason == "")
        assert each.available or (each.reason in set(Reason) and each.cure.endswith("."))


def test_limits_of_disks_are_each_versions_own(tmp_path: Path) -> None:
    """io.max on cgroup v2 and blkio.throttle on v1; the other one is told to be the other version's."""
    v1 = openeuler_v1() | {f"{trees.CGROUP}/blkio/blkio.reset_stats": ""}
    v1 |= trees.below(f"{trees.CGROUP}/blkio/kubepods.slice", {"blkio.throttle.read_bps_device": ""})
    for name, tree, there, elsewhere in (
        ("v2", stock_v2() | trees.below(ROOT, {"io.max": ""}), Name.IO_MAX, Name.BLKIO_THROTTLE),
        ("v1", v1, Name.BLKIO_THROTTLE, Name.IO_MAX),
    ):
        found = capabilities.probed(tmp_path / name, tree, only=DISKS)
        assert found[there].available
        assert found[elsewhere].reason == f"cgroup-{name}"
    (tmp_path / "v2" / ROOT / "io.max").unlink()
    found = capabilities.probed(tmp_path / "v2", {}, only=DISKS)
    assert (found["io-max"].reason, found["blkio-throttle"].reason) == ("no-file", "cgroup-v2")
