"""The applier on a folder: what a plan comes to, what is let go of, what is adopted, and what a preview says."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.standing import Settings
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Knob, OnExit, Plan
from tests import acting
from tests.acting import Agent, plan, pod, switch, want
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll.model.plan import Result


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return trees.write(tmp_path / "node", acting.tree(3))


def file(node: Path, path: str, knob: Knob = Knob.CPU_WEIGHT) -> Path:
    return node / trees.CGROUP / path / knob.value


def weight(number: int = 0, value: str = "1", **fields: object):
    return want(pod(number), Knob.CPU_WEIGHT, value, **fields)


def outcomes(results: tuple[Result, ...]) -> list[Outcome]:
    return [each.outcome for each in results]


def test_a_result_says_what_stood_there_and_what_stands_now(node: Path) -> None:
    """The first time: the value is written as one line, and the result tells before and after."""
    with Agent(node) as agent:
        [result] = agent.applier.execute(plan(weight()))
        assert result == (weight(), Outcome.OK, "100", "1", 0)
        assert agent.applier.held == 1
        assert agent.applier.writes == {("preemption", Knob.CPU_WEIGHT, Outcome.OK): 1}
    assert file(node, pod(0)).read_text() == "1\n"


def test_an_unchanged_plan_makes_no_system_call(node: Path) -> None:
    """Within the same instant nothing is looked at: not one call at the host's boundary."""
    faults = Faults()
    wanted = plan(weight(0), weight(1), switch())
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(wanted)
        faults.asked.clear()
        assert outcomes(agent.applier.execute(wanted)) == [Outcome.UNCHANGED] * 3
        assert faults.asked == []


def test_what_stands_there_already_is_neither_written_nor_ours(node: Path) -> None:
    """A wanted value that stands there by itself is left alone, not journaled, and not put back."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        assert outcomes(agent.applier.execute(plan(weight(value="0100")))) == [Outcome.UNCHANGED]
        assert agent.applier.held == 0
        file(node, pod(0)).write_text("7\n")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(plan(weight(value="100")))) == [Outcome.OK]
        assert [record.original for record in agent.journal.originals.values()] == ["7"]
        agent.applier.execute(Plan())
    assert file(node, pod(0)).read_text() == "7\n"


def test_the_journal_comes_before_the_write(node: Path) -> None:
    """One append for the whole tick, before the first knob is written."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        faults.asked.clear()
        agent.applier.execute(plan(weight(0), weight(1), switch()))
        written = [path for operation, path in faults.asked if operation == "write"]
        assert written[0] == "journal"
        assert len(written) == 4


def test_a_knob_no_plan_wants_any_more_goes_back(node: Path) -> None:
    """What the next plan does not name is restored and forgotten; the rest stays."""
    start = acting.values(node)
    with Agent(node) as agent:
        agent.applier.execute(plan(weight(0), weight(1)))
        results = agent.applier.execute(plan(weight(1)))
        assert outcomes(results) == [Outcome.UNCHANGED, Outcome.OK]
        assert (results[1].write.value, results[1].before, results[1].after) == ("100", "1", "100")
        assert agent.applier.held == 1
        agent.applier.execute(Plan())
        assert agent.applier.execute(Plan()) == ()
        assert agent.applier.held == 0
    assert acting.values(node) == start


def test_a_foreign_value_is_not_undone_when_a_knob_is_let_go_of(node: Path) -> None:
    """What somebody else wrote meanwhile stays, and is told; what they put back to the original is no drift."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight(0), weight(1)))
        file(node, pod(0)).write_text("55\n")
        file(node, pod(1)).write_text("100\n")
        results = agent.applier.execute(Plan())
        assert {each.write.target.path: each.outcome for each in results} == {
            pod(0): Outcome.DRIFTED,
            pod(1): Outcome.UNCHANGED,
        }
        assert agent.applier.held == 0
    assert file(node, pod(0)).read_text() == "55\n"


def test_what_could_not_go_back_is_tried_again(node: Path) -> None:
    """A restore that fails is repeated with back-off; the original is not forgotten."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(weight()))
        faults.script = {("write", "cpu.weight"): errno.EACCES}
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.DENIED]
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.HELD]
        faults.script.clear()
        agent.clock.now += 2
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.OK]
    assert file(node, pod(0)).read_text() == "100\n"


