"""The acting half under all that goes wrong between a plan and the kernel: scenarios F08 to F14 and F16 to F19."""

from __future__ import annotations

import errno
import resource
import shutil
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.journal import State
from plimsoll.actuators.standing import Settings
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, OnExit, Plan
from tests import acting
from tests.acting import Agent, Pages, plan, pod, switch, want
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults
from tests.vm.scripts.forked import child, ended

if TYPE_CHECKING:
    from pathlib import Path

    from plimsoll.model.plan import Result

PODS = 8
# Later versions of Python warn of threads that other tests have left behind; the child uses none of their locks.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
OTHER_BOOT = "00000000-1111-4222-8333-444444444444"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return trees.write(tmp_path, acting.tree(PODS))


def file(node: Path, path: str, knob: Knob) -> Path:
    return node / trees.CGROUP / path / knob.value


def idle(number: int = 0) -> Plan:
    return plan(want(pod(number), Knob.CPU_IDLE, "1"))


def outcomes(results: tuple[Result, ...]) -> list[Outcome]:
    return [each.outcome for each in results]


def writes(faults: Faults) -> int:
    """How many times a knob was written."""
    return sum(operation == "write" and path.startswith("/") for operation, path in faults.asked)


class Times:
    """Fails the first so many times."""

    def __init__(self, times: int, code: int) -> None:
        self.left = times
        self._code = code

    def __call__(self) -> int:
        self.left -= 1
        return self._code if self.left >= 0 else 0


def test_f09_busy_passes_within_the_tick(node: Path) -> None:
    """F09: EBUSY is asked again three times with short, uneven pauses, and the write gets through."""
    faults = Faults({("write", "cpu.idle"): Times(3, errno.EBUSY)})
    with Agent(node, fault=faults) as agent:
        assert outcomes(agent.applier.execute(idle())) == [Outcome.OK]
        assert len(agent.clock.waits) == 3
        assert 0 < sum(agent.clock.waits) < 0.1
        assert len(set(agent.clock.waits)) == 3


def test_f09_busy_is_left_to_the_next_tick(node: Path) -> None:
    """F09: after four tries it is BUSY, counted, and tried again in the next tick; the original is still known."""
    busy = Times(4, errno.EBUSY)
    with Agent(node, fault=Faults({("write", "cpu.idle"): busy})) as agent:
        [result] = agent.applier.execute(idle())
        assert (result.outcome, result.errno, busy.left) == (Outcome.BUSY, errno.EBUSY, 0)
        assert agent.applier.writes["preemption", Knob.CPU_IDLE, Outcome.BUSY] == 1
        assert outcomes(agent.applier.execute(idle())) == [Outcome.OK]
        assert [record.original for record in agent.journal.originals.values()] == ["0 cpu.weight=100"]
        assert outcomes(agent.applier.execute(Plan())) == [Outcome.OK]
    assert file(node, pod(0), Knob.CPU_IDLE).read_text() == "0\n"


def test_f10_a_refused_value_is_not_tried_again(node: Path) -> None:
    """F10: EINVAL is reported once; the same value is never tried again, another one at once."""
    faults = Faults({("write", "cpu.weight"): errno.EINVAL})
    with Agent(node, fault=faults) as agent:
        low = plan(want(pod(0), Knob.CPU_WEIGHT, "0"))
        [refused] = agent.applier.execute(low)
        assert (refused.outcome, refused.errno) == (Outcome.REJECTED, errno.EINVAL)
        tried = writes(faults)
        for _ in range(1000):
            agent.clock.now += 1
            [held] = agent.applier.execute(low)
            assert (held.outcome, held.errno) == (Outcome.HELD, errno.EINVAL)
        assert writes(faults) == tried
        assert not agent.journal.originals, "nothing of ours stands there"
        faults.script.clear()
        assert outcomes(agent.applier.execute(plan(want(pod(0), Knob.CPU_WEIGHT, "1")))) == [Outcome.OK]


