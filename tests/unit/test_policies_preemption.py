"""Preemption, case by case: what is written where on which kernel, in what order, and what a pod's owner is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.order import order
from plimsoll.model.plan import NODE, Knob, OnExit, Write
from plimsoll.model.pod import Priority, QosClass
from plimsoll.model.snapshot import CgroupState, Snapshot
from plimsoll.policies.policy import Decision
from plimsoll.policies.preemption import (
    NO_MEMORY_REQUEST,
    NOT_REVERSIBLE,
    RESIZE_PAUSE_SECONDS,
    RESIZE_SECONDS,
    State,
    decide,
)
from tests.fixtures.colocated import GIB, OLD_V2, OPENEULER_V1, STOCK_V1, STOCK_V2, path, sample, snapshot

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
MI = 1 << 20


def section(**values: object) -> PreemptionSection:
    return PreemptionSection.model_validate(values)


def decided(seen: Snapshot, state: State | None = None, **values: object) -> Decision[State]:
    return decide(seen, section(**values), State() if state is None else state)


def shown(writes: Sequence[Write]) -> list[tuple[str, str, str]]:
    return [(each.target.path, each.knob.value, each.value) for each in writes]


@pytest.mark.parametrize(
    ("capabilities", "values", "expected"),
    [
        (STOCK_V2, {}, [("cpu.idle", "1")]),
        (OLD_V2, {}, [("cpu.weight", "1")]),
        (STOCK_V1, {}, [("cpu.shares", "2")]),
        (("cpu-shares", "cpu-idle"), {}, [("cpu.idle", "1")]),
        (STOCK_V2, {"cpu": "weight"}, [("cpu.weight", "1")]),
        (OPENEULER_V1, {"cpu": "idle", "memory": "off"}, [("cpu.idle", "1")]),
        (OPENEULER_V1, {"cpu": "weight", "memory": "off"}, [("cpu.shares", "2")]),
        (OLD_V2, {"cpu": "idle"}, []),
        (STOCK_V2, {"cpu": "off"}, []),
        ((), {}, []),
    ],
)
def test_cpu_of_a_low_pod(
    capabilities: tuple[str, ...], values: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    """The best way this kernel has and the administrator allows, on the pod's cgroup and nowhere else."""
    found = decided(snapshot([sample(1)], capabilities), **values)
    assert shown(found.writes) == [(path(1), *each) for each in expected]
    assert all(each.on_exit is OnExit.RESTORE for each in found.writes)


@pytest.mark.parametrize(
    ("capabilities", "values", "lacking"),
    [
        (STOCK_V2, {}, ()),
        (OPENEULER_V1, {}, ()),
        (OLD_V2, {}, ("cpu-idle",)),
        (OLD_V2, {"cpu": "weight"}, ()),
        (OLD_V2, {"cpu": "idle"}, ("cpu-idle",)),
        (STOCK_V1, {}, ("cpu-idle", "memory-qos-level", "memory-low")),
        ((), {"cpu": "weight", "memory": "off"}, ("cpu-weight", "cpu-shares")),
        ((), {"cpu": "off", "memory": "off"}, ()),
        (("cpu-qos-level", "memory-qos-level"), {}, ("memcg-qos-enable",)),
    ],
)
def test_what_is_lacking(capabilities: tuple[str, ...], values: dict[str, object], lacking: tuple[str, ...]) -> None:
    """F29: a capability that would have helped, and only such, is named."""
    assert decided(snapshot([], capabilities), **values).lacking == lacking


def test_openeuler() -> None:
    """The switch first, then the pod, then its containers; the CPU's level is kept on exit, memory's is put back."""
    found = decided(snapshot([sample(1, containers=2)], OPENEULER_V1))
    pod, first, second = path(1), f"{path(1)}/c0.scope", f"{path(1)}/c1.scope"
    standing = {each.key: "0" for each in found.writes}
    assert [(each.target.path, each.knob, each.value, each.on_exit) for each in order(found.writes, standing)] == [
        ("", Knob.MEMCG_QOS_ENABLE, "1", OnExit.RESTORE),
        (pod, Knob.CPU_QOS_LEVEL, "-1", OnExit.KEEP),
        (pod, Knob.MEMORY_QOS_LEVEL, "-1", OnExit.RESTORE),
        (first, Knob.CPU_QOS_LEVEL, "-1", OnExit.KEEP),
        (first, Knob.MEMORY_QOS_LEVEL, "-1", OnExit.RESTORE),
        (second, Knob.CPU_QOS_LEVEL, "-1", OnExit.KEEP),
        (second, Knob.MEMORY_QOS_LEVEL, "-1", OnExit.RESTORE),
    ]
    assert found.writes[2].target != NODE


