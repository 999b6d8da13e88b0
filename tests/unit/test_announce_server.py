"""The simulated API server takes writes as Kubernetes does: what a client sees that does it wrong."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from plimsoll.simulator.apiserver import PODS, ApiServer
from tests.cluster.api import Api, ApiError

EVENTS = "/api/v1/namespaces/shop/events"
EVENT = {"metadata": {"name": "a.1"}, "involvedObject": {"namespace": "shop", "name": "a"}, "count": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", EVENTS, {"metadata": {}}, 422),
        ("POST", EVENTS, {"metadata": {"name": "a"}, "involvedObject": {"namespace": "other"}}, 422),
        ("POST", PODS, EVENT, 404),
        ("PATCH", EVENTS, EVENT, 404),
        ("PATCH", f"{EVENTS}/a.1", {"count": 2}, 404),
        ("PATCH", "/api/v1/namespaces/shop/pods/a/status", {"status": {}}, 404),
        ("PATCH", "/api/v1/namespaces/shop/pods/a", {"status": {}}, 404),
    ],
)
def test_what_cannot_be_written_is_refused(
    server: ApiServer, method: str, path: str, body: dict[str, object], status: int
) -> None:
    """Objects that are none, kinds it does not have, names nobody made; and nothing is stored."""
    with pytest.raises(ApiError) as refused:
        Api(server.url, server.token).request(method, path, body)

    assert refused.value.status == status
    assert (server.events, server.pods) == ((), ())


def test_a_stranger_writes_nothing(server: ApiServer) -> None:
    """401 comes before anything is looked at."""
    with pytest.raises(ApiError) as refused:
        Api(server.url, "wrong").request("POST", EVENTS, dict(EVENT))

    assert refused.value.status == 401
    assert server.events == ()


def test_events_are_told_apart_counted_and_forgotten(server: ApiServer) -> None:
    """What is handed out is a copy; a patch changes what it names and nothing else."""
    api = Api(server.url, server.token)
    api.request("POST", EVENTS, dict(EVENT))
    server.events[0]["count"] = 9
    api.request("PATCH", f"{EVENTS}/a.1", {"count": 2})

    assert server.events == ({**EVENT, "metadata": {"name": "a.1", "namespace": "shop"}, "count": 2},)
    server.forget_events()
    assert server.events == ()


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [({}, b"no json", 400), ({}, b"[]", 400), ({"Content-Length": str(64 << 20)}, b"", 411)],
    ids=["text", "list", "endless"],
)
def test_a_body_that_is_no_object_is_refused(
    server: ApiServer, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Not JSON, JSON that is no object, and more than an API server reads: answered, and the server lives on."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("POST", EVENTS, body, {"Authorization": f"Bearer {server.token}", **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()

    assert answer.status == status
    assert Api(server.url, server.token).request("GET", PODS)["items"] == []


def test_a_condition_is_an_event_of_the_watch(server: ApiServer) -> None:
    """As for a kubelet's status: those who follow the pod see it, with what the pod had before."""
    pod = {
        "metadata": {"namespace": "shop", "name": "a"},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    server.put_pod(pod)
    api = Api(server.url, server.token)
    patch = {"status": {"phase": None, "conditions": [{"type": "Odd", "status": "True"}]}, "spec": {"nodeName": "x"}}
    with api.watch(PODS, server.version, fieldSelector="spec.nodeName=n") as watch:
        api.request("PATCH", "/api/v1/namespaces/shop/pods/a/status", patch)
        event = next(watch)

    assert event.type == "MODIFIED"
    assert event.object["spec"] == {"nodeName": "n"}
    assert event.object["status"] == {
        "conditions": [{"type": "Odd", "status": "True"}, {"type": "Ready", "status": "True"}]
    }
