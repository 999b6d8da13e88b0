"""What may be written to whom: every knob against every kind of cgroup, and every value that is none."""

from __future__ import annotations

import pytest

from plimsoll.model.plan import NODE, Knob, Target, TargetKind, Write, cgroup
from plimsoll.model.pod import Priority, QosClass
from plimsoll.policies.bounds import RULES, Violation, ancestors, territory
from tests.fixtures.colocated import path, sample, snapshot

BOUNDS = frozenset(Knob)
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"
GROUND = territory(
    snapshot(
        [
            sample(1, Priority.HIGH),
            sample(2, Priority.NORMAL),
            sample(3, Priority.LOW),
            sample(4, Priority.LOW, managed=False),
            sample(5, Priority.LOW, qos=QosClass.BEST_EFFORT),
        ]
    )
)
VALUES = {
    Knob.CPU_IDLE: "1",
    Knob.CPU_WEIGHT: "1",
    Knob.CPU_SHARES: "2",
    Knob.CPU_QOS_LEVEL: "-1",
    Knob.MEMORY_QOS_LEVEL: "-1",
    Knob.MEMORY_LOW: "4096",
    Knob.MEMCG_QOS_ENABLE: "1",
}


def refusal(knob: Knob, target: Target, value: str | None = None, policy: str = "p") -> Violation | None:
    write = Write(target, knob, VALUES[knob] if value is None else value, policy, "why")
    return GROUND.refusal(write, "p", BOUNDS)


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
    }
    allowed = {
        Knob.CPU_IDLE: {"low"},
        Knob.CPU_WEIGHT: {"low"},
        Knob.CPU_SHARES: {"low"},
        Knob.CPU_QOS_LEVEL: {"low", "low container"},
        Knob.MEMORY_QOS_LEVEL: {"low", "low container"},
        Knob.MEMORY_LOW: {"high", "above high", "kubelet's root"},
        Knob.MEMCG_QOS_ENABLE: {"node"},
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
    assert GROUND.refusal(outside, "p", BOUNDS - {Knob.CPU_IDLE}) is Violation.KNOB


@pytest.mark.parametrize(
    ("knob", "target", "value"),
    [
        *((Knob.CPU_IDLE, cgroup(path(3)), value) for value in ("0", "", "2", "1\n", "nan", " 1")),
        *((Knob.CPU_WEIGHT, cgroup(path(3)), value) for value in ("0", "10001", "-1", "1e3", "nan", "inf", "²", "1_0")),
        *((Knob.CPU_SHARES, cgroup(path(3)), value) for value in ("1", "262145", "max")),
        *((Knob.CPU_QOS_LEVEL, cgroup(path(3)), value) for value in ("0", "1", "-2")),
        *((Knob.MEMORY_LOW, cgroup(path(1)), value) for value in ("max", "-1", "9" * 5000, str(1 << 63), "1.5")),
        (Knob.MEMCG_QOS_ENABLE, NODE, "0"),
    ],
)
def test_values(knob: Knob, target: Target, value: str) -> None:
    """What the kernel would not take, and what would undo the policy, is no value."""
    assert refusal(knob, target, value) is Violation.VALUE


def test_ancestors() -> None:
    """From the kubelet's root down to the pod's parent; nothing where that is not known, nothing outside."""
    assert ancestors(sample(1)) == ("kubepods.slice", BURSTABLE)
    assert ancestors(sample(1, qos=QosClass.GUARANTEED)) == ("kubepods.slice",)
    assert ancestors(sample(1, root=None)) == ()
    assert ancestors(sample(1, root="kubepods")) == ()
