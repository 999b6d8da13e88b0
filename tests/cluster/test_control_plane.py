"""The control plane is a real one, and the operations of ControlPlane do what tests of the agent will rely on."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.cluster import pods
from tests.cluster.api import Api, ApiError, Event, Json
from tests.cluster.build import version
from tests.process import ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.cluster

PODS = "/api/v1/pods"


@pytest.fixture
def node(request: pytest.FixtureRequest, control_plane: ControlPlane) -> Iterator[str]:
    """A node name that is this test's alone; pods left on it are deleted."""
    name: str = request.node.name.replace("_", "-").replace("[", "-").rstrip("]").lower()
    yield name
    if not control_plane.apiserver.running:
        control_plane.start_apiserver()
    for pod in on_node(control_plane, name)["items"]:
        control_plane.delete_pod(pod["metadata"]["namespace"], pod["metadata"]["name"])


def on_node(control_plane: ControlPlane, node: str, **query: str) -> Json:
    return control_plane.request("GET", f"{PODS}?{urlencode({'fieldSelector': f'spec.nodeName={node}', **query})}")


def names(pod_list: Json) -> set[str]:
    return {pod["metadata"]["name"] for pod in pod_list["items"]}


def resource_version(item: Json) -> str:
    found: str = item["metadata"]["resourceVersion"]
    return found


def next_event(control_plane: ControlPlane, since: str, node: str, token: str | None = None) -> tuple[int, Event]:
    """HTTP status and first event of a watch on the node's pods."""
    selector = f"spec.nodeName={node}"
    with control_plane.watch(PODS, since, token=token, fieldSelector=selector) as watch:
        return watch.status, next(watch)


def test_comes_up_in_the_version_of_its_module(control_plane: ControlPlane) -> None:
    reported = control_plane.request("GET", "/version")

    assert reported["gitVersion"] == version("kube-apiserver")
    assert f"v{reported['major']}.{reported['minor']}." in version("kube-apiserver")


def test_serves_on_the_loopback_to_those_who_trust_its_authority(control_plane: ControlPlane) -> None:
    assert control_plane.url.startswith("https://127.0.0.1:")
    with pytest.raises(urllib.error.URLError) as refused:
        Api(control_plane.url, control_plane.admin_token).request("GET", "/version")
    assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)


def test_lists_the_pods_of_a_node(control_plane: ControlPlane, node: str) -> None:
    control_plane.priority_class("batch", -10)
    control_plane.namespace("offline")
    control_plane.create_pod(
        "offline",
        "crunch",
        node,
        annotations={"example.com/a": "1"},
        labels={"app": "crunch"},
        priority_class="batch",
        qos="Burstable",
    )
    control_plane.create_pod("default", "web", node, qos="Guaranteed", containers=("main", "side"))
    control_plane.create_pod("default", "elsewhere", f"{node}-2")
    control_plane.set_pod_status("default", "web", container_ids={"side": "containerd://" + "5" * 64})

    listed = {pod["metadata"]["name"]: pod for pod in on_node(control_plane, node)["items"]}
    control_plane.delete_pod("default", "elsewhere")

    assert set(listed) == {"crunch", "web"}
    crunch, web = listed["crunch"], listed["web"]
    assert crunch["metadata"]["annotations"] == {"example.com/a": "1"}
    assert crunch["metadata"]["labels"] == {"app": "crunch"}
    assert (crunch["spec"]["priorityClassName"], crunch["spec"]["priority"]) == ("batch", -10)
    assert (crunch["status"]["phase"], crunch["status"]["qosClass"]) == ("Pending", "Burstable")
    assert (web["status"]["phase"], web["status"]["qosClass"]) == ("Running", "Guaranteed")
    ids = {each["name"]: each["containerID"] for each in web["status"]["containerStatuses"]}
    assert ids == {
        "main": pods.default_container_id(web["metadata"]["uid"], "main"),
        "side": "containerd://" + "5" * 64,
    }


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded", "Failed"])
def test_takes_the_status_of_each_phase(control_plane: ControlPlane, node: str, phase: pods.Phase) -> None:
    control_plane.create_pod("default", node, node)

    assert control_plane.set_pod_status("default", node, phase)["status"]["phase"] == phase


