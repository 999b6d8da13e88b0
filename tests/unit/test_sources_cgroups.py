"""Samples of pods from tick to tick: shares of time, counters that start anew, ticks that come late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.config.annotations import intent
from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.schema import PrioritySection
from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.pod import Pod
from plimsoll.model.snapshot import CgroupState, PodSample
from plimsoll.sources.cgroups import PENDING_SECONDS, PodCgroups
from plimsoll.sources.cgroups.lookup import RESCAN_SECONDS
from tests.support import CONTAINER, UID, psi, v2_node, v2_pod


class Node:
    """One pod on a v2 node, sampled by a clock that stands still between calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.kubepods = v2_node(root)
        self.directory = v2_pod(self.kubepods, 1)
        self.pass_seconds = 0.0
        self.host = HostFs(str(root))
        self.hierarchies = Hierarchies.detect(self.host)
        reader = BatchReader()
        read = reader.read

        def slow_read(slots: object = None) -> None:
            assert slots is None
            self.now += self.pass_seconds
            read()

        reader.read = slow_read
        self.cgroups = PodCgroups(self.hierarchies, reader, clock=lambda: self.now)
        raw = {
            "metadata": {"uid": UID.format(1), "namespace": "shop", "name": "web"},
            "status": {"containerStatuses": [{"name": "a", "containerID": f"containerd://{CONTAINER.format(1)}"}]},
        }
        found = decode(raw)
        assert not isinstance(found, PodRejected)
        self.pod = Pod(found, intent(found, PrioritySection()))

    def sample(self, total_us: int, after: float) -> PodSample:
        (self.directory / "memory.pressure").write_text(psi(total_us, total_us // 2))
        self.now += after
        (sample,) = self.cgroups.observe([self.pod], self.now)
        return sample


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.cgroups.close()
    node.hierarchies.close()
    node.host.close()


def test_shares_of_time(node: Node) -> None:
    """Half a second of stall in a second is one half; the first tick has no share, and none is made up."""
    assert node.sample(1_000_000, 1.0).stall_rates["memory"] == (None, None)
    assert node.sample(1_500_000, 1.0).stall_rates["memory"] == (0.5, 0.25)


def test_a_counter_that_goes_backwards_starts_anew(node: Node) -> None:
    """F30: no negative share, no share on the tick of the reset, a true one on the next."""
    node.sample(9_000_000, 1.0)
    assert node.sample(100_000, 1.0).stall_rates["memory"] == (None, None)
    assert node.sample(350_000, 1.0).stall_rates["memory"] == (0.25, 0.125)


def test_a_late_tick_is_a_longer_tick(node: Node) -> None:
    """F30: ten times late (or a suspend) is divided by the time that really passed."""
    node.sample(0, 5.0)
    assert node.sample(5_000_000, 50.0).stall_rates["memory"] == (0.1, 0.05)


def test_a_clock_that_stands_or_runs_backwards_gives_no_share(node: Node) -> None:
    """F30: dividing by nothing, or by less, is not done."""
    node.sample(0, 5.0)
    assert node.sample(10, 0.0).stall_rates["memory"] == (None, None)
    assert node.sample(20, -3.0).stall_rates["memory"] == (None, None)


def test_a_slow_pass_never_gives_more_than_all_the_time(node: Node) -> None:
    """F30: a pass that itself takes seconds reads later figures; the share stays one."""
    node.sample(0, 1.0)
    node.pass_seconds = 4.0
    some, full = node.sample(5_000_000, 1.0).stall_rates["memory"]
    assert (some, full) == (1.0, 0.5)


def test_a_pod_whose_cgroup_comes_late_is_found(node: Node) -> None:
    """Pending until the kubelet made it, looked for again after a short while, without an error in between."""
    later = v2_pod(node.kubepods, 2)
    hidden = node.root / "hidden"
    later.rename(hidden)
    found = decode({"metadata": {"uid": UID.format(2), "namespace": "shop", "name": "late"}})
    assert not isinstance(found, PodRejected)
    pod = Pod(found, intent(found, PrioritySection()))
    (sample,) = node.cgroups.observe([pod], node.now)
    assert (sample.state, sample.pressures, dict(sample.errors)) == (CgroupState.PENDING, (), {})

    hidden.rename(later)
    node.now += PENDING_SECONDS
    (sample,) = node.cgroups.observe([pod], node.now)
    assert sample.state is CgroupState.FOUND
    assert sample.pressures


def test_what_is_turned_on_later_is_read_from_then_on(node: Node) -> None:
    """``cgroup.pressure`` of the pod and a controller, off when it was found: its files come, and their figures."""
    files = [node.directory / name for name in ("cpu.pressure", "memory.current")]
    texts = [each.read_text() for each in files]
    for each in files:
        each.unlink()
    before = node.sample(0, 1.0)
    causes = {each.cause for each in before.pressures}
    assert ("memory" in causes, "cpu" in causes, before.memory_bytes) == (True, False, None)

    for each, text in zip(files, texts, strict=True):
        each.write_text(text)
    after = node.sample(0, RESCAN_SECONDS)
    assert {each.cause for each in after.pressures} - causes == {"cpu"}
    assert after.memory_bytes == 4096
