"""Every object the chart makes, against a real API server that takes no unknown field; and Pod Security's judgement."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.deploy.helm import CHART, hooks, only, render
from tests.deploy.made import MANIFESTS

pytestmark = pytest.mark.cluster

SAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))
PLACES = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Namespace": "/api/v1/namespaces",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "PodMonitor": "/apis/monitoring.coreos.com/v1/namespaces/{}/podmonitors",
    "PrometheusRule": "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ValidatingAdmissionPolicy": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "ServiceMonitor": "/apis/monitoring.coreos.com/v1/namespaces/{}/servicemonitors",
}
STRICT = "dryRun=All&fieldValidation=Strict"

Json = dict[str, Any]


def send(server: ControlPlane, item: Json) -> Json:
    """What the API server would store."""
    place = PLACES[item["kind"]].format(item["metadata"].get("namespace"))
    return server.request("POST", f"{place}?{STRICT}", item)


@pytest.mark.parametrize("sample", [None, *SAMPLES], ids=lambda each: each.stem if each else "default")
def test_every_object_is_taken_as_it_is(server, sample):
    """No unknown field, no field of the wrong type, no object that is refused; custom resources by their own schema."""
    objects = render(None, *(["--values", sample] if sample else []))

    assert {each["kind"] for each in objects} >= {"ConfigMap", "DaemonSet"}
    # Of OpenShift's kind nobody here knows anything: test_privileges.py has its fields.
    for item in (each for each in objects if each["kind"] != "SecurityContextConstraints"):
        stored = send(server, item)
        if "spec" in item:
            assert set(item["spec"]) <= set(stored["spec"])


def test_every_hook_is_taken_as_it_is(server):
    """All that is made when the release is deleted."""
    found = hooks(render({"postDeleteCleanup": {"mode": "always"}}))

    assert {each["kind"] for each in found} >= {"DaemonSet", "Job", "Role", "ClusterRole", "ServiceAccount"}
    for item in found:
        send(server, item)


def test_the_manifests_can_be_applied(server):
    """What deploy/manifests has is taken whole."""
    objects = list(yaml.safe_load_all(MANIFESTS.read_text()))

    assert {each["kind"] for each in objects} >= {"Namespace", "DaemonSet", "ClusterRole"}
    for item in objects:
        if item["kind"] != "Namespace":
            send(server, item)
        else:
            # It is there already.
            server.request("PATCH", f"{PLACES['Namespace']}/plimsoll?{STRICT}&fieldManager=x&force=true", item,
                           content_type="application/apply-patch+yaml")  # fmt: skip


def test_an_unknown_field_would_be_noticed(server):
    """The check above can fail, also for custom resources."""
    objects = render(None, "--values", CHART / "ci/service-monitor-values.yaml")
    daemon_set, monitor = only(objects, "DaemonSet"), only(objects, "ServiceMonitor")
    daemon_set["spec"]["template"]["spec"]["hostPidd"] = True
    monitor["spec"]["endpoints"][0]["intervall"] = "1s"

    for item in (daemon_set, monitor):
        with pytest.raises(ApiError) as refused:
            send(server, item)
        assert refused.value.status == 400


def pod(server: ControlPlane, level: str, spec: Json) -> None:
    """A pod of this spec in a namespace that enforces a Pod Security level. Raises ApiError."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": level, "labels": labels}}
    server.apply("/api/v1/namespaces", item)
    item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": spec}
    server.request("POST", f"/api/v1/namespaces/{level}/pods?{STRICT}", item)


def without_node_mounts(spec: Json) -> Json:
    spec = copy.deepcopy(spec)
    gone = {each["name"] for each in spec["volumes"] if "hostPath" in each}
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in gone]
    for container in spec["containers"]:
        container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] not in gone]
    return spec


@pytest.mark.parametrize(
    ("values", "level"),
    [({}, "restricted"), ({"config": {"preemption": {"mode": "enforce"}}}, "baseline")],
    ids=["observe", "enforce"],
)
def test_mounting_the_nodes_folders_is_the_only_rule_that_is_broken(server, values, level):
    """Observing: of `restricted`. Enforcing: of `baseline`, and of `restricted` also that it is root."""
    objects = render(values, "--skip-schema-validation")
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    pod(server, "privileged", spec)
    pod(server, level, without_node_mounts(spec))

    for strict in {"baseline", level}:
        with pytest.raises(ApiError) as refused:
            pod(server, strict, spec)
        assert refused.value.status == 403
    if values:
        with pytest.raises(ApiError):
            pod(server, "restricted", without_node_mounts(spec))
        as_nobody = without_node_mounts(spec)
        as_nobody["securityContext"] |= {"runAsNonRoot": True, "runAsUser": 1}
        pod(server, "restricted", as_nobody)
