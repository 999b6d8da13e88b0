"""What a tick has to say to owners, and how Kubernetes spells it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.annotations import REASONS
from plimsoll.model.acting import Acting, Mode, Note, Report, Status
from plimsoll.model.eviction import Attempt, Evict
from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Pod, Rejected
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot, SourceState
from plimsoll.policies import preemption
from plimsoll.sources.kube.announcing.notice import INTENT_REJECTED, MESSAGE_BYTES, PRIORITY, Certainty, Notice, PodRef
from plimsoll.sources.kube.announcing.notice import said as said_in
from plimsoll.sources.kube.announcing.objects import (
    condition_request,
    event_name,
    event_request,
    found_conditions,
)
from plimsoll.sources.kube.announcing.task import ConditionTask, EventTask, Found
from plimsoll.sources.kube.announcing.truth import Truth
from tests.fixtures.snapshots import UID, pod

FACTS = frozenset({preemption.NOT_REVERSIBLE})
NOW = 1_700_000_000.0
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
REF = PodRef(UID.format(1), "shop", "web-1")


def snapshot(*pods: Pod, complete: bool = True) -> Snapshot:
    source = SourceState("api-server", ok=True, complete=complete, age_seconds=0.0)
    samples = tuple(PodSample(each, CgroupState.FOUND) for each in pods)
    return Snapshot(1, 0.0, NOW, None, "node-1", samples, sources=(source,))


def acting(mode: Mode, status: Status = Status.OK, **notes: int) -> Acting:
    """One policy that notes reasons of pods by their number."""
    made = tuple(Note(UID.format(number), reason, f"{reason}.") for reason, number in notes.items())
    return Acting(reports=(Report(preemption.NAME, mode, status, notes=made),))


def test_a_policy_that_enforces_says_all_it_notes() -> None:
    """With the pod as the API server knows it, as a warning, by policy."""
    found = said_in(snapshot(pod(1), pod(2)), acting(Mode.ENFORCE, NoMemoryRequest=1), FACTS)

    assert found is not None
    assert found.notices == {
        (UID.format(1), "NoMemoryRequest"): Notice(REF, "preemption", "NoMemoryRequest", "NoMemoryRequest.")
    }
    assert set(found.pods) == {UID.format(1), UID.format(2)}
    assert found.certainty == {"preemption": Certainty.DECIDED, PRIORITY: Certainty.DECIDED}


def test_a_policy_that_observes_says_only_facts() -> None:
    """What is so whether or not it writes is said; what would be so is withheld."""
    found = said_in(snapshot(pod(1)), acting(Mode.OBSERVE, NoMemoryRequest=1, PreemptionNotReversible=1), FACTS)

    assert found is not None
    assert [reason for _, reason in found.notices] == ["PreemptionNotReversible"]
    assert found.withheld == {(UID.format(1), "NoMemoryRequest")}


def test_nothing_is_said_before_all_pods_are_known() -> None:
    """A pod that is not known yet would look like one that is gone."""
    assert said_in(snapshot(pod(1), complete=False), acting(Mode.ENFORCE, NoMemoryRequest=1), FACTS) is None


@pytest.mark.parametrize(
    ("status", "certainty"),
    [
        (Status.OK, Certainty.DECIDED),
        (Status.OFF, Certainty.SILENT),
        (Status.WAITING, Certainty.HELD),
        (Status.MISSING, Certainty.HELD),
        (Status.SKIPPED, Certainty.HELD),
    ],
)
def test_silence_means_what_the_policy_came_to(status: Status, certainty: Certainty) -> None:
    """Only a policy that decided says by its silence that something is not so."""
    found = said_in(snapshot(pod(1)), acting(Mode.ENFORCE, status), FACTS)

    assert found is not None
    assert found.certainty["preemption"] is certainty


def test_without_policies_owners_still_hear_of_their_own_words() -> None:
    """Statements that are not followed: one notice for all of them, with each key and the cure."""
    rejected = (Rejected("a.io/x", "malformed", "no value"), Rejected("b.io/y", "conflict", "says low"))
    found = said_in(snapshot(pod(1, rejected=rejected)), None, FACTS)

    assert found is not None
    (notice,) = found.notices.values()
    assert notice == Notice(REF, PRIORITY, INTENT_REJECTED, "a.io/x: no value; b.io/y: says low", warning=True)


@pytest.mark.parametrize("reason", REASONS)
def test_only_mistakes_are_warnings(reason: str) -> None:
    """What is right elsewhere, or in a namespace that is not managed, is Normal; one mistake makes it a warning."""
    harmless = Rejected("a.io/x", reason, "words")
    alone = said_in(snapshot(pod(1, rejected=(harmless,))), None, FACTS)
    both = said_in(snapshot(pod(1, rejected=(harmless, Rejected("b", "malformed", "w")))), None, FACTS)

    assert alone is not None
    assert both is not None
    assert [each.warning for each in alone.notices.values()] == [reason not in ("unmanaged", "unsupported")]
    assert [each.warning for each in both.notices.values()] == [True]


@pytest.mark.parametrize("changes", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"deleting": True}])
def test_a_pod_that_ends_is_told_nothing(changes: dict[str, object]) -> None:
    """Its owner wants nothing more of it, and its namespace may be about to go."""
    known = pod(1, rejected=(Rejected("a", "malformed", "w"),))
    ending = Pod(replace(known.object, **changes), known.intent)
    found = said_in(snapshot(ending), acting(Mode.ENFORCE, NoMemoryRequest=1), FACTS)

    assert found is not None
    assert (found.pods, found.notices) == ({}, {})


def test_a_note_of_a_pod_nobody_knows_is_left_out() -> None:
    """It was deleted between two decisions."""
    found = said_in(snapshot(pod(1)), acting(Mode.ENFORCE, NoMemoryRequest=2), FACTS)

    assert found is not None
    assert found.notices == {}


@given(text=st.text(max_size=3000))
def test_messages_are_bounded_in_bytes_and_are_text(text: str) -> None:
    """Whatever an owner wrote: at most what the API takes, never half a letter, and the beginning stays."""
    found = said_in(snapshot(pod(1, rejected=(Rejected("k", "malformed", text),))), None, FACTS)
    assert found is not None
    (notice,) = found.notices.values()
    whole = f"k: {text}"

    assert len(notice.message.encode("utf-8", "replace")) <= MESSAGE_BYTES
    assert notice.message == whole or (notice.message[-1] == "…" and whole.startswith(notice.message[:-1]))


def test_an_event_has_what_kubectl_shows() -> None:
    """The object whole, as core/v1 has it."""
    notice = Notice(REF, "preemption", "NoMemoryRequest", "Words.", warning=False)
    request = event_request(EventTask(notice, repeat=False, times=1), "node-1", NOW)

    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/shop/events")
    assert request.content_type == "application/json"
    assert request.body == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "shop", "name": event_name(notice)},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "shop",
            "name": "web-1",
            "uid": UID.format(1),
        },
        "type": "Normal",
        "reason": "NoMemoryRequest",
        "message": "Words.",
        "source": {"component": "plimsoll", "host": "node-1"},
        "reportingComponent": "plimsoll",
        "reportingInstance": "node-1",
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "count": 1,
    }


@pytest.mark.parametrize(("times", "counted"), [(7, {"count": 7}), (None, {})])
def test_an_event_is_counted_under_its_own_name(times: int | None, counted: dict[str, int]) -> None:
    """A patch of the event that the same words made; a number that is not known is not written."""
    notice = Notice(REF, "preemption", "NoMemoryRequest", "Words.")
    request = event_request(EventTask(notice, repeat=True, times=times), "node-1", NOW)

    assert request.method == "PATCH"
    assert request.path == f"/api/v1/namespaces/shop/events/{event_name(notice)}"
    assert request.body == {"lastTimestamp": "2023-11-14T22:13:20Z", **counted}


def test_an_events_name_is_of_pod_reason_and_words() -> None:
    """The same again in every process; another for another pod of that name, another reason, other words."""
    notice = Notice(REF, "preemption", "NoMemoryRequest", "Words.")
    others = [
        notice._replace(pod=REF._replace(uid=UID.format(2))),
        notice._replace(reason="Other"),
        notice._replace(message="Other."),
    ]

    assert event_name(notice) == "web-1.56e514e9166bd7c0"
    assert len({event_name(each) for each in (notice, *others)}) == 4


@given(name=st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}\Z"))
def test_an_events_name_is_one_the_api_takes(name: str) -> None:
    """Whatever name a pod has, also one that is cut within a dot or a hyphen."""
    made = event_name(Notice(REF._replace(name=name), "preemption", "NoMemoryRequest", "Words."))

    assert len(made) <= 253
    assert DNS_SUBDOMAIN.fullmatch(made)


@pytest.mark.parametrize("transition", [True, False])
def test_a_condition_names_the_pod_it_means(transition: bool) -> None:
    """Type below our domain, who says so as the reason, the UID; a time only for a transition."""
    notice = Notice(REF, "preemption", "NoMemoryRequest", "Words.")
    request = condition_request(ConditionTask(notice, Truth.TRUE, transition), NOW)
    (condition,) = request.body["status"]["conditions"]

    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/shop/pods/web-1/status")
    assert request.content_type == "application/strategic-merge-patch+json"
    assert request.body["metadata"] == {"uid": UID.format(1)}
    assert condition.pop("lastTransitionTime", None) == ("2023-11-14T22:13:20Z" if transition else None)
    assert condition == {
        "type": "plimsoll.io/NoMemoryRequest",
        "status": "True",
        "reason": "preemption",
        "message": "Words.",
    }


@pytest.mark.parametrize("truth", list(Truth))
def test_a_condition_is_found_as_it_was_written(truth: Truth) -> None:
    """Written, listed, read: the same notice of the same policy, without the words of what is no longer true."""
    notice = Notice(REF, "preemption", "NoMemoryRequest", "Words." if truth is Truth.TRUE else "")
    written = condition_request(ConditionTask(notice, truth, transition=True), NOW).body["status"]["conditions"]
    ready = {"type": "Ready", "status": "True"}
    metadata = {"uid": REF.uid, "namespace": REF.namespace, "name": REF.name}

    assert found_conditions({"metadata": metadata, "status": {"conditions": [ready, *written]}}) == [
        Found(notice, truth)
    ]


@pytest.mark.parametrize(
    "condition",
    [
        None,
        "text",
        {},
        {"type": 1, "status": "True", "reason": "preemption"},
        {"type": "Ready", "status": "True", "reason": "preemption"},
        {"type": "plimsoll.io/", "status": "True", "reason": "preemption"},
        {"type": "plimsoll.io/a/../b", "status": "True", "reason": "preemption"},
        {"type": "plimsoll.io/Odd", "status": "true", "reason": "preemption"},
        {"type": "plimsoll.io/Odd", "status": ["True"], "reason": "preemption"},
        {"type": "plimsoll.io/Odd", "status": "True"},
        {"type": "plimsoll.io/Odd", "status": "True", "reason": "no policy's name"},
    ],
)
def test_what_others_wrote_is_not_ours(condition: object) -> None:
    """Other types, and whatever somebody with the right to patch a status could think of."""
    metadata = {"uid": REF.uid, "namespace": REF.namespace, "name": REF.name}

    assert found_conditions({"metadata": metadata, "status": {"conditions": [condition]}}) == []


@pytest.mark.parametrize("item", [None, [], {}, {"status": 1}, {"status": {"conditions": {}}}, {"metadata": 1}])
def test_what_is_no_pod_has_no_conditions(item: object) -> None:
    """A list with odd items is read all the same."""
    assert found_conditions(item) == []


def test_a_pod_that_was_evicted_is_spoken_of_for_a_minute() -> None:
    """Also when it is gone with the next tick; not of one that stayed. Its owner reads why; no condition is made."""
    evict = Evict(UID.format(7), "batch", "etl", "eviction", "It held most.", "shop/web-1")
    seen = replace(
        snapshot(pod(1)),
        monotonic=1000.0,
        evictions=(
            Attempt(evict, Outcome.OK, 941.0),
            Attempt(evict._replace(pod=UID.format(8)), Outcome.OK, 940.0),
            Attempt(evict._replace(pod=UID.format(9)), Outcome.BUDGET, 999.0),
            Attempt(evict._replace(pod=UID.format(10)), None, 999.0),
        ),
    )
    found = said_in(seen, None, FACTS)
    assert found is not None
    ref = PodRef(UID.format(7), "batch", "etl", managed=False)
    assert found.notices == {(UID.format(7), "Evicted"): Notice(ref, "eviction", "Evicted", "It held most.")}
    assert set(found.pods) == {UID.format(1), UID.format(7)}
