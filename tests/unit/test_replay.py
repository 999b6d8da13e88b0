"""Deciding on a recording: what changed in each tick, by which configuration, and always the same."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from plimsoll.config.loader import parse_config
from plimsoll.config.schema import Config
from plimsoll.model.acting import Mode, Note, Report, Status
from plimsoll.model.plan import Conflict, Knob
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot
from plimsoll.policies import overcommit_step
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.preemption import RESIZE_PAUSE_SECONDS, RESIZE_SECONDS
from plimsoll.policies.registry import Enrolled
from plimsoll.recording import Recorder
from plimsoll.replay import Noted, Replay, Tick
from plimsoll.replay_view import Summary, tick_facts, tick_lines
from plimsoll.simulator.node import Kind
from plimsoll.terminal import Style
from tests.fixtures import paging
from tests.fixtures.colocated import GIB, OPENEULER_V1, STOCK_V2, UID, path, sample, snapshot
from tests.fixtures.contended import high, low, node
from tests.fixtures.snapshots import write
from tests.paging_day import TICKS
from tests.recorded import DAYS, PAGING, decided, decisions, recording
from tests.running import PROGRAM, command

_ALONE = "frequency: {mode: 'off'}\novercommit: {mode: 'off'}\nioLimit: {mode: 'off'}\neviction: {mode: 'off'}\n"
ENFORCE = parse_config(f"{_ALONE}preemption: {{mode: enforce}}", "enforce")
OFF = parse_config(f"{_ALONE}preemption: {{mode: 'off'}}", "off")
HIGH = sample(1, Priority.HIGH, request=GIB)
LOW = sample(2)


def ticks(*snapshots: Snapshot, config: Config = ENFORCE) -> list[Tick]:
    replay = Replay(config)
    return [replay.tick(each) for each in snapshots]


def at(second: int, *pods: PodSample, complete: bool = True) -> Snapshot:
    return replace(snapshot(pods, STOCK_V2, monotonic=1000.0 + second, complete=complete), sequence=second)


def wishes(wanted) -> set[tuple[str, str, str]]:
    return {(each.write.target.path, each.write.knob, each.write.value) for each in wanted}


def shown(tick: Tick, style: Style = Style()) -> list[str]:  # noqa: B008 - immutable
    return list(tick_lines(tick, style))


@pytest.mark.parametrize("name", DAYS)
def test_the_recorded_days(name):
    """What is wanted of them is what is written down: `python -m tests.recorded` after a change that is meant."""
    assert list(decided(recording(name))) == decisions(name).read_text().splitlines()


@pytest.mark.parametrize("kind", Kind)
def test_the_recorded_days_have_something_to_tell(kind):
    """All three configurations, pods that come and go, and no policy that fails; and they stay small."""
    days = [json.loads(line) for line in decisions(kind).read_text().splitlines()]
    assert len(days) == 14
    fared = [each for tick in days for each in tick["policies"] if each["policy"] == "preemption"]
    assert [(each["mode"], each["status"]) for each in fared] == [("observe", "ok"), ("enforce", "ok")]
    assert sum(bool(each["added"]) for each in days) > 5
    assert sum(bool(each["removed"]) for each in days) > 5
    assert os.path.getsize(recording(kind)) <= 60_000


def test_the_recorded_day_of_overcommit_has_something_to_tell():
    """Trying and knowing, each reason to stop, a pod that comes and one that goes; nothing is asked for in a pause."""
    day = [json.loads(line) for line in decisions(PAGING).read_text().splitlines()]
    assert len(day) == TICKS
    assert {each["mode"] for tick in day for each in tick["reclaims"]} == {"enforce"}
    assert {each["selector"] for tick in day for each in tick["watches"]} == {"plain", "damon"}
    assert sum(each["bytesPerSecond"] > 0 for tick in day for each in tick["watches"]) > 3
    turns = [each["now"] for tick in day for each in tick["pauses"]]
    told = {"probation", "felt", "stalled", "refaults", "floor", "capped", "high-pressure", "reached", ""}
    assert told <= set(turns)
    ratios = [(each["overcommit"] or {}).get("ratio") for each in day]
    # Turned off in the end.
    assert ratios[-1] is None
    assert (ratios[0], max(filter(None, ratios))) == pytest.approx((1.0, 2.0), abs=0.05)
    for tick in day:
        if tick["overcommit"] is None or tick["overcommit"]["pause"]:
            assert tick["reclaims"] == []
    assert [each["target"].rpartition("/pod")[2] for each in day[-5]["removed"]][:2] == ["1", "3"]
    assert os.path.getsize(recording(PAGING)) <= 20_000


def test_the_recorded_day_knows_the_law(monkeypatch):
    """A step that grows by a little more is another day."""
    monkeypatch.setattr(overcommit_step, "_GROWTH", 1.31)
    assert list(decided(recording(PAGING))) != decisions(PAGING).read_text().splitlines()


def test_what_is_new_changes_and_goes():
    """Only that: what is wanted as before is not told again."""
    first, same, larger, gone = ticks(
        at(1, HIGH, LOW), at(2, HIGH, LOW), at(3, sample(1, Priority.HIGH, request=2 * GIB), LOW), at(4, LOW)
    )
    root = "kubepods.slice"
    protected = {(root, "memory.low", str(GIB)), (f"{root}/kubepods-burstable.slice", "memory.low", str(GIB))}
    assert wishes(first.added) == protected | {
        (path(1), "memory.low", str(GIB)),
        (path(2), "cpu.idle", "1"),
    }
    assert [each.status for each in first.reports] == [Status.OK, *[Status.OFF] * 4]
    assert (same.eventful, same.wanted) == (False, 4)
    assert wishes(each.before for each in larger.changed) == wishes(first.added) - {(path(2), "cpu.idle", "1")}
    assert {each.after.write.value for each in larger.changed} == {str(2 * GIB)}
    assert (larger.added, larger.removed, larger.reports) == ((), (), ())
    assert wishes(gone.removed) == wishes(each.after for each in larger.changed)
    assert gone.wanted == 1


def test_a_pod_that_is_gone_still_has_its_name():
    """In the tick that tells what is no longer wanted of it."""
    *_, gone = ticks(at(1, HIGH, LOW), at(2, HIGH))
    [removed] = tick_facts(gone)["removed"]
    assert (removed["namespace"], removed["pod"], removed["target"]) == ("shop", "web-2", path(2))
    assert any("shop/web-2" in line for line in shown(gone))


def test_while_not_all_pods_are_known_nothing_is_released():
    """A tick with half of the sources changes what the policy fares, and nothing else."""
    first, waiting, again = ticks(at(1, HIGH, LOW), at(2, complete=False), at(3, HIGH, LOW))
    assert [(each.policy, each.status) for each in waiting.reports] == [("preemption", Status.WAITING)]
    assert (waiting.removed, waiting.wanted) == ((), first.wanted)
    assert [each.status for each in again.reports] == [Status.OK]
    assert (again.added, again.changed, again.removed, again.noted) == ((), (), (), ())


def test_what_a_policy_remembers_goes_by_the_snapshots_time():
    """A pod that resizes is let off for a minute of theirs, however fast they are decided on."""
    resizing = sample(2, resizing=True)
    first, begun, still, over = ticks(
        at(1, LOW), at(2, resizing), at(int(RESIZE_SECONDS), resizing), at(int(RESIZE_SECONDS) + 2, resizing)
    )
    assert (first.wanted, begun.wanted, still.wanted, over.wanted) == (1, 0, 0, 1)
    *_, never = ticks(at(1, resizing), at(int(RESIZE_PAUSE_SECONDS) - 1, resizing))
    assert never.wanted == 1


def test_a_policy_with_an_interval_decides_by_the_snapshots_time():
    """Every five seconds of theirs; between, what it decided stands."""
    policy = Policy("counting", 5.0, (), frozenset(), 0, lambda _snapshot, _config, count: Decision((), count + 1))
    replay = Replay(OFF)
    replay._enrolled = (Enrolled(policy, Mode.OBSERVE, None),)
    counts = []
    for second in (0, 1, 4, 5, 9, 10, 16):
        replay.tick(at(second))
        counts.append(replay._past["counting"].state)
    assert counts == [1, 1, 1, 2, 2, 3, 4]


def test_notes_begin_and_end():
    """With the pod's name, once each."""
    poor = sample(1, Priority.HIGH)
    first, same, cleared = ticks(at(1, poor), at(2, poor), at(3))
    assert [each["reason"] for each in tick_facts(first)["notes"]] == ["NoMemoryRequest"]
    assert not same.eventful
    [note] = tick_facts(cleared)["notesCleared"]
    assert (note["uid"], note["namespace"], note["pod"]) == (UID.format(1), "shop", "web-1")
    assert shown(cleared)[1:] == ["  shop/web-1  NoMemoryRequest no longer"]


