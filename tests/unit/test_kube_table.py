"""Pods by UID: whatever order events come in, what is left is what the API server has."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.pod_object import PodRejected
from plimsoll.simulator.pod_store import PodStore, events, selector
from plimsoll.sources.kube.table import Change, Listing, PodTable

NODE = "node-1"
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "again"]), st.integers(0, 4), st.sampled_from([NODE, "node-2"])),
    max_size=25,
)


def pod(name: str, node: str = NODE, **metadata: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, **metadata}, "spec": {"nodeName": node}}


def history(steps: list[tuple[str, int, str]]) -> tuple[PodStore, list[tuple[str, Any]]]:
    """A store after these steps, and the events that the node's watcher was sent."""
    store = PodStore()
    names: dict[str, str] = {}
    for action, number, node in steps:
        name = f"pod-{number}"
        if action == "again" and name in names:  # a new UID under the old name
            store.delete("shop", name)
            del names[name]
        if action == "delete":
            if name in names:
                store.delete("shop", name)
                del names[name]
        else:
            names.setdefault(name, node)
            store.put(pod(name, names[name]))
    changes = store.wait(0, 0.0, lambda: True)[1]
    return store, [event for change in changes for event in events(change, selector(f"spec.nodeName={NODE}"))]


def apply(table: PodTable, kind: str, item: object) -> None:
    if kind == "DELETED":
        table.delete(item)
    else:
        table.put(item)


def uids(store: PodStore) -> set[str]:
    return {each["metadata"]["uid"] for each in store.snapshot()[1] if each["spec"]["nodeName"] == NODE}


def known(table: PodTable) -> set[str]:
    return {each.uid for each in table.objects}


@given(STEPS)
def test_events_lead_to_what_the_server_has(steps: list[tuple[str, int, str]]) -> None:
    """A watch from the beginning of time, told once and in order."""
    store, told = history(steps)
    table = PodTable(NODE)
    for kind, item in told:
        apply(table, kind, item)

    assert known(table) == uids(store)


@given(STEPS, st.data())
def test_events_that_are_told_again_change_nothing(steps: list[tuple[str, int, str]], data: st.DataObject) -> None:
    """After everything, any of the events may come again, in any order: a proxy that replays cannot do harm."""
    store, told = history(steps)
    table = PodTable(NODE)
    for kind, item in told:
        apply(table, kind, item)
    before = {each.uid: each for each in table.objects}
    if told:
        for kind, item in data.draw(st.lists(st.sampled_from(told), max_size=20)):
            apply(table, kind, item)

    assert known(table) == uids(store)
    assert {each.uid: each for each in table.objects} == before


@given(STEPS, st.integers(0, 30))
def test_a_list_in_the_middle_leads_to_the_same(steps: list[tuple[str, int, str]], at: int) -> None:
    """Events, then a list of everything, then the events since: the same pods, with their identity kept."""
    store, told = history(steps)
    table = PodTable(NODE)
    for kind, item in told[:at]:
        apply(table, kind, item)
    before = {each.uid: each for each in table.objects}
    listing = Listing()
    for item in store.snapshot()[1]:
        table.collect(listing, item)
    table.replace(listing)

    assert known(table) == uids(store)
    assert all(each is before[each.uid] for each in table.objects if before.get(each.uid) == each)


def test_an_unchanged_pod_is_the_same_object() -> None:
    """A change in what the agent does not use (a condition, a resource version) is no change."""
    table = PodTable(NODE)
    uid = "00000000-0000-0000-0000-000000000001"
    table.put(pod("a", uid=uid, resourceVersion="1"))
    (first,) = table.objects
    assert table.put({**pod("a", uid=uid, resourceVersion="2"), "status": {"conditions": []}}) is Change.TAKEN
    (second,) = table.objects

    assert second is first


def test_a_late_event_of_the_pod_before_does_not_replace_the_one_after() -> None:
    """Listed as db-0 already in its second life: an event from the first one has an older version, and is stale."""
    table = PodTable(NODE)
    first, second = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
    table.put(pod("db-0", uid=second, resourceVersion="20"))

    assert table.put(pod("db-0", uid=first, resourceVersion="10")) is Change.STALE
    assert known(table) == {second}


def test_versions_that_are_no_numbers_do_not_order_events() -> None:
    """Kubernetes once called them opaque: then the last event counts."""
    table = PodTable(NODE)
    uid = "00000000-0000-0000-0000-000000000001"
    for version in ("zebra", "ant", "", "9" * 40):
        assert table.put(pod("a", uid=uid, resourceVersion=version)) is Change.TAKEN


def test_what_is_kept_of_poison_and_of_the_dead_is_bounded() -> None:
    """A server that invents objects without end does not fill the memory."""
    table = PodTable(NODE)
    for number in range(3000):
        assert isinstance(table.put(pod("a", uid=f"bad-{number}")), PodRejected)
        uid = f"00000000-0000-0000-0000-{number:012x}"
        table.put(pod(f"pod-{number}", uid=uid))
        table.delete(pod(f"pod-{number}", uid=uid))

    assert len(table.poison) == 256
    assert len(table._deleted) == 1024
    assert len(table) == 0
