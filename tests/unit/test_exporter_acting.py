"""What the policies decided and what became of it: as metrics, as /status.json, and what of it is news."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.acting_series import observed_writes
from plimsoll.exporter.changes import SHOWN, TEXT_LIMIT, News, looked, owner_of
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.status import status
from plimsoll.model.acting import Acting, Mode, Note, Report, Status
from plimsoll.model.memory import Earned, NodeSwap, Offload
from plimsoll.model.outcome import Outcome
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import NODE, Conflict, Knob, Result, Selector, cgroup
from plimsoll.model.snapshot import CgroupState, PodSample
from tests.fixtures.snapshots import (
    FACTS,
    IDLED,
    UID,
    busy,
    evicting,
    grouped,
    overcommitted,
    pod,
    snapshot,
    trouble,
    write,
)

OBSERVES = Report("preemption", Mode.OBSERVE, Status.OK, writes=1)


def lines(acting: Acting | None, **facts: object) -> list[str]:
    """The lines of a page that tell of acting."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(()), replace(FACTS, **facts), acting)
    words = ("policy", "writes", "knob", "journal", "acting", "audit")
    found = exporter.text().decode().splitlines()
    return [line for line in found if line.startswith(tuple(f"plimsoll_{word}" for word in words))]


def result(number: int, outcome: Outcome = Outcome.OK, value: str = "1", code: int = 0) -> Result:
    return Result(write(f"kubepods/pod{number}", Knob.CPU_IDLE, value), outcome, "0", "0", code)


def pod_in(number: int, path: str) -> PodSample:
    return PodSample(pod(number), CgroupState.FOUND, path)


def test_every_series_of_a_bad_tick():
    """Two policies, one of them failing, a journal that is full, a hanging write: the whole of it, line by line."""
    assert lines(trouble(), audit_lines_lost=2) == [
        'plimsoll_policy_status{policy="preemption",mode="enforce",status="skipped"} 1',
        'plimsoll_policy_status{policy="shares",mode="observe",status="ok"} 1',
        'plimsoll_policy_skipped_total{policy="preemption",reason="exception"} 2',
        'plimsoll_policy_writes{policy="preemption",mode="enforce"} 7',
        'plimsoll_policy_writes{policy="shares",mode="observe"} 3',
        'plimsoll_policy_observed_writes{policy="shares"} 1',
        'plimsoll_policy_notes{policy="preemption",reason="NoMemoryRequest"} 1',
        "plimsoll_policy_conflicts 1",
        'plimsoll_writes_total{policy="preemption",knob="cpu.idle",outcome="denied"} 1',
        'plimsoll_writes_total{policy="preemption",knob="cpu.idle",outcome="ok"} 4',
        'plimsoll_knob_drift_total{knob="cpu.idle"} 3',
        'plimsoll_knob_disabled{knob="memory.low",reason="EINVAL"} 1',
        "plimsoll_knobs_held 12",
        "plimsoll_journal_ok 0",
        'plimsoll_journal_found{state="quarantined"} 1',
        "plimsoll_acting_stuck_seconds 12.5",
        "plimsoll_audit_lines_lost_total 2",
    ]


def test_an_agent_that_does_not_act_has_no_such_series():
    """Absent, not zero; also in /status.json."""
    assert lines(None) == []
    document = status(snapshot(()), FACTS)
    assert (document["acting"], document["policies"], document["changes"], document["wouldChange"]) == (
        None,
        [],
        [],
        [],
    )


def test_what_a_waiting_policy_wants_is_not_known():
    """No zero for it, neither as a metric nor in /status.json; nothing is known of what would change."""
    waiting = Acting(
        reports=(Report("preemption", Mode.OBSERVE, Status.WAITING, "sources", "Not all pods are known."),)
    )
    shown = lines(waiting)

    assert 'plimsoll_policy_status{policy="preemption",mode="observe",status="waiting"} 1' in shown
    assert not [line for line in shown if "policy_writes" in line or "observed_writes" in line]
    policy = status(snapshot(()), FACTS, acting=waiting)["policies"][0]
    assert (policy["writes"], policy["wouldChange"]) == (None, None)


def test_an_unknown_errno_is_still_a_closed_label():
    """Whatever number came back, the label has a name."""
    assert 'plimsoll_knob_disabled{knob="cpu.idle",reason="unknown"} 1' in lines(Acting(disabled={Knob.CPU_IDLE: 9999}))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus package")
