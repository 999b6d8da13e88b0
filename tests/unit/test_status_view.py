"""`plimsoll status`: what it shows of good, odd and hostile answers, and what it says when there is none."""

from __future__ import annotations

import argparse
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.status import EX_UNAVAILABLE, Unanswered, add_arguments, fetch, run, status_url, watch
from plimsoll.status_view import view
from plimsoll.terminal import Screen, Style, cells

SGR = re.compile(r"\x1b\[\d+m")
PLAIN = Style(width=78)


def line(rate=None, avg10=None):
    return {"totalSeconds": 1.0, "avg10": avg10, "rate": rate}


def pod(name, priority="normal", **more):
    return {
        "namespace": "shop",
        "name": name,
        "uid": "11111111-2222-3333-4444-555555555555",
        "priority": priority,
        "origin": "default",
        "managed": True,
        "qosClass": "Burstable",
        "state": "found",
        "memoryBytes": 1_610_612_736,
        "memoryLimitBytes": None,
        "pressure": {},
        "ignored": [],
        **more,
    }


def document(*pods, **more):
    return {
        "version": "1.2.3",
        "node": "worker-1",
        "tick": 7,
        "uptimeSeconds": 3725.2,
        "intervalSeconds": 5.0,
        "config": {"reloadOk": True, "problems": []},
        "tls": None,
        "sources": [{"name": "kernel", "ok": True, "ageSeconds": 0.2, "detail": ""}],
        "capabilities": [{"name": "psi-cpu", "available": True, "reason": "", "detail": "fine", "cure": ""}],
        "nodePressure": {"cpu": {"source": "psi", "some": line(avg10=0.125)}},
        "policies": [],
        "acting": None,
        "pods": list(pods),
        **more,
    }


def test_a_status_on_80_columns():
    """The whole picture: order by priority, bars, unknown and absent told apart, what is missing and ignored."""
    picture = view(
        document(
            pod("batch", "low", memoryBytes=900, pressure={"cpu": {"source": "psi", "some": line(0.9)}}),
            pod(
                "web",
                "high",
                memoryLimitBytes=2 << 30,
                pressure={
                    "cpu": {"source": "psi", "some": line(0.06), "full": line(0.01)},
                    "cpu_cfs_bandwidth": {"source": "derived", "full": line(1.5)},
                    "memory": {"source": "psi", "some": line()},
                },
            ),
            pod("dns", managed=False, state="pending", memoryBytes=None),
            pod("odd", ignored=[{"key": "a/b", "reason": "malformed", "message": "'x' is not a value"}]),
            sources=[{"name": "kernel", "ok": False, "ageSeconds": None, "detail": "stuck"}],
            capabilities=[{"name": "psi-irq", "available": False, "reason": "not-built", "detail": "Not in here."}],
            config={"reloadOk": False, "problems": ["f:1: bad"]},
            unreadable=[{"pod": "shop/bad", "reason": "uid", "message": "no UID"}],
            memoryTotalBytes=8 << 30,
            memoryAvailableBytes=5 << 30,
        ),
        PLAIN,
    )

    assert picture == [
        "Plimsoll 1.2.3 on worker-1, observation 7, up 1 h 2 min",
        "",
        "pod                  priority    memory cpu      memory   cfs",
        "shop/web             high     1.5G/2.0G #     6%        ? ###~150%",
        "shop/dns             (normal)   pending        -        -        -",
        "shop/odd !           normal        1.5G        -        -        -",
        "shop/batch           low           900B ###  90%        -        -",
        "(node)                        3.0G/8.0G #    12%        -        -",
        "",
        "bars: share of time in which a task waited (cfs, qos, irq: all tasks); (node):",
        "  average of 10 s; ~ computed from other counters",
        "sources: kernel NOT GOOD (stuck), ? old",
        "config: NOT TAKEN, the last good one is in force: f:1: bad",
        "missing: psi-irq (not-built): Not in here.",
        "ignored: shop/odd: a/b: 'x' is not a value",
        "left out: shop/bad: no UID",
    ]


