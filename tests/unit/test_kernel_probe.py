"""What a node can do and, where it cannot, exactly why: every kind of host, and every way PSI can be missing."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path

import pytest

from plimsoll.kernel.batch import native_available
from plimsoll.kernel.build import KernelBuild
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kubelet_share import kubelet_share
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.lock import InstanceLock, Taken, Unusable
from plimsoll.kernel.probe import Name, probe
from plimsoll.kernel.reason import Reason, reason_of
from plimsoll.model.outcome import Outcome
from plimsoll.model.snapshot import Capability
from tests.fixtures.hosts import capabilities, trees
from tests.fixtures.hosts.capabilities import CPUSETS, DISKS, FREQUENCIES, PREEMPTION, SWAP, probed
from tests.fixtures.hosts.faults import Faults

PSI_OF_PODS = ("psi-cpu", "psi-memory", "psi-io")
KUBEPODS = f"{trees.CGROUP}/kubepods.slice"
# What pods and the machine can be given is the business of other tests.
LEFT_OUT = {"native-reader", *PREEMPTION, *DISKS, *SWAP, *CPUSETS, *FREQUENCIES}


def reasons(found: dict[str, Capability]) -> dict[str, str]:
    """What is absent and why, without the reader that depends on how this tree was built."""
    return capabilities.reasons({name: each for name, each in found.items() if name not in LEFT_OUT})


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("v2_systemd", {"pressure-stat": "not-built", "psi-irq": "not-built"}),
        ("v2_cgroupfs", {"pressure-stat": "not-built", "psi-irq": "not-built"}),
        ("nested", {"pressure-stat": "not-built", "psi-irq": "not-built"}),
        ("openeuler_v1", {"psi-irq": "not-built"}),
        (
            "openeuler_v1_not_asked",
            dict.fromkeys(("pressure-stat", *PSI_OF_PODS, "psi-irq", "psi-node"), "psi-disabled"),
        ),
        ("stock_v1", {"pressure-stat": "not-built"} | dict.fromkeys((*PSI_OF_PODS, "psi-irq"), "cgroup-v1")),
        ("hybrid", {"pressure-stat": "not-built", "psi-irq": "kernel-too-old"}),
        (
            "no_psi",
            {"pressure-stat": "not-built"} | dict.fromkeys((*PSI_OF_PODS, "psi-irq", "psi-node"), "psi-disabled"),
        ),
        (
            "no_memory_controller",
            {"pressure-stat": "not-built", "psi-irq": "not-built", "memory-controller": "no-controller"},
        ),
        (
            "bare",
            dict.fromkeys(
                ("cgroup", "kubepods", *PSI_OF_PODS, "psi-irq", "memory-controller", "cpu-controller"), "no-cgroup"
            )
            | {"pressure-stat": "not-built", "psi-node": "psi-disabled"},
        ),
    ],
)
def test_hosts(tmp_path: Path, name: str, absent: dict[str, str]) -> None:
    """Every kind of host has exactly the capabilities it should, and the right reason for each of the others."""
    assert reasons(probed(tmp_path, trees.ALL[name]())) == absent


@pytest.mark.parametrize("name", sorted(trees.ALL))
def test_every_answer_is_complete(tmp_path: Path, name: str) -> None:
    """All names once and in order; an absence has a reason of the closed set and two sentences, a presence has none."""
    trees.write(tmp_path, trees.ALL[name]())
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        found = probe(host, hierarchies, Kubepods.find(hierarchies), Taken(None))
    assert [each.name for each in found] == [each.value for each in Name]
    for each in found:
        assert each.detail.endswith((".", ")"))
        assert type(each.reason) is str
        if each.available:
            assert (each.reason, each.cure) == ("", "")
        else:
            assert each.reason in {reason.value for reason in Reason}
            assert each.cure.endswith(".")


def test_details_name_what_was_found(tmp_path: Path) -> None:
    """The mode, the controllers, the driver and the kubelet's roots are said."""
    found = probed(tmp_path, trees.nested())
    assert found["cgroup"].detail == "cgroup v2; controllers: cpu, cpuset, hugetlb, io, memory, pids."
    assert f"systemd driver at /{trees.NESTED_ROOTS[0]}" in found["kubepods"].detail
    assert f"cgroupfs driver at /{trees.NESTED_ROOTS[1]}" in found["kubepods"].detail