def test_promtool_finds_nothing_to_say():
    """The families of acting follow Prometheus' rules for names and types."""
    exporter = Exporter(PressureSection())
    exporter.observe(busy(5), replace(FACTS, audit_lines_lost=1), trouble('"\\\n'))

    lint = subprocess.run(["promtool", "check", "metrics"], input=exporter.text(), capture_output=True, check=False)

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")


def test_a_policy_in_the_status():
    """Its mode, what it came to, what it lacks, and its notes with the pods' names as far as they are known."""
    notes = (Note(UID.format(1), "NoMemoryRequest", "x"), Note("gone", "NoMemoryRequest", "y" * 1000))
    acting = replace(trouble(), reports=(trouble().reports[0]._replace(notes=notes),))
    document = status(snapshot((pod_in(1, "kubepods/x"),)), replace(FACTS, audit_lines_lost=0), acting=acting)

    known, unknown = document["policies"][0].pop("notes")
    assert known == {
        "namespace": "shop",
        "pod": "web-1",
        "uid": UID.format(1),
        "reason": "NoMemoryRequest",
        "message": "x",
    }
    assert (unknown["namespace"], unknown["pod"], unknown["uid"]) == (None, None, "gone")
    assert len(unknown["message"]) == TEXT_LIMIT
    assert document["policies"] == [
        {
            "policy": "preemption",
            "mode": "enforce",
            "status": "skipped",
            "reason": "exception",
            "detail": "no such thing",
            "writes": 7,
            "wouldChange": None,
            "lacking": ["memory-low"],
            "failures": {"exception": 2},
            "eviction": None,
            "noteCount": 2,
        }
    ]
    assert document["acting"] == {
        "journal": "quarantined",
        "journalOk": False,
        "held": 12,
        "stuckSeconds": 12.5,
        "disabled": [{"knob": "memory.low", "errno": "EINVAL"}],
        "drifts": {"cpu.idle": 3},
        "conflictCount": 1,
        "conflicts": [
            {
                "target": "kubepods/x",
                "knob": "cpu.idle",
                "kept": {"policy": "preemption", "value": "1"},
                "dropped": {"policy": "shares", "value": "0"},
            }
        ],
        "auditLinesLost": 0,
    }


