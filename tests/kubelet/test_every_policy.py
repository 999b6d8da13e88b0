"""
All policies at once on a whole cluster with the cgroupfs driver: preemption, overcommit on a real swap disk, and
frequencies set by the kernel's own driver; then the node starts again, and in the end nothing is left.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.cpus import CpuSet, parse_cpus
from tests.kubelet import workload
from tests.kubelet.cgroups import settings
from tests.kubelet.installed import EFFECT_SECONDS, FOLLOWED_SECONDS, Installed
from tests.kubelet.release import CONFIG, Release
from tests.kubelet.up import Cluster
from tests.kubelet.workload import WORKLOADS, Workload
from tests.running import until
from tests.vm.machine import Machine
from tests.vm.performance_states import DRIVER as CPUFREQ
from tests.vm.performance_states import MHZ, processor

pytestmark = [pytest.mark.vm, pytest.mark.cluster, pytest.mark.timeout(3600)]

DRIVER = "cgroupfs"
CPUS = 4
MIB = 1 << 20
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"
PARTS = Path(__file__).resolve().parents[1] / "vm/scripts/parts.py"
# 8 MiB in use, and 96 MiB that nobody asks for again.
COLD = Workload(
    "cold",
    "BestEffort",
    "low",
    {"plimsoll.io/qos-priority": "low"},
    command=("python3", "-c", PARTS.read_text(encoding="utf-8"), "8", "0", "96", "1.5"),
)
BY_NAME = {each.name: each for each in (*WORKLOADS, COLD)}
LOW = tuple(each for each in BY_NAME.values() if each.priority == "low")
# DAMON looks for a minute and a half before it takes anything, on an emulated processor.
OFFLOADED_SECONDS = 600.0
# Of a pod with tasks the kernel never empties a cpuset again (ENOSPC): all CPUs stand there then, which is the same.
CPUSET, EVERY_CPU = "cpuset.cpus", f"0-{CPUS - 1}"


def qemu(folder: Path) -> tuple[str, ...]:
    """A node whose CPUs have frequencies."""
    return processor(folder, packages=1, cores=CPUS, threads=1)


@pytest.fixture(scope="module")
def installed(whole_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    guest = whole_cluster.node.guest
    # As an administrator prepares a node, to last.
    guest.push("/etc/modules-load.d/cpufreq.conf", f"{CPUFREQ}\n")
    guest.sh(f"modprobe {CPUFREQ}; mkswap {SWAP}; echo '{SWAP} none swap nofail 0 0' >> /etc/fstab; swapon -a")
    # None of the node's own memory may be on the low-priority pods' device.
    for unit in ("init.scope", "system.slice"):
        guest.sh(f"systemctl set-property {unit} MemorySwapMax=0")
    workload.create(whole_cluster.control_plane, *WORKLOADS, COLD)
    before = settings(guest, DRIVER)
    release = Release(whole_cluster, tmp_path_factory.mktemp("release"))
    release.install(_config(guest))
    return Installed(whole_cluster, release, before)


def _config(guest: Machine) -> dict[str, Any]:
    device = guest.sh(f"readlink -f {SWAP}").strip()
    overcommit = {"ratio": 1.5, "swapDevice": device, "probation": "5s", "window": "10s"}
    overcommit |= {"interval": "2s", "writeBudget": "64Mi"}
    frequency = {"window": "4s", "coolDown": "2s", "shrinkStep": 1.0}
    return {
        **CONFIG,
        "overcommit": {"mode": "enforce", **overcommit},
        "frequency": {"mode": "enforce", **frequency},
    }


def test_low_pods_give_way(installed: Installed) -> None:
    """In the cgroups that the kubelet made itself, without systemd."""
    for each in BY_NAME.values():
        installed.wait(each, "cpu.idle", "1" if each.priority == "low" else "0")


def test_cold_memory_goes_to_the_swap_disk(installed: Installed) -> None:
    """The ratio is reached with memory of low-priority pods alone; nobody else has a page on the device."""
    _wait_for_offload(installed)
    assert installed.setting(BY_NAME["service"], "memory.swap.max") == "0"
    others = [each for each in BY_NAME.values() if each.priority != "low"]
    assert {each.name: installed.setting(each, "memory.swap.current") for each in others} == {
        each.name: "0" for each in others
    }
    installed.wait_for_metric("plimsoll_swap_dedicated", 1)


def test_high_pods_have_the_fast_cpus(installed: Installed) -> None:
    """Low-priority pods are on CPUs that the kernel's driver holds at a lower frequency, high-priority ones are not."""
    _wait_for_steering(installed)
    node = installed.guest.sh("cat /sys/devices/system/cpu/cpufreq/policy0/scaling_driver").strip()
    assert node == CPUFREQ
    installed.wait_for_metric("sum(plimsoll_frequency_group_cpus)", CPUS)