def test_policies_have_a_line_each():
    """What each wants and would change, what it waits for or failed at, and what keeps the agent from writing."""
    policy = {"policy": "preemption", "mode": "enforce", "status": "ok", "writes": 12, "wouldChange": None}
    picture = view(
        document(
            policies=[
                policy,
                policy | {"mode": "observe", "wouldChange": 3},
                policy | {"mode": "off", "status": "off", "writes": 0},
                policy | {"status": "skipped", "reason": "exception", "detail": "KeyError: 1"},
                policy | {"status": "waiting", "reason": "sources", "detail": "Not all known.", "writes": None},
            ],
            acting={
                "journal": "fresh",
                "journalOk": False,
                "disabled": [{"knob": "cpu.idle", "errno": "EINVAL"}],
                "stuckSeconds": 75.0,
                "auditLinesLost": 2,
            },
        ),
        PLAIN,
    )

    assert picture[picture.index("sources: kernel good, 0 s old") + 1 :] == [
        "policy: preemption: enforce, wants 12 values",
        "policy: preemption: observe, wants 12 values, would change 3 now",
        "policy: preemption: off",
        "policy: preemption: enforce, wants 12 values, SKIPPED (exception): KeyError: 1",
        "policy: preemption: enforce, waiting (sources): Not all known.",
        "journal: NOT WRITABLE (fresh), no knob is touched for the first time",
        "knob: cpu.idle GIVEN UP for now (EINVAL)",
        "writes: STUCK for 1 min 15 s",
        "audit: 2 lines LOST",
    ]
    calm = {"journalOk": True, "disabled": [], "stuckSeconds": 0.0, "auditLinesLost": 0}
    assert view(document(acting=calm), PLAIN) == view(document(), PLAIN)


def test_frequency_groups_have_a_line():
    """Which CPUs are fast and slow, what is used of the fast ones; of an odd answer what can be told."""
    found = {
        "backend": "cpufreq",
        "groups": {
            "high": {"units": 2, "cpus": "0-3", "megahertz": 3400},
            "low": {"units": 1, "cpus": "4-5", "megahertz": None},
            "neither": {"units": 0, "cpus": ""},
        },
        "targetCpus": 4.0,
        "demandCpus": 2.6,
        "lastChange": "used",
    }

    def line(frequency: object) -> list[str]:
        picture = view(document(frequency=frequency), Style(width=200))
        return [each for each in picture if each.startswith("frequency")]

    assert line(found) == [
        "frequency: cpufreq: high 0-3 at 3400 MHz; low 4-5; high pods use 2.6 CPUs of 4 wanted; last change: used"
    ]
    assert line({"groups": [1], "demandCpus": "much", "lastChange": 5}) == ["frequency: ?: ?"]
    assert line(None) == line("fast") == []


def test_colours_mean_degrees():
    """Green is felt by nobody, yellow is felt, red hurts; high stands out and low steps back; widths stay."""
    style = Style(width=78, colour=True, unicode=True)
    shares = {"cpu": 0.01, "memory": 0.1, "io": 0.5}
    pressure = {cause: {"source": "psi", "some": line(share)} for cause, share in shares.items()}
    drawn = view(document(pod("web", "high", pressure=pressure), pod("batch", "low")), style)
    web = next(each for each in drawn if "shop/web" in each)
    batch = next(each for each in drawn if "shop/batch" in each)

    assert re.findall(r"\x1b\[(\d+)m", web) == ["1", "0", "1", "0", "32", "0", "33", "0", "31", "0"]
    assert batch.startswith("\x1b[2m")
    plain = view(document(pod("web", "high", pressure=pressure), pod("batch", "low")), style._replace(colour=False))
    assert [SGR.sub("", each).rstrip() for each in drawn] == plain


@pytest.mark.parametrize(("width", "shown"), [(200, 11), (100, 6), (80, 4), (60, 2), (40, 0), (20, 0)])
def test_a_narrow_terminal_shows_the_causes_that_matter_most(width, shown):
    """And says which ones it has no room for; no line is wider than the terminal."""
    every = ("cpu", "memory", "io", "swap", "cpu_cfs_bandwidth", "cpu_qos", "cgroup_memory_reclaim")
    every += ("global_memory_reclaim", "compact", "cgroup_async_memory_reclaim", "irq")
    titles = ["cpu", "memory", "io", "swap", "cfs", "qos", "reclaim", "global", "compact", "async", "irq"]
    pressure = {cause: {"source": "pressure.stat", "some": line(0.5)} for cause in every}
    drawn = view(document(pod("a-pod-with-quite-a-long-name", pressure=pressure)), Style(width=width))

    heading = drawn[2].split()
    assert [title for title in heading[3:] if title in titles] == titles[:shown]
    assert all(cells(each) <= width for each in drawn)
    assert ("no room for" in " ".join(" ".join(drawn).split())) == (shown < len(every))


