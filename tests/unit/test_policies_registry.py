"""A broken policy hurts nobody: exceptions, NaN, a million writes, foreign cgroups (F36); and who waits for what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plimsoll.config.policy_sections import PreemptionSection
from plimsoll.model.acting import Mode, Note, Status
from plimsoll.model.overcommit import Overcommit
from plimsoll.model.plan import NODE, Knob, Write, cgroup
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import registry
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.registry import Decisions, Enrolled, Past, enrol
from tests.fixtures.colocated import path, sample, snapshot

NODE_OF_TWO = (sample(1, Priority.LOW), sample(2, Priority.HIGH))
Decide = Callable[[Snapshot, Any, Any], Any]


def idle(number: int = 1, policy: str = "broken", **changes: Any) -> Write:
    return Write(cgroup(path(number)), Knob.CPU_IDLE, "1", policy, "why")._replace(**changes)


def wants(*writes: Write) -> Decide:
    return lambda seen, config, state: Decision(writes, state)


def notes(*noted: Note) -> Decide:
    return lambda seen, config, state: Decision((), state, notes=noted)


def broken(
    decide: Decide, *, mode: Mode = Mode.ENFORCE, interval: float = 0.0, needs: tuple[str, ...] = ()
) -> Enrolled:
    return Enrolled(Policy("broken", interval, needs, frozenset({Knob.CPU_IDLE}), 0, decide), mode, None)


def sound(mode: Mode = Mode.ENFORCE) -> Enrolled:
    write = Write(cgroup(path(1)), Knob.CPU_WEIGHT, "1", "sound", "why")
    return Enrolled(Policy("sound", 0.0, (), frozenset({Knob.CPU_WEIGHT}), None, wants(write)), mode, None)


def tick(*enrolled: Enrolled, now: float = 0.0, past: Past | None = None, **seen: Any) -> tuple[Decisions, Past]:
    return registry.decide(enrolled, snapshot(NODE_OF_TWO, **seen), now, past or {})


def raises(_seen: Snapshot, _config: object, _state: object) -> Any:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("decide", "reason"),
    [
        (raises, "exception"),
        (lambda seen, config, state: int(float("nan")), "exception"),
        (lambda seen, config, state: None, "malformed"),
        (lambda seen, config, state: Decision(iter(()), state), "malformed"),
        (lambda seen, config, state: Decision((None,), state), "malformed"),
        (wants(idle(value=float("nan"))), "malformed"),
        (wants(idle(value="nan")), "value"),
        (wants(*[idle()] * 1_000_000), "too-many"),
        (lambda seen, config, state: Decision((), state, notes=("oh",)), "malformed"),
        (lambda seen, config, state: Decision((), state, lacking="cpu-idle"), "malformed"),
        (wants(idle(knob=Knob.MEMORY_LOW, value="4096")), "knob"),
        (wants(idle(knob="cpu.max")), "knob"),
        (wants(idle(), idle(2)), "priority"),
        (wants(idle(target=cgroup("system.slice"))), "target"),
        (wants(idle(target=NODE)), "target"),
        (wants(idle(target="kubepods.slice")), "exception"),
        (wants(idle(policy="sound")), "owner"),
        (wants(idle(knob="cpu.idle")), "malformed"),
        (wants(idle(target=cgroup(path(1))._replace(kind="cgroup"))), "exception"),
        (wants(idle(reason=None)), "malformed"),
        (wants(idle(phase=float("nan"))), "malformed"),
        (wants(idle(phase=True)), "malformed"),
        (wants(idle(phase=1 << 70)), "malformed"),
        (wants(idle(chain=[])), "malformed"),
        (wants(idle(on_exit="never")), "malformed"),
        (notes(Note(None, "Reason", "message")), "malformed"),
        (notes(Note("uid", [], "message")), "malformed"),
        (notes(Note("uid", "No Reason", "message")), "malformed"),
        (notes(Note("uid", "R" * 65, "message")), "malformed"),
        (notes(Note("uid", "Reason", 7)), "malformed"),
        (notes(Note("uid", "reason", "message")), "malformed"),
        (lambda seen, config, state: Decision((), state, lacking=("cpu-idle", 7)), "malformed"),
        (lambda seen, config, state: Decision((), state, overcommit=7), "malformed"),
        (lambda seen, config, state: Decision((), state, eviction=Overcommit()), "malformed"),
        (lambda seen, config, state: Decision((), state, frequency="fast"), "malformed"),
    ],
)
def test_a_broken_policy_is_skipped(decide: Decide, reason: str) -> None:
    """F36: it is left out of this tick as a whole, counted and named; the other policy's writes are all there."""
    decisions, past = tick(broken(decide), sound())
    assert [(each.target.path, each.knob) for each in decisions.plan.writes] == [(path(1), Knob.CPU_WEIGHT)]
    report, other = decisions.reports
    assert (report.policy, report.status, report.reason) == ("broken", Status.SKIPPED, reason)
    assert report.detail
    assert len(report.detail) <= 200
    assert report.failures == {reason: 1}
    assert (other.status, other.failures) == (Status.OK, {})
    again, _ = tick(broken(decide), sound(), past=past)
    assert again.reports[0].failures == {reason: 2}