def test_on_cgroup_v1_it_says_what_the_kubelet_leaves_to_pods(tmp_path: Path) -> None:
    """Spread over three hierarchies, in one sentence; what one of them does not say, or refuses, is left out."""
    tree = trees.v1({"cpu,cpuacct": ("cpu", "cpuacct"), "cpuset": ("cpuset",), "memory": ("memory",)})
    shares = {f"{trees.CGROUP}/cpu,cpuacct/kubepods/cpu.shares": "3942\n"}
    cpus = {f"{trees.CGROUP}/cpuset/kubepods/cpuset.cpus": "0-2,5\n"}
    limit = {f"{trees.CGROUP}/memory/kubepods/memory.limit_in_bytes": f"{3 << 29}\n"}
    free = {f"{trees.CGROUP}/memory/kubepods/memory.limit_in_bytes": "9223372036854771712\n"}
    bare = trees.proc() | tree | {f"{trees.CGROUP}/memory/kubepods/burstable/": ""}

    def told(name: str, *more: trees.Tree, fault: Faults | None = None) -> str:
        every = bare
        for each in more:
            every = every | each
        root = trees.write(tmp_path / name, every)
        with HostFs(str(root), fault=fault) as host, Hierarchies.detect(host) as hierarchies:
            return kubelet_share(hierarchies, "kubepods")

    assert told("all", shares, cpus, limit) == "CPU shares 3942, CPUs 0-2,5, at most 1.5 GiB of memory"
    assert told("free", cpus, free) == "CPUs 0-2,5, memory without a limit"
    assert told("none") == ""
    refused = Faults({("read", "cpu.shares"): errno.EACCES, ("open", "cpuset/kubepods"): errno.EACCES})
    assert told("refused", shares, cpus, limit, fault=refused) == "at most 1.5 GiB of memory"
    found = probed(tmp_path / "node", trees.stock_v1())["kubepods"].detail
    assert "/kubepods (CPU shares 2, CPUs 0-3,8, memory without a limit)" in found


def test_fresh_node(tmp_path: Path) -> None:
    """Without a kubelet's root pressure is judged by the hierarchy's own files; the missing root says it is normal."""
    found = probed(tmp_path, trees.proc() | trees.v2_root())
    assert reasons(found) == {
        "kubepods": "no-kubelet-root",
        "pressure-stat": "not-built",
        "psi-irq": "not-built",
    }
    assert "normal" in found["kubepods"].detail


def test_a_root_that_vanished(tmp_path: Path) -> None:
    """A kubelet's root that is gone by now is not asked; pressure is judged by the hierarchy's own files."""
    trees.write(tmp_path, trees.v2_cgroupfs())
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        kubepods = Kubepods.find(hierarchies)
        (tmp_path / trees.CGROUP / "kubepods").rename(tmp_path / "gone")
        found = {each.name: each.reason for each in probe(host, hierarchies, kubepods)}
    assert [found[name] for name in PSI_OF_PODS] == ["", "", ""]


def test_root_cgroup_without_pressure_files(tmp_path: Path) -> None:
    """Kernels before 5.2 have no pressure files in the root cgroup: a child is looked at instead."""
    tree = trees.proc("4.20.17") | trees.v2_root(pressure=False)
    tree |= trees.below(f"{trees.CGROUP}/init.scope", trees.v2_files())
    assert reasons(probed(tmp_path, tree)) == {
        "kubepods": "no-kubelet-root",
        "pressure-stat": "not-built",
        "psi-irq": "kernel-too-old",
    }


def test_hybrid_before_the_first_pod(tmp_path: Path) -> None:
    """On a hybrid host nothing tells where pressure will be until there are pods."""
    tree = {path: text for path, text in trees.hybrid().items() if "kubepods" not in path}
    assert reasons(probed(tmp_path, tree)) == {
        "kubepods": "no-kubelet-root",
        "pressure-stat": "not-built",
        **dict.fromkeys((*PSI_OF_PODS, "psi-irq"), "no-kubelet-root"),
    }


def test_search_capped_and_denied(tmp_path: Path) -> None:
    """A search that was cut short, or refused, is not called a fresh node."""
    trees.write(tmp_path, trees.proc() | trees.v2_root())
    faults = Faults({("open", "/user.slice"): errno.EACCES})
    with HostFs(str(tmp_path), fault=faults) as host, Hierarchies.detect(host) as hierarchies:
        capped = probe(host, hierarchies, Kubepods.find(hierarchies, max_directories=1))
        denied = probe(host, hierarchies, Kubepods.find(hierarchies))
    assert (capped[1].reason, denied[1].reason) == ("search-capped", "denied")


