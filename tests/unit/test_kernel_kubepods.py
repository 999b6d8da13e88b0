"""From a pod's UID to its cgroup: drivers, nesting, hostile UIDs, containers, and cgroups that come and go."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kubepods import Driver, Kubepods, KubepodsRoot, PodCgroup, legal_uid
from plimsoll.model.pod import QosClass
from plimsoll.model.snapshot import CgroupState
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASSES = {
    trees.POD: QosClass.BEST_EFFORT,
    trees.BURSTABLE_POD: QosClass.BURSTABLE,
    trees.GUARANTEED_POD: QosClass.GUARANTEED,
}


@contextmanager
def found(root: Path, tree: trees.Tree, fault: Faults | None = None, **options: int) -> Iterator[Kubepods]:
    trees.write(root, tree)
    with HostFs(str(root), fault=fault) as host, Hierarchies.detect(host) as hierarchies:
        yield Kubepods.find(hierarchies, **options)


def snapshot(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*")}


@pytest.mark.parametrize(
    ("name", "driver", "root"),
    [
        ("v2_systemd", Driver.SYSTEMD, "kubepods.slice"),
        ("v2_cgroupfs", Driver.CGROUPFS, "kubepods"),
        ("openeuler_v1", Driver.SYSTEMD, "kubepods.slice"),
        ("stock_v1", Driver.CGROUPFS, "kubepods"),
        ("hybrid", Driver.SYSTEMD, "kubepods.slice"),
    ],
)
def test_pods_are_found(tmp_path: Path, name: str, driver: Driver, root: str) -> None:
    """On every kind of node the driver is read off the names, and pods of all classes are found."""
    with found(tmp_path, trees.ALL[name]()) as kubepods:
        assert kubepods.roots == (KubepodsRoot(driver, root),)
        expected = trees.systemd_names() if driver is Driver.SYSTEMD else trees.cgroupfs_names()
        assert kubepods.directory is not None
        for uid, qos in CLASSES.items():
            pod = kubepods.find_pod(uid, qos)
            assert isinstance(pod, PodCgroup)
            assert pod.path == expected[uid]
            assert pod.inode == os.stat(f"{kubepods.directory.path}/{pod.path}").st_ino


@pytest.mark.parametrize("name", ["v2_systemd", "v2_cgroupfs"])
@pytest.mark.parametrize("declared", list(QosClass))
def test_a_wrong_class_is_searched_too(tmp_path: Path, name: str, declared: QosClass) -> None:
    """A pod is found whatever class the API server declares."""
    with found(tmp_path, trees.ALL[name]()) as kubepods:
        for uid in CLASSES:
            assert isinstance(kubepods.find_pod(uid, declared), PodCgroup)


def test_the_declared_class_comes_first() -> None:
    """Three candidates, the declared class first; systemd names are nested and have no dash of the UID."""
    root = KubepodsRoot(Driver.SYSTEMD, "a.slice/a-b.slice/a-b-kubepods.slice")
    uid = trees.POD.replace("-", "_")
    assert root.pod_path(trees.POD, QosClass.BURSTABLE) == (
        f"{root.path}/a-b-kubepods-burstable.slice/a-b-kubepods-burstable-pod{uid}.slice",
        f"{root.path}/a-b-kubepods-pod{uid}.slice",
        f"{root.path}/a-b-kubepods-besteffort.slice/a-b-kubepods-besteffort-pod{uid}.slice",
    )
    assert KubepodsRoot(Driver.CGROUPFS, "x/kubepods").pod_path(trees.POD, QosClass.GUARANTEED) == (
        f"x/kubepods/pod{trees.POD}",
        f"x/kubepods/burstable/pod{trees.POD}",
        f"x/kubepods/besteffort/pod{trees.POD}",
    )


def test_nested_roots(tmp_path: Path) -> None:
    """All kubelets' roots are kept, shallow ones first; look-alikes and those too deep are not roots."""
    with found(tmp_path, trees.nested()) as kubepods:
        assert [root.path for root in kubepods.roots] == list(trees.NESTED_ROOTS)
        assert [root.driver for root in kubepods.roots] == [Driver.SYSTEMD, Driver.CGROUPFS, Driver.SYSTEMD]
        for (uid, qos), root in zip(CLASSES.items(), trees.NESTED_ROOTS, strict=True):
            pod = kubepods.find_pod(uid, qos)
            assert isinstance(pod, PodCgroup)
            assert pod.path.startswith(f"{root}/")
        assert (kubepods.truncated, kubepods.denied) == (False, 0)