def test_f10_a_knob_refused_on_several_cgroups_is_given_up_on(node: Path) -> None:
    """
    F10: the same errno on five cgroups disables the knob for all. Later one write at a time finds out whether the
    kernel takes it again, and when it does the others follow. Other knobs are not concerned.
    """
    faults = Faults({("write", "cpu.weight"): errno.EINVAL})
    first = [want(pod(number), Knob.CPU_WEIGHT, "1") for number in range(5)]
    later = [want(pod(number), Knob.CPU_WEIGHT, "1") for number in range(5, PODS)]
    with Agent(node, fault=faults, settings=Settings(breaker_cgroups=5, breaker_seconds=60)) as agent:
        assert outcomes(agent.applier.execute(plan(*first))) == [Outcome.REJECTED] * 5
        assert agent.applier.disabled == {Knob.CPU_WEIGHT: errno.EINVAL}
        results = agent.applier.execute(plan(*first, *later, want(pod(0), Knob.MEMORY_LOW, "4096")))
        assert sorted(outcomes(results)) == [Outcome.HELD] * PODS + [Outcome.OK]
        agent.clock.now += 61
        results = agent.applier.execute(plan(*first, *later))
        assert outcomes(results).count(Outcome.REJECTED) == 1
        agent.clock.now += 61
        faults.script.clear()
        results = agent.applier.execute(plan(*first, *later))
        assert sorted(outcomes(results)) == [Outcome.HELD] * (PODS - 1) + [Outcome.OK]
        assert not agent.applier.disabled
        agent.applier.execute(plan(*first, *later))
        assert {file(node, pod(number), Knob.CPU_WEIGHT).read_text() for number in range(PODS)} == {"1\n"}


def test_f11_a_knob_that_may_not_be_written_is_only_observed(node: Path) -> None:
    """F11: on a read-only mount the knob is given up on after a few writes, others go on, nothing has changed."""
    start = acting.values(node)
    faults = Faults({("write", "memory.low"): errno.EROFS})
    wanted = plan(*(want(pod(number), Knob.MEMORY_LOW, "4096") for number in range(PODS)))
    with Agent(node, fault=faults, settings=Settings(breaker_cgroups=3)) as agent:
        assert outcomes(agent.applier.execute(wanted)) == [Outcome.DENIED] * PODS
        assert agent.applier.disabled == {Knob.MEMORY_LOW: errno.EROFS}
        tried = writes(faults)
        for _ in range(100):
            agent.clock.now += 1
            assert outcomes(agent.applier.execute(wanted)) == [Outcome.HELD] * PODS
        assert writes(faults) == tried
        assert agent.applier.held == 0
    assert acting.values(node) == start


@FORKS
def test_f12_a_short_write_is_an_error_and_what_stands_is_read(node: Path) -> None:
    """F12: a file system that takes three bytes of seven: FAILED, what stands is reported, and is put back."""
    start = acting.values(node)

    def life() -> None:
        # Knobs only: the journal has its lines by then.
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3, hard)) or 0  # noqa: E731 - a hook's answer
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        faults = Faults({("write", "memory.low"): limit})
        with Agent(node, fault=faults) as agent:
            [result] = agent.applier.execute(plan(want(pod(0), Knob.MEMORY_LOW, "409600")))
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert (result.outcome, result.errno, result.after) == (Outcome.FAILED, 0, "409")
            faults.script.clear()
            agent.clock.now += 10
            assert outcomes(agent.applier.execute(Plan())) == [Outcome.OK]

    assert ended(child(life)) == 0
    assert acting.values(node) == start


@pytest.mark.parametrize("text", ["1" * 5000, "1\n2", "", "\0"])
def test_f12_what_one_write_cannot_carry_is_refused(node: Path, text: str) -> None:
    """F12: text that is no single line of at most a page never reaches the kernel."""
    start = acting.values(node)
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        assert outcomes(agent.applier.execute(plan(want(pod(0), Knob.MEMORY_LOW, text)))) == [Outcome.REJECTED]
        assert writes(faults) == 0
    assert acting.values(node) == start


def test_f13_what_the_kernel_rounds_is_accepted_once(node: Path) -> None:
    """F13: CLAMPED with the value that stands; no second write; a restart knows the value as ours; it goes back."""
    start = acting.values(node)
    pages = Pages()
    faults = Faults()

    def kernel(operation: str, path: str) -> int:
        return faults(operation, path) or pages(operation, path)

    wanted = plan(want(pod(0), Knob.MEMORY_LOW, str(acting.PAGE + 900)))
    with Agent(node, fault=kernel) as agent:
        [result] = agent.applier.execute(wanted)
        assert (result.outcome, result.after) == (Outcome.CLAMPED, str(acting.PAGE))
        for _ in range(100):
            agent.clock.now += 1
            assert outcomes(agent.applier.execute(wanted)) == [Outcome.UNCHANGED]
        assert writes(faults) == 1
    with Agent(node, fault=kernel) as agent:
        assert outcomes(agent.applier.adopt()) == [Outcome.UNCHANGED]
        assert not agent.applier.drifts
        agent.applier.restore(agent.clock() + 10)
    assert acting.values(node) == start


