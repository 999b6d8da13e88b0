"""For any writes: merging does not depend on their order, and the order of writing never makes a child too wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.model.cpus import format_cpus, parse_cpus
from plimsoll.model.order import order
from plimsoll.model.plan import NODE, Knob, Target, Write, cgroup, merge

NAMES = ("a", "a/b", "a/b/c", "a/b/d", "a/e", "a/e/f", "g", "g/h")
PRECEDENCE = ("first", "second", "third")
WIDTHS = st.one_of(st.integers(0, 8).map(str), st.just("max"))


def width(value: str) -> float:
    return float("inf") if value == "max" else float(value)


def write(path: str, value: str, policy: str = "first", reason: str = "why", phase: int = 0) -> Write:
    return Write(cgroup(path) if path else NODE, Knob.MEMORY_LOW, value, policy, reason, phase=phase)


WRITES = st.lists(
    st.builds(
        write,
        st.sampled_from(("", *NAMES)),
        st.one_of(WIDTHS, st.sampled_from(["", "x", "-1", "0-3"])),
        st.sampled_from((*PRECEDENCE, "unlisted", "other")),
        st.sampled_from(["one reason", "another"]),
        st.integers(-1, 2),
    ).flatmap(lambda each: st.sampled_from([each, each._replace(knob=Knob.CPU_IDLE)])),
    max_size=12,
)


@st.composite
def nested(draw: st.DrawFn) -> dict[str, str]:
    """Values for the whole tree in which no child is wider than its parent."""
    values: dict[str, str] = {}
    for name in NAMES:
        parent = values.get(name.rpartition("/")[0], "max")
        values[name] = min(draw(WIDTHS), parent, key=width)
    return values


@given(WRITES, st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_order(writes, random):
    """The same writes in another order make the same plan, conflicts included up to their order."""
    shuffled = list(writes)
    random.shuffle(shuffled)
    one, other = merge(writes, PRECEDENCE), merge(shuffled, PRECEDENCE)
    assert [each[:4] for each in one.writes] == [each[:4] for each in other.writes]
    assert {each.kept.key for each in one.conflicts} == {each.kept.key for each in other.conflicts}


@given(WRITES)
def test_merging_again_changes_nothing(writes):
    """A plan's own writes make the same plan, without a conflict."""
    once = merge(writes, PRECEDENCE)
    again = merge(once.writes, PRECEDENCE)
    assert again.writes == once.writes
    assert again.conflicts == ()


@given(WRITES)
def test_every_knob_has_one_owner_and_the_first_policy_wins(writes):
    """Each knob that was wanted is in the plan once, with a write of the policy that comes first; what lost is told."""
    plan = merge(writes, PRECEDENCE)
    keys = [each.key for each in plan.writes]
    assert sorted(set(keys)) == keys
    assert set(keys) == {each.key for each in writes}
    rank = {policy: number for number, policy in enumerate(PRECEDENCE)}
    for kept in plan.writes:
        rivals = [each for each in writes if each.key == kept.key]
        assert kept in rivals
        assert rank.get(kept.policy, 9) == min(rank.get(each.policy, 9) for each in rivals)
        differs = any(each.value != kept.value for each in rivals)
        assert differs == any(each.kept == kept for each in plan.conflicts)


@given(nested(), nested())
def test_no_child_is_wider_than_its_parent_at_any_instant(start, end):
    """From any nested state to any other one: after every single write the tree is nested."""
    now = dict(start)
    changed = [write(name, value) for name, value in end.items() if value != start[name]]
    standing = {write(name, value).key: value for name, value in start.items()}
    for each in order(changed, standing):
        now[each.target.path] = each.value
        for name, value in now.items():
            assert width(value) <= width(now.get(name.rpartition("/")[0], "max")), (each, now)
    assert now == end


CPUS = st.frozensets(st.integers(0, 7), min_size=1)


@st.composite
def nested_sets(draw: st.DrawFn) -> dict[str, str]:
    """Sets of CPUs for the whole tree in which no child has a CPU its parent lacks."""
    values: dict[str, frozenset[int]] = {}
    for name in NAMES:
        parent = values.get(name.rpartition("/")[0], frozenset(range(8)))
        values[name] = (draw(CPUS) & parent) or parent
    return {name: format_cpus(cpus) for name, cpus in values.items()}


@given(nested_sets(), nested_sets(), st.lists(st.integers(-2, 2), min_size=len(NAMES), max_size=len(NAMES)))
def test_no_set_of_cpus_is_ever_beyond_the_one_above(start, end, phases):
    """The same of sets that overlap, whatever the phases: two writes for one that has to grow and to shrink."""
    now = dict(start)
    changed = [
        Write(cgroup(name), Knob.CPUSET_CPUS, value, "first", "why", phase=phase)
        for (name, value), phase in zip(end.items(), phases, strict=True)
        if value != start[name]
    ]
    ordered = order(changed, {each.key: start[each.target.path] for each in changed})
    for each in ordered:
        now[each.target.path] = each.value
        for name, value in now.items():
            above = now.get(name.rpartition("/")[0])
            assert above is None or parse_cpus(value) <= parse_cpus(above), (each, now)
    assert now == end
    assert all(sum(each.key == write.key for each in ordered) <= 2 for write in changed)


@given(WRITES)
def test_phases_come_first_and_nothing_is_lost(writes):
    """A lower phase is written before a higher one, whatever the levels; every write is there once."""
    plan = merge(writes, PRECEDENCE).writes
    ordered = order(plan, {})
    assert sorted(ordered) == sorted(plan)
    assert [each.phase for each in ordered] == sorted(each.phase for each in plan)


@given(st.lists(st.sampled_from(["x", "y", "/"]), max_size=6).map("".join))
def test_depth_counts_the_levels_of_a_path(path):
    """However a path is given, its depth is the number of its steps; the node itself has none."""
    target = cgroup(path)
    assert target.depth == (len(target.path.split("/")) if target.path else 0)
    assert Target(NODE.kind).depth == 0
