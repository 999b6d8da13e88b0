"""A stock kernel with cgroup v1 and hybrid hierarchies, the kubelet's cgroupfs and systemd drivers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.agent import WITHOUT_HARDWARE, WITHOUT_OPENEULER, Agent
from tests.vm.exposition import Page
from tests.vm.image import Image
from tests.vm.machine import CGROUP_HYBRID, CGROUP_V1, Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

MIB = 1 << 20
CONTROLLERS = ("cpu,cpuacct", "memory", "blkio", "pids")
WAITING = "plimsoll_pod_pressure_waiting_seconds_total"
STALLED = "plimsoll_pod_pressure_stalled_seconds_total"


@pytest.fixture(scope="module")
def guest(guest_image: Image) -> Iterator[Machine]:
    with Machine(guest_image, kernel="6.1", arguments=(*CGROUP_V1, "psi=1")) as machine:
        yield machine


@pytest.fixture(scope="module")
def agent(guest: Machine) -> Agent:
    return Agent(guest)


@pytest.fixture(scope="module")
def limited(guest: Machine, agent: Agent) -> Pod:
    """A pod with 20 % of a CPU and 64 MiB in its container, as runc writes them."""
    pod = Pod(guest, 1, "limited")
    pod.make(*CONTROLLERS)
    below = f"{pod.cgroupfs_path}/{pod.container}"
    guest.sh(
        f"echo 20000 > /sys/fs/cgroup/cpu/{below}/cpu.cfs_quota_us\n"
        f"echo {64 * MIB} > /sys/fs/cgroup/memory/{pod.cgroupfs_path}/memory.limit_in_bytes"
    )
    return pod


def test_doctor_knows_the_node(agent: Agent, limited: Pod) -> None:
    """A stock kernel measures no pod's pressure on cgroup v1, and says so; the node's own is there."""
    found = agent.doctor()
    found.pop("native-reader")
    absent = {name: each["reason"] for name, each in found.items() if not each["available"]}

    assert found["cgroup"]["detail"].startswith("cgroup v1;")
    where, _, share = found["kubepods"]["detail"].partition(" (")
    assert where == "cgroupfs driver at /kubepods"
    assert share.startswith("CPU shares 1024, ")
    assert share.endswith("memory without a limit).")
    assert absent == {
        **WITHOUT_OPENEULER,
        **WITHOUT_HARDWARE,
        **dict.fromkeys(("cpu-weight", "cpuset-v2", "io-max", "memory-low"), "cgroup-v1"),
        **dict.fromkeys(("memory-reclaim", "memory-reclaim-swappiness", "swap-limit"), "cgroup-v1"),
        "cpuset-v1": "no-kubelet-root",  # no cgroup of pods was made in that hierarchy
        "damon": "kernel-too-old",
        "lru-gen": "turned-off",
        **{f"psi-{each}": "cgroup-v1" for each in ("cpu", "memory", "io", "irq")},
    }
    assert all(found[name]["cure"] for name in absent)


def test_pods_are_found_and_what_is_not_measured_is_absent(agent: Agent, limited: Pod, guest: Machine) -> None:
    """Memory comes from the memory hierarchy; no pressure is made up for pods, and the node's is the kernel's."""
    absent = Pod(guest, 2, "absent")
    absent.declare()
    with limited.load("touch", "24", "1"):
        charged = f"/sys/fs/cgroup/memory/{limited.cgroupfs_path}/memory.usage_in_bytes"
        guest.sh(f"until [ $(cat {charged}) -gt {24 * MIB} ]; do sleep 0.2; done")
        page = Page(agent.metrics())

    state = {labels["pod"]: labels["state"] for labels, _ in page.series("plimsoll_pod_info")}
    assert state == {"limited": "found", "absent": "pending"}
    assert 24 * MIB < page.value("plimsoll_pod_memory_bytes", pod="limited") < 64 * MIB
    assert page.series("plimsoll_pod_memory_bytes", pod="absent") == []
    assert page.series(WAITING) == []
    assert {labels["source"] for labels, _ in page.series(STALLED)} == {"derived"}
    assert page.series("plimsoll_pod_pressure_ratio") == []
    assert page.series("plimsoll_read_errors_total") == []
    causes = {labels["cause"] for labels, _ in page.series("plimsoll_node_pressure_waiting_seconds_total")}
    assert causes == {"cpu", "memory", "io"}
    assert page.value("plimsoll_source_up", source="kernel") == 1


def test_throttling_is_derived_from_the_cpu_hierarchy(agent: Agent, limited: Pod, guest: Machine) -> None:
    """What cpu.stat counts in nanoseconds is exported in seconds, and rises while the quota holds a task back."""
    before = Page(agent.metrics()).value(STALLED, pod="limited", cause="cpu_cfs_bandwidth", source="derived")
    stat = f"/sys/fs/cgroup/cpu/{limited.cgroupfs_path}/{limited.container}/cpu.stat"
    with limited.load("spin", "1"):
        guest.sh(
            f"until [ $(sed -n 's/^throttled_time //p' {stat}) -gt {int((before + 2) * 1e9)} ]; do sleep 0.2; done",
            timeout=300,
        )
    # The load has ended, and with the period it ended in the kernel's figure stands still.
    read = f"sed -n 's/^throttled_time //p' {stat}"
    throttled = int(guest.sh(f"until before=$({read}); sleep 0.5; [ $({read}) = $before ]; do :; done; echo $before"))
    after = Page(agent.metrics()).value(STALLED, pod="limited", cause="cpu_cfs_bandwidth", source="derived")
    assert after == throttled // 1000 / 1e6
    assert after > before + 2


def test_open_files_of_a_removed_cgroup_are_gone(agent: Agent) -> None:
    """v1 hierarchies answer for removed cgroups as v2 does."""
    answers = agent.script(
        "removed_cgroup.py", "sys/fs/cgroup/memory", "memory.usage_in_bytes=VALUE", "memory.stat=KEYED"
    )
    for reader, steps in answers.items():
        outcomes = {step: {outcome for outcome, _ in files.values()} for step, files in steps.items()}
        assert outcomes == {
            "made": {"ok"},
            "removed": {"gone"},
            "still removed": {"missing"},
            "made again": {"ok"},
            "replaced": {"ok"},
        }, reader


def test_hybrid_pods_have_pressure_from_v2_and_memory_from_v1(guest_image: Image) -> None:
    """systemd's hybrid layout keeps every pod in a v2 hierarchy too, where the kernel measures its pressure."""
    with Machine(guest_image, kernel="6.1", arguments=(*CGROUP_HYBRID, "psi=1")) as guest:
        agent = Agent(guest)
        pod = Pod(guest, 1, "both")
        pod.start()
        pod.wait()
        found = agent.doctor()
        page = Page(agent.metrics())

    assert found["cgroup"]["detail"].startswith("cgroup hybrid;")
    assert {name for name in ("psi-cpu", "psi-memory", "psi-io") if not found[name]["available"]} == set()
    assert {labels["cause"] for labels, _ in page.series(WAITING, pod="both", source="psi")} == {"cpu", "memory", "io"}
    assert page.value("plimsoll_pod_memory_bytes", pod="both") > 0
