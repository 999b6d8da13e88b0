"""How it ends: the agent, the release, its rights."""

from __future__ import annotations

import pytest

from tests.cluster.api import ApiError
from tests.deploy.node import NAMESPACE
from tests.running import until

pytestmark = pytest.mark.cluster


def test_the_end(node):
    """SIGTERM ends the agent in its time; `helm uninstall` leaves no object, and the token no right."""
    token = node.cluster.token(NAMESPACE, "plimsoll")
    assert node.container.stop(node.pod["terminationGracePeriodSeconds"]) == 0
    assert '"event": "agent-stopped"' in node.container.logs()
    node.helm("uninstall", "--cascade=background")

    selector = "labelSelector=app.kubernetes.io/instance=plimsoll"
    for path in (
        "/apis/apps/v1/daemonsets",
        "/api/v1/configmaps",
        "/api/v1/serviceaccounts",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    ):
        until(lambda path=path: not node.object(f"{path}?{selector}")["items"], f"{path} without ours")

    def refused():
        try:
            node.cluster.request("GET", "/api/v1/pods", token=token)
        except ApiError as error:
            return error.status in (401, 403)
        return False

    until(refused, "without rights")