def test_changes_in_the_status():
    """What was written or refused, the newest first, with the pod whose cgroup it was; what would be, beside it."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot((pod_in(1, "/kubepods/x"),)), FACTS, trouble())
    page = exporter.page
    document = json.loads(json.dumps(status(page.snapshot, page.agent, None, page.acting, page.recent)))

    refused, written = document["changes"]
    assert written == {
        "time": 1_795_507_201.0,
        "sequence": 1,
        "action": "write",
        "target": "kubepods/x",
        "namespace": "shop",
        "pod": "web-1",
        **IDLED,
        "reason": "no such thing",
    }
    assert (refused["knob"], refused["outcome"], refused["errno"]) == ("memory.low", "rejected", "EINVAL")
    assert [(each["target"], each["pod"]) for each in document["wouldChange"]] == [("kubepods/x/c", "web-1")]


def test_everything_in_the_status_is_bounded():
    """Thousands of writes, notes and conflicts, and endless values, make a document of limited size."""
    many = range(3000)
    endless = "x" * 100_000
    wish = write("kubepods/x", Knob.CPU_IDLE, endless, reason=endless)
    acting = Acting(
        reports=(OBSERVES._replace(detail=endless, notes=tuple(Note(str(n), "Why", endless) for n in many)),),
        results=tuple(Result(wish._replace(target=cgroup(str(n))), Outcome.OK, endless, endless) for n in many),
        observed=tuple(Result(wish._replace(target=cgroup(str(n))), Outcome.OK, endless) for n in many),
        conflicts=(Conflict(wish, wish),) * 3000,
    )
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(()), FACTS, acting)
    document = status(snapshot(()), FACTS, acting=acting, recent=exporter.page.recent)

    assert [len(document[each]) for each in ("changes", "wouldChange")] == [SHOWN, SHOWN]
    assert document["changes"][0]["target"] == "2999"
    assert document["policies"][0]["noteCount"] == document["acting"]["conflictCount"] == 3000
    assert document["policies"][0]["wouldChange"] == 3000
    assert len(json.dumps(document)) < 200_000


def test_frequency_groups_as_metrics_and_data():
    """Both groups, line by line, and what is not known as nothing; the same as /status.json has it."""
    seen, acting = grouped(snapshot(()), Acting())
    exporter = Exporter(PressureSection())
    exporter.observe(seen, FACTS, acting)
    text = exporter.text().decode()

    assert [each for each in text.splitlines() if each.startswith(("plimsoll_frequency", "plimsoll_package"))] == [
        'plimsoll_frequency_backend{backend="tpmi"} 1',
        "plimsoll_frequency_held_seconds 2.0",
        'plimsoll_package_power_watts{package="0"} 123.25',
        'plimsoll_frequency_group_units{group="high"} 2',
        'plimsoll_frequency_group_units{group="low"} 6',
        'plimsoll_frequency_group_units{group="neither"} 0',
        'plimsoll_frequency_group_cpus{group="high"} 4',
        'plimsoll_frequency_group_cpus{group="low"} 12',
        'plimsoll_frequency_group_cpus{group="neither"} 0',
        'plimsoll_frequency_group_hertz{group="high"} 3400500000.0',
        'plimsoll_frequency_group_hertz{group="low"} 1400000000.0',
        'plimsoll_frequency_astray_cpus{group="high"} 1',
        'plimsoll_frequency_astray_cpus{group="low"} 0',
        "plimsoll_frequency_target_cpus 3.5",
        "plimsoll_frequency_demand_cpus 2.25",
        "plimsoll_frequency_moves_total 7",
        'plimsoll_frequency_last_change{reason="used"} 1',
    ]
    found = json.loads(json.dumps(status(seen, FACTS, acting=acting)))["frequency"]
    assert found["groups"]["high"] == {"units": 2, "cpus": "0-1,8-9", "megahertz": 3400, "astray": "1"}
    assert found["groups"]["neither"] == {"units": 0, "cpus": "", "megahertz": None, "astray": None}
    assert (found["backend"], found["moves"], found["lastChange"], found["heldSeconds"]) == ("tpmi", 7, "used", 2.0)
    assert found["packageWatts"] == {"0": 123.2}
    assert status(snapshot(()), FACTS, acting=Acting())["frequency"] is None


def test_overcommit_as_metrics_and_data():
    """Line by line; what was counted stays with its selector; the same as /status.json has it; else nothing."""
    seen, acting = overcommitted(snapshot((pod_in(1, "/kubepods/x"),)), Acting())
    exporter = Exporter(PressureSection())
    exporter.observe(seen, FACTS, acting)
    names = (
        *("plimsoll_overcommit", "plimsoll_pod_offloaded", "plimsoll_pod_cold"),
        *("plimsoll_pod_reclaim", "plimsoll_pod_stall"),
    )

    who = 'namespace="shop",pod="web-1"'
    assert [each for each in exporter.text().decode().splitlines() if each.startswith(names)] == [
        "plimsoll_overcommit_ratio 1.5",
        "plimsoll_overcommit_target_ratio 2.0",
        "plimsoll_overcommit_memory_bytes 150",
        "plimsoll_overcommit_base_bytes 100",
        "plimsoll_overcommit_offloaded_bytes 50",
        "plimsoll_overcommit_swap_cached_bytes 4",
        "plimsoll_overcommit_gap_bytes 50",
        "plimsoll_overcommit_write_bytes_per_second 4096.5",
        "plimsoll_overcommit_write_mean_bytes_per_second 512.25",
        "plimsoll_overcommit_write_limit_bytes_per_second 1048576.0",
        "plimsoll_overcommit_write_budget_bytes 2097152",
        "plimsoll_overcommit_device_life_seconds 320000000.0",
        "plimsoll_overcommit_offered_bytes 0",
        'plimsoll_overcommit_paused{reason="shared"} 1',
        'plimsoll_overcommit_selector{selector="mglru"} 1',
        'plimsoll_overcommit_selector_passed_over{selector="damon",reason="in-use"} 1',
        f"plimsoll_pod_offloaded_bytes{{{who}}} 50",
        f"plimsoll_pod_offloaded_limit_bytes{{{who}}} 75",
        f"plimsoll_pod_cold_window_seconds{{{who}}} 360.0",
        f"plimsoll_pod_reclaim_step{{{who}}} 0.01",
        f"plimsoll_pod_stall_budget_seconds{{{who}}} 0.5",
        f'plimsoll_pod_reclaim_paused{{{who},reason="stalled"}} 1',
        f"plimsoll_pod_reclaim_wanted_bytes{{{who}}} 4096",
        f'plimsoll_pod_reclaim_asked_bytes_total{{{who},selector="damon"}} 5',
        f'plimsoll_pod_reclaim_asked_bytes_total{{{who},selector="mglru"}} 4',
        f'plimsoll_pod_reclaim_freed_bytes_total{{{who},selector="damon"}} 5',
        f'plimsoll_pod_reclaim_freed_bytes_total{{{who},selector="mglru"}} 3',
        f'plimsoll_pod_reclaim_seconds_total{{{who},selector="damon"}} 0.125',
        f'plimsoll_pod_reclaim_seconds_total{{{who},selector="mglru"}} 0.125',
        f'plimsoll_pod_reclaim_pending_bytes{{{who},selector="mglru"}} 0',
    ]
    found = json.loads(json.dumps(status(seen, FACTS, acting=acting)))["overcommit"]
    assert found.pop("pods") == [
        {"namespace": "shop", "pod": "web-1", "uid": UID.format(1), "offloadedBytes": 50, "capBytes": 75,
         "floorBytes": 64, "coldBytes": 20, "windowSeconds": 360, "step": 0.01, "swapPressure": 0.001, "exact": False,
         "stallBudgetSeconds": 0.5, "refaultBytesPerSecond": 4, "wantedBytes": 4096, "selector": "mglru",
         "pause": {"reason": "stalled", "message": "it has waited for as long as it may", "seconds": 119.6}},
    ]  # fmt: skip
    assert found == {
        "mode": "enforce", "ratio": 1.5, "targetRatio": 2.0, "budgetBytes": None, "gapBytes": 50,
        "memoryBytes": 150, "baseBytes": 100, "offloadedBytes": 50, "swapCachedBytes": 4, "offeredBytes": 0,
        "selector": "mglru", "passedOver": [{"selector": "damon", "reason": "in-use"}],
        "pause": {"reason": "shared", "message": "the device holds memory of others, too"},
        "writes": {"bytesPerSecond": 4096, "meanBytesPerSecond": 512, "limitBytesPerSecond": 1048576,
                   "budgetBytes": 2097152},
        "device": {"path": "/dev/vdb", "active": True, "kind": None, "sizeBytes": 1 << 30, "usedBytes": 5,
                   "dedicated": False, "reasons": [{"reason": "open-pod", "message": "Pod x may swap."}],
                   "lifeSeconds": 320000000},
    }  # fmt: skip
    off = Report("overcommit", Mode.OBSERVE, Status.OK, overcommit=Overcommit(pause=Pause.OFF))
    assert status(seen, FACTS, acting=Acting(reports=(off,)))["overcommit"] is None
    assert status(seen, FACTS, acting=Acting())["overcommit"] is None


def test_a_selector_that_has_just_come_into_use_begins_with_nothing():
    """From its first sample on there is something to compare the next one with."""
    seen, acting = overcommitted(snapshot((pod_in(1, "/kubepods/x"),)), Acting())
    offload = Offload(9, 8, 0.25, 1, Selector.PLAIN, earned={"mglru": Earned(9, 8, 0.25)})
    swap = NodeSwap(None, {UID.format(1): offload})
    exporter = Exporter(PressureSection())
    exporter.observe(replace(seen, node=replace(seen.node, swap=swap)), FACTS, acting)
    name = 'plimsoll_pod_reclaim_freed_bytes_total{namespace="shop",pod="web-1",'

    assert [each for each in exporter.text().decode().splitlines() if each.startswith(name)] == [
        f'{name}selector="mglru"}} 8',
        f'{name}selector="plain"}} 0',
    ]


def test_what_is_repeated_every_tick_is_told_once():
    """A knob that waits, drifted or was refused comes again with each tick; a write is always told."""
    news = News()
    held = Acting(results=(result(1, Outcome.HELD, code=errno.EACCES), result(2), result(3, Outcome.UNCHANGED)))

    assert [each.write.target.path for each in news.results(held)] == ["kubepods/pod1", "kubepods/pod2"]
    assert [each.write.target.path for each in news.results(held)] == ["kubepods/pod2"]
    other = Acting(results=(result(1, Outcome.DENIED, code=errno.EACCES),))
    assert len(news.results(other)) == 1
    assert news.results(other) == []
    assert news.results(Acting()) == []
    assert len(news.results(other)) == 1


def test_what_would_change_is_told_when_it_changes():
    """Not while it stays the same, nor anew after a tick in which nothing was looked at."""
    news = News()
    wants = Acting(reports=(OBSERVES,), observed=(result(1), result(2, Outcome.UNCHANGED)))

    assert [each.write.target.path for each in news.observed(wants)] == ["kubepods/pod1"]
    assert news.observed(wants) == []
    for nothing in (
        Acting(reports=(OBSERVES._replace(status=Status.WAITING, writes=0),)),
        Acting(reports=(OBSERVES,), stuck_seconds=20.0),
    ):
        assert not looked(nothing)
        assert observed_writes(nothing) == {}
        assert news.observed(nothing) == []
    assert news.observed(wants) == []
    assert len(news.observed(replace(wants, observed=(result(1, value="0"),)))) == 1
    assert news.observed(Acting(reports=(OBSERVES._replace(writes=0),))) == []
    assert len(news.observed(wants)) == 1


def test_whose_cgroup_it_is():
    """A pod's own and those in it, not one whose name only begins the same; the kubelet's and the node are nobody's."""
    owners = {"kubepods/pod1": ("shop", "web")}

    assert owner_of(cgroup("kubepods/pod1"), owners) == owner_of(cgroup("kubepods/pod1/c/d"), owners) == ("shop", "web")
    assert [owner_of(each, owners) for each in (cgroup("kubepods/pod11"), cgroup("kubepods"), NODE)] == [None] * 3


