"""The API server source against a real kube-apiserver and etcd; and the simulated server against the real one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.pod import Priority
from plimsoll.simulator.apiserver import PODS, ApiServer
from plimsoll.sources.kube import KubePods, Timing
from tests.cluster import pods
from tests.cluster.api import Api
from tests.cluster.control_plane import ControlPlane
from tests.following import Following

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

PATIENCE = 120.0
# As in production, but with less patience between attempts: the tests wait for them. Of errors most of them say that
# there are none, so a busy machine is not to make one.
BRISK = Timing(connect=60.0, list_read=120.0, backoff_longest=1.0, forbidden=1.0, watch_too_short=0.5)


@pytest.fixture
def node(request: pytest.FixtureRequest, control_plane: ControlPlane) -> Iterator[str]:
    """A node name that is this test's alone; pods left on it are deleted."""
    name: str = request.node.name.replace("_", "-").replace("[", "-").rstrip("]").lower()[:63].strip("-")
    yield name
    if not control_plane.apiserver.running:
        control_plane.start_apiserver()
    for each in control_plane.request("GET", f"{PODS}?fieldSelector=spec.nodeName%3D{name}")["items"]:
        control_plane.delete_pod(each["metadata"]["namespace"], each["metadata"]["name"])


@contextmanager
def following(node: str, **options: Any) -> Iterator[Following]:
    source = KubePods(node, timing=BRISK, **options)
    try:
        source.start()
        yield Following(source=source, patience=PATIENCE)
    finally:
        source.stop()


def limited(control_plane: ControlPlane, folder: Path) -> str:
    """A kubeconfig with the rights the chart gives: list and watch pods, no more."""
    return str(control_plane.kubeconfig(folder / "kubeconfig", user="limited"))


