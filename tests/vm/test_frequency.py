"""
Frequency groups on a stock kernel: real cgroups and cpusets, and Speed Select's registers behind a real device node.

What is promised is checked at every instant, over what the kernel itself saw of the cpusets and the device of its
registers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from plimsoll.model.cpus import CpuSet
from tests.vm.agent import CONFIG, PORT
from tests.vm.image import Image
from tests.vm.isst.emulator import KERNEL_ARGUMENTS, Emulator, processor
from tests.vm.isst.promises import Instant, broken, instants
from tests.vm.machine import Machine
from tests.vm.steered import ALL, Steered

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

SAPPHIRE_RAPIDS = 143
# One core in two packages, each of two cores with two threads; seconds in the place of minutes.
ENFORCE = (
    f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n"
    "frequency: {mode: enforce, window: 4s, coolDown: 2s, shrinkStep: 1.0, turboFrequency: on}\n"
)
MACHINES: dict[str, dict[str, Any]] = {
    "tpmi": {"generation": "tpmi", "cores": 2},
    "mmio": {"generation": "mmio", "cores": 2},
}
# By generation: what can go wrong on the way to its registers and is over after a while.
FAULTS: dict[str, tuple[tuple[str, tuple[object, ...]], ...]] = {
    "tpmi": (("lost", ("assoc",)), ("lost", ("clos",)), ("short", (0,)), ("short", (1,))),
    "mmio": (("lost", ("assoc",)), ("busy", (3,)), ("rejected", (1,)), ("short", (1,))),
}
ROUNDS = 10


@pytest.fixture(scope="module")
def guest(guest_image: Image) -> Iterator[Machine]:
    qemu = processor(SAPPHIRE_RAPIDS)
    with Machine(guest_image, cpus=8, arguments=KERNEL_ARGUMENTS, qemu=qemu) as machine:
        yield machine


class Node(Steered):
    """The pods of one guest, and its registers."""

    def __init__(self, guest: Machine) -> None:
        super().__init__(guest)
        self.emulator = Emulator(guest)

    def slow(self) -> CpuSet:
        """The CPUs that are slow now."""
        log = self.emulator.log()
        return frozenset(log[-1]["slow"]) if log else frozenset()

    def instants(self, since: int) -> list[Instant]:
        """All that was seen, of writes to cpusets from the one of this number on."""
        return instants(self.emulator.log(), self.witness.writes()[since:], [self.front.slice], ALL)


@pytest.fixture(scope="module")
def node(guest: Machine) -> Node:
    return Node(guest)


@pytest.mark.parametrize("generation", MACHINES)
def test_promises_hold_under_load_and_faults(node: Node, generation: str) -> None:
    """
    The group grows with the load and shrinks without it; whatever fails meanwhile, at no instant may a high-priority
    pod run on a slow CPU, core-power is never off under turbo frequency, and no register is written that is not in the
    journal. After SIGTERM, and after SIGKILL with
    ``plimsoll restore``, every register and every setting is as before.
    """
    guest, agent, emulator, front, batch = node.guest, node.agent, node.emulator, node.front, node.batch
    emulator.start(MACHINES[generation])
    guest.push(CONFIG, ENFORCE)
    start, before = node.settings(), emulator.registers()
    seen_before = len(node.witness.writes())

    agent.start()
    # After a start the group is as large as may be; without load it comes down to a core for each package in use.
    node.wait_for_cpus(batch, "-ge", 4)
    while not node.slow() or not node.cpus(batch) <= node.slow():
        guest.sh("sleep 0.5")
    assert not node.cpus(front) & node.cpus(batch)
    assert node.cpus(node.plain) == ALL

    small = len(node.cpus(front))
    with front.load("spin", "5"):
        node.wait_for_cpus(front, "-ge", 6)
    node.wait_for_cpus(front, "-le", small)

    chance = random.Random(20)
    rounds = 0
    # The slower the machine, the less happens in one of them.
    while rounds < ROUNDS or (rounds < 4 * ROUNDS and len(node.instants(seen_before)) <= ROUNDS):
        rounds += 1
        fault, arguments = chance.choice(FAULTS[generation])
        emulator.fault(fault, *arguments)
        with ExitStack() as loads:
            loads.enter_context(front.load("spin", str(chance.randint(1, 6))))
            if chance.random() < 0.5:
                loads.enter_context(batch.load("spin", "2"))
            # Whatever the agent makes of it in so long: a moment to act in, not a time to be done in.
            guest.sh(f"sleep {chance.uniform(1, 4):.1f}")
    emulator.calm()
    # One that strikes on the way back: what is put back then is put back by a second try.
    emulator.fault("lost", "assoc")
    agent.stop()
    emulator.calm()
    log, seen = emulator.log(), node.instants(seen_before)

    assert emulator.registers() == before
    node.assert_back(start)
    sizes = {len(each.high[front.slice]) for each in seen}
    print(f"{generation}: {rounds} rounds, {len(log)} exchanges, {len(seen)} instants, sizes {sizes}")
    assert broken(seen) == []
    assert not any(each["unprioritised"] for each in log)
    assert [each["unknown"] for each in log if each["unknown"]] == []
    # Not a check of a node on which nothing happened.
    assert {small, 6} <= sizes
    assert len(seen) > ROUNDS

    agent.start()
    # What was given back is all of them; then there are fewer, and in a later second those are slow.
    node.wait_for_cpus(batch, "-lt", len(ALL))
    while not node.slow():
        guest.sh("sleep 0.5")
    agent.stop("KILL")
    restored = agent.plimsoll("restore")
    assert restored.status == 0, restored.stderr
    assert emulator.registers() == before
    node.assert_back(start)
    assert [line for line in agent.log() if line["level"] == "error"] == []