def test_what_is_kept_stays_and_stays_noted(node: Path) -> None:
    """KEEP: no release and no end undoes it; wanted again later its first original is still known; its cgroup's end
    is noticed."""
    kept = weight(on_exit=OnExit.KEEP)
    with Agent(node) as agent:
        agent.applier.execute(plan(kept))
        [result] = agent.applier.execute(Plan())
        assert (result.outcome, result.before) == (Outcome.UNCHANGED, "1")
        assert agent.applier.execute(Plan()) == ()
        assert outcomes(agent.applier.restore(agent.clock() + 10)) == [Outcome.UNCHANGED]
    with Agent(node) as agent:
        agent.applier.adopt()
        agent.applier.execute(Plan())
        agent.applier.execute(plan(weight(value="2")))
        [record] = agent.journal.originals.values()
        assert (record.original, record.on_exit) == ("100", OnExit.RESTORE)
        agent.applier.execute(plan(weight(value="2", on_exit=OnExit.KEEP)))
        agent.applier.execute(Plan())
        (node / trees.CGROUP / pod(0)).rename(node / "gone")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.GONE]
        assert agent.applier.held == 0


def test_a_vanished_cgroup_is_forgotten(node: Path) -> None:
    """GONE, wherever it is noticed: before the first write, while held, and when let go of."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight(0), weight(1)))
        for number in range(3):
            (node / trees.CGROUP / pod(number)).rename(node / f"gone{number}")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(plan(weight(0), weight(2)))) == [Outcome.GONE] * 3
        assert agent.applier.held == 0


def test_a_cgroup_made_anew_is_taken_anew(node: Path) -> None:
    """The same name, another life: its own value is the original, and nothing is carried over."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight()))
        (node / trees.CGROUP / pod(0)).rename(node / "gone")
        trees.write(node, trees.below(f"{trees.CGROUP}/{pod(0)}", {"cpu.weight": "300\n"}))
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(plan(weight()))) == [Outcome.OK]
        assert [record.original for record in agent.journal.originals.values()] == ["300"]
        agent.applier.restore(agent.clock() + 10)
    assert file(node, pod(0)).read_text() == "300\n"
    assert (node / "gone/cpu.weight").read_text() == "1\n"


