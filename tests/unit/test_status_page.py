"""The status page: what it says, that no pod can make it say anything else, and that everybody can read it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.markup import Html, markup, stranger
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.page import duration, fragments
from plimsoll.exporter.page_assets import CONTENT_SECURITY_POLICY, SCRIPT, STYLE
from plimsoll.exporter.page_pods import size
from plimsoll.exporter.tls import TlsState
from plimsoll.model.acting import Acting, Mode, Note, Report, Status
from plimsoll.model.eviction import Eviction, Pause
from plimsoll.model.memory import NodeSwap, SwapDevice
from plimsoll.model.outcome import Outcome
from plimsoll.model.overcommit import Overcommit, PodOvercommit
from plimsoll.model.overcommit import Pause as OvercommitPause
from plimsoll.model.plan import Knob, Result, Selector
from plimsoll.model.pod import Priority, Rejected
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import Capability, CgroupState, NodeSample, PodSample, Snapshot, SourceState
from tests.fixtures.snapshots import (
    BAD_SOURCES,
    FACTS,
    busy,
    evicting,
    grouped,
    odd_pods,
    overcommitted,
    pod,
    pod_sample,
    pressures,
    snapshot,
    trouble,
    write,
)

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;{}{0}\u202e\ud800"
VOID = {"meta", "link", "rect", "circle", "path"}
OPTIONAL_END = {"td", "th", "tr"}


class Parsed(HTMLParser):
    """A page taken apart: every element with its attributes, and the text a person sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID | OPTIONAL_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in OPTIONAL_END:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def page(of: Snapshot | None, acting: Acting | None = None, **facts: object) -> str:
    exporter = Exporter(PressureSection())
    exporter.tls = facts.pop("tls", None)
    if of is not None:
        exporter.observe(of, replace(FACTS, **facts), acting)
    return b"".join(fragments(exporter.page)).decode()


def text(of: Snapshot | None, acting: Acting | None = None, **facts: object) -> str:
    return re.sub(r"\s+", " ", Parsed(page(of, acting, **facts)).text)


def hostile_snapshot() -> Snapshot:
    """Every string that may come from outside is an attack."""
    line = PressureLine(5_000, 1, 1, 1)
    refused = Rejected(HOSTILE, HOSTILE, HOSTILE)
    who = pod(1, namespace=HOSTILE, name=HOSTILE, origin=HOSTILE, rejected=(refused,))
    sample = PodSample(
        who,
        CgroupState.FOUND,
        HOSTILE,
        (Pressure(HOSTILE, Source.DERIVED, line, line),),
        errors={HOSTILE: Outcome.GONE},
    )
    calm = PodSample(pod(2, namespace=HOSTILE, name=HOSTILE, origin=HOSTILE), CgroupState.FOUND)
    return replace(
        snapshot((sample, calm)),
        node_name=HOSTILE,
        node=NodeSample((Pressure(HOSTILE, Source.PSI, line, None),), 1, 1, 1),
        capabilities=tuple(Capability(HOSTILE, can, HOSTILE, HOSTILE, HOSTILE) for can in (False, True)),
        sources=(SourceState(HOSTILE, False, False, None, HOSTILE, 1.0, {HOSTILE: 1}),),
    )


def test_no_text_from_outside_becomes_markup():
    """Names, annotation values, errors, file names: all of them hostile, and the page has no element more."""
    seen, acting = overcommitted(hostile_snapshot(), evicting(trouble(HOSTILE), HOSTILE), HOSTILE)
    told = {"config_reload_ok": False, "config_problems": (HOSTILE,), "version": HOSTILE}
    attacked = Parsed(page(seen, acting, **told).replace("\u202e", "!"))
    calm = Parsed(page(*overcommitted(busy(), evicting(trouble())), config_reload_ok=False, config_problems=("x",)))

    assert attacked.open == calm.open == []
    assert {tag for tag, _ in attacked.elements} <= {tag for tag, _ in calm.elements} | {"details", "summary"}
    assert [tag for tag, _ in attacked.elements].count("script") == 1
    names = {name for _, attributes in calm.elements for name in attributes}
    assert {name for _, attributes in attacked.elements for name in attributes} <= names
    values = [value for _, attributes in attacked.elements for value in attributes.values()]
    assert not [value for value in values if value and "alert(" in value]
    assert attacked.text.count("alert(1)") > 30


