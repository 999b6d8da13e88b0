"""F36 down to the files: whatever a policy wants, nobody else's pod is touched, and no tick writes without end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.acting import Mode, Status
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Plan, Write, cgroup
from plimsoll.model.pod import Priority
from plimsoll.policies import registry
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.registry import Enrolled, Past
from tests import acting
from tests.acting import KNOB_FILES, QOS, ROOT, Agent, plan, pod, want
from tests.fixtures.colocated import path, sample, snapshot
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

LOW, ONLINE, OTHER = 1, 2, 3
SEEN = snapshot((sample(LOW, Priority.LOW), sample(ONLINE, Priority.HIGH), sample(OTHER, Priority.LOW)))
PER_TICK = 2000
FILES = {"cpu.weight": "100\n", "memory.low": "0\n"}


def idle(number: int, **changes: Any) -> Write:
    return Write(cgroup(path(number)), Knob.CPU_IDLE, "1", "broken", "why")._replace(**changes)


def outcomes(agent: Agent, wanted: Plan) -> Counter[Outcome]:
    return Counter(each.outcome for each in agent.applier.execute(wanted))


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param((idle(LOW), idle(ONLINE)), id="a pod that is not its to take from"),
        pytest.param((idle(LOW), idle(LOW, target=cgroup("system.slice"))), id="no pod's cgroup"),
        pytest.param((idle(LOW), idle(LOW, knob=Knob.MEMORY_LOW, value="4096")), id="a knob it does not own"),
        pytest.param((idle(LOW, value=float("nan")),), id="no number"),
        pytest.param((idle(LOW),) * 1_000_000, id="a million writes"),
        pytest.param(None, id="an exception"),
    ],
)
def test_f36_what_a_broken_policy_wants_reaches_no_file(tmp_path: Path, wanted: tuple[Write, ...] | None) -> None:
    """
    F36: of such a tick nothing is written, what the policy held before stays, and the other policy's writes are made.

    With the next sound decision all goes on, and in the end every byte is as before.
    """
    tree = trees.proc() | {f"{acting.STATE}/": "", f"{trees.CGROUP}/cgroup.controllers": "cpu memory\n"}
    for where in ("system.slice", *map(path, (LOW, ONLINE, OTHER))):
        tree |= trees.below(f"{trees.CGROUP}/{where}", dict(KNOB_FILES))
    node = trees.write(tmp_path, tree)
    start = acting.values(node)
    turns: list[tuple[Write, ...] | None] = [(idle(OTHER),), wanted]

    def decide(_seen: object, _config: object, state: int) -> Decision[int]:
        writes = turns[state]
        if writes is None:
            raise ZeroDivisionError("division by zero")
        return Decision(writes, state + 1)

    weight = Write(cgroup(path(LOW)), Knob.CPU_WEIGHT, "1", "sound", "why")
    knobs = frozenset({Knob.CPU_IDLE})
    broken = Enrolled(Policy("broken", 0.0, (), knobs, 0, decide), Mode.ENFORCE, None)
    sound = Enrolled(
        Policy("sound", 0.0, (), frozenset({Knob.CPU_WEIGHT}), None, lambda *_: Decision((weight,), None)),
        Mode.ENFORCE,
        None,
    )
    past: Past = {}
    with Agent(node) as agent:

        def tick(*enrolled: Enrolled) -> Status:
            nonlocal past
            agent.clock.now += 1
            decisions, past = registry.decide(enrolled, SEEN, agent.clock.now, past)
            agent.applier.execute(decisions.plan)
            return decisions.reports[0].status

        assert tick(broken) is Status.OK
        held = start | {f"{trees.CGROUP}/{path(OTHER)}/cpu.idle": b"1\n"}
        assert acting.values(node) == held

        assert tick(broken, sound) is Status.SKIPPED
        assert acting.values(node) == held | {f"{trees.CGROUP}/{path(LOW)}/cpu.weight": b"1\n"}

        # Its state is that of the last decision it finished: it is handed the same turn until that one is mended.
        turns[1] = (idle(OTHER),)
        assert tick(broken) is Status.OK
        assert acting.values(node) == held
        agent.applier.restore(agent.clock() + 10)
    assert acting.values(node) == start


def test_f36_a_tick_writes_no_more_than_it_may(tmp_path: Path) -> None:
    """
    F36: of 2,002 writes 2,000 are made in one tick, parents first; the others are HELD, not even in the journal, and
    follow in the next. Letting go of all of it keeps to the same number.
    """
    pods = 1000
    node = trees.write(tmp_path, acting.tree(pods, FILES))
    start = acting.values(node)
    wanted = plan(
        *(want(each, Knob.MEMORY_LOW, "4096") for each in (ROOT, QOS)),
        *(want(pod(number), knob, "4096") for number in range(pods) for knob in (Knob.CPU_WEIGHT, Knob.MEMORY_LOW)),
    )
    faults = Faults()
    with Agent(node, fault=faults) as agent:

        def written() -> int:
            count = sum(operation == "write" and where.startswith("/") for operation, where in faults.asked)
            faults.asked.clear()
            return count

        assert outcomes(agent, wanted) == {Outcome.OK: PER_TICK, Outcome.HELD: 2}
        assert (written(), agent.applier.held) == (PER_TICK, PER_TICK)
        assert {acting.values(node)[f"{trees.CGROUP}/{each}/memory.low"] for each in (ROOT, QOS)} == {b"4096\n"}
        assert outcomes(agent, wanted) == {Outcome.UNCHANGED: PER_TICK, Outcome.OK: 2}
        assert (written(), agent.applier.held) == (2, PER_TICK + 2)

        assert outcomes(agent, Plan()) == {Outcome.OK: PER_TICK, Outcome.HELD: 2}
        assert (written(), agent.applier.held) == (PER_TICK, 2)
        assert outcomes(agent, Plan()) == {Outcome.OK: 2}
        assert (written(), agent.applier.held) == (2, 0)
    assert acting.values(node) == start