def test_a_new_container_of_a_known_pod() -> None:
    """A container that appears is marked like the others; nothing of the others changes."""
    before = decided(snapshot([sample(1, containers=1)], OPENEULER_V1))
    after = decided(snapshot([sample(1, containers=2)], OPENEULER_V1), before.state)
    assert {each.target.path for each in set(after.writes) - set(before.writes)} == {f"{path(1)}/c1.scope"}
    assert set(before.writes) < set(after.writes)


def test_the_switch_stays_on() -> None:
    """vm.memcg_qos_enable is touched for the first low pod only, and not turned off for want of one."""
    none = decided(snapshot([sample(1, NORMAL)], OPENEULER_V1))
    assert none.writes == ()
    some = decided(snapshot([sample(1)], OPENEULER_V1), none.state)
    again = decided(snapshot([], OPENEULER_V1), some.state)
    assert shown(again.writes) == [("", "vm.memcg_qos_enable", "1")]


def test_memory_levels_need_their_switch() -> None:
    """Without vm.memcg_qos_enable the kernel would answer EACCES: memory.qos_level is not tried."""
    found = decided(snapshot([sample(1)], ("cpu-qos-level", "memory-qos-level")))
    assert {each.knob for each in found.writes} == {Knob.CPU_QOS_LEVEL}


def test_others_are_left_alone() -> None:
    """Normal pods, unmanaged pods, and pods without a cgroup get nothing, whatever their kernel has."""
    pods = [
        sample(1, NORMAL, request=GIB),
        sample(2, LOW, managed=False),
        sample(3, HIGH, managed=False, request=GIB),
        *(
            sample(4 + place, priority, request=GIB, state=state)
            for place, (priority, state) in enumerate(
                (priority, state) for priority in (LOW, HIGH) for state in CgroupState if state is not CgroupState.FOUND
            )
        ),
    ]
    # A state and a path that do not belong together.
    pods += [replace(sample(20 + place, priority, request=GIB), cgroup=None) for place, priority in enumerate(Priority)]
    for capabilities in (STOCK_V2, OPENEULER_V1):
        assert [each for each in decided(snapshot(pods, capabilities)).writes if each.target != NODE] == []


def test_memory_protection() -> None:
    """High pods are protected by their requests, and each cgroup above them by the sum of those below."""
    pods = [
        sample(1, HIGH, request=GIB),
        sample(2, HIGH, request=2 * GIB),
        sample(3, HIGH, request=4 * GIB, qos=QosClass.GUARANTEED),
        sample(4, LOW, request=8 * GIB),
        sample(5, NORMAL, request=8 * GIB),
    ]
    found = decided(snapshot(pods), cpu="off")
    assert {where: int(value) for where, knob, value in shown(found.writes) if knob == "memory.low"} == {
        "kubepods.slice": 7 * GIB,
        "kubepods.slice/kubepods-burstable.slice": 3 * GIB,
        path(1): GIB,
        path(2): 2 * GIB,
        path(3, QosClass.GUARANTEED): 4 * GIB,
    }
    assert len(found.writes) == 5


def test_memory_protection_is_bounded() -> None:
    """Together no more than the node's share: what is too much is taken from all in proportion."""
    pods = [sample(1, HIGH, request=6 * GIB), sample(2, HIGH, request=2 * GIB)]
    found = decided(snapshot(pods, memory=8 * GIB), cpu="off", memoryProtectionShare=0.5)
    values = {where: int(value) for where, _, value in shown(found.writes)}
    assert values["kubepods.slice"] == 4 * GIB
    assert (values[path(1)], values[path(2)]) == (3 * GIB, GIB)


@pytest.mark.parametrize(("request_bytes", "low"), [(100 * MI + 1, 100 * MI), (65_535, None), (65_536, 65_536)])
def test_memory_protection_in_pages(request_bytes: int, low: int | None) -> None:
    """Rounded down to what every kernel's pages divide, so that it is read back as written; nothing is not written."""
    found = decided(snapshot([sample(1, HIGH, request=request_bytes)]), cpu="off")
    assert {int(value) for _, _, value in shown(found.writes)} == ({low} if low else set())


