"""F26: watch streams that say odd things."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from plimsoll.simulator.exchange import Exchange, bookmark, status_object, text
from plimsoll.sources.kube.watch import LINE_LIMIT
from tests.fault.kube_day import QUICK, Step, day, manifest

UID = "00000000-0000-0000-0000-{:012d}"


def versioned(name: str, number: int, version: int, **annotations: str) -> dict[str, object]:
    pod = manifest(name, uid=UID.format(number), **annotations)
    pod["metadata"]["resourceVersion"] = str(version)
    return pod


def stream(*events: tuple[str, object], then: Step = Exchange.hang) -> Step:
    def play(exchange: Exchange) -> None:
        exchange.stream()
        for kind, item in events:
            exchange.event(kind, item)
        if then is not None:
            then(exchange)

    return play


def half_a_line(exchange: Exchange) -> None:
    line = text({"type": "ADDED", "object": versioned("never", 9, 90)})
    exchange.raw(line[: len(line) // 2])


def broken_chunk(exchange: Exchange) -> None:
    half_a_line(exchange)
    exchange.abort()


@pytest.mark.parametrize("end", [half_a_line, broken_chunk], ids=["proper-end", "cut-connection"])
def test_f26_a_stream_cut_inside_a_line_goes_on_with_a_new_watch(tmp_path: Path, end: Step) -> None:
    """The half event is not applied; the next watch begins after the last whole one, without a list."""
    with day(tmp_path, "a", watches=(stream(("ADDED", versioned("b", 2, 50)), then=end), stream())) as today:
        today.until_names("a", "b")
        today.until_watching(2)

        assert today.errors("transport") == 1
        assert today.script.asked(watching=True)[1].query["resourceVersion"] == "50"
        assert len(today.script.asked(watching=False)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b"[1,2]\n",
        b'{"type":"ADDED","object":' + b"[" * 100_000 + b"\n",
        b'{"type":"ADDED","object":' + b"1" * 10_000 + b"}\n",
        b'{"type":"ERROR","object":null}\n',
    ],
    ids=["text", "bytes", "array", "deep", "huge-number", "error-without-status"],
)
def test_f26_a_line_that_is_no_event_leads_to_a_list(tmp_path: Path, line: bytes) -> None:
    """Something was said that is not understood: the pods stay, and a list tells what it was."""
    with day(tmp_path, "a", watches=(stream(then=lambda exchange: exchange.raw(line)),)) as today:
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")

        assert today.names() == {"a"}
        assert today.errors("malformed") == 1
        assert len(today.script.asked(watching=False)) == 2


def test_f26_an_oversize_line_ends_the_watch_not_the_agent(tmp_path: Path) -> None:
    """A line beyond the bound is not collected; a list follows."""

    def flood(exchange: Exchange) -> None:
        for _ in range(LINE_LIMIT // 65_536 + 2):
            exchange.raw(b"x" * 65_536)
        exchange.hang()

    with day(tmp_path, "a", watches=(stream(then=flood),)) as today:
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")

        assert today.names() == {"a"}
        assert today.errors("oversize") == 1
        assert len(today.script.asked(watching=False)) == 2


def test_f26_a_bookmark_moves_the_version_and_nothing_else(tmp_path: Path) -> None:
    """A bookmark has neither UID nor spec; the watch after it begins at its version."""
    events = (("BOOKMARK", bookmark("70")), ("BOOKMARK", {"metadata": {}}), ("BOOKMARK", None))
    with day(tmp_path, "a", watches=(stream(*events, then=None), stream())) as today:
        today.until_watching(2)

        assert today.names() == {"a"}
        assert today.now().state.errors == {}
        assert today.script.asked(watching=True)[1].query["resourceVersion"] == "70"


def test_f26_bookmarks_alone_keep_the_set_young(tmp_path: Path) -> None:
    """On a node where nothing happens the age still falls, and no watch is given up."""
    with day(tmp_path, "a", timing=QUICK._replace(watch_read=30.0), bookmark_seconds=0.1) as today:
        today.until_watching()
        ages: list[float] = []

        def falls() -> bool:
            ages.append(today.now().state.age_seconds or 0.0)
            return len([1 for old, new in pairwise(ages) if new < old]) >= 3

        today.until(falls, "younger again and again")
        assert len(today.script.asked(watching=True)) == 1


def test_f26_an_unknown_event_is_passed_over(tmp_path: Path) -> None:
    """A newer server's event, and one without any type: counted, and the next event counts."""
    events = (
        ("PARTED", versioned("b", 2, 50)),
        ("", {}),
        ("ADDED", versioned("c", 3, 51)),
    )
    with day(tmp_path, "a", watches=(stream(*events),)) as today:
        today.until_names("a", "c")

        assert today.errors("unknown-event") == 2


