"""
The pods beside the agent: what their owners say of them, and what they do.

Owns the table of them. They go the usual way: created without a node, put there by the scheduler, run by the kubelet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.cluster import pods
from tests.cluster.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError
from tests.cluster.control_plane import ControlPlane
from tests.deploy.image import TAG
from tests.running import until

NAMESPACE = "shop"
IDLE = ("sleep", "infinity")
SPIN = ("sh", "-c", "while :; do :; done")
# Starting a pod takes a second of a processor, ten of an emulated one, and they are started together.
RUNNING_SECONDS = 300.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod. ``priority``: what the agent shall make of it."""

    name: str
    qos: pods.QosClass
    priority: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = IDLE
    # Of CPU time; without one the emulated processor would have time for nothing else.
    limit: str | None = None

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{self.name}"

    def manifest(self) -> Json:
        pod = pods.manifest(NAMESPACE, self.name, "", annotations=self.annotations, labels=self.labels, qos=self.qos)
        spec = pod["spec"]
        del spec["nodeName"]
        # A program that is the first of its PID namespace does not hear SIGTERM.
        spec |= {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
        (container,) = spec["containers"]
        container |= {"image": TAG, "imagePullPolicy": "Never", "command": list(self.command)}
        if self.limit is not None:
            container["resources"] = {"limits": {"cpu": self.limit}, "requests": {"cpu": "10m"}}
        return pod


WORKLOADS = (
    Workload("service", "Guaranteed", "high", {"plimsoll.io/qos-priority": "high"}),
    Workload("rubik", "BestEffort", "low", {"volcano.sh/preemptable": "true"}),
    Workload("volcano", "Burstable", "low", {"volcano.sh/qos-level": "BE"}, command=SPIN, limit="50m"),
    Workload("koordinator", "Burstable", "low", labels={"koordinator.sh/qosClass": "BE"}),
    Workload("katalyst", "BestEffort", "normal", {"katalyst.kubewharf.io/qos_level": "shared_cores"}),
    Workload("silent", "Burstable", "normal"),
)


def create(cluster: ControlPlane, *workloads: Workload) -> None:
    """Makes the pods, and returns when all are running."""
    cluster.namespace(NAMESPACE)
    # A pod is not admitted before its account is there, which a controller makes.
    until(lambda: _there(cluster, f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"), "account default")
    for each in workloads:
        cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", each.manifest())
    for each in workloads:
        until(lambda each=each: _running(cluster.request("GET", each.path)), f"{each.name} running", RUNNING_SECONDS)


def delete(cluster: ControlPlane, *workloads: Workload) -> None:
    """Deletes the pods, and returns when the kubelet has ended them."""
    for each in workloads:
        cluster.request("DELETE", each.path)
    for each in workloads:
        until(lambda each=each: not _there(cluster, each.path), f"{each.name} gone", RUNNING_SECONDS)


def annotate(cluster: ControlPlane, workload: Workload, **annotations: str | None) -> None:
    """What `kubectl annotate` does; ``None`` takes one away. Keys are below plimsoll.io, with _ for -."""
    said = {f"plimsoll.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    cluster.request("PATCH", workload.path, {"metadata": {"annotations": said}}, content_type=MERGE_PATCH)


def resize(cluster: ControlPlane, workload: Workload, request: str, limit: str) -> None:
    """Give the running pod other CPU time, and return when the kubelet has carried that out."""
    wanted = {"requests": {"cpu": request}, "limits": {"cpu": limit}}
    (name,) = (each["name"] for each in workload.manifest()["spec"]["containers"])
    change = {"spec": {"containers": [{"name": name, "resources": wanted}]}}
    cluster.request("PATCH", f"{workload.path}/resize", change, content_type=STRATEGIC_MERGE_PATCH)

    def carried_out() -> bool:
        status = cluster.request("GET", workload.path)["status"]
        conditions = {each["type"] for each in status.get("conditions", ()) if each["status"] == "True"}
        (container,) = status["containerStatuses"]
        pending = conditions & {"PodResizePending", "PodResizeInProgress"}
        return not pending and container["resources"] == wanted

    until(carried_out, f"{workload.name} resized to {request} and {limit}", RUNNING_SECONDS)


def _running(pod: Json) -> bool:
    return all(each["ready"] for each in pod["status"].get("containerStatuses", [{"ready": False}]))


def _there(cluster: ControlPlane, path: str) -> bool:
    try:
        cluster.request("GET", path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
