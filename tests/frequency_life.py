"""
Lives of the agent's frequency half on a machine in a folder and a register model: observed, decided on and written as
the daemon does it, killed where a test wants it, with every promise checked at every instant.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Self

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import Journal
from plimsoll.actuators.replay import replay
from plimsoll.config.frequency_section import FrequencySection
from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.kernel.cgroup import CGROUP_ROOT, Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.registers import REGISTERS
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.probe import probe
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.cpus import CpuSet, format_cpus, parse_cpus
from plimsoll.model.plan import Knob, Result, Target, TargetKind, cgroup
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Capability, NodeSample, Snapshot, SourceState
from plimsoll.policies import registry
from plimsoll.policies.frequency_groups import LOW_CLASS
from plimsoll.policies.registry import enrol
from plimsoll.simulator.frequency_node import SimulatedPod
from plimsoll.simulator.speed_select import Exchange
from plimsoll.simulator.speed_select import SpeedSelect as Model
from plimsoll.simulator.speed_select_fault import Command, Fault
from plimsoll.simulator.speed_select_hardware import MAILBOX_ASSOC_SHIFT, TURBO_FREQUENCY
from plimsoll.simulator.speed_select_machine import Core, Generation, MachineDescription, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from plimsoll.sources.frequency import NodeFrequency
from tests.acting import STATE, Clock
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from plimsoll.kernel.isst.device import Transport

KUBEPODS = f"{CGROUP_ROOT}/kubepods.slice"
SMALL = {"window": 2, "coolDown": 1, "shrinkStep": 0.5, "turboFrequency": "on"}
"""A configuration under which a few ticks see the group grow and shrink."""

_replay = lru_cache(maxsize=1)(replay)
"""The journal is asked before each write, and grows by few of them."""

OFF = PreemptionSection.model_validate({"mode": "off"})


class Killed(BaseException):
    """The end of a process, as SystemExit is: nothing may take it for an error and go on."""


class BrokenPromiseError(AssertionError):
    """A promise that did not hold at some instant."""


def describe_small(generation: Generation) -> MachineDescription:
    """Two packages; with TPMI of two power domains each, a number that is missing and a die without CPUs."""
    if generation is Generation.TPMI:
        return describe(generation, domains=2, cores=2, io_domains=1, missing_domains=frozenset({1}))
    return describe(generation, cores=4)


class Step(NamedTuple):
    """What the pods use in one tick, CPUs' worth by number."""

    usage: dict[int, float]