def test_a_cgroup_made_anew_is_not_given_the_old_value(node: Path) -> None:
    """Let go of a knob whose cgroup was made anew meanwhile: the new one is not written."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight()))
        (node / trees.CGROUP / pod(0)).rename(node / "gone")
        trees.write(node, trees.below(f"{trees.CGROUP}/{pod(0)}", {"cpu.weight": "1\n"}))
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.GONE]
    assert file(node, pod(0)).read_text() == "1\n"


def test_a_missing_file_is_asked_for_ever_more_rarely(node: Path) -> None:
    """A cgroup without the file: MISSING, then HELD, with back-off; other pods are not concerned."""
    file(node, pod(0)).unlink()
    faults = Faults()
    with Agent(node, fault=faults, settings=Settings(breaker_cgroups=1)) as agent:
        assert outcomes(agent.applier.execute(plan(weight(0), weight(1)))) == [Outcome.MISSING, Outcome.OK]
        looks = 0
        for _ in range(300):
            agent.clock.now += 1
            faults.asked.clear()
            agent.applier.execute(plan(weight(0)))
            looks += any(path.endswith(pod(0)) for path in faults.opened)
        assert 5 < looks < 12
        assert not agent.applier.disabled


def test_no_more_than_the_budget_is_written_in_a_tick(node: Path) -> None:
    """What does not fit is HELD and follows in the next tick, in the same safe order."""
    start = acting.values(node)
    wanted = plan(*(want(path, Knob.MEMORY_LOW, "8192") for path in (acting.ROOT, acting.QOS, pod(0), pod(1))))
    with Agent(node, settings=Settings(writes_per_tick=2)) as agent:
        results = agent.applier.execute(wanted)
        assert {each.write.target.path for each in results if each.outcome is Outcome.OK} == {acting.ROOT, acting.QOS}
        assert outcomes(results).count(Outcome.HELD) == 2
        assert agent.applier.held == 2
        assert outcomes(agent.applier.execute(wanted)).count(Outcome.OK) == 2
        agent.applier.execute(Plan())
        agent.applier.execute(Plan())
    assert acting.values(node) == start


def test_what_was_switched_on_first_is_switched_off_last(node: Path) -> None:
    """A phase is undone in reverse, when let go of and at the end, also after a restart."""
    faults = Faults()
    wanted = plan(switch(), want(pod(0), Knob.MEMORY_LOW, "4096", phase=1))
    order = [acting.SWITCH.rpartition("/")[2], "memory.low"]

    def written() -> list[str]:
        names = [path.rpartition("/")[2] for operation, path in faults.asked if operation == "write" and "/" in path]
        faults.asked.clear()
        return names

    with Agent(node, fault=faults) as agent:
        agent.applier.execute(wanted)
        assert written() == order
        agent.applier.execute(Plan())
        assert written() == order[::-1]
        agent.applier.execute(wanted)
    with Agent(node, fault=faults) as agent:
        agent.applier.adopt()
        written()
        agent.applier.restore(agent.clock() + 10)
        assert written() == order[::-1]


def test_children_and_parents_go_back_in_a_safe_order(node: Path) -> None:
    """Restoring narrows the leaves first: no child is wider than its parent on the way."""
    faults = Faults()
    paths = (acting.ROOT, acting.QOS, pod(0))
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(*(want(path, Knob.MEMORY_LOW, "8192") for path in paths)))
        faults.asked.clear()
        agent.applier.restore(agent.clock() + 10)
        written = [path for operation, path in faults.asked if operation == "write" and "memory.low" in path]
        assert [path.count("/") for path in written] == sorted((path.count("/") for path in written), reverse=True)
        assert len(written) == 3


def test_after_a_start_what_is_ours_is_known(node: Path) -> None:
    """Adopted: still ours, back already, gone, somebody else's; nothing is written, and the plan goes on quietly."""
    wanted = plan(weight(0), weight(1), want(pod(0), Knob.MEMORY_LOW, "4096"), want(pod(2), Knob.CPU_IDLE, "1"))
    with Agent(node) as agent:
        agent.applier.execute(wanted)
    file(node, pod(1)).write_text("100\n")
    file(node, pod(0), Knob.MEMORY_LOW).write_text("8192\n")
    (node / trees.CGROUP / pod(2)).rename(node / "gone")
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        found = {each.write.key: each.outcome for each in agent.applier.adopt()}
        assert found == dict(
            zip(
                [
                    weight(0).key,
                    weight(1).key,
                    want(pod(0), Knob.MEMORY_LOW, "").key,
                    want(pod(2), Knob.CPU_IDLE, "").key,
                ],
                [Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.DRIFTED, Outcome.GONE],
                strict=True,
            )
        )
        assert agent.applier.drifts == {Knob.MEMORY_LOW: 1}
        assert [(key.target.path, key.knob) for key in agent.journal.originals] == [(pod(0), Knob.CPU_WEIGHT)]
        assert not any(operation == "write" and "cgroup" in path for operation, path in faults.asked)
        assert outcomes(agent.applier.execute(plan(weight(0)))) == [Outcome.UNCHANGED]
    assert file(node, pod(0), Knob.MEMORY_LOW).read_text() == "8192\n"


@pytest.mark.parametrize("earlier", [False, True])
def test_after_a_kill_either_of_two_values_is_ours(node: Path, earlier: bool) -> None:
    """The journal says 1, then 2, and the kernel may have either: both are adopted, and the original goes back."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight(value="1")))
        agent.applier.execute(plan(weight(value="2")))
    if earlier:
        file(node, pod(0)).write_text("1\n")
    with Agent(node) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.UNCHANGED]
        assert agent.applier.held == 1
        expected = Outcome.OK if earlier else Outcome.UNCHANGED
        assert outcomes(agent.applier.execute(plan(weight(value="2")))) == [expected]
        agent.applier.restore(agent.clock() + 10)
    assert file(node, pod(0)).read_text() == "100\n"


def test_values_that_could_not_be_written_are_no_longer_ours(node: Path) -> None:
    """A value that was journaled but refused, and then another one: what stands is still known after a kill."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(weight(value="1")))
        for value in ("2", "3"):
            faults.script = {("write", "cpu.weight"): errno.EBUSY}
            agent.applier.execute(plan(weight(value=value)))
    with Agent(node) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.UNCHANGED]
        agent.applier.restore(agent.clock() + 10)
    assert file(node, pod(0)).read_text() == "100\n"


