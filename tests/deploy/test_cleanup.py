"""
`helm uninstall` behind an agent that was killed: the hooks really run, and nothing is left.

Helm and the API server are real; the hooks' pods are started here as rendered, on this machine's kernel. The test is
the controllers and the kubelet: it says what has become of the pods.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.deploy.cgroups import parent
from tests.deploy.container import PodVolumes, command
from tests.deploy.helm import CHART, SECONDS, HelmError, helm, one
from tests.deploy.image import podman
from tests.deploy.node import NAMESPACE, NODE, Node, installed, until_metric
from tests.running import until

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

DAEMON_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/plimsoll-cleanup"
JOB = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/plimsoll-cleanup"
POD = "/api/v1/namespaces/default/pods/shop"
NODE_OBJECT = f"/api/v1/nodes/{NODE}"
MERGE = "application/merge-patch+json"
NOW = "2026-01-01T00:00:00Z"
CONFIG = {
    "preemption": {"mode": "enforce"},
    "notices": {"podConditions": True},
    # A device that no machine has: what is published is the test's.
    "overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "LABEL=none", "selector": "mglru", "publish": True},
}
EVERYTHING = (
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/jobs",
    "/api/v1/configmaps",
    "/api/v1/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
)


def knobs(node: Node) -> dict[str, str]:
    """What the agent may write of the pod."""
    paths = [path for name in ("cpu.idle", "cpu.shares", "cpu.weight") for path in node.cgroups.files(name)]
    return {str(path): path.read_text() for path in paths}


def there(cluster: ControlPlane, path: str) -> Json | None:
    try:
        return cluster.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def run(node: Node, image: str, spec: Json, volumes: PodVolumes, kind: str) -> str:
    """One container of a hook's pod to its end, which must be good."""
    (container,) = spec[kind]
    server = node.cluster.url.removeprefix("https://").split(":")
    environment = {"KUBERNETES_SERVICE_HOST": server[0], "KUBERNETES_SERVICE_PORT": server[1]}
    with parent() as place:
        arguments = command(spec, image, volumes, environment, place, kind=kind)
        return podman("run", "--rm", *arguments, *container["args"]).stdout


def test_a_clean_up_that_failed_leaves_its_job(cluster, tmp_path):
    """With its log, and no other object of the release; `helm uninstall` says so."""
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
    place = f"--namespace={NAMESPACE}"
    values = {"config": {"preemption": {"mode": "enforce"}}}
    helm("install", "plimsoll", CHART, place, "--create-namespace", values=values, kubeconfig=kubeconfig)
    with ThreadPoolExecutor(1) as others:
        uninstall = others.submit(helm, "uninstall", "plimsoll", place, kubeconfig=kubeconfig)
        until(lambda: there(cluster, JOB), "the hook that waits for the nodes")
        failed = [{"type": each, "status": "True", "lastTransitionTime": NOW} for each in ("FailureTarget", "Failed")]
        status = {"status": {"startTime": NOW, "failed": 3, "conditions": failed}}
        cluster.request("PATCH", f"{JOB}/status", status, content_type=MERGE)
        with pytest.raises(HelmError, match="plimsoll-cleanup"):
            uninstall.result(SECONDS)

    def left():
        return [
            each["metadata"]["name"]
            for path in EVERYTHING
            for each in cluster.request("GET", path)["items"]
            if "plimsoll" in each["metadata"]["name"]
        ]

    until(lambda: left() == ["plimsoll-cleanup"], "nothing but the Job")
    cluster.request("DELETE", JOB, {"propagationPolicy": "Background"})
    until(lambda: left() == [], "nothing")


def test_nothing_is_left_by_an_agent_that_was_killed(agent_image, cluster, tmp_path):
    """The kernel's values are as before the installation; no file, no object and no condition of ours is anywhere."""
    cluster.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    with ThreadPoolExecutor(1) as others, installed(agent_image, cluster, tmp_path, CONFIG) as node:
        before = knobs(node)
        cluster.annotate_pod("default", "shop", {"plimsoll.io/qos-priority": "low"})
        until_metric(node, lambda value: (value or 0) > 0, "plimsoll_knobs_held")
        assert knobs(node) != before
        told = {"status": {"conditions": [{"type": "plimsoll.io/NoMemoryRequest", "status": "True", "reason": "x"}]}}
        cluster.request("PATCH", f"{POD}/status", told, content_type="application/strategic-merge-patch+json")
        node.container.kill()
        offered = {"status": {each: {"plimsoll.io/low-memory": "1Gi"} for each in ("capacity", "allocatable")}}
        cluster.request("PATCH", f"{NODE_OBJECT}/status", offered, content_type=MERGE)
        assert knobs(node) != before
        state = tmp_path / "-run-plimsoll"
        assert (state / "journal").exists()

        # As rendered: the API server's own have defaults filled in.
        text = helm("get", "hooks", "plimsoll", f"--namespace={NAMESPACE}", kubeconfig=node.kubeconfig)
        rendered = [each for each in yaml.safe_load_all(text) if each]
        specs = {kind: one(rendered, kind)["spec"]["template"]["spec"] for kind in ("DaemonSet", "Job")}
        uninstall = others.submit(node.helm, "uninstall")
        hook = until(lambda: there(cluster, DAEMON_SET), "the hook for the nodes")
        assert "1 knobs put back, 0 left." in run(node, agent_image, specs["DaemonSet"], node.volumes, "initContainers")
        numbers = {"currentNumberScheduled": 1, "desiredNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1}
        status = {"status": {**numbers, "observedGeneration": hook["metadata"]["generation"]}}
        cluster.request("PATCH", f"{DAEMON_SET}/status", status, content_type=MERGE)
        until(lambda: there(cluster, JOB), "the hook that waits for it")
        credentials = {"token": cluster.token(NAMESPACE, "plimsoll-cleanup"), "ca.crt": cluster.ca_file.read_text()}
        (tmp_path / "job").mkdir()
        volumes = PodVolumes(tmp_path / "job", {"metadata": {"name": "none"}, "data": {}}, credentials)
        said = run(node, agent_image, specs["Job"], volumes, "containers")
        done = [
            {"type": each, "status": "True", "lastTransitionTime": NOW} for each in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"status": {"startTime": NOW, "completionTime": NOW, "succeeded": 1, "conditions": done}}
        cluster.request("PATCH", f"{JOB}/status", status, content_type=MERGE)
        uninstall.result(SECONDS)

        assert said.splitlines() == [
            "conditions taken away from 1 pods",
            "plimsoll.io/low-memory taken away from 1 nodes",
            "1 of 1 nodes are put back",
        ]
        assert knobs(node) == before
        assert list(state.iterdir()) == []
    types = {each["type"] for each in cluster.request("GET", POD)["status"]["conditions"]}
    assert {each for each in types if "plimsoll" in each} == set()
    status = cluster.request("GET", NODE_OBJECT)["status"]
    assert "low-memory" not in str(status.get("capacity")) + str(status.get("allocatable"))
    for path in EVERYTHING:
        until(
            lambda path=path: (
                not [each for each in cluster.request("GET", path)["items"] if "plimsoll" in each["metadata"]["name"]]
            ),
            f"{path} without ours",
        )