def test_markup_escapes_what_is_not_markup():
    """Also braces: a template is filled once."""
    assert markup("<p>{}{}{}</p>", "<b>{}", Html("<i>"), None) == "<p>&lt;b&gt;{}<i></p>"
    assert stranger("<&\"'>") == "<bdi>&lt;&amp;&quot;&#x27;&gt;</bdi>"


def test_the_policy_allows_this_style_and_this_script_only():
    """By their hashes; no attribute on the page is a style or a script, and nothing is fetched from anywhere."""
    whole = page(busy(sources=BAD_SOURCES))

    for kind, content in (("style", STYLE), ("script", SCRIPT)):
        assert f"<{kind}>{content}</{kind}>" in whole
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    for tag, attributes in Parsed(whole).elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "action")]
        assert tag in ("a", "link") or "href" not in attributes
        # Relative, so that they also work behind `kubectl proxy`.
        assert attributes.get("href") is None or re.match(r"data:|metrics$|status\.json$", attributes["href"])
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", whole)


def test_what_a_person_finds_at_a_glance():
    """Node, version, sources, capabilities with reason and cure, node pressure, links."""
    seen = text(busy())

    for each in (
        "worker-17.rack-3.example",
        "Plimsoll 0.1.0",
        "2026-11-24 08:00:01 UTC",
        "up 3 h 25 min",
        "32 CPUs · 11.0 of 64.0 GiB memory available",
        "✗ kernel-too-old",
        "Cure: Install the wheel built for this platform and Python.",
        "Pods: 110",
    ):
        assert each in seen
    assert seen.index("not-built") < seen.index("can: 5 of 7") < seen.index("cgroup v1; controllers")
    assert not re.search("does not answer|refused", seen)
    assert {attributes["href"] for tag, attributes in Parsed(page(busy())).elements if tag == "a"} == {
        "metrics",
        "status.json",
    }


def test_pods_stand_by_their_worst_pressure():
    """Then by priority; those that need no look stand apart."""
    pods = (
        PodSample(pod(1, name="calm-normal"), CgroupState.FOUND, "x", pressures(0.2)),
        PodSample(pod(2, name="strained"), CgroupState.FOUND, "x", pressures(50.0)),
        PodSample(pod(3, name="calm-high", priority=Priority.HIGH), CgroupState.FOUND, "x", pressures(0.2)),
        PodSample(pod(4, name="felt"), CgroupState.FOUND, "x", pressures(5.0)),
    )
    seen = text(snapshot(pods))

    order = [seen.index(each) for each in ("strained", "felt", "less than 1 % pressure", "calm-high", "calm-normal")]
    assert order == sorted(order)
    assert "shop/strained50.0 %" in seen


def test_a_pods_own_lines():
    """Priority and what decided it, state, memory, bars of both degrees, what was ignored and why."""
    refused, starting, throttled = (text(snapshot((each,))) for each in odd_pods(1))

    assert "normal by default · Burstable · cgroup found · 900 MiB of 1 GiB" in refused
    assert "ignored plimsoll.io/qos-priority (malformed): 'hihg' is not a value; did you mean high?" in refused
    assert "every cause below 1 %" in refused
    assert "! its cgroup is not there (yet)" in starting
    assert "low by priorityClass" in throttled
    assert "cpu_cfs_bandwidth (derived)" in throttled
    assert "18.4 %" in throttled
    assert "memory.stat: malformed" in throttled
    assert "never acted upon" in text(snapshot((pod_sample(6),)))
    bar = re.search('<rect class="s" width="([0-9.]+)".*?<rect class="f" y="5" width="([0-9.]+)"', page(busy()))
    assert (float(bar[1]), float(bar[2])) == (6.4, 2.6)


def test_shares_that_are_not_known_are_no_zeros():
    """The first tick has no rates, and a derived cause no averages; a cause beyond 100 % fills its bar and no more."""
    line = PressureLine(None, None, None, 1)
    derived = Pressure("cpu_cfs_bandwidth", Source.DERIVED, None, line)
    first = PodSample(pod(1), CgroupState.FOUND, "x", (derived,))
    assert "shop/web-1?" in text(snapshot((first,)))
    assert "not known yet: cpu_cfs_bandwidth" in text(snapshot((first,)))
    assert "less than 1 %" not in text(snapshot((first,)))
    assert "0.0 %" not in text(replace(snapshot((first,)), node=NodeSample()))

    beyond = replace(first, stall_rates={"cpu_cfs_bandwidth": (None, 3.5)})
    assert "350.0 %" in text(snapshot((beyond,)))
    assert 'width="100.0"' in page(snapshot((beyond,)))
    assert "Not measured here." in text(replace(snapshot(()), node=NodeSample()))