def test_another_configuration_takes_over_from_the_next_snapshot():
    """Turned off, all is let go; turned on, all is wanted."""
    replay = Replay(OFF)
    assert replay.tick(at(1, LOW)).wanted == 0
    replay.reconfigure(ENFORCE)
    on = replay.tick(at(2, LOW))
    assert ([each.mode for each in on.added], [each.mode for each in on.reports]) == ([Mode.ENFORCE], [Mode.ENFORCE])
    replay.reconfigure(Config())
    observed = replay.tick(at(3, LOW))
    assert [each.mode for each in observed.added] == [Mode.OBSERVE]
    assert [each.mode for each in observed.removed] == [Mode.ENFORCE]
    replay.reconfigure(OFF)
    assert wishes(replay.tick(at(4, LOW)).removed) == {(path(2), "cpu.idle", "1")}


def eventful(**parts: object) -> Tick:
    [tick] = ticks(at(1))
    return tick._replace(**{"reports": (), **parts})


def test_what_two_policies_want_is_told():
    """Who wins, with what, and what the other wanted."""
    kept, dropped = write("a/b", Knob.CPU_WEIGHT, "1"), write("a/b", Knob.CPU_WEIGHT, "7", "shares")
    tick = eventful(conflicts=(Conflict(kept, dropped),))
    assert shown(tick)[1:] == ["  ! cpu.weight: preemption wins with 1, shares wanted 7  a/b"]
    [facts] = tick_facts(tick)["conflicts"]
    assert (facts["kept"]["value"], facts["dropped"]["value"]) == ("1", "7")