def test_it_recovers() -> None:
    """A policy that failed is asked again in the next tick, with the state it had."""

    def decide(seen: Snapshot, config: object, state: int) -> Decision[int]:
        if seen.monotonic == 2.0:
            raise ValueError("not now")
        return Decision((idle(value="1"),), state + 1)

    past: Past = {}
    for second, status in ((1.0, Status.OK), (2.0, Status.SKIPPED), (3.0, Status.OK)):
        decisions, past = tick(broken(decide), past=past, monotonic=second)
        assert decisions.reports[0].status is status
    assert past["broken"].state == 2
    assert decisions.reports[0].failures == {"exception": 1}


def test_what_it_wanted_last_is_held() -> None:
    """A failure must not look like a decision to release everything: what was wanted before still is."""
    _, past = tick(broken(wants(idle())))
    decisions, _ = tick(broken(raises), past=past)
    assert decisions.reports[0].status is Status.SKIPPED
    assert [each.target.path for each in decisions.plan.writes] == [path(1)]


@pytest.mark.parametrize("interval", [0.0, 100.0])
def test_what_is_held_is_checked_again(interval: float) -> None:
    """A pod that was promoted, or is gone, is let go of at once, even while its policy fails or is not due."""
    enrolled = broken(wants(idle()), interval=interval)
    _, past = registry.decide([enrolled], snapshot(NODE_OF_TWO), 0.0, {})
    failing = broken(raises, interval=interval)
    for pods in ((sample(1, Priority.NORMAL),), (sample(1, managed=False),), ()):
        decisions, _ = registry.decide([failing], snapshot(pods), 1.0, past)
        assert decisions.plan.writes == ()


def test_intervals() -> None:
    """Between two decisions of a slow policy its last one stands; a policy is asked when its time has come."""
    asked: list[float] = []

    def decide(seen: Snapshot, config: object, state: int) -> Decision[int]:
        asked.append(seen.monotonic)
        return Decision((idle(),), state)

    past: Past = {}
    for second in range(12):
        decisions, past = tick(broken(decide, interval=5.0), now=float(second), past=past, monotonic=float(second))
        assert len(decisions.plan.writes) == 1
    assert asked == [0.0, 5.0, 10.0]


def test_modes() -> None:
    """observe is decided and shown but is not in the plan; off is not even asked, and forgets."""
    decisions, past = tick(broken(wants(idle()), mode=Mode.OBSERVE), sound())
    assert [each.policy for each in decisions.plan.writes] == ["sound"]
    assert [each.policy for each in decisions.observed.writes] == ["broken"]
    assert decisions.reports[0].writes == 1
    off, past = tick(broken(raises, mode=Mode.OFF), sound(), past=past)
    assert (off.reports[0].status, off.reports[0].writes) == (Status.OFF, 0)
    assert off.observed.writes == ()
    assert past["broken"].writes == ()


def test_needs() -> None:
    """F29: a policy whose capability is absent is not asked, and says what is lacking."""
    decisions, _ = tick(broken(raises, needs=("cgroup", "psi-irq", "warp-drive")), sound())
    report = decisions.reports[0]
    assert (report.status, report.lacking) == (Status.MISSING, ("psi-irq", "warp-drive"))
    assert decisions.reports[1].status is Status.OK


def test_nothing_before_all_pods_are_known() -> None:
    """After a start absence means nothing: no plan is given, so that nothing is released either."""
    _, past = tick(broken(wants(idle())))
    decisions, kept = tick(broken(wants(idle())), sound(Mode.OFF), past=past, complete=False)
    assert not decisions.ready
    assert decisions.plan.writes == ()
    assert [each.status for each in decisions.reports] == [Status.WAITING, Status.OFF]
    assert kept == past
    assert tick(broken(wants(idle())), past=past)[0].ready


def test_precedence() -> None:
    """Of two policies that want one knob, the one enrolled first has it, and the other's wish is reported."""

    def weighing(name: str, value: str) -> Enrolled:
        write = Write(cgroup(path(1)), Knob.CPU_WEIGHT, value, name, "why")
        return Enrolled(Policy(name, 0.0, (), frozenset({Knob.CPU_WEIGHT}), None, wants(write)), Mode.ENFORCE, None)

    for first, second in (("a", "z"), ("z", "a")):
        decisions, _ = tick(weighing(first, "7"), weighing(second, "3"))
        (kept,) = decisions.plan.writes
        (conflict,) = decisions.plan.conflicts
        assert (kept.policy, conflict.dropped.policy) == (first, second)


@pytest.mark.parametrize("mode", ["off", "observe", "enforce"])
def test_preemption_is_enrolled(mode: str) -> None:
    """The administrator's mode decides what becomes of preemption; the whole way from section to plan."""
    enrolled = enrol(preemption_section=PreemptionSection.model_validate({"mode": mode}))
    decisions, _ = registry.decide(enrolled, snapshot(NODE_OF_TWO), 0.0, {})
    assert [each.policy for each in decisions.reports] == ["preemption"]
    assert [len(decisions.plan.writes), len(decisions.observed.writes)] == {
        "off": [0, 0],
        "observe": [0, 1],
        "enforce": [1, 0],
    }[mode]