def test_psi_off_at_boot_v2(tmp_path: Path) -> None:
    """EOPNOTSUPP from the files: PSI waits for psi=1, and says so."""
    faults = Faults({("read", ".pressure"): errno.EOPNOTSUPP})
    found = probed(tmp_path, trees.v2_systemd() | trees.proc(pressure=False), faults)
    for name in PSI_OF_PODS:
        assert found[name].reason == "psi-disabled"
        assert "psi=1" in found[name].cure
        assert "psi_v1" not in found[name].cure


def test_psi_off_at_boot_node_v2(tmp_path: Path) -> None:
    """No /proc/pressure but cgroup files that answer EOPNOTSUPP: built in, and off."""
    tree = {path: text for path, text in trees.v2_systemd().items() if not path.startswith("proc/pressure/")}
    found = probed(tmp_path, tree, Faults({("read", ".pressure"): errno.EOPNOTSUPP}))
    assert found["psi-node"].reason == "psi-disabled"


def test_psi_off_with_psi_0(tmp_path: Path) -> None:
    """psi=0 among the boot arguments is named, and to be removed."""
    found = probed(tmp_path, trees.no_psi() | trees.proc(arguments="psi=0", pressure=False))
    assert found["psi-node"].reason == found["psi-memory"].reason == "psi-disabled"
    assert "in place of psi=0" in found["psi-memory"].cure


@pytest.mark.parametrize(
    ("arguments", "named", "unnamed"), [("ro", "psi=1 psi_v1=1", "-"), ("psi=1", "psi_v1=1", "psi=1 ")]
)
def test_openeuler_v1_arguments(tmp_path: Path, arguments: str, named: str, unnamed: str) -> None:
    """On openEuler v1 both psi=1 and psi_v1=1 are needed; only the missing ones are asked for."""
    tree = trees.openeuler_v1_not_asked() | trees.proc(trees.OPENEULER, arguments, pressure=False)
    found = probed(tmp_path, tree)
    for name in ("pressure-stat", *PSI_OF_PODS):
        assert found[name].reason == "psi-disabled"
        assert f"Add {named} to" in found[name].cure
        assert unnamed not in found[name].cure


def test_openeuler_v1_files_that_answer_unsupported(tmp_path: Path) -> None:
    """The files are there and PSI is off: both boot arguments are asked for, whatever the kernel is called."""
    tree = {path: text for path, text in trees.openeuler_v1().items() if not path.startswith("proc/pressure/")}
    tree |= trees.proc("5.10.0-custom", pressure=False)
    found = probed(
        tmp_path, tree, Faults({("read", ".pressure"): errno.EOPNOTSUPP, ("read", ".stat"): errno.EOPNOTSUPP})
    )
    for name in ("pressure-stat", *PSI_OF_PODS):
        assert found[name].reason == "psi-disabled"
        assert "psi=1 psi_v1=1" in found[name].cure


def test_openeuler_v1_without_the_fine_grain(tmp_path: Path) -> None:
    """An openEuler kernel booted right but too old for pressure.stat, or for PSI on v1 at all."""
    fine = probed(tmp_path / "fine", trees.without(trees.openeuler_v1(), "/pressure.stat"))
    assert reasons(fine) == {"pressure-stat": "not-built", "psi-irq": "not-built"}
    assert "CONFIG_PSI_FINE_GRAINED" in fine["pressure-stat"].detail
    none = probed(tmp_path / "none", trees.without(trees.openeuler_v1(), ".pressure", "/pressure.stat"))
    assert {none[name].reason for name in PSI_OF_PODS} == {"not-built"}
    assert "CONFIG_PSI_CGROUP_V1" in none["psi-cpu"].detail


def test_openeuler_v2(tmp_path: Path) -> None:
    """openEuler's v2 has no pressure.stat; everything else is there."""
    found = probed(tmp_path, trees.v2_systemd() | trees.proc("6.6.0-28.0.0.34.oe2403.x86_64"))
    assert reasons(found) == {"pressure-stat": "cgroup-v2", "psi-irq": "not-built"}


def test_pressure_stat_where_it_is(tmp_path: Path) -> None:
    """The file decides, not the version: a v2 kernel that has pressure.stat is believed."""
    tree = trees.v2_systemd() | {f"{KUBEPODS}/pressure.stat": trees.PRESSURE_STAT}
    tree |= {f"{KUBEPODS}/irq.pressure": trees.FULL_ONLY}
    assert reasons(probed(tmp_path, tree)) == {}


