"""
What overcommit makes available, on a real kube-apiserver: what it stores, what a pod can ask for, and that of the right
to patch nodes/status one resource of one node remains.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.publishing import RESOURCE
from plimsoll.once import withdraw
from plimsoll.sources.kube.publishing import Limits, Publisher
from tests.cluster.api import MERGE_PATCH, ApiError
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installed import installed
from tests.running import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

NODE, OTHER = "node-1", "node-2"
CONFIG = {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "publish": True}}
GIB = 1 << 30

Json = dict[str, Any]


@pytest.fixture(scope="module")
def token(control_plane: ControlPlane) -> str:
    """Of an agent's pod on NODE, in a cluster where the chart's rights and its policy are in force."""
    found = installed(control_plane, NODE, {"config": CONFIG})
    control_plane.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": OTHER}})
    status = {
        "capacity": {"cpu": "4", "memory": "8Gi", "example.com/gpu": "2"},
        "allocatable": {"cpu": "4", "memory": "7Gi", "example.com/gpu": "2"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
    }
    for node in (NODE, OTHER):
        path = f"/api/v1/nodes/{node}/status"
        control_plane.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    ours = itertools.count(1)
    until(lambda: refusal(control_plane, found, {"capacity": {RESOURCE: str(next(ours))}}) == (), "granted")
    news = itertools.count()
    until(lambda: refusal(control_plane, found, {"phase": f"Odd{next(news)}"}) != (), "in force")
    return found


def refusal(
    control_plane: ControlPlane, token: str, status: Json, metadata: Json | None = None, node: str = NODE
) -> tuple[int, str] | tuple[()]:
    """The answer to a patch of a node's status; empty: it was taken."""
    body = {"metadata": metadata or {}, "status": status}
    try:
        control_plane.request("PATCH", f"/api/v1/nodes/{node}/status", body, token=token, content_type=MERGE_PATCH)
    except ApiError as error:
        return error.status, str(error)
    return ()


def amounts(control_plane: ControlPlane, node: str = NODE) -> tuple[str | None, str | None]:
    """What stands on the node: capacity and allocatable."""
    status = control_plane.request("GET", f"/api/v1/nodes/{node}")["status"]
    return status["capacity"].get(RESOURCE), status["allocatable"].get(RESOURCE)


@contextmanager
def publishing(kubeconfig: Path, node: str = NODE) -> Iterator[Publisher]:
    publisher = Publisher(node, kubeconfig=str(kubeconfig), limits=Limits(backoff_first=0.05, backoff_longest=0.5))
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop(30)


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, token: str, tmp_path: Path) -> Path:
    return control_plane.kubeconfig(tmp_path / "kubeconfig", user="plimsoll/plimsoll", token=token)


def test_it_stands_on_the_node_and_goes_in_the_end(control_plane: ControlPlane, kubeconfig: Path) -> None:
    """In bytes, in both places, beside what is there; changed, withdrawn, and nothing else of the node is touched."""
    before = control_plane.request("GET", f"/api/v1/nodes/{NODE}")["status"]
    with publishing(kubeconfig) as publisher:
        publisher.observe(3 * GIB, on=True)
        until(lambda: publisher.state.stands == 3 * GIB, "published")
        assert amounts(control_plane) in {("3Gi", "3Gi"), (str(3 * GIB),) * 2}
        publisher.observe(GIB, on=True)
        until(lambda: publisher.state.stands == GIB, "changed")
    assert amounts(control_plane) == (None, None)
    after = control_plane.request("GET", f"/api/v1/nodes/{NODE}")["status"]
    for status in (before, after):
        for place in ("capacity", "allocatable"):
            status[place].pop(RESOURCE, None)
    assert after == before


def test_a_pod_can_ask_for_it(control_plane: ControlPlane) -> None:
    """The name is one of an extended resource: whole bytes as a limit are taken, a part of one is not."""

    def ask(name: str, amount: str) -> Json:
        container = {"name": "main", "image": "x", "resources": {"limits": {RESOURCE: amount}}}
        metadata = {"name": name, "annotations": {"plimsoll.io/qos-priority": "low"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        return control_plane.request("POST", "/api/v1/namespaces/default/pods", pod)

    made = ask("batch", "4Gi")
    assert made["spec"]["containers"][0]["resources"]["requests"] == {RESOURCE: "4Gi"}
    # It runs beside whoever asked for memory, and goes first.
    assert made["status"]["qosClass"] == "BestEffort"
    with pytest.raises(ApiError) as refused:
        ask("half", "500m")
    assert refused.value.status == 422


def test_restore_withdraws_what_a_killed_agent_left(control_plane: ControlPlane, kubeconfig: Path) -> None:
    """One request from the command line, and it says so; where there is no right it says that."""
    token = control_plane.admin_token
    assert refusal(control_plane, token, {place: {RESOURCE: "5Gi"} for place in ("capacity", "allocatable")}) == ()
    assert amounts(control_plane) == ("5Gi", "5Gi")
    assert withdraw(NODE, str(kubeconfig)).known
    assert amounts(control_plane) == (None, None)
    failed = withdraw(OTHER, str(kubeconfig))
    assert not failed.known
    assert failed.trouble is not None
    assert "own node" in failed.trouble[1]


@pytest.mark.parametrize(
    ("status", "metadata"),
    [
        ({"capacity": {"memory": "64Gi"}}, {}),
        ({"allocatable": {"memory": "64Gi"}}, {}),
        ({"capacity": {"example.com/gpu": "8"}}, {}),
        ({"capacity": {"example.com/gpu": None}}, {}),
        ({"allocatable": {"plimsoll.io/other": "8"}}, {}),
        ({"capacity": None}, {}),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, {}),
        ({"addresses": [{"type": "InternalIP", "address": "10.0.0.66"}]}, {}),
        ({"nodeInfo": {"kubeletVersion": "v9"}}, {}),
        ({"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}, {}),
        ({"volumesAttached": [{"name": "a", "devicePath": "b"}]}, {}),
        ({"images": [{"names": ["x"], "sizeBytes": 1}]}, {}),
        ({}, {"labels": {"node-role.kubernetes.io/control-plane": ""}}),
        ({}, {"annotations": {"a": "b"}}),
    ],
)
def test_nothing_else_of_a_node_can_be_written(
    control_plane: ControlPlane, token: str, status: Json, metadata: Json
) -> None:
    """Memory, devices, readiness, addresses, labels: refused by the policy, which says so, and unchanged."""
    path = f"/api/v1/nodes/{NODE}"
    before = control_plane.request("GET", path)
    code, message = refusal(control_plane, token, status, metadata)
    assert code == 422
    assert "ValidatingAdmissionPolicy 'plimsoll-node'" in message
    assert control_plane.request("GET", path) == before


def test_another_node_cannot_be_written(control_plane: ControlPlane, token: str) -> None:
    """Whoever breaks into one node's agent has that node's resource, and no other's; a token of no node has none."""
    ours = {"capacity": {RESOURCE: "1"}}
    for bearer, node in ((token, OTHER), (control_plane.token("plimsoll", "plimsoll"), NODE)):
        code, message = refusal(control_plane, bearer, ours, node=node)
        assert code == 422
        assert "own node" in message


def test_nobody_else_is_touched(control_plane: ControlPlane, token: str) -> None:
    """The kubelet, and whoever else may, writes on as before."""
    assert refusal(control_plane, control_plane.admin_token, {"phase": "Running"}, node=OTHER) == ()