@pytest.mark.parametrize("knob", [Knob.CPU_IDLE, Knob.CPU_WEIGHT])
def test_f14_an_outsider_who_writes_every_second_starts_no_storm(node: Path, knob: Knob) -> None:
    """F14: ten minutes of somebody else's writes: each is counted, ours come ever more rarely, under one a second."""
    faults = Faults()
    where = file(node, pod(0), knob)
    with Agent(node, fault=faults) as agent:
        wanted = plan(want(pod(0), knob, "1"))
        agent.applier.execute(wanted)
        ours = []
        for second in range(600):
            where.write_text("7\n")
            agent.clock.now += 1
            before = writes(faults)
            agent.applier.execute(wanted)
            if writes(faults) > before:
                ours.append(second)
        assert 3 < len(ours) < 12
        gaps = [later - sooner for sooner, later in pairwise(ours)]
        assert min(gaps) >= 2
        assert gaps[-1] > gaps[0]
        assert agent.applier.drifts[knob] >= len(ours)
    assert max(gaps) < 400


def test_f14_a_change_is_noticed_within_the_verification_time(node: Path) -> None:
    """F14: without any other reason to look, each knob is read once in ten ticks of a second, a few at a time."""
    faults = Faults()
    wanted = plan(*(want(pod(number), Knob.CPU_IDLE, "1") for number in range(PODS)))
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(wanted)
        agent.clock.now += 1
        agent.applier.execute(wanted)
        file(node, pod(5), Knob.CPU_IDLE).write_text("0\n")
        faults.asked.clear()
        ticks = 1
        agent.clock.now += 1
        while Outcome.DRIFTED not in outcomes(agent.applier.execute(wanted)):
            ticks += 1
            agent.clock.now += 1
            assert ticks <= 11
        assert len(faults.opened) <= 6 * ticks, "never all at once"
        agent.clock.now += 2
        agent.applier.execute(wanted)
        assert file(node, pod(5), Knob.CPU_IDLE).read_text() == "1\n"


def test_f14_the_kubelets_new_value_is_what_goes_back(node: Path) -> None:
    """F14: a weight the kubelet changed while ours stood is a new original: its pod was resized."""
    where = file(node, pod(0), Knob.CPU_WEIGHT)
    wanted = plan(want(pod(0), Knob.CPU_WEIGHT, "1"))
    with Agent(node) as agent:
        agent.applier.execute(wanted)
        where.write_text("250\n")
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(wanted)) == [Outcome.DRIFTED]
        agent.clock.now += 10
        assert outcomes(agent.applier.execute(wanted)) == [Outcome.OK]
        agent.applier.restore(agent.clock() + 10)
    assert where.read_text() == "250\n"


def test_f14_the_administrators_switch_is_left_alone(node: Path) -> None:
    """F14: the node's switch yields: what somebody else set stands until another value is wanted."""
    where = node / acting.SWITCH
    with Agent(node) as agent:
        agent.applier.execute(plan(switch()))
        where.write_text("0\n")
        for _ in range(700):
            agent.clock.now += 1
            agent.applier.execute(plan(switch()))
        assert where.read_text() == "0\n"
        assert agent.applier.drifts == {Knob.MEMCG_QOS_ENABLE: 1}
        assert agent.applier.held == 0


def test_f16_250_pods_go_back_within_ten_seconds(tmp_path: Path) -> None:
    """F16: on SIGTERM everything that can go back does, well within the time; what is kept stays in the journal."""
    node = trees.write(tmp_path, acting.tree(250))
    start = acting.values(node)
    kept = want(acting.QOS, Knob.CPU_IDLE, "1", on_exit=OnExit.KEEP)
    wanted = plan(
        kept,
        *(want(pod(number), Knob.CPU_IDLE, "1") for number in range(250)),
        *(want(pod(number), Knob.MEMORY_LOW, "4096") for number in range(250)),
    )
    with Agent(node) as agent:
        agent.applier.execute(wanted)
        begun = time.monotonic()
        results = agent.applier.restore(agent.clock() + 10)
        assert time.monotonic() - begun < 10
        assert outcomes(results).count(Outcome.OK) == 500
        assert [key.target for key in agent.journal.originals] == [kept.target]
        assert file(node, acting.QOS, Knob.CPU_IDLE).read_text() == "1\n"
    with Agent(node) as agent:
        agent.applier.adopt()
        agent.applier.restore(agent.clock() + 10, kept=True)
        assert not agent.journal.originals
    assert acting.values(node) == start


def test_f16_the_deadline_holds(node: Path) -> None:
    """F16: what is not back by the deadline is reported, stays in the journal, and goes back after the next start."""
    start = acting.values(node)
    wanted = plan(*(want(pod(number), Knob.CPU_IDLE, "1") for number in range(PODS)))
    faults = Faults()
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(wanted)
        end = agent.clock() + 5
        faults.script = {("write", f"{pod(3)}/cpu.idle"): errno.EBUSY}
        results = agent.applier.restore(end)
        assert sorted(outcomes(results)) == [Outcome.HELD] + [Outcome.OK] * (PODS - 1)
        assert end <= agent.clock() < end + 0.1
        assert agent.applier.held == 1
    with Agent(node) as agent:
        agent.applier.adopt()
        agent.applier.restore(agent.clock() + 10)
    assert acting.values(node) == start