def test_hostile_names_are_escaped():
    """A status is text from pods' owners, over HTTP: nothing of it reaches the terminal unescaped."""
    evil = "\x1b]0;owned\x07\u202e日本\r\n"
    drawn = view(
        document(
            pod(evil, ignored=[{"key": evil, "message": evil}]),
            node=evil,
            version=evil,
            capabilities=[{"name": evil, "available": False, "reason": evil, "detail": evil}],
            policies=[{"policy": evil, "mode": evil, "status": evil, "reason": evil, "detail": evil}],
            acting={"journal": evil, "journalOk": False, "disabled": [{"knob": evil, "errno": evil}]},
        ),
        Style(width=200, unicode=True),
    )
    assert not [each for each in drawn if re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", each)]
    assert sum(r"\x1b]0;owned\x07\u202e日本\r\n" in each for each in drawn) >= 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ODD_POD = st.dictionaries(st.sampled_from(sorted(pod("x"))), JSON)


@given(
    st.lists(ODD_POD | JSON, max_size=3),
    st.dictionaries(st.sampled_from(sorted(document())), JSON),
    st.dictionaries(
        st.sampled_from(["ratio", "targetRatio", "gapBytes", "pause", "writes", "device", "pods"]),
        JSON | st.dictionaries(st.sampled_from(["path", "active", "reasons", "lifeSeconds", "message"]), JSON),
    ),
)
def test_no_answer_breaks_the_view(pods, odd, overcommit):
    """Any JSON in any field gives lines of the right width."""
    drawn = view({**document(), "pods": pods, "overcommit": overcommit, **odd}, PLAIN)
    assert drawn
    assert all(cells(each) <= PLAIN.width for each in drawn)


@pytest.mark.parametrize(
    ("given_", "url"),
    [
        ("127.0.0.1:9470", "http://127.0.0.1:9470/status.json"),
        ("http://node:1/", "http://node:1/status.json"),
        ("https://[::1]:1/status.json", "https://[::1]:1/status.json"),
        ("http://gate/node/a", "http://gate/node/a/status.json"),
    ],
)
def test_addresses_as_people_write_them(given_, url):
    """A host and port is enough."""
    assert status_url(given_) == url


@pytest.mark.parametrize("given_", ["", "ftp://a", "http://", "http://a/?b", "file:///etc/passwd"])
def test_what_is_no_address(given_):
    """Nothing but HTTP is spoken."""
    with pytest.raises(ValueError, match="not an address"):
        status_url(given_)


@contextmanager
def served(*answers: tuple[int, bytes]) -> Iterator[str]:
    """A server that gives these answers, the last one again and again."""
    waiting = list(answers)

    class Request(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def silence():
    """A port of the loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_a_table_and_json(capsys, monkeypatch):
    """The two formats of one answer, whatever proxy the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("COLUMNS", "78")
    with served((200, json.dumps(document(pod("web"))).encode())) as url:
        assert options("--url", url).run(options("--url", url)) == 0
        assert "shop/web" in capsys.readouterr().out
        assert run(options("--url", url, "--format", "json")) == 0
        assert json.loads(capsys.readouterr().out) == document(pod("web"))


def test_no_agent_says_what_to_do(capsys, silence):
    """Exit code 69, and one line with the address asked, the reason and the cure; nothing on stdout."""
    assert run(options("--url", silence)) == EX_UNAVAILABLE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert silence in said.err
    assert "refused" in said.err
    assert "--url" in said.err


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (503, b"", "first observation"),
        (404, b"{}", "404"),
        (200, b"<html>", "not a status"),
        (200, b"[]", "not a status"),
        (200, b'{"pods": 1}', "not a status"),
        (200, b"[" * 100_000, "not a status"),
        (200, b"\xff\xfe", "not a status"),
    ],
)
def test_answers_that_are_none(code, body, reason):
    """Somebody else listens there, or the agent is not ready."""
    with served((code, body)) as url, pytest.raises(Unanswered, match=reason):
        fetch(f"{url}/status.json")


