"""Hierarchies are recognised by the files found, and every file of the table is looked up in the right one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from plimsoll.kernel.cgroup import FILES, PRESSURE_FILES, Format, Hierarchies, Mode, limit_bytes
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults


def detect(root: Path, tree: trees.Tree, fault: Faults | None = None, *, openat2: bool | None = None) -> Hierarchies:
    with HostFs(str(trees.write(root, tree)), fault=fault, openat2=openat2) as host:
        return Hierarchies.detect(host)


@pytest.mark.parametrize("openat2", [None, False])
@pytest.mark.parametrize(
    ("name", "mode", "controllers"),
    [
        ("v2_systemd", Mode.V2, "cpu cpuset hugetlb io memory pids"),
        ("v2_cgroupfs", Mode.V2, "cpu cpuset hugetlb io memory pids"),
        ("nested", Mode.V2, "cpu cpuset hugetlb io memory pids"),
        ("no_psi", Mode.V2, "cpu cpuset hugetlb io memory pids"),
        ("no_memory_controller", Mode.V2, "cpu cpuset io pids"),
        ("openeuler_v1", Mode.V1, "blkio cpu cpuacct cpuset memory"),
        ("stock_v1", Mode.V1, "blkio cpu cpuacct cpuset memory"),
        ("hybrid", Mode.HYBRID, "blkio cpu cpuacct cpuset hugetlb memory"),
        ("bare", Mode.NONE, ""),
    ],
)
def test_modes(tmp_path: Path, name: str, mode: Mode, controllers: str, openat2: bool | None) -> None:
    """Every kind of host is told apart, also where links cannot be followed, and its controllers are known."""
    with detect(tmp_path, trees.ALL[name](), openat2=openat2) as found:
        assert found.mode is mode
        assert found.controllers == tuple(controllers.split())
        assert found.outcome is (Outcome.MISSING if mode is Mode.NONE else Outcome.OK)
        assert found.refused == ()


@pytest.mark.parametrize(
    "mounts",
    [
        {"cpu,cpuacct": ("cpu", "cpuacct"), "memory": ("memory",)},
        {"cpuacct,cpu": ("cpu", "cpuacct"), "memory": ("memory",)},
        {"cpu": ("cpu",), "cpuacct": ("cpuacct",), "memory": ("memory",)},
        {"cpuset,cpu,cpuacct": ("cpu", "cpuacct", "cpuset"), "memory": ("memory",)},
        {"everything": ("cpu", "cpuacct", "cpuset", "memory", "blkio")},
    ],
)
def test_v1_mounts_of_any_name(tmp_path: Path, mounts: dict[str, tuple[str, ...]]) -> None:
    """A v1 controller is found wherever it is mounted, through the real directory and never through a link."""
    with detect(tmp_path, trees.v1(mounts)) as found:
        assert found.mode is Mode.V1
        for mount, controllers in mounts.items():
            for each in controllers:
                directory = found.directory(each)
                assert directory is not None
                assert directory.path.endswith(f"/{mount}")
        assert len(found.roots()) == len(mounts)
        assert found.directory("hugetlb") is None


def test_a_name_alone_is_no_controller(tmp_path: Path) -> None:
    """A directory called ``memory`` without that controller's files is not its hierarchy."""
    tree = {f"{trees.CGROUP}/memory/": "", f"{trees.CGROUP}/cpu/cpu.shares": "1024\n"}
    with detect(tmp_path, tree) as found:
        assert found.controllers == ("cpu",)
        assert found.directory("memory") is None


def test_v2_has_one_directory(tmp_path: Path) -> None:
    """On v2 every controller is in the one hierarchy."""
    with detect(tmp_path, trees.v2_systemd()) as found:
        assert found.directory("memory") is found.directory("cpu") is found.unified is not None
        assert found.roots() == (found.unified,)


def test_hybrid_controllers(tmp_path: Path) -> None:
    """On a hybrid host v1 keeps its controllers, and the unified hierarchy has what the kernel left it."""
    with detect(tmp_path, trees.hybrid()) as found:
        assert found.directory("hugetlb") is found.unified
        memory = found.directory("memory")
        assert memory is not None
        assert memory.path.endswith("/memory")
        assert found.directory("misc") is None


