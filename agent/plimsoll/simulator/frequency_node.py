"""
A node as the frequency policy sees and changes it: units, classes, limits and cpusets in memory, no files.

Writes are carried out one at a time, in the order and with the chains the applier has, and what is no longer wanted
goes back first. It must not know what any write is good for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from plimsoll.actuators.chains import Chains
from plimsoll.model.cpus import CpuSet, format_cpus, parse_cpus
from plimsoll.model.frequency import Backend, Bucket, FrequencySample, Unit
from plimsoll.model.order import order
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Result, Target, TargetKind, Write, cgroup
from plimsoll.model.pod import Pod, PodIntent, PodObject, Priority, QosClass
from plimsoll.model.snapshot import Capability, CgroupState, NodeSample, PodSample, Snapshot, SourceState

_BACK = "no longer wanted"


@dataclass
class SimulatedPod:
    """``cpus``: where it may run; ``usage``: CPUs' worth in the last tick, ``None`` when unknown."""

    number: int
    priority: Priority
    cpus: CpuSet
    usage: float | None = None
    waited: float | None = None
    request_millis: int | None = None
    pinned: CpuSet = frozenset()
    managed: bool = True
    state: CgroupState = CgroupState.FOUND

    @property
    def uid(self) -> str:
        """Made of its number, as its path is."""
        return f"{self.number:08x}-0000-4000-8000-000000000000"

    @property
    def path(self) -> str:
        """Its cgroup."""
        return f"kubepods.slice/pod{self.number}"

    def sample(self) -> PodSample:
        """What the agent observes of it."""
        thing = PodObject(
            uid=self.uid,
            namespace="simulated",
            name=f"pod-{self.number}",
            qos_class=QosClass.BURSTABLE,
            phase="Running",
            deleting=False,
            mirror=False,
            priority_class=None,
            containers=(),
            cpu_request_millis=self.request_millis,
        )
        found = self.state is CgroupState.FOUND
        return PodSample(
            Pod(thing, PodIntent(self.priority, "default", managed=self.managed)),
            self.state,
            self.path if found else None,
            kubelet_root="kubepods.slice" if found else None,
            container_cgroups=(f"{self.path}/main",) if found else (),
            stall_rates={"cpu": (self.waited, None)},
            cpu_usage=self.usage if found else None,
            cpus=self.cpus if found else None,
            pinned=self.pinned,
        )