def test_f26_duplicates_and_late_events_change_nothing(tmp_path: Path) -> None:
    """Twice the same, and a state older than the known one: neither moves a pod nor brings back a deleted one."""
    newest = versioned("b", 2, 52, **{"plimsoll.io/qos-priority": "low"})
    events = (
        ("ADDED", versioned("b", 2, 50)),
        ("ADDED", versioned("b", 2, 50)),
        ("MODIFIED", newest),
        ("MODIFIED", versioned("b", 2, 51)),
        ("ADDED", versioned("c", 3, 53)),
        ("DELETED", versioned("c", 3, 54)),
        ("DELETED", versioned("c", 3, 54)),
        ("MODIFIED", versioned("c", 3, 53)),
        ("ADDED", versioned("end", 4, 55)),
    )
    with day(tmp_path, watches=(stream(*events),)) as today:
        today.until(lambda: "end" in today.names(), "at the end")
        pods = {pod.name: pod for pod in today.now().pods}

        assert pods.keys() == {"b", "end"}
        assert pods["b"].priority == "low"
        assert len(today.script.asked(watching=False)) == 1


@pytest.mark.parametrize("order", ["delete-first", "create-first", "deletion-lost"])
def test_f26_a_name_that_is_used_again_is_another_pod(tmp_path: Path, order: str) -> None:
    """A StatefulSet deletes and creates db-0: in whichever order that is told, only the new UID is left."""
    old, new = versioned("db-0", 1, 50), versioned("db-0", 2, 52)
    gone = ("DELETED", versioned("db-0", 1, 51))
    events = {
        "delete-first": (gone, ("ADDED", new)),
        "create-first": (("ADDED", new), gone, ("MODIFIED", old)),
        "deletion-lost": (("ADDED", new),),
    }[order]
    with day(tmp_path, watches=(stream(("ADDED", old), *events, ("ADDED", versioned("end", 3, 60))),)) as today:
        today.until(lambda: "end" in today.names(), "at the end")

        assert {pod.uid for pod in today.now().pods} == {UID.format(2), UID.format(3)}


def test_f26_a_pod_of_another_node_is_not_ours(tmp_path: Path) -> None:
    """A server that does not heed the field selector, in a list and in a watch."""
    elsewhere = {**versioned("x", 7, 50), "spec": {"nodeName": "node-2"}}
    homeless = {**versioned("y", 8, 51), "spec": {}}
    listed = {"kind": "PodList", "metadata": {"resourceVersion": "40"}, "items": [elsewhere, versioned("a", 1, 30)]}
    events = (("ADDED", elsewhere), ("MODIFIED", homeless), ("ADDED", versioned("b", 2, 52)))
    with day(tmp_path, lists=(lambda exchange: exchange.json(listed),), watches=(stream(*events),)) as today:
        today.until_names("a", "b")

        assert today.errors("foreign-node") == 3


@pytest.mark.parametrize(("code", "reason"), [(500, "server"), (403, "forbidden"), (429, "throttled")])
def test_f26_an_error_event_means_what_its_code_means(tmp_path: Path, code: int, reason: str) -> None:
    """An ERROR other than 410 is no reason to forget anything: it is counted by its code and a list follows."""
    with day(tmp_path, "a", watches=(stream(("ERROR", status_object(code, "why")), then=None),)) as today:
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")

        assert today.names() == {"a"}
        assert today.now().state.errors == {reason: 1}
        assert len(today.script.asked(watching=False)) == 2


def test_f26_events_are_whole_however_they_are_cut_into_chunks(tmp_path: Path) -> None:
    """Network and proxies cut the stream anywhere, also inside a character."""

    def crumbs(exchange: Exchange) -> None:
        pod = versioned("b", 2, 50)
        pod["note"] = "Ünï©ode 漢字"
        line = json.dumps({"type": "ADDED", "object": pod}, ensure_ascii=False).encode() + b"\n\n"
        for at in range(0, len(line), 3):
            exchange.raw(line[at : at + 3])
        exchange.hang()

    with day(tmp_path, watches=(stream(then=crumbs),)) as today:
        today.until_names("b")
