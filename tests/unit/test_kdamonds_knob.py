"""The node's kdamonds as a knob: claimed through the journal, given back by it alone, nobody else's ever touched."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import Journal
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kdamonds_knob import KdamondsKnob
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.reclaim.kdamonds import Kdamonds
from plimsoll.model.kdamonds import CLAIMED, NONE, UNMARKED, WORKERS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Knob, Plan, Write, cgroup
from tests.acting import Clock
from tests.fixtures.hosts import damon, trees
from tests.fixtures.hosts.damon import DamonTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN = Plan((Write(NODE, Knob.DAMON_KDAMONDS, CLAIMED, "overcommit", "the test wants it"),))


@pytest.fixture
def tree(tmp_path: Path) -> DamonTree:
    trees.write(tmp_path, damon.able(1) | {f"{trees.CGROUP}/cgroup.controllers": "memory\n"})
    return DamonTree(tmp_path)


@contextmanager
def life(tree: DamonTree) -> Iterator[Applier]:
    """One life of the agent; killed in the end, as far as the kernel can tell."""
    clock = Clock()

    def pause(seconds: float) -> None:
        clock.now += seconds
        tree.settle()

    with (
        HostFs(str(tree.root), fault=tree) as host,
        Hierarchies.detect(host) as hierarchies,
        Journal.open(str(tree.root), "boot") as journal,
    ):
        found = Applier(Knobs(host, hierarchies), journal, clock=clock, random=lambda: 0.5, pause=pause)
        found.adopt()
        yield found


def outcomes(applier: Applier, plan: Plan = PLAN) -> list[Outcome]:
    return [each.outcome for each in applier.execute(plan)]


def test_claimed_while_the_plan_says_so(tree: DamonTree) -> None:
    """One write to take them, none while they are ours, one to give them back; the journal knows as long."""
    with life(tree) as applier:
        assert outcomes(applier) == [Outcome.OK]
        assert (outcomes(applier), applier.held) == ([Outcome.UNCHANGED], 1)
        assert outcomes(applier, Plan()) == [Outcome.OK]
        assert (applier.held, tree.text("nr_kdamonds")) == (0, NONE)


def test_they_are_still_ours_after_a_kill(tree: DamonTree) -> None:
    """The next life goes on with them; told to put back, it stops what runs, too."""
    with life(tree) as applier:
        outcomes(applier)
    folder = tree.root / trees.CGROUP / "pod"
    folder.mkdir()
    for path, text in (("contexts/nr_contexts", "1"), ("contexts/0/schemes/nr_schemes", "1")):
        tree.put(f"3/{path}", text)
    tree.put("3/contexts/0/schemes/0/filters/nr_filters", "1")
    tree.put("3/contexts/0/schemes/0/filters/0/memcg_path", "/pod")
    tree.put("3/state", "on")
    with life(tree) as applier:
        assert outcomes(applier) == [Outcome.UNCHANGED]
    assert tree.running == {3}
    with life(tree) as applier:
        assert [each.outcome for each in applier.restore(float("inf"))] == [Outcome.OK]
        assert (applier.held, tree.running, tree.text("nr_kdamonds")) == (0, set(), NONE)


@pytest.mark.parametrize("end", ["restore", "release"])
def test_a_mark_that_is_not_shown_for_a_while_is_ours_all_the_same(tree: DamonTree, end: str) -> None:
    """While the kernel is at work on one of them it is not known whose they are; they are not left behind for that."""
    with life(tree) as applier:
        outcomes(applier)
        tree.locked = 40
        if end == "restore":
            assert [each.outcome for each in applier.restore(float("inf"))] == [Outcome.OK]
        else:
            for _ in range(100):
                outcomes(applier, Plan())
                applier._clock.now += 10.0
        assert tree.locked == 0
        assert (applier.held, tree.text("nr_kdamonds")) == (0, NONE)


def test_what_is_held_and_not_shown_is_no_trouble(tree: DamonTree) -> None:
    """Nothing has to be written, so that it cannot be looked at in its turn is nobody's news; nor is it given up."""
    with life(tree) as applier:
        assert outcomes(applier) == [Outcome.OK]
        tree.locked = 1 << 30
        for _ in range(20):
            applier._clock.now += 1.0
            assert outcomes(applier) == [Outcome.UNCHANGED]
        assert tree.locked < 1 << 30
        tree.locked = 0
        tree.put("nr_kdamonds", "1")
        applier._clock.now += 60.0
        assert outcomes(applier) == [Outcome.DRIFTED]