def test_the_search_stays_out_of_pods(tmp_path: Path) -> None:
    """Nothing below a kubelet's root is listed: neither pods nor what a container made inside itself."""
    faults = Faults()
    with found(tmp_path, trees.v2_systemd(), faults) as kubepods:
        assert len(kubepods.roots) == 1
    assert not [path for _, path in faults.asked if "kubepods" in path]


def test_a_fresh_node(tmp_path: Path) -> None:
    """Before the kubelet's first pod there is no root; every pod is pending and has no containers."""
    with found(tmp_path, trees.proc() | trees.v2_root()) as kubepods:
        assert (kubepods.roots, kubepods.truncated, kubepods.denied) == ((), False, 0)
        assert kubepods.find_pod(trees.POD, QosClass.BURSTABLE) is CgroupState.PENDING
    with found(tmp_path / "bare", trees.bare()) as kubepods:
        assert (kubepods.directory, kubepods.roots) == (None, ())
        assert kubepods.find_pod(trees.POD, QosClass.BURSTABLE) is CgroupState.PENDING
        assert kubepods.containers("kubepods") == ()


def test_the_search_is_bounded(tmp_path: Path) -> None:
    """The search stops at its cap, says so, and keeps what it found until then."""
    tree = trees.v2_root() | {f"{trees.CGROUP}/junk{each:03}/": "" for each in range(200)}
    late = tree | {f"{trees.CGROUP}/zzz/kubepods/": ""}
    faults = Faults()
    with found(tmp_path, late, faults, max_directories=50) as kubepods:
        assert (kubepods.roots, kubepods.truncated) == ((), True)
    assert len([path for operation, path in faults.asked if operation == "list"]) <= 51
    with found(tmp_path, late) as kubepods:
        assert (len(kubepods.roots), kubepods.truncated) == (1, False)


def test_the_search_survives_what_vanishes(tmp_path: Path) -> None:
    """Directories that vanish between listing and opening, or are refused, cost only themselves."""
    faults = Faults(
        {
            ("open", "/system.slice"): errno.ENOENT,
            ("list", "/user.slice"): errno.ENODEV,
            ("open", "/docker"): errno.EACCES,
        }
    )
    with found(tmp_path, trees.nested(), faults) as kubepods:
        assert [root.path for root in kubepods.roots] == [trees.NESTED_ROOTS[0]]
        assert kubepods.denied == 1


HOSTILE = [
    "",
    ".",
    "..",
    "/",
    "../../system.slice",
    "x/../../system.slice",
    f"{trees.POD}/../../..",
    f"{trees.POD}\n",
    f" {trees.POD}",
    f"{trees.POD}\0",
    trees.POD.upper(),
    trees.POD.replace("-", "_"),
    trees.POD.replace("-", ""),
    "0123456789abcdef0123456789abcdef",  # a static pod's hash
    trees.POD.replace("0", "٠", 1),  # noqa: RUF001 - a digit of another script is the point
    trees.POD.replace("0", "０", 1),  # noqa: RUF001 - a full-width digit is the point
    "é" * 36,
    "\ud800" * 36,
    "a" * 10_240,
    f"{trees.POD}{'a' * 10_240}",
    "$(reboot)",
    f"{trees.POD};{trees.POD}",
]


@pytest.mark.parametrize("uid", HOSTILE, ids=lambda uid: ascii(uid)[:30])
@pytest.mark.parametrize("name", ["v2_systemd", "v2_cgroupfs", "nested"])
def test_hostile_uids(tmp_path: Path, uid: str, name: str) -> None:
    """F01, F02: a UID of any other shape is ILLEGAL before a single path is opened; nothing is created."""
    faults = Faults()
    with found(tmp_path, trees.ALL[name](), faults) as kubepods:
        before = snapshot(tmp_path)
        faults.asked.clear()
        assert not legal_uid(uid)
        for qos in QosClass:
            assert kubepods.find_pod(uid, qos) is CgroupState.ILLEGAL
            assert all(root.pod_path(uid, qos) == () for root in kubepods.roots)
        assert faults.asked == []
        assert snapshot(tmp_path) == before