def test_f17_after_a_reboot_nothing_is_written(node: Path) -> None:
    """F17: another boot's journal is thrown away; the same paths and inode numbers mean nothing now."""
    with Agent(node) as agent:
        agent.applier.execute(idle())
    after_crash = acting.values(node)
    faults = Faults()
    with Agent(node, boot_id=OTHER_BOOT, fault=faults) as agent:
        assert agent.journal.state is State.FOREIGN_BOOT
        assert agent.applier.adopt() == ()
        assert agent.applier.restore(agent.clock() + 10) == ()
        assert writes(faults) == 0
    assert acting.values(node) == after_crash


def test_f18_a_damaged_journal_never_stops_the_agent(node: Path) -> None:
    """F18: whichever byte is damaged: it starts, keeps what can be known, says so, and is whole the next time."""
    with Agent(node) as agent:
        agent.applier.execute(plan(*(want(pod(number), Knob.CPU_IDLE, "1") for number in range(3))))
    journal = node / acting.STATE / "journal"
    whole = journal.read_bytes()
    after_crash = acting.values(node)
    for place in range(0, len(whole), 7):
        shutil.rmtree(journal.parent)
        journal.parent.mkdir()
        journal.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        with Agent(node) as agent:
            agent.applier.adopt()
            assert agent.applier.held >= 1, place
            assert agent.journal.state is State.QUARANTINED, place
            assert agent.journal.writable is Outcome.OK
            known = agent.applier.held
        with Agent(node) as agent:
            assert agent.journal.state is State.REPLAYED, place
            assert len(agent.journal.originals) == known
        assert (journal.parent / "journal.corrupt-1").exists()
    assert acting.values(node) == after_crash


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_f19_without_a_journal_nothing_is_touched_for_the_first_time(node: Path, code: int) -> None:
    """F19: knobs in the journal go on, new ones are HELD and stay as they are; with room again all is well."""
    start = acting.values(node)
    faults = Faults()
    first, second = want(pod(0), Knob.CPU_WEIGHT, "1"), want(pod(1), Knob.CPU_WEIGHT, "1")
    with Agent(node, fault=faults) as agent:
        agent.applier.execute(plan(first))
        faults.script = {("write", "journal"): code, ("open", "journal.new"): code}
        results = agent.applier.execute(plan(first._replace(value="2"), second))
        assert {each.write.target: each.outcome for each in results} == {
            first.target: Outcome.OK,
            second.target: Outcome.HELD,
        }
        assert agent.journal.writable is not Outcome.OK
        assert file(node, pod(1), Knob.CPU_WEIGHT).read_text() == "100\n"
        faults.script.clear()
        assert outcomes(agent.applier.execute(plan(first._replace(value="2"), second))) == [
            Outcome.UNCHANGED,
            Outcome.OK,
        ]
        assert agent.journal.writable is Outcome.OK
    # The value that was written without the journal was told to it later, so that a crash here loses nothing.
    with Agent(node) as agent:
        agent.applier.adopt()
        agent.applier.restore(agent.clock() + 10)
    assert acting.values(node) == start


def test_f19_without_a_state_directory_nothing_is_touched(node: Path) -> None:
    """F19: no directory, no journal, no first write; and no exception."""
    shutil.rmtree(node / acting.STATE)
    start = acting.values(node)
    with Agent(node) as agent:
        assert agent.journal.writable is Outcome.MISSING
        assert outcomes(agent.applier.execute(idle())) == [Outcome.HELD]
        assert outcomes(agent.applier.preview(idle())) == [Outcome.HELD]
    assert acting.values(node) == start


def test_f08_a_cgroup_made_anew_between_look_and_write(node: Path) -> None:
    """F08: removed and made again within the tick, after its value was read: the new one is not written, only GONE."""

    def remake() -> int:
        if not (node / "gone").exists():
            (node / trees.CGROUP / pod(0)).rename(node / "gone")
            trees.write(node, trees.below(f"{trees.CGROUP}/{pod(0)}", {"cpu.idle": "5\n"}))
        return 0

    with Agent(node, fault=Faults({("write", "journal"): remake})) as agent:
        assert outcomes(agent.applier.execute(idle())) == [Outcome.GONE]
        assert file(node, pod(0), Knob.CPU_IDLE).read_text() == "5\n"
        assert agent.applier.held == 0
        assert outcomes(agent.applier.execute(idle())) == [Outcome.OK]
        agent.applier.restore(agent.clock() + 10)
    assert file(node, pod(0), Knob.CPU_IDLE).read_text() == "5\n"
