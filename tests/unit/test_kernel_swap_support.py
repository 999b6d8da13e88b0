"""What a node can do about swap and, where it cannot, why: the kernel, the kubelet, zswap, systemd-oomd."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.damon_support import damon as damon_absence
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kubelet_swap import CONFIGS, FOLDERS
from plimsoll.kernel.reclaim.damon_layout import MEMORY
from plimsoll.kernel.reclaim.kdamonds import COUNT, Kdamonds
from plimsoll.model.kdamonds import CLAIMED, UNMARKED, WORKERS
from plimsoll.model.outcome import Outcome
from tests.fixtures.hosts import capabilities, damon, trees
from tests.fixtures.hosts.capabilities import SWAP, reasons
from tests.fixtures.hosts.damon import DamonTree
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll.model.snapshot import Capability

ROOT = f"{trees.CGROUP}/kubepods.slice"
ENABLED = "sys/kernel/mm/lru_gen/enabled"
LRU_GEN = "sys/kernel/debug/lru_gen"
CONFIG = "var/lib/kubelet/config.yaml"
ELSEWHERE = {"swapfile": "not-built", "swap-tiers": "not-built"}
"""What a stock kernel has not."""
LIMITED = "failSwapOn: false\nmemorySwap: {swapBehavior: LimitedSwap}\n"


def able() -> trees.Tree:
    """Linux 6.12 on cgroup v2, and a kubelet that does not mind swap."""
    return (
        trees.v2_systemd()
        | trees.proc("6.12.57+deb13-amd64")
        | damon.able()
        | {f"{ROOT}/memory.reclaim": "", ENABLED: "0x0007\n", LRU_GEN: "", CONFIG: "failSwapOn: false\n"}
    )


def probed(root: Path, tree: trees.Tree, fault: Faults | None = None) -> dict[str, Capability]:
    return capabilities.probed(root, tree, fault, only=SWAP)


def test_a_node_that_can(tmp_path: Path) -> None:
    """A current stock kernel can do everything but what is openEuler's; every name is answered."""
    found = probed(tmp_path, able())
    assert set(found) == set(SWAP)
    assert reasons(found) == ELSEWHERE


@pytest.mark.parametrize(
    ("change", "name", "reason", "word"),
    [
        ({ENABLED: "0x0000\n"}, "lru-gen", "turned-off", "0x0000"),
        ({ENABLED: "0x0005\n"}, "lru-gen", "turned-off", "page table"),
        ({ENABLED: "yes\n"}, "lru-gen", "malformed", ENABLED),
        ({CONFIG: "failSwapOn: true\n"}, "kubelet-swap", "fail-swap-on", CONFIG),
        ({CONFIG: "kind: KubeletConfiguration\n"}, "kubelet-swap", "fail-swap-on", "failSwapOn"),
        ({CONFIG: "failSwapOn: 'false'\n"}, "kubelet-swap", "fail-swap-on", CONFIG),
        ({CONFIG: "- [\n"}, "kubelet-swap", "malformed", CONFIG),
        ({CONFIG: LIMITED}, "kubelet-swap", "limited-swap", "Burstable"),
        ({COUNT: "1\n"}, "damon", "in-use", "1 kdamonds"),
        ({"sys/module/damon_reclaim/parameters/enabled": "Y\n"}, "damon", "in-use", "damon_reclaim"),
        ({COUNT: "\n"}, "damon", "malformed", COUNT),
        ({f"{MEMORY}/block_size_bytes": "\n"}, "damon", "no-file", MEMORY),
        (
            {"boot/config-6.12.57+deb13-amd64": "CONFIG_SWAP=y\nCONFIG_DAMON=y\nCONFIG_DAMON_PADDR=y\n"},
            "damon",
            "not-built",
            "CONFIG_DAMON_SYSFS",
        ),
        ({"sys/module/zswap/parameters/enabled": "Y\n"}, "zswap-off", "zswap-on", "compressed"),
        (
            {f"{trees.CGROUP}/system.slice/systemd-oomd.service/cgroup.procs": "77\n"},
            "oomd-off",
            "oomd-runs",
            "kills",
        ),
    ],
)
def test_what_stands_in_the_way(tmp_path: Path, change: trees.Tree, name: str, reason: str, word: str) -> None:
    """Each by itself, with its own reason and a sentence that names it; nothing else changes."""
    found = probed(tmp_path, able() | change)
    assert reasons(found) == ELSEWHERE | {name: reason}
    assert word in found[name].detail


@pytest.mark.parametrize(
    ("ends", "name", "reason"),
    [
        (("kubepods.slice/memory.swap.max",), "swap-limit", "not-built"),
        ((ENABLED,), "lru-gen", "not-built"),
        ((LRU_GEN,), "lru-gen", "no-file"),
        ((COUNT,), "damon", "no-file"),
        ((CONFIG,), "kubelet-swap", "no-file"),
    ],
)
def test_what_is_missing(tmp_path: Path, ends: tuple[str, ...], name: str, reason: str) -> None:
    """A file this kernel or node does not have."""
    assert reasons(probed(tmp_path, trees.without(able(), *ends))) == ELSEWHERE | {name: reason}