def test_watch_sees_what_happens_to_a_pod(control_plane: ControlPlane, node: str) -> None:
    since = resource_version(on_node(control_plane, node))
    with control_plane.watch(PODS, since, fieldSelector=f"spec.nodeName={node}") as watch:
        control_plane.create_pod("default", "seen", node, annotations={"a": "1"})
        created = next(watch)
        control_plane.set_pod_status("default", "seen")
        running = next(watch)
        control_plane.annotate_pod("default", "seen", {"a": None, "b": "2"})
        annotated = next(watch)
        control_plane.delete_pod("default", "seen")
        deleted = next(watch)
        if deleted.type == "MODIFIED":
            # The API server may store the deletion's time stamp first; the object goes in a second step.
            assert deleted.object["metadata"]["deletionTimestamp"]
            deleted = next(watch)

    assert [event.type for event in (created, running, annotated, deleted)] == [
        "ADDED",
        "MODIFIED",
        "MODIFIED",
        "DELETED",
    ]
    assert running.object["status"]["phase"] == "Running"
    assert annotated.object["metadata"]["annotations"] == {"b": "2"}
    assert "seen" not in names(on_node(control_plane, node))


def test_limited_account_may_list_and_watch_pods_and_no_more(
    control_plane: ControlPlane, node: str, tmp_path: Path
) -> None:
    config = json.loads(control_plane.kubeconfig(tmp_path / "kubeconfig", user="limited").read_text())
    (user,) = config["users"]
    token = user["user"]["token"]
    since = resource_version(on_node(control_plane, node))
    control_plane.create_pod("default", "guarded", node)
    pod = "/api/v1/namespaces/default/pods/guarded"

    def status(method: str, path: str, body: Json | None = None, bearer: str = token) -> int:
        try:
            control_plane.request(method, path, body, token=bearer)
        except ApiError as error:
            return error.status
        return 200

    assert status("GET", PODS) == 200
    assert next_event(control_plane, since, node, token)[1].type == "ADDED"
    assert status("GET", pod) == 403  # the verb get is not list
    assert status("DELETE", pod) == 403
    assert status("POST", "/api/v1/namespaces/default/pods", pods.manifest("default", "x", node)) == 403
    assert status("GET", "/api/v1/nodes") == 403
    assert status("GET", "/api/v1/secrets") == 403
    assert status("GET", PODS, bearer="not-a-token") == 401
    assert status("GET", PODS, bearer="") == 403  # nobody is system:anonymous, who may do nothing here


def test_token_is_bound_to_its_service_account(control_plane: ControlPlane) -> None:
    rules: list[Json] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    control_plane.service_account("default", "short-lived", rules)
    token = control_plane.token("default", "short-lived", 600)
    review: Json = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }
    reviewed = control_plane.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]

    assert control_plane.request("GET", "/api/v1/nodes", token=token)["items"] == []
    assert reviewed["user"]["username"] == "system:serviceaccount:default:short-lived"
    with pytest.raises(ApiError, match="may not specify a duration less than 10 minutes"):
        control_plane.token("default", "short-lived", 60)


def test_admin_kubeconfig_is_complete_and_private(control_plane: ControlPlane, tmp_path: Path) -> None:
    path = control_plane.kubeconfig(tmp_path / "kubeconfig")
    config = json.loads(path.read_text())

    assert path.stat().st_mode & 0o777 == 0o600
    assert config["clusters"][0]["cluster"]["server"] == control_plane.url
    assert config["users"][0]["user"]["token"] == control_plane.admin_token


