"""Memory overcommit on a stock kernel: cold memory of low-priority pods goes to a device of their own."""

from __future__ import annotations

import pytest

from tests.vm.agent import CONFIG, PORT, Agent
from tests.vm.exposition import Page
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

MIB = 1 << 20
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"
# What an administrator has to say, and a newcomer's minute of grace cut short. The device is a test's: it has no life
# to be careful with.
ENFORCE = (
    f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n"
    f"overcommit: {{mode: enforce, ratio: 1.5, swapDevice: {SWAP}, probation: 5s, window: 10s, interval: 2s, "
    f"writeBudget: 64Mi}}\n"
)


def read_page(guest: Machine) -> Page:
    """The page of the running agent."""
    fetch = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{PORT}/metrics').read().decode())"
    return Page(guest.sh(f'python3 -c "{fetch}"'))


def test_cold_memory_goes_and_everything_else_stays(guest_image: Image) -> None:
    """
    The ratio is reached with memory of the low-priority pod alone; the others may not swap; in the end all limits are
    as they were.
    """
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        # Nothing of the guest's own may be on the device.
        guest.sh("for each in init.scope system.slice; do echo 0 > /sys/fs/cgroup/$each/memory.swap.max; done")
        guest.sh(f"mkswap {SWAP} && swapon {SWAP}")
        batch, service = Pod(guest, 1, "batch", priority="low"), Pod(guest, 2, "service", priority="high")
        for pod in (batch, service):
            pod.start()
            pod.wait()
        below = f"/sys/fs/cgroup/{batch.slice_path}"
        # As the kubelet leaves the containers of a node without swap.
        guest.sh(f"echo 0 > {below}/{batch.scope}/memory.swap.max")
        start = agent.script("settings.py")
        with (
            batch.load("16", "0", "160", "1.5", program="parts.py"),
            service.load("16", "0", "48", "1.5", program="parts.py"),
        ):
            guest.sh(f"until [ $(cat {below}/memory.current) -ge {176 * MIB} ]; do sleep 0.2; done", timeout=120)
            agent.start()
            guest.sh(f"until [ $(cat {below}/memory.swap.current) -ge {56 * MIB} ]; do sleep 0.5; done", timeout=900)
            page = read_page(guest)
            while page.value("plimsoll_overcommit_ratio") < 1.45:
                page = read_page(guest)
            held = guest.sh(f"cat /sys/fs/cgroup/{service.slice_path}/memory.swap.max").strip()
            others = guest.sh(f"cat /sys/fs/cgroup/{service.slice_path}/memory.swap.current").strip()
            agent.stop()
            left = agent.script("settings.py")
        log = agent.log()
    print({name: page.value(f"plimsoll_overcommit_{name}") for name in ("ratio", "offloaded_bytes", "gap_bytes")})
    assert (held, others) == ("0", "0")
    assert page.value("plimsoll_swap_dedicated") == 1
    assert page.value("plimsoll_pod_offloaded_bytes", pod="batch") > 50 * MIB
    assert sum(count for _, count in page.series("plimsoll_reclaims_total", policy="overcommit")) > 0
    assert {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)} == {}
    assert [line for line in log if line["level"] == "error"] == []