@pytest.mark.parametrize("release", ["4.19.90-2112.oe1.x86_64", "3.10.0-1160.el7.x86_64", "4.18.0-rc1"])
def test_kernel_too_old(tmp_path: Path, release: str) -> None:
    """Before 4.20 there is no PSI at all, whatever else is so."""
    for name, tree in (("v2", trees.no_psi()), ("v1", trees.stock_v1())):
        found = probed(tmp_path / name, trees.without(tree, ".pressure") | trees.proc(release, pressure=False))
        assert {found[each].reason for each in (*PSI_OF_PODS, "psi-irq")} == {"kernel-too-old"}
        trees.write(tmp_path / f"{name}-node", trees.proc(release, pressure=False))
        assert probed(tmp_path / f"{name}-node", {})["psi-node"].reason == "kernel-too-old"


@pytest.mark.parametrize("where", ["boot/config-{}", "lib/modules/{}/config", "proc/config.gz"])
def test_configuration(tmp_path: Path, where: str) -> None:
    """The kernel's own configuration, wherever it is, proves that PSI was left out."""
    path = where.format("6.1.0-custom")
    text = "CONFIG_MEMCG=y\n# CONFIG_PSI is not set\n"
    target = tmp_path / path
    target.parent.mkdir(parents=True)
    target.write_bytes(gzip.compress(text.encode()) if path.endswith(".gz") else text.encode())
    found = probed(tmp_path, trees.bare() | trees.proc("6.1.0-custom", pressure=False))
    assert found["psi-node"].reason == "not-built"


def test_configuration_with_psi(tmp_path: Path) -> None:
    """Built with PSI and off by default: the cure no longer doubts the kernel."""
    tree = trees.openeuler_v1_not_asked()
    unsure = probed(tmp_path / "unsure", tree)["psi-node"]
    config = {f"boot/config-{trees.OPENEULER}": "CONFIG_PSI=y\nCONFIG_PSI_DEFAULT_DISABLED=y\nCONFIG_PSI_CGROUP_V1=y\n"}
    sure = probed(tmp_path / "sure", tree | config)["psi-node"]
    assert unsure.reason == sure.reason == "psi-disabled"
    assert "CONFIG_PSI" in unsure.cure
    assert "CONFIG_PSI" not in sure.cure


def test_kernel_build(tmp_path: Path) -> None:
    """What is unknown is not claimed; a broken or hostile configuration is no configuration."""
    unknown = KernelBuild()
    assert (unknown.version, unknown.openeuler) == (None, False)
    assert not unknown.older_than(4, 20)
    assert not unknown.lacks("CONFIG_PSI")
    assert unknown.missing_arguments("psi=1") == ("psi=1",)
    known = KernelBuild(trees.OPENEULER, {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": '"text"'}, ("psi=1",))
    assert (known.version, known.openeuler) == ((5, 10), True)
    assert known.older_than(6, 1)
    assert not known.older_than(5, 10)
    assert [known.lacks(f"CONFIG_{each}") for each in "ABCD"] == [False, False, True, True]
    assert known.missing_arguments("psi=1", "psi_v1=1") == ("psi_v1=1",)
    for name, release, data in (("gz", "6.1.0", b"not gzip"), ("path", "../../6.1.0", b"")):
        # Where the second release would lead if it were taken for a path.
        trees.write(tmp_path / name, trees.proc(release) | {"lib/modules/": "", "6.1.0/config": "CONFIG_PSI=y\n"})
        if data:
            (tmp_path / name / "proc/config.gz").write_bytes(data)
        with HostFs(str(tmp_path / name)) as host:
            assert KernelBuild.read(host).options is None


def test_cgroup_pressure_switch(tmp_path: Path) -> None:
    """Where 0 in cgroup.pressure took the files away, that is the reason, and the file is named."""
    tree = {path: text for path, text in trees.v2_systemd().items() if not path.startswith(f"{KUBEPODS}/")}
    found = probed(tmp_path, tree | {f"{KUBEPODS}/cgroup.pressure": "0\n"})
    for name in PSI_OF_PODS:
        assert found[name].reason == "cgroup-pressure-off"
        assert "kubepods.slice/cgroup.pressure" in found[name].detail
    assert found["psi-node"].available


def test_cgroup_disable_pressure(tmp_path: Path) -> None:
    """cgroup_disable=pressure among the boot arguments is named."""
    tree = trees.without(trees.v2_systemd(), ".pressure") | trees.proc(arguments="cgroup_disable=pressure")
    found = probed(tmp_path, tree)
    assert found["psi-cpu"].reason == "psi-disabled"
    assert "cgroup_disable=pressure" in found["psi-cpu"].detail


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.EACCES, "denied"), (errno.EIO, "failed"), (errno.ENODEV, "no-file"), (errno.EOPNOTSUPP, "psi-disabled")],
)
def test_refused_files(tmp_path: Path, code: int, reason: str) -> None:
    """What reading a pressure file comes to is told apart: forbidden, broken, gone, off."""
    faults = Faults({("read", "kubepods.slice/io.pressure"): code, ("read", "pressure/memory"): code})
    found = probed(tmp_path, trees.v2_systemd(), faults)
    assert (found["psi-io"].reason, found["psi-node"].reason) == (reason, reason)
    assert found["psi-cpu"].available