def test_restart_ends_watches_and_keeps_everything_else(control_plane: ControlPlane, node: str) -> None:
    uid = control_plane.create_pod("default", "kept", node)["metadata"]["uid"]
    control_plane.service_account("default", "survivor", [])
    token = control_plane.token("default", "survivor")
    listed = on_node(control_plane, node)
    url, pid = control_plane.url, control_plane.apiserver.pid

    selector = f"spec.nodeName={node}"
    with control_plane.watch(PODS, resource_version(listed), fieldSelector=selector) as watch:
        control_plane.restart_apiserver()
        assert list(watch) == []  # the stream ended, and ended properly

    assert control_plane.url == url
    assert control_plane.apiserver.pid != pid
    (pod,) = on_node(control_plane, node)["items"]
    assert pod["metadata"]["uid"] == uid
    # A token from before is still good: 403 is for someone known who may not.
    with pytest.raises(ApiError, match="survivor") as forbidden:
        control_plane.request("GET", PODS, token=token)
    assert forbidden.value.status == 403


def test_stopped_apiserver_refuses_connections_until_it_is_started(control_plane: ControlPlane) -> None:
    control_plane.stop_apiserver()
    try:
        with pytest.raises(urllib.error.URLError) as refused:
            control_plane.request("GET", "/version")
        assert isinstance(refused.value.reason, ConnectionRefusedError)
    finally:
        control_plane.start_apiserver()

    assert control_plane.request("GET", "/readyz") == {"text": "ok"}


def test_a_watch_from_before_a_compaction_and_restart_gets_410(control_plane: ControlPlane, node: str) -> None:
    old = resource_version(on_node(control_plane, node))
    control_plane.create_pod("default", "young", node)

    # From an old resource version the history is told, and the API server remembers it even when etcd does not.
    assert next_event(control_plane, old, node)[1].type == "ADDED"
    control_plane.compact_etcd()
    assert next_event(control_plane, old, node)[1].type == "ADDED"

    compacted = control_plane.expire_resource_versions()

    # A watch gets its 410 inside a stream that began with HTTP 200, as an event; then the stream ends.
    assert int(old) < compacted
    with control_plane.watch(PODS, old, fieldSelector=f"spec.nodeName={node}") as watch:
        status, events = watch.status, list(watch)
    assert status == 200
    assert [event.type for event in events] == ["ERROR"]
    assert events[0].object["code"] == 410
    assert events[0].object["reason"] == "Expired"
    assert events[0].object["message"].startswith(f"too old resource version: {old} (")

    # A list at exactly that version gets it as the HTTP status.
    with pytest.raises(ApiError) as gone:
        on_node(control_plane, node, resourceVersion=old, resourceVersionMatch="Exact")
    assert (gone.value.status, gone.value.reason) == (410, "Expired")

    # The cure works: list anew, watch from there.
    again = on_node(control_plane, node)
    assert names(again) == {"young"}
    control_plane.annotate_pod("default", "young", {"a": "1"})
    assert next_event(control_plane, resource_version(again), node)[1].type == "MODIFIED"


def test_crashed_apiserver_is_reported_with_its_log(control_plane: ControlPlane) -> None:
    control_plane.apiserver.kill()
    try:
        with pytest.raises(ProcessError, match=r"kube-apiserver ended.*\n--- last lines of .*apiserver\.log"):
            control_plane.apiserver.wait_until(lambda: False, "never", 1.0)
    finally:
        control_plane.start_apiserver()


def test_two_hundred_pods_come_and_go(control_plane: ControlPlane, node: str) -> None:
    count = 200
    began = time.monotonic()
    for number in range(count):
        control_plane.create_pod("default", f"many-{number}", node)
    created = time.monotonic()
    found = len(on_node(control_plane, node)["items"])
    for number in range(count):
        control_plane.delete_pod("default", f"many-{number}")
    deleted = time.monotonic()

    print(f"{count} pods: created in {created - began:.1f} s, deleted in {deleted - created:.1f} s")
    assert found == count
    assert names(on_node(control_plane, node)) == set()
