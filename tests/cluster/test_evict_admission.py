"""The chart's admission policy on a real kube-apiserver: of the right to evict, only this node's pods by UID remain."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.eviction import Evict
from plimsoll.model.outcome import Outcome
from plimsoll.sources.kube.evicting import Evictor
from tests.cluster import pods
from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installed import installed
from tests.running import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

NODE = "node-1"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def agent(control_plane: ControlPlane) -> str:
    """The token of an agent's pod on NODE, in a cluster where the chart's rights and its policy are in force."""
    token = installed(control_plane, NODE, {"config": {"eviction": {"mode": "enforce"}}})
    own = a_pod(control_plane, "probe-own")
    foreign = a_pod(control_plane, "probe-foreign", node="node-2")
    # Rights and policies come into force a moment after they are written; until then this one is let go, or nobody is.
    until(lambda: "own node" in refusal(control_plane, token, foreign, dry=True), "in force")
    until(lambda: refusal(control_plane, token, own, dry=True) == "", "granted")
    return token


def a_pod(
    control_plane: ControlPlane, name: str, *, node: str = NODE, namespace: str = "default", owner: str | None = None
) -> Json:
    made = pods.manifest(namespace, name, node)
    if owner is not None:
        reference = {"apiVersion": "apps/v1", "kind": owner, "name": "x", "uid": "11111111-2222-3333-4444-555555555555"}
        made["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    found = control_plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", made)
    control_plane.set_pod_status(namespace, name)
    return found


def refusal(
    control_plane: ControlPlane, token: str, pod: Json, options: Json | None = None, *, dry: bool = False
) -> str:
    """What the API server says to an eviction; empty: it takes it. ``dry``: nobody goes."""
    metadata = pod["metadata"]
    given = {"preconditions": {"uid": metadata["uid"]}} if options is None else options
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": metadata["namespace"], "name": metadata["name"]},
        "deleteOptions": {**given, **({"dryRun": ["All"]} if dry else {})},
    }
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/eviction"
    try:
        control_plane.request("POST", path, body, token=token)
    except ApiError as error:
        return f"{error.status} {error}"
    return ""


def going(control_plane: ControlPlane, pod: Json) -> bool:
    metadata = pod["metadata"]
    found = control_plane.request("GET", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}")
    return "deletionTimestamp" in found["metadata"]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"pod-{zlib.crc32(request.node.name.encode()):08x}"


def test_the_agent_evicts_its_own_nodes_pods(control_plane: ControlPlane, agent: str, name: str) -> None:
    """With other nodes' pods in the same namespace, and one of a DaemonSet."""
    a_pod(control_plane, f"{name}-a", node="node-2")
    a_pod(control_plane, f"{name}-b", owner="DaemonSet")
    pod = a_pod(control_plane, name, owner="ReplicaSet")
    assert refusal(control_plane, agent, pod) == ""
    assert going(control_plane, pod)


def test_another_nodes_pods_stay(control_plane: ControlPlane, agent: str, name: str) -> None:
    """Whoever breaks into one node's agent cannot empty another node; also not under a UID that is given wrong."""
    pod = a_pod(control_plane, name, node="node-2")
    mine = a_pod(control_plane, f"{name}-own")
    until(lambda: "own node" in refusal(control_plane, agent, pod, dry=True), "seen")
    for options in (None, {"preconditions": {"uid": mine["metadata"]["uid"]}}):
        found = refusal(control_plane, agent, pod, options)
        assert found.startswith("422 ")
        assert "the agent may evict pods of its own node only" in found
    assert not going(control_plane, pod)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "which pod it means by its UID"),
        ({"preconditions": {"resourceVersion": "1"}}, "which pod it means by its UID"),
        ({"gracePeriodSeconds": 0}, "may not shorten"),
    ],
    ids=["none", "version", "grace"],
)
def test_how_it_may_not_evict(control_plane: ControlPlane, agent: str, name: str, options: Json, part: str) -> None:
    """Without a UID, or in no time."""
    pod = a_pod(control_plane, name)
    if "gracePeriodSeconds" in options:
        options = {**options, "preconditions": {"uid": pod["metadata"]["uid"]}}
    assert part in refusal(control_plane, agent, pod, options)
    assert not going(control_plane, pod)


@pytest.mark.parametrize(
    ("facts", "part"), [({"owner": "DaemonSet"}, "DaemonSets"), ({"namespace": "kube-system"}, "kube-system")]
)
def test_whom_it_may_not_evict(
    control_plane: ControlPlane, agent: str, name: str, facts: dict[str, str], part: str
) -> None:
    """Pods that keep the node and the cluster going."""
    control_plane.namespace("kube-system")
    pod = a_pod(control_plane, name, **facts)  # type: ignore[arg-type]
    until(lambda: part in refusal(control_plane, agent, pod, dry=True), "seen")
    assert part in refusal(control_plane, agent, pod)
    assert not going(control_plane, pod)


def test_a_token_of_no_node_evicts_nobody(control_plane: ControlPlane, agent: str, name: str) -> None:
    """A token that somebody asked for without a pod is of no node."""
    pod = a_pod(control_plane, name)
    assert "own node" in refusal(control_plane, control_plane.token("plimsoll", "plimsoll"), pod)
    assert not going(control_plane, pod)


def test_nobody_else_is_touched(control_plane: ControlPlane, agent: str, name: str) -> None:
    """An administrator drains as before."""
    pod = a_pod(control_plane, name, node="node-2", owner="DaemonSet")
    assert refusal(control_plane, control_plane.admin_token, pod, {}) == ""
    assert going(control_plane, pod)


def test_the_program_asks_as_the_policy_wants_it(
    control_plane: ControlPlane, agent: str, name: str, tmp_path: Path
) -> None:
    """The agent's own request, with its own token, is taken."""
    kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig", user="plimsoll/plimsoll")
    config = json.loads(kubeconfig.read_text())
    config["users"][0]["user"]["token"] = agent
    kubeconfig.write_text(json.dumps(config))
    pod = a_pod(control_plane, name)
    evictor = Evictor(kubeconfig=str(kubeconfig))
    evictor.start()
    try:
        evictor.want((Evict(pod["metadata"]["uid"], "default", name, "eviction", "why"),))
        (found,) = until(evictor.take, "an answer")
    finally:
        evictor.stop()
    assert found.outcome is Outcome.OK
    assert going(control_plane, pod)
