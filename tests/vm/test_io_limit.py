"""Limits of I/O on a stock kernel: each pod has what its owner says of a disk, and nobody else loses anything."""

from __future__ import annotations

import json

import pytest

from tests.vm.agent import CONFIG, PORT, Agent
from tests.vm.image import Image
from tests.vm.machine import CGROUP_V1, Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

MIB = 1 << 20
ENFORCE = f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\nioLimit: {{mode: enforce}}\n"
OWN, RUBIK = "plimsoll.io/io-limit", "volcano.sh/blkio-limit"


class Disk:
    """One of the guest's disks by its serial number: what the kernel calls it, and its number."""

    def __init__(self, guest: Machine, serial: str) -> None:
        link = f"/dev/disk/by-id/virtio-{serial}"
        self.path = guest.sh(f"until [ -e {link} ]; do sleep 0.2; done; readlink -f {link}").strip()
        self.number = guest.sh(f"cat /sys/class/block/{self.path.rpartition('/')[2]}/dev").strip()


def io_max(guest: Machine, pod: Pod) -> list[str]:
    return guest.sh(f"cat /sys/fs/cgroup/{pod.slice_path}/io.max").splitlines()


def wait_for_lines(guest: Machine, pod: Pod, *lines: str) -> None:
    """Until io.max of the pod's cgroup has these lines and no other; the kernel prints them in no order."""
    wanted = "\n".join(sorted(lines))
    guest.sh(
        f'until [ "$(sort /sys/fs/cgroup/{pod.slice_path}/io.max)" = "{wanted}" ]; do sleep 0.2; done', timeout=120
    )


def seconds_to_read(guest: Machine, pod: Pod, disk: Disk, size: int) -> float:
    """How long a process of the pod takes to read so many bytes past the page cache."""
    measure = (
        "import mmap, os, time; piece = mmap.mmap(-1, 65536); "
        f"disk = os.open('{disk.path}', os.O_RDONLY | os.O_DIRECT); "
        f"begun = time.monotonic(); assert sum(os.readv(disk, [piece]) for _ in range({size // 65536})) == {size}; "
        "print(time.monotonic() - begun)"
    )
    join = f"echo $$ > /sys/fs/cgroup/{pod.slice_path}/{pod.scope}/cgroup.procs"
    return float(guest.sh(f'{join} && exec python3 -c "{measure}"', timeout=120))


def test_f06_two_disks_of_one_pod(guest_image: Image) -> None:
    """
    F05, F06: two disks, two lines, both in force; the root's disk and one that is not there are refused and told; a
    broken annotation lifts nothing; SIGTERM and, after SIGKILL, ``plimsoll restore`` leave no line.
    """
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        data, swap, root = (Disk(guest, f"plimsoll-{each}") for each in ("data", "swap", "root"))
        own = f"{data.path} rbps=1Mi wiops=40; {swap.number} wbps=2Mi; {root.path} rbps=1Mi; /dev/nosuch rbps=1"
        batch = Pod(guest, 1, "batch", priority="low", annotations={OWN: own})
        said = json.dumps({"device_read_iops": [{"device": swap.path, "value": "100"}]})
        migrated = Pod(guest, 2, "migrated", annotations={RUBIK: said})
        silent = Pod(guest, 3, "silent")
        for pod in (batch, migrated, silent):
            pod.start()
            pod.wait()
        # Somebody else's limit of another disk of the same pod.
        guest.sh(f"echo '{root.number} wiops=5000' > /sys/fs/cgroup/{batch.slice_path}/io.max")
        foreign = f"{root.number} rbps=max wbps=max riops=max wiops=5000"
        start = agent.script("settings.py")
        unlimited = min(seconds_to_read(guest, silent, data, 3 * MIB) for _ in range(3))

        agent.start()
        limits = (
            f"{data.number} rbps=1048576 wbps=max riops=max wiops=40",
            f"{swap.number} rbps=max wbps=2097152 riops=max wiops=max",
        )
        wait_for_lines(guest, batch, foreign, *limits)
        wait_for_lines(guest, migrated, f"{swap.number} rbps=max wbps=max riops=100 wiops=max")
        limited = seconds_to_read(guest, batch, data, 3 * MIB)
        plan = agent.plimsoll("plan", "--pods", "/etc/plimsoll/pods", "--config", CONFIG).check().stdout
        beside = io_max(guest, silent)

        batch.annotations[OWN] = "rbps is what I want less of"
        batch.declare()
        # A second pod that the same tick has to follow tells when the change was seen.
        migrated.annotations = {}
        migrated.declare()
        wait_for_lines(guest, migrated)
        after_slip = io_max(guest, batch)

        agent.stop("KILL")
        after_kill = io_max(guest, batch)
        restored = agent.plimsoll("restore")
        after_restore = io_max(guest, batch)

        batch.annotations[OWN] = f"{data.path} riops=30"
        batch.declare()
        agent.start()
        wait_for_lines(guest, batch, foreign, f"{data.number} rbps=max wbps=max riops=30 wiops=max")
        agent.stop()
        left = agent.script("settings.py")
        log = agent.log()
    print(f"3 MiB at 1 MiB/s: {limited:.1f} s, without a limit {unlimited:.2f} s")
    assert limited > 2 > unlimited
    assert beside == []
    assert sorted(after_slip) == sorted(after_kill) == sorted((foreign, *limits))
    assert (restored.status, after_restore) == (0, [foreign])
    assert {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)} == {}
    assert f"{root.path} is not limited: the node itself lives on it" in plan
    assert "/dev/nosuch is not limited: this node has no such disk." in plan
    assert "IoLimitRefused" in plan
    assert [line for line in log if line["level"] == "error"] == []


def test_v1_containers_are_limited(guest_image: Image) -> None:
    """On cgroup v1 the limit is its containers', in the file of each figure, and goes with the agent."""
    with Machine(guest_image, kernel="6.1", arguments=CGROUP_V1) as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        data = Disk(guest, "plimsoll-data")
        pod = Pod(guest, 1, "batch", annotations={OWN: f"{data.path} rbps=1Mi wiops=40"})
        pod.make("cpu,cpuacct", "memory", "blkio", "pids")
        below = f"/sys/fs/cgroup/blkio/{pod.cgroupfs_path}/{pod.container}"
        start = agent.script("settings.py")

        agent.start()
        for figure, value in (("read_bps", MIB), ("write_iops", 40)):
            file = f"{below}/blkio.throttle.{figure}_device"
            guest.sh(f'until [ "$(cat {file})" = "{data.number} {value}" ]; do sleep 0.2; done', timeout=120)
        untouched = guest.sh(f"cat {below}/blkio.throttle.write_bps_device {below}/../blkio.throttle.read_bps_device")
        agent.stop()
        left = agent.script("settings.py")
    assert untouched == ""
    assert {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)} == {}
