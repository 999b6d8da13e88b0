"""The simulated API server speaks Kubernetes' protocol, as a client that knows nothing of Plimsoll sees it."""

from __future__ import annotations

from typing import Any

import pytest

from plimsoll.simulator.apiserver import PODS, ApiServer
from tests.cluster.api import Api, ApiError


@pytest.fixture
def api(server: ApiServer) -> Api:
    return Api(server.url, server.token)


def pod(name: str, node: str = "n", **annotations: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "d", "name": name, "annotations": annotations}, "spec": {"nodeName": node}}


def names(found: dict[str, Any]) -> list[str]:
    return [each["metadata"]["name"] for each in found["items"]]


def test_lists_what_the_selector_matches(server: ApiServer, api: Api) -> None:
    """By node, by name, by inequality and together; an unknown field is a bad request, as for pods in Kubernetes."""
    for name, node in (("a", "n"), ("b", "n"), ("c", "m")):
        server.put_pod(pod(name, node))

    assert names(api.request("GET", PODS)) == ["a", "b", "c"]
    assert names(api.request("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dn")) == ["a", "b"]
    assert names(api.request("GET", f"{PODS}?fieldSelector=spec.nodeName%3D%3Dn,metadata.name!%3Da")) == ["b"]
    with pytest.raises(ApiError) as refused:
        api.request("GET", f"{PODS}?fieldSelector=spec.image%3Dx")
    assert (refused.value.status, refused.value.reason) == (400, "BadRequest")


def test_objects_get_what_an_api_server_adds(server: ApiServer, api: Api) -> None:
    """UID, time and growing versions; a replacement keeps UID and time, what was given is never changed."""
    given = pod("a")
    first = server.put_pod(given)
    second = server.put_pod(pod("a", note="x"))
    (listed,) = api.request("GET", PODS)["items"]

    assert given == pod("a")
    assert listed == second == server.pods[0]
    assert first["metadata"]["uid"] == second["metadata"]["uid"]
    assert first["metadata"]["creationTimestamp"] == second["metadata"]["creationTimestamp"]
    assert int(first["metadata"]["resourceVersion"]) < int(second["metadata"]["resourceVersion"])


def test_refuses_strangers_and_what_it_does_not_have(server: ApiServer, api: Api) -> None:
    """401 without the token, 404 for other resources, 400 for nonsense, 504 for a version that is yet to come."""
    cases = [
        (Api(server.url, "wrong"), PODS, 401),
        (Api(server.url), PODS, 401),
        (api, "/api/v1/secrets", 404),
        (api, f"{PODS}?resourceVersion=x", 400),
        (api, f"{PODS}?watch=1&timeoutSeconds=-1", 400),
        (api, f"{PODS}?resourceVersion=999", 504),
    ]
    for client, path, status in cases:
        with pytest.raises(ApiError) as refused:
            client.request("GET", path)
        assert refused.value.status == status
        assert refused.value.body["kind"] == "Status"
    assert api.request("GET", "/version")["major"] == "1"


def test_a_watch_tells_what_happens_since_a_version(server: ApiServer, api: Api) -> None:
    """Each change once, in order, with its version; another node's pods are not told."""
    server.put_pod(pod("old"))
    since = server.version
    server.put_pod(pod("a"))
    with api.watch(PODS, since, fieldSelector="spec.nodeName=n") as watch:
        server.put_pod(pod("a", note="x"))
        server.put_pod(pod("b", "m"))
        server.delete_pod("d", "a")
        told = [next(watch) for _ in range(3)]

    assert [event.type for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in told]
    assert int(since) < versions[0] < versions[1] < versions[2] == int(server.version)


def test_an_object_that_begins_or_ceases_to_match_is_added_or_deleted(server: ApiServer, api: Api) -> None:
    """What a watcher with a selector sees is a set, into which objects come and from which they go."""
    server.put_pod(pod("a", "m"))
    with api.watch(PODS, server.version, fieldSelector="spec.nodeName=n") as watch:
        server.put_pod(pod("a", "n"))
        server.put_pod(pod("a", "m"))

        assert [next(watch).type for _ in range(2)] == ["ADDED", "DELETED"]