def test_degraded_states_stand_first():
    """The API server away with its age and error; a refused configuration; refused TLS files."""
    seen = text(
        busy(sources=BAD_SOURCES),
        config_reload_ok=False,
        config_problems=("plimsoll.yaml:3: pressure.windws: there is no such key",),
        tls=TlsState(False, 1.0, ("tls.key: http.tls.keyFile: holds no plain PEM private key",)),
    )

    for each in (
        "Source kubernetes does not answer",
        "What is shown of it is 1 h 15 min old.",
        "connect to 10.96.0.1 port 443: connection refused",
        "The configuration on disk is refused; the last good one is in force",
        "pressure.windws",
        "The TLS files on disk are refused; the last good ones are in force",
    ):
        assert each in seen
        assert seen.index(each) < seen.index("Node pressure")
    assert "63 failures since start" in seen
    assert "✗ down" in seen


def test_pods_that_were_left_out_are_named():
    """F25: an object that is no pod is not shown as a pod, and not passed over in silence; its text stays text."""
    seen = page(replace(snapshot(()), poison=(("shop/<b>web", "uid", "metadata.uid is not a UID"),)))

    assert "Pods that could not be understood are left out" in seen
    assert "shop/&lt;b&gt;web: metadata.uid is not a UID" in seen


def test_a_source_that_never_answered():
    """Its emptiness is not taken for an empty node; a read that hangs says for how long."""
    silent = SourceState("kubernetes", ok=False, complete=False, age_seconds=None, stuck_seconds=75.0)
    seen = text(snapshot((), sources=(silent,)))

    assert "It never did: nothing of it is known." in seen
    assert "hangs for 1 min 15 s" in seen
    assert "Not known yet." in seen
    assert "No pods on this node." in text(snapshot(()))


def test_a_policy_that_only_observes():
    """What it wants, what it would change now and for whom, and what it cannot do here."""
    acting = Acting(
        reports=(Report("preemption", Mode.OBSERVE, Status.OK, writes=3, lacking=("memory-low",)),),
        observed=(
            Result(write("kubepods/x", Knob.CPU_IDLE, "1", reason="gives way"), Outcome.OK, "0"),
            Result(write("kubepods/y", Knob.CPU_IDLE, "1"), Outcome.UNCHANGED, "1", "1"),
        ),
        journal="fresh",
    )
    seen = text(snapshot((pod_sample(0),)), acting)

    assert "preemption✓ okobserves only: would change 1 knob now · wants 3 values" in seen
    assert "! it would do more, but this node lacks: memory-low" in seen
    assert "would make 1 changeshop/checkout-7d9f8c6b5-0: cpu.idle 0 → 1gives way" in seen
    assert "0 knobs to put back in the end · journal: fresh" in seen
    assert "Recent changes None since start." in seen.replace("changesNone", "changes None")


def test_the_groups_of_frequencies():
    """How many CPUs are fast and slow, how fast they run, and which are not as they should be; else nothing of it."""
    seen = text(*grouped(snapshot(()), Acting()))

    assert "set by tpmi · high-priority pods use 2.2 CPUs · their group shall have 3.5 · package 0 takes 123 W" in seen
    assert "a read failed: 2 s old" in seen
    assert "high4 CPUs, 3400 MHz0-1,8-9! CPUs 1 run slower than they should" in seen
    assert "low12 CPUs, 1400 MHz2-7,10-15neithernone" in seen
    assert "7 moves · the last one: used" in seen
    assert "CPU frequencies" not in text(snapshot(()), Acting())


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (Report("preemption", Mode.OFF, Status.OFF), "preemptionoffoff"),
        (
            Report("preemption", Mode.ENFORCE, Status.WAITING, "sources", "Not all pods are known."),
            "preemptionwaitingenforcesNot all pods are known.",
        ),
        (
            Report("preemption", Mode.ENFORCE, Status.MISSING, "capability", "This node lacks: x.", lacking=("x",)),
            "preemptionmissingenforces · wants 0 valuesThis node lacks: x.",
        ),
        (
            Report(
                "preemption", Mode.ENFORCE, Status.SKIPPED, "exception", "KeyError: 1", 1, failures={"exception": 2}
            ),
            "preemption✗ exceptionenforces · wants 1 value · failed 2 times since startKeyError: 1",
        ),
    ],
    ids=["off", "waiting", "missing", "skipped"],
)
def test_a_policy_that_does_nothing_says_why(report, shown):
    """And only one that failed is an alarm."""
    seen = text(snapshot(()), Acting(reports=(report,)))

    assert shown in seen
    assert ("Policy preemption failed" in seen) == (report.status is Status.SKIPPED)