def test_the_end_of_a_pod_is_told_with_its_name():
    """The pod goes from the list in the tick in which its cgroup is found gone."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot((pod_in(1, "kubepods/pod1"),)), FACTS, Acting())
    exporter.observe(snapshot((), tick=2), FACTS, Acting(results=(result(1, Outcome.GONE),)))

    assert exporter.page.recent[0].owner == ("shop", "web-1")
    exporter.observe(snapshot((), tick=3), FACTS, Acting())
    assert exporter.owners == {}


def test_evictions_as_metrics():
    """Each outcome from the start where a policy may evict; the worst of each resource; no pod is named."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot(()), FACTS, evicting(Acting()))
    found = [line for line in exporter.text().decode().splitlines() if line.startswith("plimsoll_eviction")]
    assert found == [
        *(
            f'plimsoll_evictions_total{{policy="eviction",outcome="{outcome}"}} {count}'
            for outcome, count in (
                *(("budget", 2), ("denied", 0), ("failed", 0), ("gone", 0)),
                *(("held", 0), ("ok", 1), ("rejected", 0)),
            )
        ),
        'plimsoll_evictions_observed_total{policy="careful"} 3',
        "plimsoll_evictions_last_hour 1",
        'plimsoll_eviction_stall_ratio{resource="cpu"} 0.41',
        'plimsoll_eviction_stall_ratio{resource="memory"} 0.354',
        'plimsoll_eviction_stall_seconds{resource="cpu"} 10.0',
        'plimsoll_eviction_stall_seconds{resource="memory"} 45.0',
        'plimsoll_eviction_paused{reason="settling"} 1',
    ]