def test_no_protection_of_what_is_unknown() -> None:
    """Unknown memory of the node, an unknown place of the pod: nothing is protected, and nothing made up."""
    pods = [sample(1, HIGH, request=GIB)]
    assert decided(snapshot(pods, memory=None)).writes == ()
    assert decided(snapshot([sample(1, HIGH, request=GIB, root=None)])).writes == ()
    assert decided(snapshot([sample(1, HIGH, request=GIB, root="other.slice")])).writes == ()
    assert decided(snapshot(pods), memory="off").writes == ()
    assert decided(snapshot(pods, ("cpu-idle",))).writes == ()


def test_a_high_pod_without_a_request_is_told() -> None:
    """Its owner is told why it is not protected, and only where it could be."""
    pods = [sample(1, HIGH), sample(2, HIGH, request=GIB), sample(3, NORMAL)]
    found = decided(snapshot(pods))
    assert [(each.pod, each.reason) for each in found.notes] == [(pods[0].pod.uid, NO_MEMORY_REQUEST)]
    assert decided(snapshot(pods, OPENEULER_V1)).notes == ()


def test_a_promoted_pod_is_told() -> None:
    """A pod that was low and is no longer, on a kernel that does not take it back: a note as long as it is so."""
    marked = {Knob.CPU_QOS_LEVEL: "-1"}
    pods = [
        sample(1, NORMAL, knobs=marked),
        sample(2, HIGH, knobs=marked),
        sample(3, LOW, knobs=marked),
        sample(4, NORMAL, knobs={Knob.CPU_QOS_LEVEL: "0"}),
        sample(5, NORMAL, knobs=marked, managed=False),
    ]
    found = decided(snapshot(pods, OPENEULER_V1))
    assert [(each.pod, each.reason) for each in found.notes] == [
        (pods[0].pod.uid, NOT_REVERSIBLE),
        (pods[1].pod.uid, NOT_REVERSIBLE),
    ]
    assert "Recreate the pod" in found.notes[0].message
    assert {each.target.path for each in found.writes if each.knob is Knob.CPU_QOS_LEVEL} == {
        path(3),
        f"{path(3)}/c0.scope",
    }
    assert decided(snapshot(pods, OPENEULER_V1), found.state).notes == found.notes


def idle(found: Decision[State]) -> bool:
    return any(each.knob is Knob.CPU_IDLE for each in found.writes)


def test_a_resize_is_let_through() -> None:
    """While the kubelet resizes a pod its CPU knobs are the kubelet's; afterwards the pod gives way again."""
    state = decided(snapshot([sample(1)])).state
    during = decided(snapshot([sample(1, resizing=True)], monotonic=1001.0), state)
    assert not idle(during)
    after = decided(snapshot([sample(1)], monotonic=1002.0), during.state)
    assert idle(after)


def test_a_resize_without_end_does_not_help() -> None:
    """A pod that resizes for ever, or again and again, is let off for a minute in ten and no more."""
    for pattern in ((True,), (True, False)):
        state = State()
        let_off = 0
        for tick in range(1200):
            resizing = pattern[tick % len(pattern)]
            found = decided(snapshot([sample(1, resizing=resizing)], monotonic=5000.0 + tick), state)
            let_off += not idle(found)
            state = found.state
        assert let_off <= 2 * RESIZE_SECONDS
        assert let_off >= RESIZE_SECONDS


def test_resizes_are_forgotten() -> None:
    """What is remembered of resizes ends with the pause, and with the pod."""
    begun = decided(snapshot([sample(1, resizing=True)], monotonic=0.0)).state
    assert [uid for uid, _ in begun.resized] == [sample(1).pod.uid]
    assert decided(snapshot([sample(1)], monotonic=RESIZE_PAUSE_SECONDS), begun).state.resized == ()
    assert decided(snapshot([], monotonic=1.0), begun).state.resized == ()


def test_a_resize_does_not_touch_qos_level() -> None:
    """cpu.qos_level is in nobody's way: it stands during a resize."""
    found = decided(snapshot([sample(1, resizing=True)], OPENEULER_V1))
    assert Knob.CPU_QOS_LEVEL in {each.knob for each in found.writes}


@pytest.mark.parametrize("key", ["mode", "cpu", "memory"])
def test_off_without_quotes(key: str) -> None:
    """YAML reads a bare `off` as false; it means off. True means nothing."""
    assert getattr(section(**{key: False}), key) == "off"
    with pytest.raises(ValueError, match=key):
        section(**{key: True})


def test_defaults_only_observe() -> None:
    """An administrator who says nothing gets a policy that writes nothing."""
    assert section().mode == "observe"
    with pytest.raises(ValueError, match="memoryProtectionShare"):
        section(memoryProtectionShare=float("nan"))