def test_what_keeps_the_agent_from_acting_stands_first():
    """A failing policy, a journal that cannot be written, a knob given up on, a write that hangs, a lost audit line."""
    seen = text(busy(), trouble(), audit_lines_lost=3)

    for each in (
        "! Policy preemption failed (exception); what it wanted before is heldno such thing",
        "! The journal cannot be written",
        "State: quarantined.",
        "! Knob memory.low is given up on for now (EINVAL)",
        "! A write hangs in the kernel for 12 s",
        "! 3 lines of the audit log are lost",
    ):
        assert each in seen
        assert seen.index(each) < seen.index("Node pressure")
    assert "! " not in text(snapshot((pod_sample(2),)), Acting(), audit_lines_lost=0)


def test_recent_changes_are_few_and_the_newest_first():
    """Five at a glance, fifty to open; what came of each, on whose cgroup, and when."""
    results = tuple(Result(write(f"kubepods/{n}", Knob.CPU_IDLE, "1"), Outcome.OK, "0", "1") for n in range(70))
    seen = text(snapshot((pod_sample(0),)), Acting(results=results))
    order = [int(each) for each in re.findall(r"kubepods/(\d+)✓ ok", seen)]

    assert order == list(range(69, 19, -1))
    assert seen.index("kubepods/65✓") < seen.index("45 before") < seen.index("kubepods/64✓")
    odd = text(snapshot((pod_sample(0),)), trouble("8M"))
    assert "shop/checkout-7d9f8c6b5-0✗ rejected (EINVAL)memory.low 8M wanted, 8M stands08:00:01 UTC · preemption" in odd
    assert "shop/checkout-7d9f8c6b5-0✓ okcpu.idle 0 → 1" in odd


def test_the_page_of_acting_is_bounded():
    """Ten thousand writes, notes and endless values make a page a phone can take."""
    endless = "x" * 10_000
    wishes = tuple(write(f"kubepods/{n}", Knob.CPU_IDLE, endless, reason=endless) for n in range(10_000))
    acting = Acting(
        reports=(
            Report(
                "preemption",
                Mode.OBSERVE,
                Status.OK,
                detail=endless,
                writes=10_000,
                notes=tuple(Note(endless, "Why", endless) for _ in range(1000)),
            ),
        ),
        results=tuple(Result(each, Outcome.OK, endless, endless) for each in wishes),
        observed=tuple(Result(each, Outcome.OK, endless) for each in wishes),
    )

    assert len(page(snapshot(()), acting)) < 250_000
    seen = text(snapshot(()), acting)
    assert "would make the first 50 of 10000" in seen
    assert "the first 50 of 1000 notes" in seen


def test_before_the_first_tick():
    """A page that looks again by itself."""
    assert "No observation was made yet." in text(None)
    assert 'http-equiv="refresh" content="2"' in page(None)


def test_the_page_is_for_every_screen_and_reader():
    """Language, title, viewport, one main, headings in order, refresh without a script, bars hidden from readers."""
    whole = page(busy(), trouble())
    elements = Parsed(whole).elements
    tags = [tag for tag, _ in elements]

    assert ("html", {"lang": "en", "data-refresh": "5"}) in elements
    assert "width=device-width" in whole
    assert tags.count("main") == tags.count("h1") == tags.count("title") == 1
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(attributes.get("aria-hidden") == "true" for tag, attributes in elements if tag == "svg")
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in whole
    identities = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert {"would-1", "notes-0"} <= set(identities)
    assert len(identities) == len(set(identities))


SCHEMES = [re.findall(r"--(\w+):(#\w+)", block) for block in re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL)]


