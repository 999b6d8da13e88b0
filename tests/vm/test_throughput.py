"""What preemption costs the node: with it as much work is finished as without, whoever does it."""

from __future__ import annotations

import statistics
import struct
from typing import NamedTuple

import pytest

from tests.vm.agent import CONFIG, ENFORCE, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

ROUNDS = 5
ROUND_SECONDS = 6
HOGS = 4
SERVED, BATCHED = "/run/served", "/run/batched"
LEAST = 0.95


class Rate(NamedTuple):
    """Finished units of work per second, of the service and of the batch pod."""

    service: float
    batch: float

    @property
    def node(self) -> float:
        return self.service + self.batch


def finished(guest: Machine, path: str, workers: int) -> tuple[int, ...]:
    """Units of work, by process."""
    return struct.unpack_from(f"={workers}Q", guest.pull(path))


def test_preemption_costs_the_node_hardly_any_work(guest_image: Image) -> None:
    """
    A service with requests, and hogs of low priority for all that is left: rounds with the agent enforcing and without
    any agent take turns, so that what else the machine does hits both. The work of a round's pair is compared.
    """
    with Machine(guest_image, kernel="6.12", counted=True) as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        # udev still loads drivers, which at this clock's pace is most of a CPU for many seconds.
        guest.sh("udevadm settle --timeout=300", timeout=310)
        service, batch = Pod(guest, 1, "service", priority="high"), Pod(guest, 2, "batch", priority="low")
        for pod in (service, batch):
            pod.start()
        for pod in (service, batch):
            pod.wait()
        idle = f"/sys/fs/cgroup/{batch.slice_path}/cpu.idle"

        def measure() -> Rate:
            return Rate(*agent.script("work.py", "measure", str(ROUND_SECONDS), SERVED, BATCHED))

        def with_agent() -> Rate:
            agent.start()
            batch.wait_for("cpu.idle", "1")
            found = measure()
            assert guest.sh(f"cat {idle}").strip() == "1"
            agent.stop()
            assert guest.sh(f"cat {idle}").strip() == "0"
            return found

        pairs: list[tuple[Rate, Rate]] = []
        with (
            service.load("serve", SERVED, program="work.py"),
            batch.load("batch", str(HOGS), BATCHED, program="work.py"),
        ):
            guest.sh(f"until [ -s {SERVED} ] && [ -s {BATCHED} ]; do sleep 0.2; done")
            while not all((*finished(guest, SERVED, 1), *finished(guest, BATCHED, HOGS))):
                guest.sh("sleep 0.2")
            for turn in range(ROUNDS):
                # Whichever comes first: what drifts while the test runs must not favour one of them.
                first = with_agent() if turn % 2 else measure()
                second = measure() if turn % 2 else with_agent()
                pairs.append((first, second) if turn % 2 == 0 else (second, first))

    ratios = [enforced.node / without.node for without, enforced in pairs]
    for (without, enforced), ratio in zip(pairs, ratios, strict=True):
        print(
            f"units per second: without {without.service:.1f} + {without.batch:.1f}, "
            f"with preemption {enforced.service:.1f} + {enforced.batch:.1f}: {ratio:.3f}"
        )
    print(f"median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")

    assert all(rate > 0 for pair in pairs for each in pair for rate in each)
    assert statistics.median(ratios) >= LEAST