def test_looking_stays_below_the_kubelet(tmp_path: Path) -> None:
    """F01: looking for pods, also ones that are not there, opens nothing outside the kubelet's root."""
    faults = Faults()
    with found(tmp_path, trees.v2_systemd(), faults) as kubepods:
        before = snapshot(tmp_path)
        faults.asked.clear()
        kubepods.find_pod(trees.POD, QosClass.BURSTABLE)
        assert kubepods.find_pod("00000000-0000-4000-8000-000000000000", QosClass.BURSTABLE) is CgroupState.PENDING
        assert len(faults.opened) == 6
        assert all("/sys/fs/cgroup/kubepods.slice/" in path for path in faults.opened)
        assert snapshot(tmp_path) == before


def test_a_link_is_not_a_pod(tmp_path: Path) -> None:
    """A link planted under a pod's name leads nowhere."""
    tree = trees.v2_root() | {f"{trees.CGROUP}/kubepods/burstable/": ""}
    tree[f"{trees.CGROUP}/kubepods/pod{trees.POD}"] = "-> ../system.slice"
    tree[f"{trees.CGROUP}/kubepods/burstable/pod{trees.BURSTABLE_POD}"] = "a file, not a directory"
    with found(tmp_path, tree) as kubepods:
        assert kubepods.find_pod(trees.POD, QosClass.GUARANTEED) is CgroupState.PENDING
        assert kubepods.find_pod(trees.BURSTABLE_POD, QosClass.BURSTABLE) is CgroupState.PENDING


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (errno.ENOENT, CgroupState.PENDING),
        (errno.ENODEV, CgroupState.PENDING),
        (errno.EACCES, CgroupState.DENIED),
        (errno.EPERM, CgroupState.DENIED),
    ],
)
def test_a_pod_vanishes_while_looked_for(tmp_path: Path, code: int, state: CgroupState) -> None:
    """F07: a pod's cgroup that goes between two system calls is pending, one that is refused says so; none raises."""
    path = trees.systemd_names()[trees.POD]
    faults = Faults({("open", path): code, ("list", path): code})
    with found(tmp_path, trees.v2_systemd(), faults) as kubepods:
        assert kubepods.find_pod(trees.POD, QosClass.BEST_EFFORT) is state
        assert isinstance(kubepods.find_pod(trees.BURSTABLE_POD, QosClass.BURSTABLE), PodCgroup)
        assert kubepods.containers(path) == ()


def test_containers_of_systemd(tmp_path: Path) -> None:
    """Container scopes are listed with runtime and id; a nested init.scope or kubelet inside them is not."""
    path = trees.systemd_names()[trees.POD]
    extra = {
        f"crio-{'1' * 64}.scope": ("1" * 64, "cri-o"),
        f"docker-{'2' * 64}.scope": ("2" * 64, "docker"),
        f"isulad-{'3' * 64}.scope": ("3" * 64, "isulad"),
    }
    other = [
        f"crio-conmon-{'1' * 64}.scope",
        f"libpod-{'4' * 64}.scope",
        f"cri-containerd-{'5' * 63}.scope",
        f"cri-containerd-{'5' * 65}.scope",
        f"cri-containerd-{'A' * 64}.scope",
        f"cri-containerd-{'5' * 64}.scope.d",
        f"cri-containerd-{'5' * 64}.scope\n",
        f"x-cri-containerd-{'5' * 64}.scope",
        "init.scope",
        "kubepods",
        "memory.pressure",
    ]
    tree = trees.v2_systemd() | {f"{trees.CGROUP}/{path}/{name}/": "" for name in (*extra, *other[:-1])}
    tree[f"{trees.CGROUP}/{path}/docker-{'6' * 64}.scope"] = "a file"
    with found(tmp_path, tree) as kubepods:
        listed = {each.id: each for each in kubepods.containers(path)}
        expected = dict(extra.values()) | {trees.CONTAINER: "containerd", trees.SANDBOX: "containerd"}
        assert {each.id: each.runtime for each in listed.values()} == expected
        assert kubepods.directory is not None
        assert all(kubepods.directory.exists(f"{each.path}") for each in listed.values())


def test_containers_of_cgroupfs(tmp_path: Path) -> None:
    """Bare ids say nothing of their runtime, CRI-O's prefix does; its monitor and sub-cgroups are not containers."""
    with found(tmp_path, trees.v2_cgroupfs()) as kubepods:
        names = trees.cgroupfs_names()
        bare = kubepods.containers(names[trees.POD])
        assert bare == ((trees.CONTAINER, None, f"{names[trees.POD]}/{trees.CONTAINER}"),)
        prefixed = kubepods.containers(names[trees.BURSTABLE_POD])
        path = f"{names[trees.BURSTABLE_POD]}/crio-{trees.CONTAINER}"
        assert prefixed == ((trees.CONTAINER, "cri-o", path),)