@pytest.mark.parametrize("scheme", range(2), ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [
        *[(ink, ground, 4.5) for ink in ("ink", "soft", "link") for ground in ("card", "ground")],
        *[(ink, "card", 4.5) for ink in ("good", "warn", "bad")],
        *[(ink, "badground", 4.5) for ink in ("ink", "bad")],
        ("highink", "highground", 4.5),
        ("lowink", "lowground", 4.5),
        ("some", "track", 3.0),
        ("full", "some", 2.0),
        ("full", "track", 3.0),
    ],
)
def test_contrast(scheme, ink, ground, least):
    """WCAG 2 AA: 4.5 for text, 3 for what a bar says; some and full also differ in height."""
    colours = dict(SCHEMES[scheme])
    light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)

    assert (light + 0.05) / (dark + 0.05) >= least


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.4, "0.4 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (18_120, "5 h 2 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds, shown):
    """Two units at most."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**29, "512 MiB"), (5 * 2**50, "5120 TiB")]
)
def test_sizes(count, shown):
    """Three digits are enough."""
    assert size(count) == shown


def test_evictions_are_told():
    """Who waits for what, why nobody else goes, and what became of those who should."""
    seen = text(busy(), evicting(Acting()))
    assert "catalogue-5c7b9d8f4-1 waits for memory 35.4 % of the time, for 45 s: too long" in seen
    assert "the node waits for memory 30.0 % of the time, for 5 s" in seen
    assert "! nobody is evicted: the last eviction has not settled yet" in seen
    assert "1 in the last hour" in seen
    assert "batch/etl✓ ok" in seen.replace("\n", "")
    assert "evicted" in seen
    assert "✗ budgetnot evicted" in seen.replace("\n", "")


@pytest.mark.parametrize("pause", [each for each in Pause if each is not Pause.NONE])
def test_every_pause_has_words(pause):
    """A word of a metric alone would say nothing to a person."""
    report = Report("eviction", Mode.ENFORCE, Status.OK, eviction=Eviction(pause=pause))
    assert "! nobody is evicted: " in text(busy(), Acting(reports=(report,)))


def test_overcommit_is_told():
    """How much is saved, why nothing more is, where it went, and what the pods gave; nothing of it where it is off."""
    seen = text(*overcommitted(busy(), Acting()))
    assert "ratio 1.50, shall be 2.00 · 150 B in memory · 50 B saved · 50 B to go" in seen
    assert "cold memory is found by mglru · not by damon (in-use)" in seen
    assert "! nothing is reclaimed: the device holds memory of others, too" in seen
    assert "/dev/vdb✗ shared5 B of 1 GiB used" in seen
    assert "! open-pod: Pod x may swap." in seen
    assert "may be written 1 MiB/s on the average · 2 MiB of it now · lasts 10.1 years" in seen
    assert "50 B savedat most 75 B · floor 64 B · step 1.0 % · waits for swap 0.1 % of the time (estimated)" in seen
    waits = "may wait for 0.50 s more · 4 B/s come back · 20 B cold · cold after 360 s"
    assert f"{waits} · by mglru · a request now: 4 KiB" in seen
    assert "! paused: it has waited for as long as it may, for 120 s more" in seen
    assert "Only observed" not in seen
    assert "Memory overcommit" not in text(busy(), Acting())


@pytest.mark.parametrize("pause", list(OvercommitPause))
def test_every_reason_to_reclaim_nothing_has_words(pause):
    """But for none, and for a ratio of 1.0: then there is nothing to tell of."""
    report = Report("overcommit", Mode.OBSERVE, Status.OK, overcommit=Overcommit(pause=pause))
    seen = text(busy(), Acting(reports=(report,)))

    assert ("Memory overcommit" in seen) is (pause is not OvercommitPause.OFF)
    assert ("nothing is reclaimed: " in seen) is (pause not in (OvercommitPause.OFF, OvercommitPause.NONE))
    assert ("Only observed" in seen) is (pause is not OvercommitPause.OFF)


def test_overcommit_of_many_pods_is_bounded():
    """Who gave most comes first; the rest is a click away, and after that in /status.json."""
    cast = tuple(pod_sample(number, 1) for number in range(120))
    pods = tuple(
        PodOvercommit(each.pod.uid, 1, place, 1, 1, 0.01, 0.0, Selector.PLAIN) for place, each in enumerate(cast)
    )
    report = Report("overcommit", Mode.ENFORCE, Status.OK, overcommit=Overcommit(budget=1 << 30, pods=pods))
    swap = NodeSwap(SwapDevice("/dev/vdb", active=False))
    seen = snapshot(cast)
    seen = text(replace(seen, node=replace(seen.node, swap=swap)), Acting(reports=(report,)))

    assert "0 B in memory, of a budget of 1 GiB" in seen
    assert "/dev/vdbnot in use" in seen
    assert seen.index("119 B saved") < seen.index("115 B saved") < seen.index("45 of 115 more")
    assert seen.count("may not wait any more") == 50
