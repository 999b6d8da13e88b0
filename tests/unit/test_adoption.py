"""What an earlier run has left is told once: one line sums it up, and what somebody changed has a line of its own."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.audit import NAME, AuditLog
from plimsoll.exporter.changes import SHOWN, adoption
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.page_acting import changes_section
from plimsoll.exporter.status import status
from plimsoll.model.acting import Acting
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Result
from tests.fixtures.snapshots import FACTS, snapshot, write
from tests.running import Running, until
from tests.support import manifest, v2_node, v2_pod
from tests.support import write as put

if TYPE_CHECKING:
    from pathlib import Path

UNIX = 1_795_507_200.25


def found(number: int, outcome: Outcome = Outcome.UNCHANGED, stands: str | None = "1", code: int = 0) -> Result:
    """What the journal's record of a knob, whose original is 0, came to."""
    return Result(write(f"kubepods/pod{number}", Knob.CPU_IDLE, "0"), outcome, stands, stands, code)


MIXED = (
    *(found(number) for number in range(40)),
    found(40, Outcome.DRIFTED, "7"),
    found(41, Outcome.DRIFTED, "8"),
    found(42, stands="0"),
    found(43, Outcome.GONE, None),
    found(44, Outcome.DENIED, None, errno.EACCES),
)
SENTENCE = (
    "adopted 40 knobs of an earlier run, 2 changed by somebody else, 1 back already, 1 gone with their cgroups, "
    "1 cannot be read"
)


@pytest.mark.parametrize(
    ("results", "sentence", "outcome"),
    [
        (MIXED, SENTENCE, Outcome.DRIFTED),
        ((found(1),), "adopted 1 knob of an earlier run", Outcome.UNCHANGED),
        ((found(1, Outcome.GONE, None),), "adopted 0 knobs of an earlier run, 1 gone with their cgroups", "unchanged"),
    ],
)
def test_one_sentence_sums_it_up(results, sentence, outcome):
    """Every knob of the journal is counted, in one of five ways."""
    told = adoption(Acting(adopted=results), 7, UNIX)

    assert told is not None
    assert (told.reason, told.outcome) == (sentence, outcome)
    assert told.knob is None


@pytest.mark.parametrize("acting", [Acting(), Acting(results=(found(1, Outcome.OK),))])
def test_without_an_earlier_run_nothing_is_told(acting):
    """A fresh journal, and every tick but the first."""
    assert adoption(acting, 7, UNIX) is None


def test_the_audit_log_has_the_sum_and_what_is_not_as_it_was_left(tmp_path):
    """Of the changed knobs one is in the plan, too: it is told of once. What is as it was left has no own line."""
    wanted = Result(write("kubepods/pod41", Knob.CPU_IDLE, "1"), Outcome.DRIFTED, "8", "8")
    with AuditLog(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) as log:
        log.record(1, UNIX, Acting(adopted=MIXED, results=(wanted,)), {})
        log.record(2, UNIX + 1, Acting(results=(wanted,)), {})

    first, *others = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert (first["knob"], first["target"], first["reason"]) == (None, "", SENTENCE)
    assert [(each["target"], each["outcome"], each["value"]) for each in others] == [
        ("kubepods/pod40", "drifted", "0"),
        ("kubepods/pod44", "denied", "0"),
        ("kubepods/pod41", "drifted", "1"),
    ]
    assert {frozenset(each) for each in others} == {frozenset(first)}, "every line has the same keys"


def test_recent_changes_have_one_line_for_it():
    """The newest of its tick, so that what a start writes does not push it out; on the page without a knob or a pod."""
    exporter = Exporter(PressureSection())
    many = tuple(found(number, Outcome.OK) for number in range(100, 100 + SHOWN))
    exporter.observe(snapshot(()), FACTS, Acting(adopted=MIXED, results=many))
    exporter.observe(snapshot(()), FACTS, Acting())

    recent = exporter.page.recent
    assert [each.knob for each in recent].count(None) == 1
    assert recent[0].reason == SENTENCE
    shown = re.sub(r"<[^>]*>", " ", str(changes_section(recent[:1])))
    assert SENTENCE in shown
    assert "(node)" not in shown
    document = json.loads(json.dumps(status(snapshot(()), FACTS, recent=recent)))
    assert document["changes"][0]["knob"] is None


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A cgroup v2 node with two low-priority pods."""
    root = tmp_path / "host"
    kubepods = v2_node(root)
    for number in (1, 2):
        put(v2_pod(kubepods, number), {"cpu.idle": "0\n", "cpu.weight": "100\n"})
    put(kubepods, {"cpu.idle": "0\n", "cpu.weight": "100\n"})
    pods = tmp_path / "pods"
    pods.mkdir()
    for number in (1, 2):
        text = manifest(number, f"batch-{number}", plimsoll_io__qos_priority="low")
        (pods / f"{number}.yaml").write_text(text.replace("plimsoll-io", "plimsoll.io"))
    (tmp_path / "plimsoll.yaml").write_text("pressure: {interval: 1s}\npreemption: {mode: enforce}\n")
    return root


def test_a_successor_says_what_it_found(host: Path, tmp_path: Path) -> None:
    """
    F15: two knobs are held when the agent is killed; one of them is changed meanwhile. The next agent says so in
    /status.json, on the page and in the audit log, and only once.
    """
    arguments = ("--root", host, "--pods", tmp_path / "pods", "--config", tmp_path / "plimsoll.yaml")
    knobs = sorted(path for path in host.rglob("cpu.idle") if "pod" in path.parent.name.partition("-pod")[1])
    with Running(tmp_path, *arguments) as first:
        until(lambda: [path.read_text() for path in knobs] == ["1\n"] * 2, "both to give way")
        first.stop(signal.SIGKILL)
    knobs[0].write_text("0\n")
    (knobs[0].parent / "cpu.weight").write_text("55\n")

    with Running(tmp_path, *arguments) as second:
        sentence = "adopted 1 knob of an earlier run, 1 changed by somebody else"

        def told() -> list[str]:
            if second.get("/readyz")[0] != 200:
                return []
            changes = json.loads(second.get("/status.json")[1])["changes"]
            return [each["reason"] for each in changes if each["knob"] is None]

        assert until(told, "the adoption") == [sentence]
        assert sentence in second.get("/")[1].decode()
        ticks = float(second.metric("plimsoll_ticks_total"))
        until(lambda: float(second.metric("plimsoll_ticks_total")) > ticks, "another tick")
        assert second.stop(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in (host / "run/plimsoll/audit.jsonl").read_text().splitlines()]
    assert [each["reason"] for each in lines if each["knob"] is None] == [sentence]
    assert sum(each["outcome"] == "drifted" and each["knob"] == "cpu.idle" for each in lines) == 1
    assert (knobs[0].parent / "cpu.weight").read_text() == "55\n", "what they wrote is what goes back"