def test_a_knob_that_cannot_be_read_at_the_start_is_not_forgotten(node: Path) -> None:
    """DENIED while adopting: the original stays known, and goes back once it can be read."""
    with Agent(node) as agent:
        agent.applier.execute(plan(weight()))
    faults = Faults({("read", "cpu.weight"): errno.EACCES})
    with Agent(node, fault=faults) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.DENIED]
        assert outcomes(agent.applier.restore(agent.clock() + 10)) == [Outcome.DENIED]
        faults.script.clear()
        assert outcomes(agent.applier.restore(agent.clock() + 10)) == [Outcome.OK]
    assert file(node, pod(0)).read_text() == "100\n"


def test_a_preview_says_what_would_be_and_changes_nothing(node: Path) -> None:
    """Each kind of answer, with what stands there now; no write, no line, and the same answers the next time."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(weight(0), weight(1), want(pod(0), Knob.MEMORY_LOW, "8192")))
        file(node, pod(1)).write_text("55\n")
        file(node, pod(2), Knob.MEMORY_LOW).unlink()
        wanted = plan(
            weight(0),
            weight(1),
            weight(2),
            want(pod(2), Knob.MEMORY_LOW, "4096"),
            want("no/such", Knob.CPU_IDLE, "1"),
        )
        before, known = acting.values(node), dict(agent.journal.originals)
        faults.asked.clear()
        first = agent.applier.preview(wanted)
        answers = {(each.write.target.path, each.write.knob): (each.outcome, each.before) for each in first}
        assert answers == {
            (pod(0), Knob.CPU_WEIGHT): (Outcome.UNCHANGED, "1"),
            (pod(1), Knob.CPU_WEIGHT): (Outcome.DRIFTED, "55"),
            (pod(2), Knob.CPU_WEIGHT): (Outcome.OK, "100"),
            (pod(2), Knob.MEMORY_LOW): (Outcome.MISSING, None),
            ("no/such", Knob.CPU_IDLE): (Outcome.GONE, None),
            (pod(0), Knob.MEMORY_LOW): (Outcome.OK, "8192"),
        }
        assert agent.applier.preview(wanted) == first
        assert not any(operation == "write" for operation, _ in faults.asked)
        assert acting.values(node) == before
        assert agent.journal.originals == known
        assert not agent.applier.drifts
        done = {(each.write.target.path, each.write.knob): each.outcome for each in agent.applier.execute(wanted)}
        # Within the same tick execute does not look at what seems settled.
        assert {key: outcome for key, (outcome, _) in answers.items() if key[0] != pod(1)} == {
            key: outcome for key, outcome in done.items() if key[0] != pod(1)
        }


def test_a_policy_that_takes_over_takes_the_original_with_it(node: Path) -> None:
    """Another policy, exit or phase for the same value is noted without a write."""
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(weight()))
        faults.asked.clear()
        other = weight(policy="overcommit", on_exit=OnExit.KEEP)
        assert outcomes(agent.applier.execute(plan(other))) == [Outcome.UNCHANGED]
        assert not any(operation == "write" and "cgroup" in path for operation, path in faults.asked)
        [record] = agent.journal.originals.values()
        assert (record.original, record.policy, record.on_exit) == ("100", "overcommit", OnExit.KEEP)


def test_what_could_not_be_put_back_is_not_taken(node: Path) -> None:
    """An empty file has no value to go back to: MALFORMED, and it stays as it is."""
    file(node, pod(0)).write_text("")
    with Agent(node) as agent:
        assert outcomes(agent.applier.execute(plan(weight()))) == [Outcome.MALFORMED]
    assert file(node, pod(0)).read_text() == ""


def test_the_node_has_knobs_too(node: Path) -> None:
    """A switch below /proc/sys is taken, kept over a restart and put back like a cgroup's."""
    with Agent(node) as agent:
        assert outcomes(agent.applier.execute(plan(switch()))) == [Outcome.OK]
    with Agent(node) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.UNCHANGED]
        assert [key.target for key in agent.journal.originals] == [NODE]
        agent.applier.execute(Plan())
    assert (node / acting.SWITCH).read_text() == "0\n"