def test_the_same_path_in_every_v1_hierarchy(tmp_path: Path) -> None:
    """On v1 the path found in one hierarchy is the pod's in all of them."""
    trees.write(tmp_path, trees.openeuler_v1())
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        kubepods = Kubepods.find(hierarchies)
        pod = kubepods.find_pod(trees.POD, QosClass.BEST_EFFORT)
        assert isinstance(pod, PodCgroup)
        assert kubepods.directory is hierarchies.directory("memory")
        assert len(hierarchies.roots()) == 4
        assert all(directory.exists(pod.path) for directory in hierarchies.roots())


def test_roots_in_one_hierarchy_only(tmp_path: Path) -> None:
    """Where only a later hierarchy has the kubelet's root, it is found there."""
    tree = trees.v1(names={}) | {f"{trees.CGROUP}/blkio/kubepods/": ""}
    with found(tmp_path, tree) as kubepods:
        assert kubepods.directory is not None
        assert kubepods.directory.path.endswith("/blkio")
        assert [root.path for root in kubepods.roots] == ["kubepods"]


def test_a_pod_made_again_in_a_folder(tmp_path: Path) -> None:
    """F08: a cgroup removed and made again under the same name has another inode."""
    with found(tmp_path, trees.v2_cgroupfs()) as kubepods:
        first = kubepods.find_pod(trees.POD, QosClass.BEST_EFFORT)
        assert isinstance(first, PodCgroup)
        assert kubepods.directory is not None
        where = Path(kubepods.directory.path, first.path)
        # A file system may give the number of a removed directory to the next one; a held descriptor keeps it taken.
        held = os.open(where, os.O_PATH)
        shutil.rmtree(where)
        assert kubepods.find_pod(trees.POD, QosClass.BEST_EFFORT) is CgroupState.PENDING
        where.mkdir()
        second = kubepods.find_pod(trees.POD, QosClass.BEST_EFFORT)
        os.close(held)
        assert isinstance(second, PodCgroup)
        assert second.path == first.path
        assert second.inode != first.inode


def writable_cgroup2() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2" and os.access(fields[1], os.W_OK) and "ro" not in fields[3].split(","):
            return Path(fields[1])
    return None


@pytest.mark.skipif(writable_cgroup2() is None, reason="needs a writable cgroup2 mount")
def test_a_pod_made_again_on_a_real_kernel() -> None:
    """F07, F08 on real cgroups: found, gone, made again with another inode; a held one answers GONE or MISSING."""
    mount = writable_cgroup2()
    assert mount is not None
    name = f"plimsoll-test-{os.getpid()}"
    kubelet = mount / name / "kubepods"
    pod = kubelet / "besteffort" / f"pod{trees.POD}"
    container = pod / trees.CONTAINER
    made = [mount / name, kubelet, kubelet / "besteffort", pod, container]
    try:
        for each in made:
            each.mkdir()
        with HostFs("/") as host, host.directory(str(mount)) as directory:
            kubepods = Kubepods(directory, (KubepodsRoot(Driver.CGROUPFS, f"{name}/kubepods"),))
            searched = Kubepods.find(Hierarchies(unified=directory))
            assert kubepods.roots[0] in searched.roots
            first = kubepods.find_pod(trees.POD, QosClass.GUARANTEED)
            assert isinstance(first, PodCgroup)
            assert [each.id for each in kubepods.containers(first.path)] == [trees.CONTAINER]
            with directory.directory(first.path) as held:
                descriptor = held.open("cgroup.events")
                container.rmdir()
                pod.rmdir()
                assert kubepods.find_pod(trees.POD, QosClass.GUARANTEED) is CgroupState.PENDING
                with pytest.raises(OSError, match="No such device") as caught:
                    os.read(descriptor, 100)
                os.close(descriptor)
                assert caught.value.errno == errno.ENODEV
                pod.mkdir()
                assert held.read("cgroup.events").outcome.value in ("gone", "missing")
            second = kubepods.find_pod(trees.POD, QosClass.GUARANTEED)
            assert isinstance(second, PodCgroup)
            assert second.inode != first.inode
            assert directory.read(f"{second.path}/cgroup.events").outcome.value == "ok"
    finally:
        for each in reversed(made):
            if each.exists():
                each.rmdir()
