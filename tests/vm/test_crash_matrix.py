"""Killed at many steps on a real kernel: whatever the step, the next agent goes on as planned and puts all back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.vm.agent import PODS, Agent
from tests.vm.image import Image
from tests.vm.machine import CGROUP_V1, Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

# A point takes two to three seconds where the processor is emulated.
POINT_SECONDS = 15
POINTS, POINTS_V1 = 60, 40


def sampled(agent: Agent, points: int) -> dict[str, Any]:
    """What became of each point, after what holds for every kernel was checked."""
    found: dict[str, Any] = agent.script("crash_matrix.py", PODS, str(points), timeout=120 + points * POINT_SECONDS)
    held = Counter(bool(point["changed"]) for point in found["points"])
    torn = [point for point in found["points"] if point["name"].startswith("torn ")]
    print(
        f"{len(found['points'])} of {found['steps']} steps; {held[True]} with values of ours standing; {found['kinds']}"
    )
    print(f"outcomes of the life that was not killed: {found['outcomes']}")

    for point in found["points"]:
        where = f"step {point['step']}: {point['name']}"
        assert point["killed"] == -9, where
        assert point["lacking"] == {}, where
        assert point["ended"] == 0, where
        assert point["left"] == {}, where
        assert point["journal"] == 0, where

    # A life worth being killed in: it writes, narrows, lets go of everything, and takes it again.
    enforced, narrowed, released, again = found["ticks"]
    assert (len(enforced) > 0, released) == (True, {})
    assert enforced == again
    assert enforced.keys() == narrowed.keys()
    assert set(found["outcomes"]) <= {"ok", "unchanged"}
    # Every kind of step is in the sample, and in most of it something had to be put back.
    assert {point["name"] for point in found["points"]} == set(found["kinds"])
    assert {
        "lock lock",
        "write journal",
        "torn journal",
        "write cpu.idle",
        "read cpu.idle",
        "rename journal.new",
    } <= set(found["kinds"])
    assert len(found["points"]) >= min(points, found["steps"])
    assert held[True] > len(found["points"]) / 4
    assert torn
    assert all(point["torn"] for point in torn)
    return found


def test_f15_killed_at_many_steps_on_cgroup_v2(guest_image: Image) -> None:
    """F15 on Linux 6.12: idle pods with weights of their own, protection of memory from the root down to two pods."""
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        batch = [Pod(guest, number, f"batch-{number}", "BestEffort", "low") for number in (1, 2)]
        online = [
            Pod(guest, 3, "web", "Burstable", "high", memory="32Mi"),
            Pod(guest, 4, "db", "Guaranteed", "high", memory="17Mi"),
        ]
        for pod in (*batch, *online):
            pod.start()
        for pod in (*batch, *online):
            pod.wait()
        guest.sh(f"echo 1700 > /sys/fs/cgroup/{batch[0].slice_path}/cpu.weight")
        guest.sh(f"echo 8192 > /sys/fs/cgroup/{online[0].slice_path}/memory.low")
        found = sampled(agent, POINTS)
        files = Counter(path.rpartition("/")[2] for path in found["ticks"][0])
        # The nice value is the weight, spelled otherwise; so is the weight of an idle cgroup.
        assert files == {"cpu.idle": 2, "cpu.weight": 2, "cpu.weight.nice": 2, "memory.low": 4}
        narrowed = [found["ticks"][1][path] != found["ticks"][0][path] for path in found["ticks"][0]]
        assert sum(narrowed) == files["memory.low"]


@pytest.mark.long
def test_f15_killed_at_many_steps_on_cgroup_v1(guest_image: Image) -> None:
    """F15 on Linux 6.1 with v1: idle pods with shares of their own, in another hierarchy than their memory."""
    with Machine(guest_image, kernel="6.1", arguments=CGROUP_V1) as guest:
        agent = Agent(guest)
        for number in (1, 2):
            pod = Pod(guest, number, f"batch-{number}", "BestEffort", "low")
            pod.make("cpu,cpuacct", "memory")
            guest.sh(f"echo {500 + number} > /sys/fs/cgroup/cpu/{pod.cgroupfs_path}/cpu.shares")
        found = sampled(agent, POINTS_V1)
        files = Counter(path.rpartition("/")[2] for path in found["ticks"][0])
        assert files == {"cpu.idle": 2, "cpu.shares": 2}