def test_the_node_starts_again(installed: Installed) -> None:
    """After a power cut the kubelet brings the same pods back, the agent among them, and all is as it was before."""
    before = installed.release.restarts
    installed.guest.restart()
    installed.release.restarted(before)
    for each in BY_NAME.values():
        installed.wait(each, "cpu.idle", "1" if each.priority == "low" else "0")
    _wait_for_steering(installed)
    _wait_for_offload(installed)


def test_uninstalling_leaves_no_trace(installed: Installed) -> None:
    """Every setting is what it was before the install: of the pods' cgroups, and of the containers made since."""
    written = {line["knob"] for line in installed.release.audit}
    assert {"cpu.idle", "memory.swap.max", CPUSET, "scaling_max_freq"} <= written
    installed.release.uninstall()
    until(lambda: not installed.release.pods, "no agent", EFFECT_SECONDS)

    def left() -> dict[str, tuple[str, str | None]]:
        found = installed.changed()
        return {path: each for path, each in found.items() if not path.endswith(CPUSET) or each != ("", EVERY_CPU)}

    until(lambda: not left(), "as before", FOLLOWED_SECONDS)
    name = "memory.swap.max"
    after = settings(installed.guest, DRIVER)
    assert _of_containers(after, name) == _of_containers(installed.before, name)
    assert _ceilings(installed.guest) == dict.fromkeys(range(CPUS), 1000 * max(MHZ))


def _of_containers(found: dict[str, str] | Any, name: str) -> set[str]:
    return {value for path, value in found.items() if path.endswith(f"/{name}") and len(path.split("/")[-2]) == 64}


def _wait_for_offload(installed: Installed) -> None:
    # Prometheus may still show what was before the node started again; the kernel does not.
    until(
        lambda: int(installed.setting(COLD, "memory.swap.current")) >= 24 * MIB, "on the swap disk", OFFLOADED_SECONDS
    )
    prometheus = installed.release.prometheus
    prometheus.wait("plimsoll_overcommit_ratio", lambda found: bool(found) and found[0][1] >= 1.4, OFFLOADED_SECONDS)


def _wait_for_steering(installed: Installed) -> None:
    until(lambda: _steered(installed), "low-priority pods on slow CPUs alone", EFFECT_SECONDS)


def _steered(installed: Installed) -> bool:
    slow = {cpu for cpu, ceiling in _ceilings(installed.guest).items() if ceiling < 1000 * max(MHZ)}
    fast = set(range(CPUS)) - slow
    high, low = _cpus(installed, BY_NAME["service"]), [_cpus(installed, each) for each in LOW]
    print(f"slow {slow}, high {high}, low {low}")
    return bool(slow and fast) and high <= fast and all(each and each <= slow for each in low)


def _cpus(installed: Installed, pod: Workload) -> CpuSet:
    """Empty while the pod is not steered."""
    text = installed.setting(pod, CPUSET)
    return parse_cpus(text) if text else frozenset()


def _ceilings(guest: Machine) -> dict[int, int]:
    """What each CPU may run at, in kHz."""
    script = (
        "import json,glob,re,sys\n"
        "paths = glob.glob('/sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq')\n"
        "json.dump({re.search(r'policy(\\d+)', each)[1]: int(open(each).read()) for each in paths}, sys.stdout)\n"
    )
    found = json.loads(guest.run(["python3", "-c", script]).check().stdout)
    return {int(cpu): ceiling for cpu, ceiling in found.items()}