def test_hostile_text_does_not_reach_the_terminal():
    """A recording may be anybody's."""
    report = Report("preemption", Mode.ENFORCE, Status.SKIPPED, "exception", "\x1b[2J\u202e", lacking=("a\nb",))
    text = "\n".join(shown(eventful(reports=(report,), unix=1e300), Style(unicode=True)))
    assert text == "tick 1  1e+300 s  0 wanted\n  preemption: mode enforce, skipped: \\x1b[2J\\u202e (lacks a\\nb)"


def test_the_summary():
    """How many snapshots, how each policy fared, how often each knob was to change, and what was noted."""
    summary = Summary()
    poor = sample(3, Priority.HIGH)
    for tick in ticks(at(1, complete=False), at(2, HIGH, LOW, poor), at(3, HIGH, LOW), at(12, HIGH)):
        summary.add(tick)
    assert list(summary.lines()) == [
        "4 snapshots, 11 s",
        "  eviction: mode off, off in 4",
        "  frequency: mode off, off in 4",
        "  io-limit: mode off, off in 4",
        "  overcommit: mode off, off in 4",
        "  preemption: mode enforce, ok in 3",
        "  preemption: mode enforce, waiting in 1",
        "  preemption: cpu.idle: 1 added, 0 changed, 1 removed",
        "  preemption: memory.low: 3 added, 0 changed, 0 removed",
        "  preemption: NoMemoryRequest: 1 times",
    ]
    assert list(Summary().lines()) == ["0 snapshots, 0 s"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two ticks: the low-priority pod is there, and is gone. It was only to be observed."""
    made = tmp_path / "day.jsonl"
    with Recorder(str(made), "worker-1", 1 << 30) as recorder:
        recorder.record(at(1, LOW), Config())
        recorder.record(at(2), Config())
    return made


def test_the_recorded_configuration_or_another_one(file, tmp_path):
    """By default what was in force; `--config` asks what would have been."""
    first, _ = map(json.loads, command("plan", "--replay", file, "--format", "json").stdout.splitlines())
    assert [each["mode"] for each in first["added"]] == ["observe"]

    other = tmp_path / "plimsoll.yaml"
    other.write_text("preemption: {mode: enforce, cpu: weight}\n")
    done = command("plan", "--replay", file, "--format", "json", "--config", other)
    first, last = map(json.loads, done.stdout.splitlines())
    assert [(each["mode"], each["knob"], each["value"]) for each in first["added"]] == [("enforce", "cpu.weight", "1")]
    assert [each["knob"] for each in last["removed"]] == ["cpu.weight"]


def test_the_same_recording_gives_the_same_output():
    """Whatever the hash seed: sets and mappings have their order from the file."""
    for name in DAYS:
        outputs = {
            subprocess.run(
                [*PROGRAM, "plan", "--replay", recording(name)],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(outputs) == 1


def test_the_table(file):
    """The ticks, and at the end what they come to."""
    assert command("plan", "--replay", file).stdout.splitlines() == [
        "tick 1  2026-11-24T08:00:00Z  1 wanted",
        "  preemption: mode observe, ok",
        "  frequency: mode observe, missing: This node lacks: frequency. (lacks frequency)",
        "  overcommit: mode observe, ok",
        "  io-limit: mode observe, ok",
        "  eviction: mode observe, missing: This node lacks: eviction-api. (lacks eviction-api)",
        f"  + observe  cpu.idle = 1  shop/web-2  {path(2)}",
        "      low priority (plimsoll.io/qos-priority): gives way to all others on the CPU",
        "tick 2  2026-11-24T08:00:00Z  0 wanted",
        f"  - observe  cpu.idle = 1  shop/web-2  {path(2)}",
        "2 snapshots, 1 s",
        "  eviction: mode observe, missing in 2",
        "  frequency: mode observe, missing in 2",
        "  io-limit: mode observe, ok in 2",
        "  overcommit: mode observe, ok in 2",
        "  preemption: mode observe, ok in 2",
        "  preemption: cpu.idle: 1 added, 0 changed, 1 removed",
    ]


def test_a_torn_recording_is_decided_on_with_a_notice(file):
    """Its whole lines are; the notice is no part of the output."""
    file.write_bytes(file.read_bytes()[:-9])
    done = command("plan", "--replay", file, "--format", "json")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == f"plimsoll: {file}: breaks off; the last line is not whole and was left out\n"


def test_a_broken_recording_is_an_error(file):
    """What comes before is shown; then file, line and field."""
    file.write_text(file.read_text().replace('"sequence":2', '"sequence":"2"'))
    done = command("plan", "--replay", file, "--format", "json", code=1)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == f"plimsoll: {file}:4: snapshot.sequence: is '2', not a whole number\n"

    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + lines[2])
    assert "name one (--config)" in command("plan", "--replay", file, code=1).stderr
    assert "No such file" in command("plan", "--replay", file.parent / "none", code=1).stderr


@pytest.mark.parametrize(
    "more", [("--record", "other"), ("--root", "/host"), ("--pods", "/pods"), ("--kubeconfig", "file")]
)
def test_a_replay_is_of_a_recording_only(file, more):
    """Not of a node as well."""
    assert "--replay" in command("plan", "--replay", file, *more, code=2).stderr


def test_who_reads_may_stop(file):
    """`| head -1`: no complaint, whether the output is longer than a pipe or not."""
    for name in (file, recording(Kind.OPENEULER_V1)):
        shell = ["sh", "-c", 'exec 3>&1; { "$@"; echo "code $?" >&3; } | head -n 1', "sh"]
        done = subprocess.run(
            [*shell, *PROGRAM, "plan", "--replay", name],
            capture_output=True,
            text=True,
            check=True,
        )
        assert min(done.stdout.splitlines()) == "code 0"
        assert done.stderr == ""


def test_a_pod_without_a_cgroup_is_wanted_nothing_of():
    """And openEuler's containers are told apart."""
    pending = sample(2, state=CgroupState.PENDING)
    [nothing] = ticks(snapshot([pending], OPENEULER_V1))
    assert nothing.wanted == 0
    [all_of_it] = ticks(snapshot([LOW], OPENEULER_V1))
    names = [each["pod"] for each in tick_facts(all_of_it)["added"]]
    assert sorted(map(str, names)) == ["None", "web-2", "web-2", "web-2", "web-2"]


def test_a_note_of_an_unknown_pod_is_told_by_its_uid():
    """A policy may be wrong; the line is there all the same."""
    tick = eventful(noted=(Noted("preemption", Note("some-uid", "NoMemoryRequest", "why")),))
    assert shown(tick)[1:] == ["  some-uid  NoMemoryRequest: why"]


def test_evictions(tmp_path: Path) -> None:
    """Told in the tick they are wished for, with reason and whom it is for, and counted; as data, too."""
    config = parse_config("preemption: {mode: 'off'}\neviction: {mode: enforce, settle: 30s}", "evict")
    recorded = tmp_path / "short.jsonl"
    with Recorder(str(recorded), "node", 1 << 20) as recorder:
        for step in range(8):
            seen = node((high(1, memory=0.5), low(2)), 1000 + 5 * step)
            recorder.record(replace(seen, sequence=step + 1), config)
    lines = command("plan", "--replay", recorded).stdout.splitlines()
    assert "  x enforce  evict shop/web-2 for shop/web-1" in lines
    assert "      A high-priority pod on this node had to wait for memory 50% of the time for 30 s" in "\n".join(lines)
    assert "  eviction: mode enforce, 1 evictions" in lines

    output = command("plan", "--replay", recorded, "--format", "json").stdout
    ticks_of = [json.loads(line) for line in output.splitlines()]
    assert [len(each["evictions"]) for each in ticks_of] == [0, 0, 0, 0, 0, 0, 1, 0]
    (evicted,) = ticks_of[6]["evictions"]
    assert evicted.pop("reason")
    assert evicted == {
        "mode": "enforce",
        "policy": "eviction",
        "namespace": "shop",
        "pod": "web-2",
        "uid": UID.format(2),
        "for": "shop/web-1",
    }


def test_overcommit():
    """What is asked for of whom; a watch when it is new, told a rate, or over; each pause once; and the figures."""
    alone = _ALONE.replace("overcommit: {mode: 'off'}\n", "preemption: {mode: 'off'}\n")
    config = parse_config(
        f"{alone}overcommit: {json.dumps({**paging.MINIMAL, 'probation': '10s', 'window': '10s'})}", "overcommit"
    )
    capabilities = ("cgroup", "kubepods", *paging.STOCK, "damon")

    def seen(second: int, *pods: PodSample, damon: bool = True) -> Snapshot:
        able = capabilities if damon else capabilities[:-1]
        return paging.node(*pods, at=1000.0 + second, capabilities=able, total=16 * GIB)

    pod, hurt = paging.low(2), paging.low(2, stalls=(0.5, 0.5))
    snapshots = (seen(0, pod), seen(10, pod), seen(20, pod), seen(30, hurt), seen(40), seen(50, pod, damon=False))
    first, going, same, back, gone, plain = ticks(*snapshots, config=config)

    name = {"uid": UID.format(2), "namespace": "shop", "pod": "web-2"}
    watch = {"mode": "enforce", **name, "selector": "damon", "bytesPerSecond": 0, "halt": False}
    assert tick_facts(first)["watches"] == [watch]
    assert tick_facts(first)["pauses"] == [{**name, "before": "", "now": "probation"}]
    assert tick_facts(first)["overcommit"] == {
        "ratio": 1.0,
        "target": 2.0,
        "offloadedBytes": 0,
        "gapBytes": 128 * paging.MIB,
        "writeBudgetBytes": 300 * paging.MIB,
        "pause": "",
    }
    assert tick_facts(going)["watches"] == [{**watch, "bytesPerSecond": 4 * paging.MIB}]
    assert tick_facts(going)["pauses"] == [{**name, "before": "probation", "now": ""}]
    assert not same.eventful
    assert tick_facts(back)["watches"] == [watch]
    assert [each["now"] for each in tick_facts(back)["pauses"]] == ["stalled"]
    assert shown(back)[1:] == [
        "  overcommit: ratio 1.000 of 2, 0.0 MiB on the device, 128.0 MiB to go",
        "  overcommit: shop/web-2: paused: stalled",
        "  o enforce  damon, 0 MiB/s  shop/web-2",
    ]
    assert tick_facts(gone)["watchesEnded"] == [watch]
    assert "  o enforce  damon no longer  shop/web-2" in shown(gone)
    assert [each["now"] for each in tick_facts(gone)["pauses"]] == ["reached", ""]
    assert "  overcommit: shop/web-2: stalled no longer" in shown(gone)
    assert tick_facts(plain)["reclaims"] == []

    asking = [seen(at, paging.low(2), damon=False) for at in range(0, 40, 10)]
    *_, asked = told = ticks(*asking, config=config)
    [reclaim] = tick_facts(asked)["reclaims"]
    assert reclaim == {"mode": "enforce", **name, "bytes": reclaim["bytes"], "swappiness": 200}
    size = f"{reclaim['bytes'] / paging.MIB:.1f} MiB"
    assert f"  < enforce  reclaim {size}  shop/web-2" in shown(asked)
    summary = Summary()
    for tick in told:
        summary.add(tick)
    whole = sum(each.reclaim.size for tick in told for each in tick.reclaims) / paging.MIB
    assert f"  overcommit: mode enforce, 3 reclaims, {whole:.1f} MiB asked for" in list(summary.lines())
    assert "  overcommit: paused: probation: 1 times" in list(summary.lines())