def test_without_memory_reclaim(tmp_path: Path) -> None:
    """Neither with swappiness nor without."""
    found = probed(tmp_path, trees.without(able(), "kubepods.slice/memory.reclaim"))
    assert reasons(found) == {
        **ELSEWHERE,
        "memory-reclaim": "no-file",
        "memory-reclaim-swappiness": "no-file",
    }


@pytest.mark.parametrize(
    ("release", "absent"),
    [
        ("5.15.0-91-generic", {"memory-reclaim", "memory-reclaim-swappiness", "damon", "lru-gen"}),
        ("6.1.0-18-amd64", {"memory-reclaim-swappiness", "damon"}),
        ("6.12.0", set()),
        ("7.2.13", set()),
    ],
)
def test_old_kernels(tmp_path: Path, release: str, absent: set[str]) -> None:
    """5.15 lacks the files, 6.1 takes no swappiness: each says that the kernel is too old."""
    tree = able() | trees.proc(release)
    if "memory-reclaim" in absent:
        tree = trees.without(tree, "memory.reclaim", ENABLED, LRU_GEN)
    found = probed(tmp_path, tree)
    assert {name for name, why in reasons(found).items() if why == "kernel-too-old"} == absent


@pytest.mark.parametrize("standing", [CLAIMED, UNMARKED])
def test_damon_that_is_ours_can_be_used(tmp_path: Path, standing: str) -> None:
    """After a start, too, when what an earlier life has claimed still stands, be it without its mark."""
    probed(tmp_path, able())
    tree = DamonTree(tmp_path)
    with HostFs(str(tmp_path), fault=tree) as host:
        assert Kdamonds(host).claim() == (Outcome.OK, 0)
    if standing == UNMARKED:
        tree.put(f"{WORKERS}/contexts/nr_contexts", "0")
    with HostFs(str(tmp_path), fault=tree) as host:
        assert Kdamonds(host).standing() == (Outcome.OK, standing)
        assert damon_absence(host, KernelBuild.read(host)) is None
        # Nor is it lost while the kernel, at work on one of them, does not show whose they are.
        tree.locked = 1
        assert damon_absence(host, KernelBuild.read(host)) is None
        assert (tree.locked, Kdamonds(host).standing()) == (0 if standing == CLAIMED else 1, (Outcome.OK, standing))


def test_damon_in_a_container_is_read_only(tmp_path: Path) -> None:
    """EROFS: the cure names the mount."""
    found = probed(tmp_path, able(), Faults({("open", COUNT): errno.EROFS}))["damon"]
    assert (found.reason, "/sys/kernel/mm/damon writable" in found.cure) == ("denied", True)


