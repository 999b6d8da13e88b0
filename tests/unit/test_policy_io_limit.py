"""Limits of I/O, case by case: what is written where on which version of cgroups, and what an owner is told instead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.config.io_limits import parse_own
from plimsoll.config.policy_sections import IoLimitSection, PreemptionSection
from plimsoll.model.acting import Mode, Status
from plimsoll.model.disk import Disk, IoLimit
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies import io_limit, registry
from plimsoll.policies.io_limit import REFUSED, State, decide
from plimsoll.policies.policy import Decision
from tests.fixtures.colocated import path, sample, snapshot

V2, V1 = ("io-max",), ("blkio-throttle",)
ROOT = Disk("253:0", ("vda",), ("vda1",), system=True)
DISKS = (ROOT, Disk("253:16", ("vdb",), ("vdb1", "vdb2")), Disk("252:0", ("dm-0", "mapper/data")))
OFF = PreemptionSection(mode="off")
MAX = "rbps=max wbps=max riops=max wiops=max"


def limited(number: int, text: str | None, **facts: object) -> PodSample:
    found = sample(number, Priority.NORMAL, **facts)  # type: ignore[arg-type]
    limits: tuple[IoLimit, ...] | None = None if text is None else parse_own(text)
    return replace(found, pod=replace(found.pod, intent=replace(found.pod.intent, io_limits=limits)))


def node(*pods: PodSample, capabilities: tuple[str, ...] = V2, disks: tuple[Disk, ...] | None = DISKS) -> Snapshot:
    seen = snapshot(pods, capabilities)
    return replace(seen, node=replace(seen.node, disks=disks))


def decided(seen: Snapshot, state: State | None = None, system_disk: str = "refuse") -> Decision[State]:
    return decide(seen, IoLimitSection.model_validate({"systemDisk": system_disk}), state or State())


def written(decision: Decision[State]) -> list[tuple[str, str, str]]:
    return [(each.target.path, each.knob.value, each.value) for each in decision.writes]


def test_v2_limits_the_pod() -> None:
    """F06: a write for each disk, the whole pod's, all four figures in each."""
    found = decided(node(limited(1, "/dev/vdb rbps=1Mi wiops=50; /dev/mapper/data wbps=2Mi")))

    assert written(found) == [
        (f"{path(1)}@252:0", "io.max", "rbps=max wbps=2097152 riops=max wiops=max"),
        (f"{path(1)}@253:16", "io.max", "rbps=1048576 wbps=max riops=max wiops=50"),
    ]
    assert found.writes[1].reason == (
        "Its owner lets it have no more of /dev/vdb than 1048576 bytes/s read, 50 writes/s."
    )
    assert (found.notes, found.lacking) == ((), ())


def test_v1_limits_each_container() -> None:
    """The blkio controller of v1 does not count for the cgroups above."""
    found = decided(node(limited(1, "253:16 rbps=1Mi riops=5", containers=2), capabilities=V1))

    assert written(found) == [
        (f"{path(1)}/c{container}.scope@253:16", f"blkio.throttle.read_{what}_device", value)
        for container in (0, 1)
        for what, value in (("bps", "1048576"), ("iops", "5"))
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/dev/vdz rbps=1", "this node has no such disk. It has: /dev/vda, /dev/vdb, /dev/mapper/data."),
        ("8:0 rbps=1", "this node has no such disk."),
        ("/dev/vdb2 rbps=1", "the kernel limits whole disks only. Name /dev/vdb."),
        ("/dev/vda rbps=1", "the node itself lives on it"),
        ("/dev/vda1 rbps=1", "Name /dev/vda."),
        ("/dev/vdb rbps=1; 253:16 rbps=2", "253:16 is not limited: it is the same disk as /dev/vdb."),
    ],
)
def test_f05_what_cannot_be_limited_is_told(text: str, part: str) -> None:
    """F05: refused before the kernel sees it, in a sentence with the cure; the others are limited."""
    found = decided(node(limited(1, f"{text}; /dev/mapper/data rbps=1")))

    (note,) = found.notes
    assert (note.pod, note.reason) == (limited(1, text).pod.uid, REFUSED)
    assert part in note.message
    assert (f"{path(1)}@252:0", "io.max", MAX.replace("rbps=max", "rbps=1")) in written(found)
    assert not [each for each in found.writes if each.target.disk == ROOT.number]


def test_the_administrator_may_allow_the_system_disk() -> None:
    """Then it is a disk like any other, for the registry too."""
    seen = node(limited(1, "/dev/vda rbps=1"))
    assert written(decided(seen, system_disk="allow")) == [
        (f"{path(1)}@253:0", "io.max", MAX.replace("rbps=max", "rbps=1"))
    ]
    for said, status in (("allow", Status.OK), ("refuse", Status.SKIPPED)):
        section = IoLimitSection.model_validate({"mode": "enforce", "systemDisk": said})
        (enrolled,) = [
            each
            for each in registry.enrol(preemption_section=OFF, io_limit_section=section)
            if each.policy is io_limit.POLICY
        ]
        # A policy that would write there nevertheless is kept from it.
        careless = enrolled._replace(config=IoLimitSection.model_validate({"systemDisk": "allow"}))
        decisions, _ = registry.decide([careless], seen, 0.0, {})
        assert [(each.status, each.reason) for each in decisions.reports] == [
            (status, "" if status is Status.OK else "target")
        ]
        assert len(decisions.plan.writes) == (status is Status.OK)


def test_a_slip_of_the_pen_does_not_lift_a_limit() -> None:
    """What could be read last stays until the words can be read again; of a pod never read nothing is made up."""
    first = decided(node(limited(1, "/dev/vdb rbps=1Mi"), limited(2, None)))
    second = decided(node(limited(1, None), limited(2, None)), first.state)
    third = decided(node(limited(1, ""), limited(2, None)), second.state)

    assert written(second) == written(first)
    assert len(first.writes) == 1
    assert (third.writes, third.state) == ((), State())


def test_whom_it_leaves_alone() -> None:
    """Pods that are never acted upon, whose cgroup is not there, and those that say nothing."""
    pods = (
        limited(1, "/dev/vdb rbps=1", managed=False),
        limited(2, "/dev/vdb rbps=1", state=CgroupState.PENDING),
        limited(3, ""),
    )
    assert decided(node(*pods)) == Decision((), State())


def test_what_this_node_lacks_is_told_once_somebody_wants_it() -> None:
    """Neither file: the policy says so. Disks nobody looked at are not taken for disks that are not there."""
    assert decided(node(limited(1, "/dev/vdb rbps=1"), capabilities=())).lacking == ("io-max", "blkio-throttle")
    assert decided(node(limited(1, ""), capabilities=())).lacking == ()
    unseen = decided(node(limited(1, "/dev/vdb rbps=1"), disks=None))
    assert (unseen.writes, unseen.notes) == ((), ())


def test_the_registry_lets_it() -> None:
    """What the policy wants is within its bounds, for every priority."""
    seen = node(limited(1, "/dev/vdb rbps=1Mi"), limited(2, "253:16 wbps=5"))
    section = IoLimitSection.model_validate({"mode": "enforce"})
    decisions, _ = registry.decide(registry.enrol(preemption_section=OFF, io_limit_section=section), seen, 0.0, {})
    report = decisions.reports[-1]
    assert (report.policy, report.mode, report.status, report.writes) == ("io-limit", Mode.ENFORCE, Status.OK, 2)
    assert {each.knob for each in decisions.plan.writes} == {Knob.IO_MAX}