def test_pods_that_come_and_go_leave_nothing_behind(node: Path) -> None:
    """A thousand short lives: journal, memory and file stay as small as one pod's."""
    with Agent(node, compact_bytes=4000) as agent:
        for number in range(1000):
            path = f"{acting.QOS}/short{number}"
            trees.write(node, trees.below(f"{trees.CGROUP}/{path}", {"cpu.weight": "100\n"}))
            agent.clock.now += 1
            agent.applier.execute(plan(want(path, Knob.CPU_WEIGHT, "1")))
            (node / trees.CGROUP / path / "cpu.weight").unlink()
            (node / trees.CGROUP / path).rmdir()
        agent.applier.execute(Plan())
        assert agent.applier.held == 0
        assert agent.journal.size < 6000
        assert not agent.applier._standing.holdings


def test_what_the_kernel_makes_of_a_value_is_noted(node: Path) -> None:
    """A value the kernel raises to its least: noted as ours, so that a restart knows it and it goes back."""

    def kernel(operation: str, path: str) -> int:
        if operation == "read" and path.endswith(f"{pod(0)}/cpu.weight") and file(node, pod(0)).read_text() == "0\n":
            file(node, pod(0)).write_text("1\n")
        return 0

    with Agent(node, fault=kernel) as agent:
        [result] = agent.applier.execute(plan(weight(value="0")))
        assert (result.outcome, result.after) == (Outcome.CLAMPED, "1")
        assert [record.last for record in agent.journal.originals.values()] == [("0", "1")]
    with Agent(node, fault=kernel) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.UNCHANGED]
        agent.applier.restore(agent.clock() + 10)
    assert file(node, pod(0)).read_text() == "100\n"


def test_while_waiting_a_look_does_not_write(node: Path) -> None:
    """A knob left alone for a while is still looked at in its turn: the end of its cgroup, and a value that is right
    again, are noticed."""
    idle = [want(pod(number), Knob.CPU_IDLE, "1") for number in range(3)]
    settings = Settings(backoff_first=1000, backoff_cap=1000)
    with Agent(node, settings=settings) as agent:
        agent.applier.execute(plan(*idle))
        for number in range(3):
            file(node, pod(number), Knob.CPU_IDLE).write_text("0\n")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(plan(*idle))) == [Outcome.DRIFTED] * 3
        assert outcomes(agent.applier.execute(plan(*idle))) == [Outcome.DRIFTED] * 3
        file(node, pod(1), Knob.CPU_IDLE).write_text("1\n")
        (node / trees.CGROUP / pod(2)).rename(node / "gone")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(plan(*idle))) == [Outcome.DRIFTED, Outcome.UNCHANGED, Outcome.GONE]
        assert agent.applier.drifts == {Knob.CPU_IDLE: 3}
        # What the others wrote last is what stands, and what goes back: nothing is left to do.
        assert outcomes(agent.applier.execute(Plan())) == []
        assert agent.applier.held == 0


def test_a_limit_of_swap_is_written_again_within_seconds(node: Path) -> None:
    """However often systemd reloads: a pod that was closed does not stay open longer than the knob allows."""
    limit = want(pod(0), Knob.MEMORY_SWAP_MAX, "0")
    file(node, pod(0), Knob.MEMORY_SWAP_MAX).write_text("max\n")
    settings = Settings(backoff_first=1, backoff_cap=1000, verify_seconds=1)
    with Agent(node, settings=settings) as agent:
        agent.applier.execute(plan(limit))
        for _ in range(12):
            file(node, pod(0), Knob.MEMORY_SWAP_MAX).write_text("max\n")
            for _ in range(8):
                agent.clock.now += 1
                agent.applier.execute(plan(limit))
            assert file(node, pod(0), Knob.MEMORY_SWAP_MAX).read_text() == "0\n"
        assert agent.applier.drifts == {Knob.MEMORY_SWAP_MAX: 12}