def test_another_uid_under_the_same_name_is_another_pod(server: ApiServer, api: Api) -> None:
    """A replacement with a UID of its own is told as a deletion and a creation."""
    old = server.put_pod(pod("a"))["metadata"]["uid"]
    with api.watch(PODS, server.version) as watch:
        replacement = pod("a")
        replacement["metadata"]["uid"] = "00000000-0000-0000-0000-000000000009"
        server.put_pod(replacement)
        told = [next(watch) for _ in range(2)]

    assert [(event.type, event.object["metadata"]["uid"]) for event in told] == [
        ("DELETED", old),
        ("ADDED", "00000000-0000-0000-0000-000000000009"),
    ]


def test_a_watch_from_nowhere_begins_with_what_there_is(server: ApiServer, api: Api) -> None:
    """Version 0: everything as if it were new, then what happens."""
    server.put_pod(pod("a"))
    with api.watch(PODS, "0") as watch:
        first = next(watch)
        server.delete_pod("d", "a")

        assert [first.type, next(watch).type] == ["ADDED", "DELETED"]


def test_a_watch_ends_in_time_and_has_bookmarks_if_asked() -> None:
    """timeoutSeconds is kept; bookmarks carry the newest version, also when that belongs to another node's pod."""
    server = ApiServer(bookmark_seconds=0.05)
    server.start()
    try:
        api = Api(server.url, server.token)
        server.put_pod(pod("a", "m"))
        query = {"fieldSelector": "spec.nodeName=n", "timeoutSeconds": "1"}
        with api.watch(PODS, "1", **query) as watch:
            quiet = list(watch)
        with api.watch(PODS, "1", allowWatchBookmarks="true", **query) as watch:
            marked = list(watch)
    finally:
        server.stop()

    assert quiet == []
    assert {event.type for event in marked} == {"BOOKMARK"}
    assert {event.object["metadata"]["resourceVersion"] for event in marked} == {server.version}


def test_compaction_makes_known_versions_too_old(server: ApiServer, api: Api) -> None:
    """A new watch gets an ERROR event with 410 in a good stream; a list leads on."""
    server.put_pod(pod("a"))
    old = server.version
    server.compact()
    with api.watch(PODS, old) as watch:
        told = list(watch)

    assert [(event.type, event.object["code"], event.object["reason"]) for event in told] == [("ERROR", 410, "Expired")]
    again = api.request("GET", PODS)["metadata"]["resourceVersion"]
    with api.watch(PODS, again) as watch:
        server.put_pod(pod("b"))
        assert next(watch).type == "ADDED"


def test_a_watch_that_has_seen_everything_survives_a_compaction(server: ApiServer, api: Api) -> None:
    """Compaction takes the past, not the present."""
    with api.watch(PODS, server.version) as watch:
        server.put_pod(pod("a"))
        first = next(watch)
        server.compact()
        server.put_pod(pod("b"))

        assert [first.type, next(watch).type] == ["ADDED", "ADDED"]


def test_a_watch_that_missed_what_was_compacted_is_told_so(server: ApiServer, api: Api) -> None:
    """The history goes before the watcher could be told of it: 410 inside its stream, and no silent gap."""
    with api.watch(PODS, server.version) as watch:
        with server._store._changed:  # so that the watcher wakes up only after both
            server.put_pod(pod("a"))
            server.compact()
        told = list(watch)

    assert [(event.type, event.object["code"]) for event in told] == [("ERROR", 410)]


def test_stop_ends_watches_properly_and_start_goes_on(server: ApiServer, api: Api) -> None:
    """As in an upgrade: the stream ends as HTTP demands, the port and the pods are the same afterwards."""
    url = server.url
    server.put_pod(pod("a"))
    with api.watch(PODS, server.version) as watch:
        server.stop()
        assert list(watch) == []
    server.put_pod(pod("b"))
    server.start()

    assert server.url == url
    assert names(api.request("GET", PODS)) == ["a", "b"]


def test_a_script_answers_first(server: ApiServer, api: Api) -> None:
    """What it answers is sent instead; what it leaves is the server's."""
    server.script = lambda exchange: exchange.path == PODS and not exchange.status(500, "scripted")

    with pytest.raises(ApiError, match="scripted"):
        api.request("GET", PODS)
    assert api.request("GET", "/version")["major"] == "1"


def test_deleting_what_is_not_there_is_a_mistake(server: ApiServer) -> None:
    """The caller's, and said at once."""
    with pytest.raises(KeyError):
        server.delete_pod("d", "nobody")
