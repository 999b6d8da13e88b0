"""Memory comes back from the device before limits are put back: as far as there is room and time, and it is told."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import Journal
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.draining import Drained, drain
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.policies.overcommit_swap import CONTAINER_PHASE
from tests import swap
from tests.acting import Clock, plan, pod, tree, want
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
LIMIT = Knob.MEMORY_SWAP_MAX


class Node:
    """An agent that holds the limit of one pod, and a device with 100 MiB that came from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        limits = {f"{trees.CGROUP}/{pod(0)}/{LIMIT}": "max\n"}
        memory = {"proc/meminfo": "MemTotal: 2048000 kB\nMemAvailable: 1024000 kB\n"}
        trees.write(root, tree(1) | limits | memory)
        swap.make(root, "swapfile", swap.header())
        self.kernel = swap.SwapKernel(root, used=100, slice_mib=40)
        self.kernel.show(7)
        self.clock = Clock()
        self.host = HostFs(str(root))
        self.hierarchies = Hierarchies.detect(self.host)
        self.applier = self.agent()
        self.applier.execute(plan(want(pod(0), LIMIT, "4096", phase=CONTAINER_PHASE)))
        assert self.limit == "4096\n"

    def agent(self) -> Applier:
        """One that starts now."""
        state = self.root / "run"
        state.mkdir(exist_ok=True)
        applier = Applier(
            Knobs(self.host, self.hierarchies, swap=self.called),
            Journal.open(str(state), "boot"),
            clock=self.clock,
            random=Random(0).random,
            pause=self.clock.wait,
        )
        applier.adopt()
        return applier

    def called(self, descriptor: int, flags: int | None) -> int:
        self.clock.now += 2
        # Nobody may go where somebody comes from.
        assert self.limit == ("4096\n" if flags is None else "max\n")
        return self.kernel(descriptor, flags)

    @property
    def limit(self) -> str:
        return (self.root / trees.CGROUP / pod(0) / LIMIT).read_text(encoding="ascii")

    def drain(self, applier: Applier | None = None, **said: object) -> Drained | None:
        config = OvercommitSection.model_validate({"swapDevice": "/swapfile", "onExit": "drain", **said})
        return drain(applier or self.applier, self.host, self.hierarchies, config, self.clock)

    def restore(self, applier: Applier | None = None) -> int:
        """How much is left to be put back."""
        applier = applier or self.applier
        applier.restore(self.clock() + 60)
        return applier.held


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path)
    yield found
    found.hierarchies.close()
    found.host.close()


def test_all_comes_back_and_the_device_is_on_again(node: Node) -> None:
    """In slices, under the limits that stand; then these go back, and the device is on as it was: with its priority."""
    assert node.drain() == Drained(Outcome.OK, 0)
    assert node.kernel.calls == [None, None, None]
    assert node.restore() == 0
    assert node.kernel.calls[3:] == [0x8007]
    assert node.limit == "max\n"
    assert "\t7\n" in (node.root / "proc/swaps").read_text(encoding="ascii")


def test_without_room_it_stays(node: Node) -> None:
    """Said with the figures; nothing was called, and nothing of it is left in the journal."""
    node.kernel.used = 800
    node.kernel.show(7)
    found = node.drain()
    assert found is not None
    assert (found.outcome, found.left) == (Outcome.HELD, 800 * MIB)
    assert "800 MiB would come back" in found.detail
    assert (node.restore(), node.kernel.calls) == (0, [])


def test_no_longer_than_it_may_take(node: Node) -> None:
    """What came back until then stays in memory, the rest is told, and the device was never away."""
    node.kernel.slice_mib = 1
    found = node.drain(drainTimeout="4s")
    assert found is not None
    # The kernel is asked four times before a tick, or this, looks at the time again.
    assert (found.outcome, found.left) == (Outcome.BUSY, 96 * MIB)
    assert (node.restore(), len(node.kernel.calls)) == (0, 4)


def test_killed_while_the_device_is_off(node: Node) -> None:
    """The next agent knows from the journal that it has to be on, and after the limits are back it is."""
    assert node.drain() == Drained(Outcome.OK, 0)
    successor = node.agent()
    assert node.restore(successor) == 0
    assert node.kernel.calls[3:] == [0x8007]


def test_nothing_to_drain(node: Node) -> None:
    """No device, one that is not there, one that is not on: nothing is done and nothing said."""
    assert node.drain(swapDevice=None) is None
    assert node.drain(swapDevice="/nowhere") is None
    swap.swaps(node.root)
    assert node.drain() is None
    assert node.kernel.calls == []
