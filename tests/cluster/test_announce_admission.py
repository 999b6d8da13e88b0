"""The chart's admission policy on a real kube-apiserver: of the right to patch pods/status only conditions remain."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import pytest

from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installed import installed
from tests.running import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

NODE = "node-1"
PATCH = "application/strategic-merge-patch+json"
OURS = {"conditions": [{"type": "plimsoll.io/Odd", "status": "True"}]}

Json = dict[str, Any]


@pytest.fixture(scope="module")
def agent(control_plane: ControlPlane) -> str:
    """The token of an agent's pod on NODE, in a cluster where the chart's rights and its policy are in force."""
    token = installed(control_plane, NODE, {"config": {"notices": {"podConditions": True}}})
    probe = a_pod(control_plane, "probe", NODE)
    # Rights and policies come into force a moment after they are written.
    until(lambda: refusal(control_plane, token, probe, OURS) == (), "granted")
    # What is there already is no change, and taken.
    news = itertools.count()
    until(lambda: refusal(control_plane, token, probe, {"reason": f"Odd{next(news)}"}) != (), "in force")
    return token


def a_pod(control_plane: ControlPlane, name: str, node: str) -> str:
    control_plane.create_pod("default", name, node)
    control_plane.set_pod_status("default", name)
    return name


def refusal(
    control_plane: ControlPlane, token: str, pod: str, status: Json, metadata: Json | None = None
) -> tuple[int, str] | tuple[()]:
    """The answer to a patch of a pod's status; empty: it was taken."""
    path = f"/api/v1/namespaces/default/pods/{pod}/status"
    body = {"metadata": metadata or {}, "status": status}
    try:
        control_plane.request("PATCH", path, body, token=token, content_type=PATCH)
    except ApiError as error:
        return error.status, str(error)
    return ()


def test_the_agents_conditions_are_taken(control_plane: ControlPlane, agent: str) -> None:
    """Made, changed and changed back, on a pod of its node."""
    pod = a_pod(control_plane, "own", NODE)

    for status in ("True", "False", "Unknown"):
        condition = {"type": "plimsoll.io/Odd", "status": status, "reason": "preemption", "message": "m"}
        assert refusal(control_plane, agent, pod, {"conditions": [condition]}) == ()


@pytest.mark.parametrize(
    ("status", "metadata"),
    [
        ({"conditions": [{"type": "Ready", "status": "False"}]}, {}),
        ({"conditions": [{"type": "example.com/Odd", "status": "True"}]}, {}),
        ({"conditions": [{"type": "Ready", "$patch": "delete"}]}, {}),
        ({"podIP": "10.0.0.99", "podIPs": [{"ip": "10.0.0.99"}]}, {}),
        ({"phase": "Failed"}, {}),
        ({"reason": "Odd"}, {}),
        ({"message": "Odd"}, {}),
        ({"containerStatuses": []}, {}),
        ({"containerStatuses": [{"name": "main", "ready": False}]}, {}),
        ({"startTime": "2020-01-01T00:00:00Z"}, {}),
        ({**OURS}, {"labels": {"app": "other"}}),
        ({**OURS}, {"annotations": {"plimsoll.io/qos-priority": "high"}}),
        ({**OURS}, {"finalizers": ["example.com/odd"]}),
    ],
)
def test_nothing_else_of_a_status_can_be_written(
    control_plane: ControlPlane, agent: str, request: pytest.FixtureRequest, status: Json, metadata: Json
) -> None:
    """Readiness, addresses, phase, containers, labels: refused by the policy, which says so, and unchanged."""
    pod = a_pod(control_plane, f"kept-{zlib.crc32(request.node.name.encode()):08x}", NODE)
    path = f"/api/v1/namespaces/default/pods/{pod}"
    before = control_plane.request("GET", path)

    code, message = refusal(control_plane, agent, pod, status, metadata)

    assert code == 422
    assert "ValidatingAdmissionPolicy 'plimsoll-conditions'" in message
    assert control_plane.request("GET", path) == before


def test_another_nodes_pods_cannot_be_written(control_plane: ControlPlane, agent: str) -> None:
    """Whoever breaks into one node's agent has that node's pods' conditions, and no other's."""
    pod = a_pod(control_plane, "foreign", "node-2")

    code, message = refusal(control_plane, agent, pod, OURS)
    assert code == 422
    assert "own node" in message


def test_a_token_of_no_node_writes_nothing(control_plane: ControlPlane, agent: str) -> None:
    """A token that somebody asked for without a pod is of no node."""
    pod = a_pod(control_plane, "nobodys", NODE)

    code, message = refusal(control_plane, control_plane.token("plimsoll", "plimsoll"), pod, OURS)
    assert code == 422
    assert "own node" in message


def test_nobody_else_is_touched(control_plane: ControlPlane, agent: str) -> None:
    """The kubelet, and whoever else may, writes on as before."""
    pod = a_pod(control_plane, "others", NODE)

    assert refusal(control_plane, control_plane.admin_token, pod, {"reason": "Odd"}) == ()