@dataclass
class FrequencyNode:
    """
    ``values`` are what stands in knobs that were written, ``originals`` what stood there before; ``turbo``: buckets by
    package; ``megahertz``: what its CPUs are seen to run at. Capabilities are those a policy may ask for.
    """

    units: tuple[Unit, ...]
    backend: Backend = Backend.TPMI
    capabilities: tuple[str, ...] = ("cgroup", "kubepods", "frequency", "cpuset-v2")
    turbo: Mapping[int, tuple[Bucket, ...]] = field(default_factory=dict)
    pods: dict[int, SimulatedPod] = field(default_factory=dict)
    values: dict[tuple[Target, Knob], str] = field(default_factory=dict)
    originals: dict[tuple[Target, Knob], Write] = field(default_factory=dict)
    foreign: str = ""
    megahertz: Mapping[int, float] = field(default_factory=dict)

    @property
    def cpus(self) -> CpuSet:
        """Those online."""
        return frozenset().union(*(each.cpus for each in self.units))

    def add(self, number: int, priority: Priority, **facts: object) -> SimulatedPod:
        """A pod that may run anywhere, as a new one does; ``facts`` are fields of :class:`SimulatedPod`."""
        pod = SimulatedPod(**{"number": number, "priority": priority, "cpus": self.cpus, **facts})  # type: ignore[arg-type]
        self.pods[number] = pod
        return pod

    def remove(self, number: int) -> None:
        """The pod ends, and its cgroup with it."""
        below = f"{self.pods.pop(number).path}/"
        for each in [key for key in self.values if f"{key[0].path}/".startswith(below)]:
            self.values.pop(each)
            self.originals.pop(each, None)

    def online(self, units: tuple[Unit, ...]) -> None:
        """Other CPUs are there from now on. A pod none of whose CPUs is left may run anywhere, as with the kernel."""
        self.units = units
        for each in self.pods.values():
            each.cpus = self._allowed(each)

    def snapshot(self, monotonic: float) -> Snapshot:
        """What the agent observes."""
        speed_select = self.backend in (Backend.TPMI, Backend.MAILBOX)
        return Snapshot(
            sequence=int(monotonic) + 1,
            monotonic=monotonic,
            unix=monotonic,
            interval=1.0,
            node_name="simulated",
            pods=tuple(each.sample() for each in self.pods.values()),
            node=NodeSample(
                frequency=FrequencySample(
                    backend=self.backend,
                    units=self.units,
                    classes={each.name: self.class_of(each) for each in self.units} if speed_select else {},
                    limits={} if speed_select else {each.name: self.ceiling(each) for each in self.units},
                    buckets=self.turbo,
                    foreign=self.foreign,
                    megahertz=self.megahertz,
                )
            ),
            capabilities=tuple(Capability(each, available=True) for each in self.capabilities),
            sources=(SourceState("simulated", ok=True, complete=True, age_seconds=0.0),),
        )

    def class_of(self, unit: Unit) -> int:
        """The class of service a unit is in; after a reset it is the most important one."""
        return int(self.values.get((Target(TargetKind.UNIT, unit.name), Knob.CLOS_ASSOCIATION), "0"))

    def ceiling(self, unit: Unit) -> int:
        """What the unit may reach now (MHz)."""
        highest = unit.highest or 0
        if self.backend is Backend.CPUFREQ:
            places = [(Target(TargetKind.UNIT, each), Knob.SCALING_MAX_FREQ) for each in unit.targets or (unit.name,)]
            # Of two siblings the slower one: both are to be fast.
            return min([highest, *(int(self.values[each]) // 1000 for each in places if each in self.values)])
        if self.values.get((Target(TargetKind.PACKAGE, str(unit.package)), Knob.CORE_POWER), "off") == "off":
            return highest
        place = Target(TargetKind.CLASS, f"{unit.package}/{unit.domain}/{self.class_of(unit)}")
        parameters = dict(
            each.split("=") for each in self.values.get((place, Knob.CLOS_PARAMETERS), "max=none").split()
        )
        return highest if parameters["max"] == "none" else min(int(parameters["max"]), highest)

    def slow(self) -> CpuSet:
        """CPUs that cannot reach what their hardware can."""
        return frozenset().union(*(each.cpus for each in self.units if self.ceiling(each) < (each.highest or 0)))

    def carry_out(self, writes: Iterable[Write], fails: Callable[[Write], bool] = lambda _: False) -> Iterator[Write]:
        """Make all of them so, and give each right after it was; one that ``fails`` changes nothing."""
        wanted = {each.key: each for each in writes}
        back = [
            kept._replace(phase=-kept.phase, reason=_BACK) for key, kept in self.originals.items() if key not in wanted
        ]
        due = [each for each in (*back, *wanted.values()) if self._stands(each) != each.value or each.reason == _BACK]
        for write in wanted.values():
            kept = self.originals.get(write.key)
            if kept is not None:
                # Whichever of the two stands in the end is to be taken back in time, and with what it depends on.
                self.originals[write.key] = kept._replace(
                    phase=max(kept.phase, write.phase), chain=kept.chain or write.chain
                )
        chains = Chains()
        for write in order(due, {each.key: self._stands(each) for each in due}):
            if chains.stops(write):
                continue
            if fails(write) or self._refuses(write):
                chains.saw(Result(write, Outcome.DENIED))
                continue
            self._put(write, passing=write.reason == _BACK and write.value != self.originals[write.key].value)
            yield write

    def restore(self) -> Iterator[Write]:
        """Put everything back, as after a crash: from the journal alone."""
        yield from self.carry_out(())

    def _stands(self, write: Write) -> str:
        key = write.key
        if key in self.values:
            return self.values[key]
        if write.knob is Knob.CPUSET_CPUS:
            return format_cpus(self.cpus)
        if write.knob is Knob.SCALING_MAX_FREQ:
            return str(1000 * max(each.highest or 0 for each in self.units))
        return _RESET.get(write.knob, "")

    def _refuses(self, write: Write) -> bool:
        """In cgroup v1 no child may have a CPU that its parent lacks. One that goes offline is taken out of both."""
        owner = self._owner(write.target)
        if owner is None or "cpuset-v2" in self.capabilities:
            return False
        other = owner.path if write.target.path != owner.path else f"{owner.path}/main"
        text = self.values.get((cgroup(other), Knob.CPUSET_CPUS))
        its = self.cpus if text is None else parse_cpus(text) & self.cpus
        this = parse_cpus(write.value) & self.cpus
        return not (this <= its if other == owner.path else its <= this)

    def _put(self, write: Write, *, passing: bool) -> None:
        key = write.key
        if passing:
            # On the way back it is still to be put back.
            pass
        elif write.reason == _BACK:
            self.originals.pop(key, None)
        else:
            # As in the journal: the value from before us, with the phase of what we wrote last.
            self.originals.setdefault(key, write._replace(value=self._stands(write)))
        self.values[key] = write.value
        owner = self._owner(write.target)
        if owner is not None:
            owner.cpus = self._allowed(owner)

    def _allowed(self, pod: SimulatedPod) -> CpuSet:
        own = (cgroup(each) for each in (pod.path, f"{pod.path}/main"))
        parts = [
            parse_cpus(self.values[each, Knob.CPUSET_CPUS]) for each in own if (each, Knob.CPUSET_CPUS) in self.values
        ]
        return self.cpus.intersection(*parts) or self.cpus

    def _owner(self, target: Target) -> SimulatedPod | None:
        if target.kind is not TargetKind.CGROUP:
            return None
        return next(
            (each for each in self.pods.values() if target.path in (each.path, f"{each.path}/main")),
            None,
        )


_RESET = {Knob.CLOS_ASSOCIATION: "0", Knob.CORE_POWER: "off", Knob.TURBO_FREQUENCY: "off"}