def test_follows_a_pod_through_its_life(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """Created, running with containers, annotated, annotation taken away, deleted: each step arrives without a list."""
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        assert agent.source.wait_complete(PATIENCE)
        assert agent.names() == set()
        uid = control_plane.create_pod("default", node, node, qos="Burstable")["metadata"]["uid"]
        agent.until_names(node)
        control_plane.set_pod_status("default", node)
        agent.until(lambda: agent.now().pods[0].object.phase == "Running", "running")
        control_plane.annotate_pod("default", node, {"plimsoll.io/qos-priority": "low", "example.com/other": "x"})
        agent.until(lambda: agent.priorities() == {node: Priority.LOW}, "low")
        (pod,) = agent.now().pods
        control_plane.annotate_pod("default", node, {"plimsoll.io/qos-priority": None})
        agent.until(lambda: agent.priorities() == {node: Priority.NORMAL}, "normal")
        control_plane.delete_pod("default", node)
        agent.until_names()
        state = agent.now().state

    assert pod.uid == uid
    assert pod.object.qos_class == "Burstable"
    assert [each.id for each in pod.object.containers] == [
        pods.default_container_id(uid, "main").removeprefix("containerd://")
    ]
    assert pod.object.annotations == {"plimsoll.io/qos-priority": "low"}
    assert (state.ok, state.complete, state.errors) == (True, True, {})


def test_other_nodes_pods_are_not_seen(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """The field selector is the server's work: neither list nor watch brings a neighbour's pod."""
    control_plane.create_pod("default", f"{node}-before", f"{node}-2")
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        assert agent.source.wait_complete(PATIENCE)
        control_plane.create_pod("default", f"{node}-after", f"{node}-2")
        control_plane.create_pod("default", node, node)
        agent.until_names(node)

        assert agent.now().state.errors == {}
    for name in ("before", "after"):
        control_plane.delete_pod("default", f"{node}-{name}")


def test_two_hundred_pods_come_change_and_go(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """A full node: every creation, annotation and deletion arrives; an unchanged pod keeps its identity."""
    names = [f"many-{number}" for number in range(200)]
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        assert agent.source.wait_complete(PATIENCE)
        for name in names:
            control_plane.create_pod("default", name, node)
        agent.until_names(*names)
        before = {pod.name: pod for pod in agent.now().pods}
        for name in names[::2]:
            control_plane.annotate_pod("default", name, {"plimsoll.io/qos-priority": "low"})
        agent.until(lambda: list(agent.priorities().values()).count(Priority.LOW) == 100, "half of them low")
        after = {pod.name: pod for pod in agent.now().pods}
        for name in names:
            control_plane.delete_pod("default", name)
        agent.until_names()

        assert all(after[name] is before[name] for name in names[1::2])
        assert agent.now().state.errors == {}


def test_a_name_that_is_used_again_is_another_pod(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """Deleted and created again under its name, as a StatefulSet does, ten times over."""
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        assert agent.source.wait_complete(PATIENCE)
        for _ in range(10):
            uid = control_plane.create_pod("default", node, node)["metadata"]["uid"]
            control_plane.delete_pod("default", node)
            last = control_plane.create_pod("default", node, node)["metadata"]["uid"]
            agent.until(lambda wanted=last: [pod.uid for pod in agent.now().pods] == [wanted], "the new one")
            assert uid != last
            control_plane.delete_pod("default", node)


def test_f23_follows_through_a_restart_of_the_api_server(
    control_plane: ControlPlane, node: str, tmp_path: Path
) -> None:
    """While it is away the pods stay and the source says so; afterwards what was missed arrives."""
    control_plane.create_pod("default", f"{node}-a", node)
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        agent.until_names(f"{node}-a")
        control_plane.stop_apiserver()
        agent.until(lambda: not agent.now().state.ok, "failing")
        assert agent.names() == {f"{node}-a"}
        control_plane.start_apiserver()
        control_plane.create_pod("default", f"{node}-b", node)
        agent.until_names(f"{node}-a", f"{node}-b")
        agent.until(lambda: agent.now().state.ok, "ok")


def test_f21_follows_through_a_compaction(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """etcd forgets the history, the API server its cache: the watch gets its 410, a list follows, no pod flaps."""
    for name in ("a", "b"):
        control_plane.create_pod("default", f"{node}-{name}", node)
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        agent.until_names(f"{node}-a", f"{node}-b")
        before = {pod.name: pod for pod in agent.now().pods}
        control_plane.expire_resource_versions()
        control_plane.delete_pod("default", f"{node}-b")
        control_plane.create_pod("default", f"{node}-c", node)
        agent.until_names(f"{node}-a", f"{node}-c")
        after = {pod.name: pod for pod in agent.now().pods}

        assert after[f"{node}-a"] is before[f"{node}-a"]
        assert agent.errors("expired") >= 1


def test_f27_a_missing_right_is_named_and_used_once_granted(
    control_plane: ControlPlane, node: str, tmp_path: Path
) -> None:
    """No right at all, then list without watch, then both: each time the detail names what is missing."""

    def rules(*verbs: str) -> list[dict[str, Any]]:
        return [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}] if verbs else []

    control_plane.create_pod("default", node, node)
    control_plane.service_account("default", "learner", rules())
    kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig", user="default/learner")
    with following(node, kubeconfig=str(kubeconfig)) as agent:
        agent.until(lambda: agent.errors("forbidden") >= 1, "refused")
        detail = agent.now().state.detail
        assert "grant verb list" in detail
        assert "system:serviceaccount:default:learner" in detail
        assert not agent.now().state.complete
        control_plane.service_account("default", "learner", rules("list"))
        agent.until_names(node)
        agent.until(lambda: "grant verb watch" in agent.now().state.detail, "named")
        control_plane.service_account("default", "learner", rules("list", "watch"))
        agent.until(lambda: agent.now().state.ok, "ok")
        control_plane.delete_pod("default", node)
        agent.until_names()


def service_account_folder(control_plane: ControlPlane, folder: Path, name: str) -> Path:
    """What the kubelet mounts into a pod: the token and the cluster's certificate."""
    folder.mkdir()
    (folder / "ca.crt").write_bytes(control_plane.ca_file.read_bytes())
    (folder / "token").write_text(control_plane.token("default", name))
    return folder


@pytest.fixture
def pod_options(control_plane: ControlPlane, tmp_path: Path) -> dict[str, Any]:
    """The source's options as inside a pod of the cluster."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    control_plane.service_account("default", "mounted", rules)
    host, _, port = control_plane.url.removeprefix("https://").partition(":")
    folder = service_account_folder(control_plane, tmp_path / "serviceaccount", "mounted")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    return {"service_account": str(folder), "environ": environ}


def test_reaches_the_server_as_a_pod_does(control_plane: ControlPlane, node: str, pod_options: dict[str, Any]) -> None:
    """No kubeconfig: address from the environment, token and certificate from the mounted folder."""
    control_plane.create_pod("default", node, node)
    with following(node, **pod_options) as agent:
        agent.until_names(node)
        assert agent.now().state.errors == {}


def test_f27_a_rotated_token_of_a_pod_is_read_again(
    control_plane: ControlPlane, node: str, pod_options: dict[str, Any]
) -> None:
    """The mounted token is refused, the kubelet puts a good one in its place: the source goes on by itself."""
    token = Path(pod_options["service_account"]) / "token"
    good = token.read_text()
    token.write_text("not.a.token")
    control_plane.create_pod("default", node, node)
    with following(node, **pod_options) as agent:
        agent.until(lambda: agent.errors("unauthorized") >= 2, "refused")
        assert "does not take this token" in agent.now().state.detail
        token.write_text(good)
        agent.until_names(node)
        agent.until(lambda: agent.now().state.ok, "ok")


def test_a_server_that_is_not_the_one_meant_is_not_believed(
    control_plane: ControlPlane, node: str, tmp_path: Path
) -> None:
    """Its certificate is signed by somebody else: no request is made, and the reason is TLS."""
    config = json.loads(Path(limited(control_plane, tmp_path)).read_text())
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    path = tmp_path / "stranger"
    path.write_text(json.dumps(config))
    with following(node, kubeconfig=str(path)) as agent:
        agent.until(lambda: agent.errors("tls") >= 1, "refused")
        assert "certificate" in agent.now().state.detail.lower()
        assert not agent.now().state.complete


def test_stop_ends_a_tls_watch_at_once(control_plane: ControlPlane, node: str, tmp_path: Path) -> None:
    """The read of an encrypted stream is interrupted, too; no thread is left."""
    with following(node, kubeconfig=limited(control_plane, tmp_path)) as agent:
        assert agent.source.wait_complete(PATIENCE)
        agent.until(lambda: agent.now().state.ok, "ok")
        begun = time.monotonic()
        agent.source.stop()

        assert time.monotonic() - begun < 20
        assert "kube" not in {thread.name for thread in threading.enumerate()}


def conversation(api: Api, node: str, act: Callable[[str, Any], None]) -> list[Any]:
    """What a client is told while a pod lives and dies: the parts that a simulation has to get right."""
    selector: dict[str, Any] = {"fieldSelector": f"spec.nodeName={node}"}
    listed = api.request("GET", f"{PODS}?fieldSelector=spec.nodeName%3D{node}")
    since = listed["metadata"]["resourceVersion"]
    told: list[Any] = [sorted(listed), listed["kind"], listed["apiVersion"], listed["items"]]
    manifest = pods.manifest("default", node, node)
    with api.watch(PODS, since, **selector) as watch:
        act("create", manifest)
        created = next(watch)
        act("annotate", {"a": "1"})
        annotated = next(watch)
        act("delete", None)
        deleted = next(watch)
        while deleted.type == "MODIFIED":  # a deletion time stamp, which comes or does not
            deleted = next(watch)
    versions = [since, *(event.object["metadata"]["resourceVersion"] for event in (created, annotated, deleted))]
    told += [event.type for event in (created, annotated, deleted)]
    told += [[int(old) < int(new) for old, new in pairwise(versions)]]
    told += [len({event.object["metadata"]["uid"] for event in (created, annotated, deleted)})]
    told += [[event.object["metadata"].get("annotations") or {} for event in (created, annotated, deleted)]]
    with api.watch(PODS, "0", seconds=60, timeoutSeconds="1", **selector) as watch:
        told += [[event.type for event in watch]]
    return told


def test_the_simulated_server_speaks_as_the_real_one_does(control_plane: ControlPlane, node: str) -> None:
    """The same conversation with both: the same shape of list, events, order of versions, selection and end."""

    def real(action: str, value: Any) -> None:
        if action == "create":
            control_plane.create_pod("default", node, node)
        elif action == "annotate":
            control_plane.annotate_pod("default", node, value)
        else:
            control_plane.delete_pod("default", node)

    simulated = ApiServer()

    def imitation(action: str, value: Any) -> None:
        if action == "delete":
            simulated.delete_pod("default", node)
            return
        pod = value if action == "create" else simulated.pods[0]
        if action == "annotate":
            pod["metadata"]["annotations"] = value
        simulated.put_pod(pod)

    simulated.start()
    try:
        imitated = conversation(Api(simulated.url, simulated.token), node, imitation)
    finally:
        simulated.stop()

    assert imitated == conversation(control_plane.api, node, real)