def test_lockdown(tmp_path: Path) -> None:
    """EPERM from debugfs has two causes: the kernel is locked down, or it is not."""
    fault = Faults({("open", LRU_GEN): errno.EPERM})
    assert probed(tmp_path, able(), fault)["lru-gen"].reason == "denied"
    locked = able() | {"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}
    assert probed(tmp_path, locked, fault)["lru-gen"].reason == "locked-down"


def test_probing_asks_no_cgroup_for_memory(tmp_path: Path) -> None:
    """Nothing is written, not even a request for nothing."""
    fault = Faults()
    probed(tmp_path, able(), fault)
    assert [each for each in fault.asked if each[0] == "write"] == []


@pytest.mark.parametrize("path", CONFIGS)
def test_where_the_kubelets_configuration_is(tmp_path: Path, path: str) -> None:
    """In the places installers put it, YAML or JSON."""
    tree = trees.without(able(), CONFIG) | {path: '{"kind": "KubeletConfiguration", "failSwapOn": false}\n'}
    assert probed(tmp_path, tree)["kubelet-swap"].available


@pytest.mark.parametrize("folder", [*FOLDERS, "srv/conf.d"])
def test_drop_ins_of_the_kubelet(tmp_path: Path, folder: str) -> None:
    """In the order of their names, each over the one before; only what ends in .conf counts. The last file is told."""
    named = {} if folder in FOLDERS else kubelet(f"--config-dir=/{folder}")
    tree = able() | named | {CONFIG: "failSwapOn: true\n", f"{folder}/20.conf": "failSwapOn: false\n"}
    assert probed(tmp_path / "1", tree)["kubelet-swap"].available
    after = probed(tmp_path / "2", tree | {f"{folder}/30.conf": "failSwapOn: true\n"})["kubelet-swap"]
    assert (after.reason, f"{folder}/30.conf" in after.detail) == ("fail-swap-on", True)
    ignored = {f"{folder}/10.conf": "failSwapOn: true\n", f"{folder}/30.yaml": "failSwapOn: true\n"}
    assert probed(tmp_path / "3", tree | ignored)["kubelet-swap"].available
    limited = probed(tmp_path / "4", tree | {f"{folder}/40.conf": LIMITED})["kubelet-swap"]
    assert (limited.reason, f"{folder}/40.conf" in limited.detail) == ("limited-swap", True)
    broken = probed(tmp_path / "5", tree | {f"{folder}/40.conf": "- ["})["kubelet-swap"]
    assert broken.reason == "malformed"


def kubelet(*flags: str) -> trees.Tree:
    """A running one."""
    line = "".join(f"{each}\0" for each in ("/usr/bin/kubelet", *flags))
    return {"proc/812/comm": "kubelet\n", "proc/812/cmdline": line, "proc/7/comm": "kworker\n"}


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--fail-swap-on=false",), None),
        (("--v", "2", "--fail-swap-on=false"), None),
        (("--fail-swap-on",), "fail-swap-on"),
        (("--fail-swap-on=true",), "fail-swap-on"),
        (("--config", "/srv/kubelet.yaml"), None),
        (("--config=/srv/kubelet.yaml", "--fail-swap-on=true"), "fail-swap-on"),
        (("--config=/srv/none.yaml",), "fail-swap-on"),
    ],
)
def test_flags_of_the_kubelet(tmp_path: Path, flags: tuple[str, ...], reason: str | None) -> None:
    """They count more than any file, and say which file counts."""
    tree = able() | kubelet(*flags) | {CONFIG: "failSwapOn: true\n", "srv/kubelet.yaml": "failSwapOn: false\n"}
    found = probed(tmp_path, tree)["kubelet-swap"]
    assert (None if found.available else found.reason) == reason


def test_the_kubelet_cannot_be_seen_from_a_container(tmp_path: Path) -> None:
    """That is said, with what to look at on the node; what is mounted all the same counts."""
    token = {"var/run/secrets/kubernetes.io/serviceaccount/token": "x"}
    found = probed(tmp_path / "1", trees.without(able(), CONFIG) | token)["kubelet-swap"]
    assert found.reason == "in-container"
    assert "--config-dir" in found.cure
    assert probed(tmp_path / "2", able() | token)["kubelet-swap"].available


def test_swap_tiers_are_seen_and_not_used(tmp_path: Path) -> None:
    """No release has them: how they are written is not settled, so nobody is let on by them."""
    found = probed(
        tmp_path, able() | {"sys/kernel/mm/swap/tiers": "fast 100\n", f"{ROOT}/memory.swap.tiers.max": "fast max\n"}
    )
    assert (found["swap-tiers"].reason, found["swap-limit"].available) == ("not-used", True)
    assert "settled" in found["swap-tiers"].detail


def test_cgroup_v1(tmp_path: Path) -> None:
    """A stock kernel on v1 can do nothing of it."""
    found = reasons(probed(tmp_path, trees.stock_v1()))
    assert {
        name: found[name] for name in ("swap-limit", "memory-reclaim", "memory-reclaim-swappiness")
    } == dict.fromkeys(("swap-limit", "memory-reclaim", "memory-reclaim-swappiness"), "cgroup-v1")
    assert found["swapfile"] == "not-built"


def test_openeuler_v1(tmp_path: Path) -> None:
    """Its own files on v1; the switch they wait for is named when it is off."""
    memory = f"{trees.CGROUP}/memory/kubepods.slice"
    tree = trees.openeuler_v1() | {f"{memory}/memory.swapfile": "all\n", f"{memory}/memory.reclaim": ""}
    switch = "proc/sys/vm/memcg_swap_qos_enable"
    found = probed(tmp_path / "on", tree | {switch: "1\n"})
    assert found["swapfile"].available
    assert found["memory-reclaim"].available
    assert found["memory-reclaim-swappiness"].reason == "cgroup-v1"
    found = probed(tmp_path / "off", tree | {switch: "0\n"})
    assert found["swapfile"].reason == "turned-off"
    assert "memcg_swap_qos_enable" in found["swapfile"].cure
    assert "leads only 0" in found["swapfile"].cure
    assert "EACCES" in found["swapfile"].detail
    # 6.6: the other mode, in which cgroups begin with none.
    assert probed(tmp_path / "none", tree | {switch: "2\n"})["swapfile"].available
    found = probed(tmp_path / "absent", tree)
    assert (found["swapfile"].reason, "swapaccount" in found["swapfile"].cure) == ("turned-off", True)
    refused = Faults({("read", switch): errno.EACCES})
    assert probed(tmp_path / "refused", tree | {switch: "1\n"}, refused)["swapfile"].reason == "denied"