def test_what_is_not_shown_holds_nothing_else_up(tree: DamonTree) -> None:
    """All else is put back at once; at the deadline it stays in the journal, and is told."""
    trees.write(tree.root, {f"{trees.CGROUP}/pod/cpu.weight": "100\n"})
    weight = Write(cgroup("pod"), Knob.CPU_WEIGHT, "1", "preemption", "the test wants it")
    with life(tree) as applier:
        outcomes(applier, Plan((*PLAN.writes, weight)))
        tree.locked = 1 << 30
        results = {each.write.knob: each.outcome for each in applier.restore(applier._clock() + 1.0)}
        assert results == {Knob.CPU_WEIGHT: Outcome.OK, Knob.DAMON_KDAMONDS: Outcome.BUSY}
        assert (applier.held, (tree.root / trees.CGROUP / "pod/cpu.weight").read_text()) == (1, "100\n")


@pytest.mark.parametrize("plan", [PLAN, Plan()])
def test_a_claim_that_was_cut_short_is_ended_one_way_or_the_other(tree: DamonTree, plan: Plan) -> None:
    """Killed between making them and marking them: marked if they are still wanted, else gone."""
    with life(tree) as applier:
        outcomes(applier)
    tree.put(f"{WORKERS}/contexts/nr_contexts", "0")
    with life(tree) as applier:
        assert standing(tree) == UNMARKED
        assert outcomes(applier, plan) == [Outcome.OK]
        assert standing(tree) == (CLAIMED if plan is PLAN else NONE)


def standing(tree: DamonTree) -> str:
    with HostFs(str(tree.root), fault=tree) as host:
        return Kdamonds(host).standing()[1]


def test_somebody_elses_are_neither_taken_nor_remembered(tree: DamonTree) -> None:
    """HELD, with what stands there; nothing is in the journal, so nothing will be put back over them."""
    tree.put("nr_kdamonds", "2")
    with life(tree) as applier:
        (result,) = applier.execute(PLAN)
        assert (result.outcome, result.before, result.after) == (Outcome.HELD, "2", "2")
        assert applier.held == 0
    assert tree.text("nr_kdamonds") == "2"


def test_whoever_took_them_meanwhile_has_them(tree: DamonTree) -> None:
    """Somebody removed ours and made their own: theirs stand, now and at the end."""
    with life(tree) as applier:
        outcomes(applier)
    tree.put("nr_kdamonds", "0")
    tree.put("nr_kdamonds", "3")
    with life(tree) as applier:
        assert outcomes(applier) == [Outcome.DRIFTED]
        assert applier.restore(float("inf")) == ()
    assert tree.text("nr_kdamonds") == "3"


def test_it_is_the_nodes_alone_and_takes_two_values(tree: DamonTree) -> None:
    """No cgroup has one; no other number of them is ever made; a kernel without DAMON has none."""
    with HostFs(str(tree.root), fault=tree) as host:
        assert KdamondsKnob.of(host, cgroup("pod")) is Outcome.MISSING
        knob = KdamondsKnob.of(host, NODE)
        assert not isinstance(knob, Outcome)
        assert knob.write("3") == (Outcome.REJECTED, errno.EINVAL)
        assert (knob.identity, knob.read().text()) == (0, NONE)
        (tree.root / "sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds").unlink()
        assert KdamondsKnob.of(host, NODE) is Outcome.MISSING