def test_a_knob_given_up_on_is_still_looked_at(node: Path) -> None:
    """While the breaker is open nothing is written, and what stands there is reported all the same."""
    faults = Faults()
    with Agent(node, fault=faults, settings=Settings(breaker_cgroups=1)) as agent:
        agent.applier.execute(plan(weight(0)))
        faults.script = {("write", f"{pod(1)}/cpu.weight"): errno.EINVAL}
        agent.applier.execute(plan(weight(0), weight(1)))
        assert agent.applier.disabled == {Knob.CPU_WEIGHT: errno.EINVAL}
        agent.clock.now += 10
        results = agent.applier.execute(plan(weight(0, "5"), weight(1)))
        assert [(each.outcome, each.before) for each in results] == [(Outcome.HELD, "1"), (Outcome.HELD, None)]
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.OK], "what is ours goes back all the same"
    assert file(node, pod(0)).read_text() == "100\n"


def test_a_read_that_fails_after_the_write_is_an_outcome(node: Path) -> None:
    """What could not be read back is never assumed: reported, looked at again, and put back if it was ours."""
    count = []

    def second_read() -> int:
        count.append(1)
        return errno.EIO if len(count) == 2 else 0

    with Agent(node, fault=Faults({("read", "cpu.weight"): second_read})) as agent:
        [result] = agent.applier.execute(plan(weight()))
        assert (result.outcome, result.errno, result.after) == (Outcome.FAILED, errno.EIO, None)
        assert agent.applier.held == 1
        agent.clock.now += 2
        assert outcomes(agent.applier.execute(plan(weight()))) == [Outcome.UNCHANGED]
        agent.applier.execute(Plan())
    assert file(node, pod(0)).read_text() == "100\n"


def test_a_cgroup_that_ends_under_the_write_is_gone(node: Path) -> None:
    """Removed between the look and the write, and between the write and reading back: GONE, and forgotten."""

    def end() -> int:
        if (node / trees.CGROUP / pod(0)).exists():
            (node / trees.CGROUP / pod(0)).rename(node / "gone")
            for each in (node / "gone").iterdir():
                each.unlink()
        return 0

    with Agent(node, fault=Faults({("write", "journal"): end})) as agent:
        assert outcomes(agent.applier.execute(plan(weight()))) == [Outcome.GONE]
        assert agent.applier.held == 0


def test_a_protection_is_never_made_smaller(node: Path) -> None:
    """
    memory.low of somebody else that is larger than what is wanted stays and is not ours; when it becomes smaller it is
    raised, and when less is wanted than stood there before us, what stood there goes back.
    """
    low = file(node, pod(0), Knob.MEMORY_LOW)

    def protect(value: str) -> Plan:
        return plan(want(pod(0), Knob.MEMORY_LOW, value))

    with Agent(node) as agent:
        for larger in ("max", "81920"):
            low.write_text(f"{larger}\n")
            agent.clock.now += 10
            assert outcomes(agent.applier.execute(protect("40960"))) == [Outcome.UNCHANGED]
            assert (low.read_text(), agent.applier.held) == (f"{larger}\n", 0)
        low.write_text("20480\n")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(protect("40960"))) == [Outcome.OK]
        assert (low.read_text(), agent.applier.held) == ("40960\n", 1)
        agent.applier.execute(protect("8192"))
        assert (low.read_text(), agent.applier.held) == ("20480\n", 0)
        assert outcomes(agent.applier.execute(protect("8192"))) == [Outcome.UNCHANGED]
        assert agent.applier.held == 0
        agent.applier.execute(Plan())
    assert low.read_text() == "20480\n"


@pytest.mark.parametrize(("times", "left"), [(2, 0), (3, 1)])
def test_what_fails_for_a_moment_in_the_end_is_tried_again(node: Path, times: int, left: int) -> None:
    """EIO at the end: twice more, since nobody may be there to try again; what still fails stays in the journal."""
    codes = iter([errno.EIO] * times)
    with Agent(node) as agent:
        agent.applier.execute(plan(weight(0), weight(1)))
    with Agent(node, fault=Faults({("write", f"{pod(0)}/cpu.weight"): lambda: next(codes, 0)})) as agent:
        agent.applier.adopt()
        results = agent.applier.restore(agent.clock.now + 10)
        assert sorted(outcomes(results)) == sorted([Outcome.FAILED if left else Outcome.OK, Outcome.OK])
        assert agent.applier.held == left
        assert agent.clock.now < 1010
    assert file(node, pod(0)).read_text() == ("1\n" if left else "100\n")
    assert file(node, pod(1)).read_text() == "100\n"
