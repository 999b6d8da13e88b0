"""What may be written to whom: every knob against every kind of cgroup and CPU, and every value that is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.model.disk import Disk
from plimsoll.model.frequency import Backend, FrequencySample
from plimsoll.model.memory import NodeSwap, SwapDevice
from plimsoll.model.plan import NODE, Knob, Target, TargetKind, Write, cgroup, disk
from plimsoll.model.pod import Priority, QosClass
from plimsoll.model.snapshot import NodeSample, Snapshot
from plimsoll.policies.bounds import RULES, Territory, Violation, ancestors, territory
from tests.fixtures.colocated import path, sample, snapshot
from tests.fixtures.machines import machine

BOUNDS = frozenset(Knob)
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"
PODS = snapshot(
    [
        sample(1, Priority.HIGH),
        sample(2, Priority.NORMAL),
        sample(3, Priority.LOW),
        sample(4, Priority.LOW, managed=False),
        sample(5, Priority.LOW, qos=QosClass.BEST_EFFORT),
    ]
)
UNITS = machine()
DISKS = (Disk("253:0", ("vda",), system=True), Disk("253:16", ("vdb",), ("vdb1",)))
POLICIES = tuple(each._replace(targets=tuple(f"policy{cpu}" for cpu in sorted(each.cpus))) for each in UNITS)


def seen(backend: Backend, **facts: object) -> Snapshot:
    """The pods, on a machine of two packages of four cores."""
    units = POLICIES if backend is Backend.CPUFREQ else UNITS
    swap = NodeSwap(SwapDevice("LABEL=low", active=False, device_path="/dev/vdc"))
    return replace(PODS, node=NodeSample(frequency=FrequencySample(backend, units, **facts), disks=DISKS, swap=swap))  # type: ignore[arg-type]


CPUFREQ, TPMI = territory(seen(Backend.CPUFREQ)), territory(seen(Backend.TPMI))
SPEED_SELECT = {each for each in Knob if each.value.startswith("isst.")}
VALUES = {
    Knob.CPU_IDLE: "1",
    Knob.CPU_WEIGHT: "1",
    Knob.CPU_SHARES: "2",
    Knob.CPU_QOS_LEVEL: "-1",
    Knob.MEMORY_QOS_LEVEL: "-1",
    Knob.MEMORY_LOW: "4096",
    Knob.MEMCG_QOS_ENABLE: "1",
    Knob.DAMON_KDAMONDS: "17 plimsoll",
    Knob.MEMORY_SWAP_MAX: "4096",
    Knob.MEMORY_SWAPFILE: "/dev/vdb",
    Knob.CPUSET_CPUS: "0-3,8",
    Knob.IO_MAX: "rbps=1048576 wbps=max riops=max wiops=max",
    Knob.BLKIO_READ_BPS: "1048576",
    Knob.BLKIO_WRITE_BPS: "1",
    Knob.BLKIO_READ_IOPS: "9223372036854775807",
    Knob.BLKIO_WRITE_IOPS: "50",
    Knob.SCALING_MIN_FREQ: "2000000",
    Knob.SCALING_MAX_FREQ: "1400000",
    Knob.ENERGY_PREFERENCE: "power",
    Knob.CLOS_ASSOCIATION: "3",
    Knob.CLOS_PARAMETERS: "prio=15 min=800 max=1400",
    Knob.CORE_POWER: "ordered",
    Knob.TURBO_FREQUENCY: "on",
    Knob.TURBO_LIMITS: "ffffffffffffffff",
    Knob.SWAP: "32767",
    Knob.SWAP_FILE: "1073741824",
}


def refusal(knob: Knob, target: Target, value: str | None = None, policy: str = "p") -> Violation | None:
    write = Write(target, knob, VALUES[knob] if value is None else value, policy, "why")
    return (TPMI if knob in SPEED_SELECT else CPUFREQ).refusal(write, "p", BOUNDS)


def test_every_knob_has_a_rule() -> None:
    """A knob that may be written has a rule, and this file has a value for it."""
    assert set(RULES) == set(Knob) == set(VALUES)


@pytest.mark.parametrize("knob", list(Knob))
def test_reach(knob: Knob) -> None:
    """The online floor: what takes from a pod reaches low pods only, what gives to one high pods only."""
    places = {
        "high": cgroup(path(1)),
        "normal": cgroup(path(2)),
        "low": cgroup(path(3)),
        "unmanaged": cgroup(path(4)),
        "low container": cgroup(f"{path(3)}/c0.scope"),
        "high container": cgroup(f"{path(1)}/c0.scope"),
        "above high": cgroup(BURSTABLE),
        "above low": cgroup("kubepods.slice/kubepods-besteffort.slice"),
        "kubelet's root": cgroup("kubepods.slice"),
        "system": cgroup("system.slice"),
        "unknown pod": cgroup(path(9)),
        "inside a container": cgroup(f"{path(3)}/c0.scope/init.scope"),
        "root": Target(TargetKind.CGROUP, ""),
        "node": NODE,
        "not quite the node": Target(TargetKind.NODE, "kubepods.slice"),
        "core": Target(TargetKind.UNIT, "1/0/3"),
        "no core": Target(TargetKind.UNIT, "1/0/4"),
        "policy": Target(TargetKind.UNIT, "policy15"),
        "no policy": Target(TargetKind.UNIT, "policy16"),
        "class 0": Target(TargetKind.CLASS, "1/0/0"),
        "class 1": Target(TargetKind.CLASS, "1/0/1"),
        "class 3": Target(TargetKind.CLASS, "1/0/3"),
        "no domain": Target(TargetKind.CLASS, "1/1/3"),
        "package": Target(TargetKind.PACKAGE, "1"),
        "no package": Target(TargetKind.PACKAGE, "2"),
        "low's disk": disk(path(3), "253:16"),
        "normal's disk": disk(path(2), "253:16"),
        "high's disk": disk(path(1), "253:16"),
        "unmanaged's disk": disk(path(4), "253:16"),
        "low container's disk": disk(f"{path(3)}/c0.scope", "253:16"),
        "the class's disk": disk(BURSTABLE, "253:16"),
        "root's disk": disk(path(3), "253:0"),
        "a partition": disk(path(3), "253:17"),
        "everybody's disk": disk("", "253:16"),
        "the swap device": Target(TargetKind.SWAP, "/dev/vdc"),
        "another device": Target(TargetKind.SWAP, "/dev/vda"),
    }
    allowed = {
        Knob.CPU_IDLE: {"low"},
        Knob.CPU_WEIGHT: {"low"},
        Knob.CPU_SHARES: {"low"},
        Knob.CPU_QOS_LEVEL: {"low", "low container"},
        Knob.MEMORY_QOS_LEVEL: {"low", "low container"},
        Knob.MEMORY_LOW: {"high", "above high", "kubelet's root"},
        Knob.MEMCG_QOS_ENABLE: {"node"},
        Knob.DAMON_KDAMONDS: {"node"},
        Knob.MEMORY_SWAP_MAX: {"low", "low container"},
        Knob.MEMORY_SWAPFILE: {"low", "low container"},
        Knob.CPUSET_CPUS: {"high", "high container", "low", "low container"},
        Knob.IO_MAX: {"low's disk", "normal's disk", "high's disk"},
        Knob.BLKIO_READ_BPS: {"low container's disk"},
        Knob.BLKIO_WRITE_BPS: {"low container's disk"},
        Knob.BLKIO_READ_IOPS: {"low container's disk"},
        Knob.BLKIO_WRITE_IOPS: {"low container's disk"},
        Knob.SCALING_MIN_FREQ: {"policy"},
        Knob.SCALING_MAX_FREQ: {"policy"},
        Knob.ENERGY_PREFERENCE: {"policy"},
        Knob.CLOS_ASSOCIATION: {"core"},
        Knob.CLOS_PARAMETERS: {"class 0", "class 3"},
        Knob.CORE_POWER: {"package"},
        Knob.TURBO_FREQUENCY: {"package"},
        Knob.TURBO_LIMITS: {"package"},
        Knob.SWAP: {"the swap device"},
        Knob.SWAP_FILE: {"the swap device"},
    }
    assert {name for name, target in places.items() if refusal(knob, target) is None} == allowed[knob]


def test_reasons() -> None:
    """Each refusal says what was wrong."""
    assert refusal(Knob.CPU_IDLE, cgroup(path(2))) is Violation.PRIORITY
    assert refusal(Knob.CPU_IDLE, cgroup(path(4))) is Violation.UNMANAGED
    assert refusal(Knob.CPU_IDLE, cgroup("system.slice")) is Violation.TARGET
    assert refusal(Knob.CPU_IDLE, NODE) is Violation.TARGET
    assert refusal(Knob.CPU_IDLE, cgroup(path(3)), policy="q") is Violation.OWNER
    assert refusal(Knob.MEMORY_LOW, cgroup("kubepods.slice/kubepods-besteffort.slice")) is Violation.PRIORITY
    outside = Write(cgroup(path(3)), Knob.CPU_IDLE, "1", "p", "why")
    assert CPUFREQ.refusal(outside, "p", BOUNDS - {Knob.CPU_IDLE}) is Violation.KNOB


SWAP = Target(TargetKind.SWAP, "/dev/vdc")
POLICY_0, PACKAGE_0 = Target(TargetKind.UNIT, "policy0"), Target(TargetKind.PACKAGE, "0")


@pytest.mark.parametrize(
    ("knob", "target", "value"),
    [
        *((Knob.CPU_IDLE, cgroup(path(3)), value) for value in ("0", "", "2", "1\n", "nan", " 1")),
        *((Knob.SWAP, SWAP, value) for value in ("off", "", "-2", "32768", "on", "auto ")),
        *((Knob.SWAP_FILE, SWAP, value) for value in ("absent", "", "0", "-4096", "other", "1Gi")),
        *((Knob.CPU_WEIGHT, cgroup(path(3)), value) for value in ("0", "10001", "-1", "1e3", "nan", "inf", "²", "1_0")),
        *((Knob.CPU_SHARES, cgroup(path(3)), value) for value in ("1", "262145", "max")),
        *((Knob.CPU_QOS_LEVEL, cgroup(path(3)), value) for value in ("0", "1", "-2")),
        *((Knob.MEMORY_LOW, cgroup(path(1)), value) for value in ("max", "-1", "9" * 5000, str(1 << 63), "1.5")),
        (Knob.MEMCG_QOS_ENABLE, NODE, "0"),
        *(
            (Knob.IO_MAX, disk(path(1), "253:16"), value)
            for value in (
                "",
                "max",
                "rbps=1",
                "rbps=0 wbps=max riops=max wiops=max",
                "wbps=max rbps=1 riops=max wiops=max",
                "rbps=1 wbps=max riops=max wiops=max\n253:0 rbps=1",
                f"rbps={1 << 63} wbps=max riops=max wiops=max",
            )
        ),
        *((Knob.BLKIO_READ_BPS, disk(f"{path(1)}/c0.scope", "253:16"), value) for value in ("0", "-1", "max", "1 2")),
        *((Knob.CPUSET_CPUS, cgroup(path(1)), value) for value in ("", "16", "0,1", "3-0", "a", "0-15,16", "inherit")),
        *((Knob.SCALING_MAX_FREQ, POLICY_0, value) for value in ("799999", "3500001", "-1", "", "1.4e6", "0" * 9)),
        (Knob.ENERGY_PREFERENCE, POLICY_0, "performance"),
        *((Knob.CLOS_ASSOCIATION, Target(TargetKind.UNIT, "0/0/0"), value) for value in ("1", "2", "4", "", "3 ")),
        *(
            (Knob.CLOS_PARAMETERS, Target(TargetKind.CLASS, "0/0/3"), value)
            for value in (
                "prio=16 min=800 max=1400",
                "prio=15 min=1500 max=1400",
                "prio=15 min=800 max=",
                "prio=15 min=800 max=1400 desired=0",
                "prio=15 min=none max=none",
            )
        ),
        # What was found on may only be put back by the applier, which does not pass here.
        (Knob.CORE_POWER, PACKAGE_0, "off"),
        (Knob.TURBO_FREQUENCY, PACKAGE_0, "off"),
        (Knob.TURBO_LIMITS, PACKAGE_0, "0000000000000000"),
    ],
)
def test_values(knob: Knob, target: Target, value: str) -> None:
    """What the kernel would not take, and what would undo the policy, is no value."""
    assert refusal(knob, target, value) is Violation.VALUE


@pytest.mark.parametrize("ground", [territory(PODS), territory(seen(Backend.TPMI, foreign="class 2 is in use"))])
def test_what_is_not_there_is_not_written(ground: Territory) -> None:
    """Without an observation of the CPUs, and while somebody else manages them: no part of them, and no cpuset."""
    for target, knob in (
        (Target(TargetKind.UNIT, "0/0/0"), Knob.CLOS_ASSOCIATION),
        (Target(TargetKind.CLASS, "0/0/3"), Knob.CLOS_PARAMETERS),
        (PACKAGE_0, Knob.CORE_POWER),
    ):
        assert ground.refusal(Write(target, knob, VALUES[knob], "p", "why"), "p", BOUNDS) is Violation.TARGET
    cpuset = Write(cgroup(path(1)), Knob.CPUSET_CPUS, "0", "p", "why")
    assert ground.refusal(cpuset, "p", BOUNDS) is Violation.VALUE


def test_the_backend_decides_which_knobs_a_unit_has() -> None:
    """No register of Speed Select through cpufreq, and the other way round."""
    association = Write(POLICY_0, Knob.CLOS_ASSOCIATION, "3", "p", "why")
    assert CPUFREQ.refusal(association, "p", BOUNDS) is Violation.TARGET
    limit = Write(Target(TargetKind.UNIT, "0/0/0"), Knob.SCALING_MAX_FREQ, "1400000", "p", "why")
    assert TPMI.refusal(limit, "p", BOUNDS) is Violation.TARGET


def test_liberties() -> None:
    """Normal pods' cpusets only where the administrator says so, and nothing else of theirs even then."""
    cpuset = Write(cgroup(path(2)), Knob.CPUSET_CPUS, "0-3", "p", "why")
    weight = Write(cgroup(path(2)), Knob.CPU_WEIGHT, "1", "p", "why")
    liberties = frozenset({Knob.CPUSET_CPUS, Knob.CPU_WEIGHT})
    assert CPUFREQ.refusal(cpuset, "p", BOUNDS) is Violation.PRIORITY
    assert CPUFREQ.refusal(cpuset, "p", BOUNDS, liberties) is None
    assert CPUFREQ.refusal(weight, "p", BOUNDS, liberties) is Violation.PRIORITY
    unmanaged = Write(cgroup(path(4)), Knob.CPUSET_CPUS, "0-3", "p", "why")
    assert CPUFREQ.refusal(unmanaged, "p", BOUNDS, liberties) is Violation.UNMANAGED


def test_ancestors() -> None:
    """From the kubelet's root down to the pod's parent; nothing where that is not known, nothing outside."""
    assert ancestors(sample(1)) == ("kubepods.slice", BURSTABLE)
    assert ancestors(sample(1, qos=QosClass.GUARANTEED)) == ("kubepods.slice",)
    assert ancestors(sample(1, root=None)) == ()
    assert ancestors(sample(1, root="kubepods")) == ()