def test_who_says_nothing_is_not_waited_for():
    """A listener that never answers costs the timeout, not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(Unanswered, match="no answer"):
        fetch(f"http://127.0.0.1:{server.getsockname()[1]}/status.json", timeout=0.2)


def test_watching_outlasts_the_agent():
    """An agent that is away is said to be away, and shown again when it is back."""
    good = json.dumps(document(pod("web"))).encode()
    out = io.StringIO()
    rounds = iter([False, False, True])
    with served((200, good), (503, b""), (200, good)) as url, Screen(out) as screen:
        watch(f"{url}/status.json", "table", screen, out, lambda _: next(rounds))
    parts = re.findall(r"shop/web|first observation", out.getvalue())
    assert parts == ["shop/web", "first observation", "shop/web"]


def test_watching_as_json_is_a_line_each():
    """For programs: one document per line, an error is one too."""
    out = io.StringIO()
    rounds = iter([False, True])
    with served((200, json.dumps(document()).encode()), (503, b"")) as url, Screen(out) as screen:
        watch(f"{url}/status.json", "json", screen, out, lambda _: next(rounds))
    first, second = (json.loads(each) for each in out.getvalue().splitlines())
    assert first == document()
    assert "first observation" in second["error"]


def test_who_waits_and_why_nobody_goes():
    """Below the policy, worst first; what is not known is not made up."""
    shortages = [
        {"resource": "memory", "uid": "u", "pod": "shop/web", "share": 0.354, "seconds": 45.0, "sustained": True},
        {"resource": "cpu", "uid": "u2", "pod": None, "share": 0.5, "seconds": 3.0, "sustained": False},
        {"resource": "io", "uid": None, "pod": None, "share": None, "seconds": None},
    ]
    policy = {"policy": "eviction", "mode": "enforce", "status": "ok",
              "eviction": {"pause": "settling", "lastHour": 1, "shortages": shortages}}  # fmt: skip
    shown = "\n".join(view(document(policies=[policy]), Style(width=200)))
    assert "waits: shop/web for memory, 35% of the time, for 45 s" in shown
    assert "waits: u2 for cpu, 50% of the time, for 3 s" in shown
    assert "waits: the node for io, ? of the time, for ?" in shown
    assert "nobody is evicted: settling" in shown


OVERCOMMIT = {
    "mode": "enforce", "ratio": 1.5, "targetRatio": 2.0, "budgetBytes": None, "gapBytes": 50 << 20,
    "memoryBytes": 300 << 20, "offloadedBytes": 50 << 20, "selector": "mglru",
    "passedOver": [{"selector": "damon", "reason": "in-use"}],
    "pause": {"reason": "shared", "message": "the device holds memory of others, too"},
    "writes": {"bytesPerSecond": 4096, "budgetBytes": 2 << 20},
    "device": {"path": "/dev/vdb", "active": True, "sizeBytes": 1 << 30, "usedBytes": 60 << 20, "dedicated": False,
               "reasons": [{"reason": "open-pod", "message": "Pod x may swap."}], "lifeSeconds": 864000},
    "pods": [{"namespace": "batch", "pod": "etl", "offloadedBytes": 50 << 20, "capBytes": 75 << 20,
              "floorBytes": 64 << 20, "step": 0.005, "swapPressure": 0.001, "exact": False,
              "refaultBytesPerSecond": 2048, "selector": "plain", "wantedBytes": 8 << 20,
              "pause": {"reason": "felt", "message": "it felt the last request", "seconds": 42.0}}],
}  # fmt: skip


def overcommit_of(overcommit: object) -> list[str]:
    words = ("overcommit", "swap device", "offloads")
    return [each for each in view(document(overcommit=overcommit), Style(width=250)) if each.startswith(words)]


def test_overcommit_has_lines():
    """The ratio, why nothing is reclaimed, the device, and what pods gave; of an odd answer what can be told."""
    *lines, pod_line = overcommit_of(OVERCOMMIT)
    assert lines == [
        "overcommit: ratio 1.50 of 2.00, 300M in memory, 50M saved, 50M to go, by mglru, not by damon (in-use)",
        "overcommit: paused: the device holds memory of others, too",
        "swap device: /dev/vdb, NOT DEDICATED, 60M of 1.0G used, written 4K/s, may be written 2M now, lasts 10 days",
        "swap device: open-pod: Pod x may swap.",
    ]
    assert pod_line == (
        "offloads: batch/etl: 50M of at most 75M, floor 64M, step 0.5%, waits 0.1% (estimated), 2K/s back, by plain, "
        "a request now: 8M, paused for 42 s more: it felt the last request"
    )
    observed = {"mode": "observe", "budgetBytes": 1 << 30, "device": {"active": False}, "pods": [{}] * 12}
    assert overcommit_of(observed) == [
        "overcommit: only observed, ? in memory of a budget of 1.0G, ? saved",
        "swap device: ?, NOT IN USE",
        *["offloads: ?/?: ? of at most ?, floor ?, by ?"] * 10,
        "offloads: 2 pods more",
    ]
    assert overcommit_of({"pause": 1, "device": [], "pods": "x", "ratio": "y"}) == ["overcommit: ? in memory, ? saved"]
    assert overcommit_of(None) == overcommit_of("much") == []
