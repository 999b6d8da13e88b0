"""Plans: who owns a knob two policies want, and in what order values are written."""

from __future__ import annotations

import pytest

from plimsoll.model.order import order
from plimsoll.model.plan import NODE, Conflict, Knob, TargetKind, Write, cgroup, merge

PRECEDENCE = ("preemption", "overcommit")


def low(path: str, value: str, policy: str = "preemption", reason: str = "why", phase: int = 0) -> Write:
    return Write(cgroup(path), Knob.MEMORY_LOW, value, policy, reason, phase=phase)


def paths(writes: tuple[Write, ...]) -> list[str]:
    return [each.target.path for each in writes]


@pytest.mark.parametrize(
    ("path", "depth"), [("", 0), ("kubepods", 1), ("kubepods/besteffort", 2), ("/kubepods/besteffort/pod/", 3)]
)
def test_a_cgroup_counts_the_levels_of_its_path(path: str, depth: int) -> None:
    """A target is the same however the slashes at its ends are written, and knows how deep it is."""
    target = cgroup(path)
    assert target == cgroup(f"/{path}/")
    assert (target.kind, target.depth) == (TargetKind.CGROUP, depth)


def test_the_node_is_no_cgroup() -> None:
    """The root cgroup and the node are different targets."""
    assert cgroup("") != NODE
    assert NODE.depth == 0


def test_the_policy_that_comes_first_owns_the_knob() -> None:
    """Two policies, one knob: the first in precedence keeps it whatever the order, and the other is named."""
    mine, theirs = low("a", "1", "overcommit"), low("a", "9", "preemption")
    for writes in ([mine, theirs], [theirs, mine]):
        plan = merge(writes, PRECEDENCE)
        assert plan.writes == (theirs,)
        assert plan.conflicts == (Conflict(kept=theirs, dropped=mine),)


def test_a_policy_that_is_not_listed_comes_last() -> None:
    """A policy without a place in the precedence never takes a knob from one that has a place."""
    assert merge([low("a", "1", "unknown"), low("a", "2", "overcommit")], PRECEDENCE).writes[0].policy == "overcommit"


def test_the_same_value_is_no_conflict() -> None:
    """Policies that agree do not quarrel."""
    plan = merge([low("a", "1", "overcommit"), low("a", "1", "preemption")], PRECEDENCE)
    assert (len(plan.writes), plan.conflicts) == (1, ())


@pytest.mark.parametrize(("one", "other", "kept"), [("10", "9", "9"), ("max", "9", "9"), ("9", "9", "9")])
def test_one_policy_with_two_values_gets_the_smaller(one: str, other: str, kept: str) -> None:
    """Between two writes of one policy the smaller number counts, not the smaller text."""
    assert merge([low("a", one), low("a", other)], PRECEDENCE).writes[0].value == kept


def test_other_knobs_and_targets_do_not_concern_each_other() -> None:
    """A knob of a cgroup, another of the same, and the same of another are three knobs."""
    writes = [low("a", "1"), low("b", "2"), low("a", "3")._replace(knob=Knob.CPU_IDLE)]
    plan = merge(writes, PRECEDENCE)
    assert sorted(plan.writes) == sorted(writes)
    assert plan.conflicts == ()


def test_widening_goes_down_and_narrowing_up() -> None:
    """Parents are widened before their children, and children narrowed before their parents."""
    wider = [low("a/b/c", "5"), low("a", "5"), low("a/b", "5")]
    assert paths(order(wider, {each.key: "1" for each in wider})) == ["a", "a/b", "a/b/c"]
    assert paths(order(wider, {each.key: "max" for each in wider})) == ["a/b/c", "a/b", "a"]


def test_what_grows_is_written_before_what_shrinks() -> None:
    """In one plan all room is made first, and then taken away."""
    grows, shrinks = low("a", "9"), low("b/c", "1")
    standing = {grows.key: "5", shrinks.key: "5"}
    assert order([shrinks, grows], standing) == (grows, shrinks)


def test_what_is_not_known_counts_as_growing() -> None:
    """A knob whose value is not known is written from the root down."""
    assert paths(order([low("a/b", "1"), low("a", "1")], {})) == ["a", "a/b"]


def test_a_phase_comes_before_levels() -> None:
    """A switch of phase 0 is turned on before the deepest and narrowest value of phase 1, and off after it."""
    first, second = low("a/b/c", "9", phase=0), low("a", "1", phase=1)
    standing = {first.key: "5", second.key: "5"}
    assert order([second, first], standing) == (first, second)
    assert order([first._replace(phase=0), second._replace(phase=-1)], standing)[0].target == second.target


def test_a_number_beyond_measure_is_only_a_value() -> None:
    """What a policy can write down has no bound; merging it raises nothing."""
    pod = cgroup("pod")
    plan = merge([Write(pod, Knob.MEMORY_LOW, "9" * 400, "first", "why")], ["first"])
    assert len(plan.writes) == 1
