"""
The chart's rights and admission policies in force in a cluster, and the token of an agent's pod there.

Owns which of the chart's objects an API server without kubelets needs. What the token may is the test's.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.deploy.helm import render

ACCOUNT = "system:serviceaccount:plimsoll:plimsoll"
_COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "/api/v1/namespaces/plimsoll/serviceaccounts",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
}

Json = dict[str, Any]


def install(control_plane: ControlPlane, config: Json, node: str) -> str:
    """
    Apply what the chart makes of ``config``, make the node, and give the token of an agent's pod on it.

    Rights and policies come into force a moment after they are written: wait for that.
    """
    control_plane.namespace("plimsoll")
    for item in render({"config": config}, "--skip-schema-validation"):
        if item["kind"] in _COLLECTIONS:
            control_plane.apply(_COLLECTIONS[item["kind"]], item)
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
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": made["metadata"]["uid"]}
    return control_plane.token("plimsoll", "plimsoll", bound=bound)
