"""The chart's rights and admission policies in a real control plane, and the token of an agent's pod there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.deploy.helm import render

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane

COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "/api/v1/namespaces/plimsoll/serviceaccounts",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
}

Json = dict[str, Any]


def installed(control_plane: ControlPlane, node: str, values: Json) -> str:
    """
    Put the chart's account, rights and policies in force, and give the token of an agent's pod on ``node``.

    They come into force a moment after: whoever asks, waits for that.
    """
    control_plane.namespace("plimsoll")
    for item in render(values, "--skip-schema-validation"):
        if item["kind"] in COLLECTIONS:
            control_plane.apply(COLLECTIONS[item["kind"]], item)
    control_plane.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "plimsoll", "name": "agent"},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "plimsoll",
            "containers": [{"name": "agent", "image": "agent"}],
        },
    }
    made = control_plane.request("POST", "/api/v1/namespaces/plimsoll/pods", pod)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": made["metadata"]["uid"]},
        },
    }
    path = "/api/v1/namespaces/plimsoll/serviceaccounts/plimsoll/token"
    token: str = control_plane.request("POST", path, request)["status"]["token"]
    return token