def test_unknown_format(tmp_path: Path) -> None:
    """A text no version of this program knows is MALFORMED, never "available"."""
    tree = trees.openeuler_v1() | {
        f"{trees.CGROUP}/cpu,cpuacct/kubepods.slice/cpu.pressure": "",
        f"{trees.CGROUP}/cpu,cpuacct/kubepods.slice/memory.pressure": trees.PSI,
        f"{trees.CGROUP}/cpu,cpuacct/kubepods.slice/io.pressure": trees.PSI,
        f"{trees.CGROUP}/cpu,cpuacct/kubepods.slice/pressure.stat": "new text\n",
        "proc/pressure/memory": "42\n",
    }
    found = probed(tmp_path, tree)
    assert [found[name].reason for name in ("psi-cpu", "pressure-stat", "psi-node")] == ["malformed"] * 3
    assert found["psi-memory"].available


def test_cgroups_denied(tmp_path: Path) -> None:
    """A /sys/fs/cgroup that may not be read is "denied", not "nothing mounted"."""
    found = probed(tmp_path, trees.v2_systemd(), Faults({("list", "/sys/fs/cgroup"): errno.EACCES}))
    assert found["cgroup"].reason == "denied"
    assert found["memory-controller"].reason == "no-cgroup"


def test_no_proc(tmp_path: Path) -> None:
    """A root without /proc is a mount that was forgotten, not a kernel without PSI."""
    found = probed(tmp_path, trees.v2_root())
    assert found["psi-node"].reason == "no-file"
    assert "/proc" in found["psi-node"].detail


def test_native_reader(tmp_path: Path) -> None:
    """The C reader's own answer is passed on."""
    available, reason = native_available()
    found = probed(tmp_path, trees.bare())["native-reader"]
    assert found.available is available
    if not available:
        assert found.reason == "not-built"
        assert reason in found.detail


def test_state_directory(tmp_path: Path) -> None:
    """What taking the lock came to: held, taken by another, unusable, or held on a full disk."""
    trees.write(tmp_path, trees.bare() | {"run/": ""})

    def state(fault: Faults | None, path: str = "/run/plimsoll") -> Capability:
        with HostFs(str(tmp_path), fault=fault) as host, Hierarchies.detect(host) as hierarchies:
            result = InstanceLock(host, path).acquire()
            found = probe(host, hierarchies, Kubepods.find(hierarchies), result)[-1]
            if not isinstance(result, (Taken, Unusable)):
                taken = InstanceLock(host, path).acquire()
                again = probe(host, hierarchies, Kubepods.find(hierarchies), taken)[-1]
                assert again.reason == "locked"
                result.release()
            return found

    assert state(None).available
    assert state(Faults({("write", "/lock"): errno.ENOSPC})).reason == "no-space"
    assert state(Faults({("lock", "/lock"): errno.EROFS})).reason == "denied"
    assert state(None, "/nothing/here").reason == "no-file"


def test_the_holder_is_named() -> None:
    """A person is told which process holds the state directory, if that is known."""
    with HostFs("/") as host, Hierarchies.detect(host) as hierarchies:
        kubepods = Kubepods.find(hierarchies)
        assert "process 4711" in probe(host, hierarchies, kubepods, Taken(4711))[-1].detail
        assert "another process" in probe(host, hierarchies, kubepods, Taken(None))[-1].detail


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_reason(outcome: Outcome) -> None:
    """The set of reasons is closed: an outcome without one of its own is FAILED."""
    assert reason_of(outcome) in Reason


def test_this_host() -> None:
    """The machine the tests run on: the probe agrees with what its kernel shows."""
    with HostFs("/") as host, Hierarchies.detect(host) as hierarchies:
        found = {each.name: each for each in probe(host, hierarchies, Kubepods.find(hierarchies))}
    assert found["psi-node"].available is os.path.exists("/proc/pressure/memory")
    assert found["cgroup"].available is (hierarchies.outcome is Outcome.OK)