def test_evictions_in_the_status():
    """Those who wait by name as far as known, and what became of whom, the newest first."""
    exporter = Exporter(PressureSection())
    exporter.observe(snapshot((pod_in(1, "/kubepods/x"),)), FACTS, evicting(Acting()))
    page = exporter.page
    document = json.loads(json.dumps(status(page.snapshot, page.agent, None, page.acting, page.recent)))

    (policy,) = document["policies"]
    assert (policy["eviction"]["pause"], policy["eviction"]["lastHour"]) == ("settling", 1)
    assert policy["eviction"]["shortages"] == [
        {"resource": "memory", "uid": UID.format(1), "pod": "shop/web-1", "share": 0.354, "seconds": 45.0,
         "sustained": True},
        {"resource": "cpu", "uid": UID.format(99), "pod": None, "share": 0.41, "seconds": 10.0, "sustained": False},
        {"resource": "memory", "uid": None, "pod": None, "share": 0.3, "seconds": 5.0, "sustained": False},
    ]  # fmt: skip
    refused, evicted = document["changes"]
    assert evicted == {
        "time": 1_795_507_201.0,
        "sequence": 1,
        "action": "evict",
        "policy": "eviction",
        "target": "",
        "namespace": "batch",
        "pod": "etl",
        "knob": None,
        "value": "",
        "before": None,
        "after": None,
        "outcome": "ok",
        "errno": "",
        "reason": "It held most. Done for shop/web.",
    }
    assert (refused["outcome"], refused["reason"]) == ("budget", "It held most. Done for shop/web. evict: 429")