def test_only_unified_left_is_v2(tmp_path: Path) -> None:
    """A hybrid layout without any v1 controller is v2, with its root below ``unified``."""
    tree = {f"{trees.CGROUP}/unified/cgroup.controllers": "cpu memory\n", f"{trees.CGROUP}/systemd/tasks": ""}
    with detect(tmp_path, tree) as found:
        assert (found.mode, found.controllers) == (Mode.V2, ("cpu", "memory"))


def test_no_sys_at_all(tmp_path: Path) -> None:
    """Without /sys/fs/cgroup there is no hierarchy, and nothing raises."""
    with detect(tmp_path, {"etc/": ""}) as found:
        assert (found.mode, found.outcome, found.roots()) == (Mode.NONE, Outcome.MISSING, ())
        assert all(found.locate(name) is None for name in FILES)


@pytest.mark.parametrize(
    ("operation", "path"),
    [("list", "/sys/fs/cgroup"), ("open", "/sys/fs/cgroup"), ("open", "/cgroup.controllers")],
)
def test_denied(tmp_path: Path, operation: str, path: str) -> None:
    """A hierarchy that may not be looked at is DENIED, not missing."""
    with detect(tmp_path, trees.v2_systemd(), Faults({(operation, path): errno.EACCES})) as found:
        assert (found.mode, found.outcome) == (Mode.NONE, Outcome.DENIED)


def test_one_v1_hierarchy_vanishes(tmp_path: Path) -> None:
    """A hierarchy unmounted between listing and opening costs its controllers only."""
    faults = Faults({("open", "cgroup/memory"): errno.ENOENT, ("open", "cgroup/blkio"): errno.EACCES})
    with detect(tmp_path, trees.openeuler_v1(), faults) as found:
        assert found.mode is Mode.V1
        assert found.controllers == ("cpu", "cpuacct", "cpuset")
        assert {outcome for _, outcome in found.refused} == {Outcome.MISSING, Outcome.DENIED}


def test_unmounted_meanwhile(tmp_path: Path) -> None:
    """/sys/fs/cgroup going between listing and opening it is an answer."""
    codes = iter([0, errno.ENOENT])
    faults = Faults({("open", "sys/fs/cgroup"): lambda: next(codes)})
    with detect(tmp_path, trees.v2_systemd(), faults) as found:
        assert (found.mode, found.outcome) == (Mode.NONE, Outcome.MISSING)


def test_unified_without_controllers_file(tmp_path: Path) -> None:
    """A directory called ``unified`` that is not a v2 hierarchy does not make the host hybrid."""
    tree = trees.openeuler_v1() | {f"{trees.CGROUP}/unified/notes": ""}
    with detect(tmp_path, tree) as found:
        assert found.mode is Mode.V1


def test_pressure_of_v2(tmp_path: Path) -> None:
    """v2: the unified hierarchy, whether or not the files are there (the probe says why not)."""
    with detect(tmp_path, trees.no_psi()) as found:
        assert found.pressure() == (found.unified, 2)


def test_pressure_of_openeuler_v1(tmp_path: Path) -> None:
    """openEuler v1: the cpuacct hierarchy, because its root has the files."""
    with detect(tmp_path, trees.openeuler_v1()) as found:
        assert found.pressure() == (found.directory("cpuacct"), 1)
        assert found.locate("pressure.stat") == (found.directory("cpuacct"), "pressure.stat", Format.PRESSURE_STAT, 1)


def test_pressure_only_in_pods(tmp_path: Path) -> None:
    """A v1 kernel that shows the files in the pods' cgroups only is recognised by them."""
    tree = trees.stock_v1()
    pod = trees.cgroupfs_names()[trees.POD]
    tree[f"{trees.CGROUP}/cpu,cpuacct/{pod}/memory.pressure"] = trees.PSI
    with detect(tmp_path, tree) as found:
        assert found.pressure() is None
        assert found.pressure(("kubepods",)) is None
        assert found.pressure(("kubepods", pod)) == (found.directory("cpuacct"), 1)


V2_ONLY = ("memory.min", "memory.low", "memory.swap.usage", "memory.swap.limit")


def test_pressure_of_stock_v1(tmp_path: Path) -> None:
    """A stock v1 kernel has no pressure for pods, but everything else."""
    with detect(tmp_path, trees.stock_v1()) as found:
        assert found.pressure(("kubepods",)) is None
        lacking = {name for name in FILES if found.locate(name, ("kubepods",)) is None}
        assert lacking == {*PRESSURE_FILES, *V2_ONLY}