class Node:
    """
    What outlives the agent: the folder, and the checker that is told of every change.

    ``deadly`` is the number of the step at which a life ends. A step changes something that outlives it: a command that
    writes, or a write to a cpuset, a ceiling or the journal. Killed at a read, a process leaves what it left before the
    next step. ``instants`` counts how often the promises were checked, and ``slow_seen`` are CPUs that ever were slow.
    ``transport`` answers in the place of the device of Speed Select, where there is one; ``promised``: whether there is
    anybody to keep what is promised.
    """

    def __init__(self, root: Path, description: MachineDescription, pods: Sequence[SimulatedPod]) -> None:
        self.root = root
        self.pods = {each.number: each for each in pods}
        self.description = description
        root.mkdir()
        (root / STATE).mkdir(parents=True)
        lay_out(Tree(str(root)), self.description)
        tree = {f"{CGROUP_ROOT}/cgroup.controllers": "cpuset cpu memory\n"} | trees.proc()
        for path in ("kubepods.slice", *(each.path for each in pods)):
            tree |= trees.below(f"{CGROUP_ROOT}/{path}", {"cpuset.cpus": "\n", "cpu.weight": "100\n"})
        trees.write(root, tree)
        self.transport: Transport | None = None
        self.online: CpuSet = frozenset(description.cpus)
        self.promised = True
        self.deadly: int | None = None
        self.steps: list[str] = []
        self.instants = 0
        self.slow_seen: CpuSet = frozenset()

    def state(self) -> dict[str, int | str | bytes]:
        """Everything that must be as it was in the end; here every cpuset."""
        return {each.path: (self.root / CGROUP_ROOT / each.path / "cpuset.cpus").read_bytes() for each in self._all()}

    def slow(self) -> CpuSet:
        """The CPUs online that are slow."""
        raise NotImplementedError

    def cpus_of(self, pod: SimulatedPod) -> CpuSet:
        """Where the kernel lets a pod run."""
        # A file keeps the tail of a longer value for an instant; the kernel takes a line.
        line = (self.root / CGROUP_ROOT / pod.path / "cpuset.cpus").read_text().partition("\n")[0]
        return (parse_cpus(line) & self.online if line else frozenset()) or self.online

    def check(self, where: str) -> None:
        """What must hold between any two changes."""
        self.instants += 1
        slow = self.slow()
        self.slow_seen |= slow
        for pod in self._all():
            if self.promised and pod.priority is Priority.HIGH and self.cpus_of(pod) & slow:
                raise BrokenPromiseError(
                    f"{where}: pod {pod.number} may run on slow CPUs {sorted(self.cpus_of(pod) & slow)}"
                )

    def hook(self, operation: str, path: str) -> int:
        """For the host and the journal: called before each of their system calls."""
        if operation == "write" and path.endswith("/cpuset.cpus"):
            relative = path.partition(f"{CGROUP_ROOT}/")[2].removesuffix("/cpuset.cpus")
            self._step(f"cpuset {relative}")
            self._in_journal(cgroup(relative), Knob.CPUSET_CPUS)
        elif operation in ("rename", "unlink", "truncate"):
            self._step(f"{operation} {path.rpartition('/')[2]}")
        return 0

    def append(self, descriptor: int, data: bytes) -> int:
        """The journal's write: a kill leaves half of it behind."""
        if len(self.steps) == self.deadly:
            os.write(descriptor, data[: len(data) // 2])
        self._step("append")
        return os.write(descriptor, data)

    def _all(self) -> Sequence[SimulatedPod]:
        return tuple(self.pods.values())

    def _step(self, name: str) -> None:
        self.check(name)
        if len(self.steps) == self.deadly:
            raise Killed(name)
        self.steps.append(name)

    def _in_journal(self, target: Target, knob: Knob) -> None:
        known = _replay((self.root / STATE / "journal").read_bytes(), trees.BOOT_ID).originals
        if not any(key.target == target and key.knob is knob for key in known):
            raise BrokenPromiseError(f"{knob} of {target.path} is written before it is in the journal")


class Machine(Node):
    """One with Speed Select: ``model`` is its registers."""

    def __init__(self, root: Path, generation: Generation, pods: Sequence[SimulatedPod]) -> None:
        super().__init__(root, describe_small(generation), pods)
        # Without the interlocks, so that what was asked for is seen, and not what the hardware would have made of it.
        self.transport = self.model = Model(self.description, interlocked=False, observe=self._exchanged)
        self.model.faults.append(Fault(self._before, times=None))

    def state(self) -> dict[str, int | str | bytes]:
        """Every register and every cpuset."""
        return {**self.model.registers(), **super().state()}

    def put_in_class(self, core: Core, clos: int) -> None:
        """As somebody else would."""
        shift = 0 if self.description.generation is Generation.TPMI else MAILBOX_ASSOC_SHIFT
        self.model.hardware.poke(f"{core.package}/{core.domain}/assoc/{core.core}", clos << shift)

    def slow(self) -> CpuSet:
        """The CPUs of units in the low class."""
        hardware = self.model.hardware
        return self.online & frozenset(
            cpu
            for each in self.description.cores
            if hardware.class_of(each.package, each.domain, each.core) == LOW_CLASS
            for cpu in each.cpus
        )

    def check(self, where: str) -> None:
        super().check(where)
        hardware = self.model.hardware
        for place, domain in hardware.domains.items():
            if domain.features & TURBO_FREQUENCY and not hardware.prioritised(domain):
                raise BrokenPromiseError(f"{where}: core-power is off under turbo frequency in {place}")

    def have_online(self, cpus: CpuSet) -> None:
        """Other CPUs are on line from now on. A core keeps its class meanwhile."""
        self.online = cpus
        (self.root / FOLDER / "online").write_text(f"{format_cpus(cpus)}\n")
        self.model.kernel.offline = frozenset(self.description.cpus) - cpus
        self.check("after CPUs went on or off line")

    def _before(self, command: Command) -> bool:
        """Seen before every command."""
        if command.write:
            self._step(f"ioctl {command.register}")
            self._in_journal(*_place(command))
        return False

    def _exchanged(self, exchange: Exchange) -> None:
        if any(command.write for command, _ in exchange.commands):
            self.check(f"after {exchange.request}")


def _place(command: Command) -> tuple[Target, Knob]:
    """Which knob a command that writes belongs to."""
    kind, _, number = command.register.partition("/")
    if kind == "assoc":
        return Target(TargetKind.UNIT, f"{command.package}/{command.domain}/{number}"), Knob.CLOS_ASSOCIATION
    if kind == "clos":
        return Target(TargetKind.CLASS, f"{command.package}/{command.domain}/{number}"), Knob.CLOS_PARAMETERS
    package = Target(TargetKind.PACKAGE, str(command.package))
    if kind == "features":
        return package, Knob.TURBO_FREQUENCY
    if kind == "msr":
        return package, Knob.TURBO_LIMITS
    return package, Knob.CORE_POWER


class Life:
    """One process: it observes, decides and writes, and remembers nothing of an earlier one but the journal."""

    def __init__(self, machine: Node, clock: Clock, config: dict[str, object] | None = None) -> None:
        self.machine = machine
        self.clock = clock
        section = FrequencySection.model_validate({"mode": "enforce", **(SMALL if config is None else config)})
        self._enrolled = enrol(preemption_section=OFF, frequency_section=section)
        self._past: registry.Past = {}
        self._sequence = 0
        self.results: list[Result] = []
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        machine = self.machine
        with ExitStack() as opened:
            host = opened.enter_context(HostFs(str(machine.root), fault=machine.hook))
            hierarchies = opened.enter_context(Hierarchies.detect(host))
            self.journal = opened.enter_context(
                Journal.open(
                    str(machine.root / STATE),
                    trees.BOOT_ID,
                    fault=machine.hook,
                    write=machine.append,
                )
            )
            speed_select = SpeedSelect(host, transport=machine.transport, pause=self.clock.wait)
            self._source = NodeFrequency(host, speed_select, self.clock)
            self.capabilities: tuple[Capability, ...] = probe(
                host, hierarchies, Kubepods.find(hierarchies), speed_select=speed_select
            )
            self._applier = Applier(
                Knobs(host, hierarchies, lambda: speed_select.registers),
                self.journal,
                clock=self.clock,
                random=random.Random(7).random,
                pause=self.clock.wait,
            )
            self._applier.adopt()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def tick(self, step: Step) -> None:
        """One second."""
        self.clock.now += 1
        self._sequence += 1
        pods = []
        for pod in self.machine.pods.values():
            pod.cpus, pod.usage = self.machine.cpus_of(pod), step.usage.get(pod.number, 0.0)
            pods.append(pod.sample())
        ours = any(key.knob in REGISTERS for key in self.journal.originals)
        snapshot = Snapshot(
            sequence=self._sequence,
            monotonic=self.clock.now,
            unix=self.clock.now,
            interval=1.0,
            node_name="node",
            pods=tuple(pods),
            node=NodeSample(frequency=self._source.sample(ours=ours)),
            capabilities=self.capabilities,
            sources=(SourceState("test", ok=True, complete=True, age_seconds=0.0),),
        )
        self.snapshot = snapshot
        decisions, self._past = registry.decide(self._enrolled, snapshot, self.clock.now, self._past)
        self.reports = decisions.reports
        self.results.extend(self._applier.execute(decisions.plan))

    def stop(self) -> tuple[Result, ...]:
        """As at SIGTERM, and as ``plimsoll restore`` does it."""
        return self._applier.restore(self.clock() + 60)
