"""F24 and F25: lists that must not be believed, and objects that are no pods."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from plimsoll.simulator.exchange import Exchange, status_object
from tests.fault.kube_day import Day, Step, day, manifest

MANY = tuple(f"pod-{number}" for number in range(8))
RELIST = b"not JSON: a list must follow\n"


def relist(exchange: Exchange) -> None:
    """A watch that makes the source list again."""
    exchange.stream()
    exchange.raw(RELIST)


class Told:
    """A watch that makes the source list again as soon as it is told to."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        exchange.stream()
        self._told.wait(60)
        exchange.raw(RELIST)

    def tell(self) -> None:
        self._told.set()


def pod_list(*items: object, version: str = "7", **metadata: str) -> dict[str, Any]:
    return {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": version, **metadata},
        "items": list(items),
    }


def answer(value: object) -> Step:
    return lambda exchange: exchange.json(value)


def truncated(exchange: Exchange) -> None:
    """Half of the promised bytes, then the end of the connection."""
    body = json.dumps(pod_list(manifest("a", uid="00000000-0000-0000-0000-000000000001"))).encode()
    exchange.body(200, body[: len(body) // 2], length=len(body))


def cut_json(exchange: Exchange) -> None:
    """Half of the JSON in a response that is complete as HTTP."""
    body = json.dumps(pod_list(manifest("a", uid="00000000-0000-0000-0000-000000000001"))).encode()
    exchange.body(200, body[: len(body) // 2])


def without_version() -> object:
    found = pod_list()
    del found["metadata"]["resourceVersion"]
    return found


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (truncated, "transport"),
        (cut_json, "malformed"),
        (answer({"kind": "PodList", "metadata": {"resourceVersion": "7"}}), "malformed"),
        (answer({**pod_list(), "items": None}), "malformed"),
        (answer({**pod_list(), "kind": "Status"}), "incomplete"),
        (answer(without_version()), "incomplete"),
        (answer({**pod_list(), "metadata": None}), "incomplete"),
        (answer({**pod_list(), "metadata": {"resourceVersion": 7}}), "incomplete"),
        (answer(pod_list(**{"continue": "more"})), "incomplete"),
        (answer([]), "malformed"),
        (answer(status_object(200)), "malformed"),
        (lambda exchange: exchange.body(200, b""), "malformed"),
        (lambda exchange: exchange.body(200, b'{"items":' + b"[" * 100_000), "malformed"),
    ],
    ids=[
        "truncated", "cut", "no-items", "null-items", "kind", "no-version", "no-metadata", "number-version", "partial",
        "array", "status", "empty-body", "deep",
    ],
)  # fmt: skip
def test_f24_only_a_complete_list_replaces_the_set(tmp_path: Path, bad: Step, reason: str) -> None:
    """Each kind of bad list is counted and leaves the pods as they are; the next good list is followed."""
    with day(tmp_path, "a", "b", lists=(None, bad), watches=(relist,)) as today:
        today.until(lambda: today.errors(reason) >= 1, f"counted as {reason}")
        assert today.names() == {"a", "b"}
        assert today.now().state.complete
        today.until_watching(2)
        today.server.put_pod(manifest("c"))
        today.until_names("a", "b", "c")


def test_f24_a_bad_first_list_is_not_an_empty_node(tmp_path: Path) -> None:
    """Before the first complete list the set is not complete, so that absence is not read as deletion."""
    with day(tmp_path, "a", lists=(cut_json, Exchange.hang)) as today:
        today.until(lambda: today.errors("malformed") == 1, "failed")
        found = today.now()

    assert found.pods == ()
    assert (found.state.ok, found.state.complete, found.state.age_seconds) == (False, False, None)
    assert "not a JSON list" in found.state.detail


def confirmations(today: Day) -> list[str | None]:
    return [each.query.get("resourceVersion") for each in today.script.asked(watching=False)]


def test_f24_an_empty_list_is_not_believed_without_confirmation(tmp_path: Path) -> None:
    """A cache that has just started answers with nothing: etcd is asked, still has the pods, and they stay."""
    again = Told()
    with day(tmp_path, *MANY, lists=(None, answer(pod_list())), watches=(again,)) as today:
        today.until_names(*MANY)
        before = today.now().pods
        again.tell()
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")
        after = today.now()

    assert [id(pod) for pod in after.pods] == [id(pod) for pod in before]
    assert after.state.errors == {"malformed": 1, "unconfirmed": 1}
    assert confirmations(today)[2] is None


def test_f24_a_confirmed_empty_list_is_believed(tmp_path: Path) -> None:
    """A drained node: etcd says the same as the cache."""
    again = Told()
    with day(tmp_path, *MANY, lists=(None, answer(pod_list()), answer(pod_list())), watches=(again,)) as today:
        today.until_names(*MANY)
        again.tell()
        today.until_names()

        assert today.errors("unconfirmed") == 1


def test_f24_nothing_is_believed_while_the_confirmation_fails(tmp_path: Path) -> None:
    """The second list fails: the pods stay, and the question is asked again from the start."""
    with day(
        tmp_path,
        *MANY,
        lists=(None, answer(pod_list()), lambda exchange: exchange.status(500), answer(pod_list()), cut_json),
        watches=(relist,),
    ) as today:
        today.until_names(*MANY)
        today.until(lambda: today.errors("unconfirmed") == 2, "asked twice")
        today.until_watching(2)
        assert today.names() == set(MANY)


@pytest.mark.parametrize(("known", "kept", "guarded"), [(8, 4, False), (8, 3, True), (4, 1, False), (4, 0, True)])
def test_f24_the_guard_is_for_more_than_half_and_more_than_three(
    tmp_path: Path, known: int, kept: int, guarded: bool
) -> None:
    """Few deletions are everyday life and need no second question."""
    again = Told()
    with day(tmp_path, *MANY[:known], watches=(again,)) as today:
        today.until_names(*MANY[:known])
        pods = sorted(today.server.pods, key=lambda each: each["metadata"]["name"])
        few = pod_list(*pods[:kept], version="100")
        today.script.lists[:] = [answer(few), answer(few)]
        again.tell()
        today.until_names(*MANY[:kept])

        assert today.errors("unconfirmed") == int(guarded)


POISON = (
    None,
    "text",
    {"metadata": None},
    {"metadata": {"name": "../../etc", "namespace": "shop", "uid": "00000000-0000-0000-0000-00000000000a"}},
    {"metadata": {"name": "evil", "namespace": "shop", "uid": "../../system.slice"}},
    {"metadata": {"name": "no-uid", "namespace": "shop"}},
)


def test_f25_a_poison_object_in_a_list_hurts_no_other(tmp_path: Path) -> None:
    """The good pods of the list are there, the others are counted and shown."""
    good = manifest("a", uid="00000000-0000-0000-0000-000000000001")
    odd = {**manifest("odd", uid="00000000-0000-0000-0000-000000000002"), "status": {"containerStatuses": 5}}
    with day(tmp_path, lists=(answer(pod_list(good, *POISON, odd)),)) as today:
        today.until_names("a", "odd")
        found = today.now()

    assert found.state.complete
    # The three without any name are one in the list of the poisonous.
    assert {reason for _, reason, _ in found.poison} == {"not-an-object", "metadata", "uid"}
    assert found.state.errors["pod-rejected"] == len(found.poison) == 4


def test_f25_a_poison_object_in_a_watch_hurts_no_other(tmp_path: Path) -> None:
    """Events go on after it; a known pod that comes back poisonous keeps its last good state."""

    def poisonous(exchange: Exchange) -> None:
        exchange.stream()
        for raw in POISON:
            exchange.event("ADDED", raw)
        known = today.now().pods[0].object
        broken = {"metadata": {"name": "UPPER", "namespace": "shop", "uid": known.uid}, "spec": {"nodeName": "node-1"}}
        exchange.event("MODIFIED", broken)
        exchange.event("ADDED", manifest("b", uid="00000000-0000-0000-0000-000000000002"))
        exchange.hang()

    with day(tmp_path, "a", lists=(None,)) as today:
        today.until_names("a")
        today.script.watches[:] = [poisonous]
        today.server.stop()
        today.server.start()
        today.until_names("a", "b")

        assert today.errors("pod-rejected") == len(POISON) + 1
        assert len(today.script.asked(watching=False)) == 1


def test_f25_a_deleted_poison_object_is_forgotten(tmp_path: Path) -> None:
    """What is shown as poisonous vanishes with the object."""
    bad = {"metadata": {"name": "evil", "namespace": "shop", "uid": "not-a-uid"}, "spec": {"nodeName": "node-1"}}
    with day(tmp_path, "a") as today:
        today.until_names("a")
        today.server.put_pod(bad)
        today.until(lambda: len(today.now().poison) == 1, "shown")
        today.server.delete_pod("shop", "evil")
        today.until(lambda: today.now().poison == (), "forgotten")
        assert today.names() == {"a"}