def test_pressure_of_hybrid(tmp_path: Path) -> None:
    """Hybrid: the unified hierarchy once pods are in it; cpuacct first where openEuler's files are."""
    with detect(tmp_path / "stock", trees.hybrid()) as found:
        assert found.pressure() is None
        assert found.pressure(("kubepods.slice",)) == (found.unified, 2)
        location = found.locate("memory.pressure", ("kubepods.slice",))
        assert location == (found.unified, "memory.pressure", Format.PSI, 2)
    tree = trees.hybrid() | trees.below(f"{trees.CGROUP}/cpu,cpuacct", trees.v1_pressure())
    with detect(tmp_path / "openeuler", tree) as found:
        assert found.pressure(("kubepods.slice",)) == (found.directory("cpuacct"), 1)


@pytest.mark.parametrize("name", ["v2_systemd", "openeuler_v1"])
def test_every_located_file_is_there(tmp_path: Path, name: str) -> None:
    """What the table locates for a pod stands in that pod's cgroup, apart from files this kernel does not have."""
    absent = {
        "v2_systemd": {"pressure.stat", "irq.pressure", "memory.failcnt", "memory.oom_control", "cpu.usage"},
        "openeuler_v1": {"irq.pressure", "memory.events", *V2_ONLY},
    }[name]
    pod = trees.systemd_names()[trees.POD]
    with detect(tmp_path, trees.ALL[name]()) as found:
        for each, file in FILES.items():
            location = found.locate(each, (pod,))
            there = location is not None and location.directory.exists(f"{pod}/{location.file}")
            assert there is (each not in absent), each
            if location is not None:
                assert location.format is file.format
                assert location.version == (2 if name == "v2_systemd" else 1)


def test_hybrid_memory_is_v1(tmp_path: Path) -> None:
    """On a hybrid host a controller's files are read where the controller is, with that version's name."""
    with detect(tmp_path, trees.hybrid()) as found:
        location = found.locate("memory.usage")
        assert location is not None
        assert (location.file, location.version) == ("memory.usage_in_bytes", 1)
    tree = {path: text for path, text in trees.hybrid().items() if f"{trees.CGROUP}/memory/" not in path}
    with detect(tmp_path / "without", tree) as found:
        assert found.locate("memory.usage") is None
    tree[f"{trees.CGROUP}/unified/cgroup.controllers"] = "memory\n"
    with detect(tmp_path / "left-to-v2", tree) as found:
        location = found.locate("memory.usage")
        assert location is not None
        assert (location.file, location.version) == ("memory.current", 2)


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        (None, None),
        (0, 0),
        (1 << 40, 1 << 40),
        (9223372036854771712, None),  # pages of 4 KiB
        (9223372036854710272, None),  # pages of 64 KiB
        ((1 << 63) - 1, None),
        (9223372036854710271, 9223372036854710271),
    ],
)
def test_limit_bytes(value: int | None, limit: int | None) -> None:
    """v1's default limit means none, for every page size; a real limit, also of nothing, stays."""
    assert limit_bytes(value) == limit


def test_close_lets_go_of_every_descriptor(tmp_path: Path) -> None:
    """Detection holds one descriptor for each hierarchy and nothing else; closing twice is allowed."""
    trees.write(tmp_path, trees.hybrid())
    before = len(os.listdir("/proc/self/fd"))
    with HostFs(str(tmp_path)) as host:
        found = Hierarchies.detect(host)
        assert len(os.listdir("/proc/self/fd")) == before + 1 + len(found.roots())
        found.close()
        found.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_this_host() -> None:
    """The hierarchies of the machine the tests run on agree with what its kernel says is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = {fields[2] for fields in mounts if fields[1].startswith("/sys/fs/cgroup")}
    with HostFs("/") as host, Hierarchies.detect(host) as found:
        if "cgroup2" not in kinds and "cgroup" not in kinds:
            assert found.mode is Mode.NONE
            return
        assert (found.unified is not None) is ("cgroup2" in kinds)
        for name, directory in found.v1.items():
            mount = next(fields for fields in mounts if fields[1] == directory.path)
            assert name in mount[3].split(",")
