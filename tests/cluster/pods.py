"""Pod objects for tests: the manifest that is created, and the status that a kubelet would report.

Owns the shape of the objects; pure functions, no I/O. Statuses follow what a kubelet with containerd writes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

QosClass = Literal["Guaranteed", "Burstable", "BestEffort"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]

IMAGE = "registry.k8s.io/pause:3.10"  # a name only: nothing pulls it
_REQUESTS = {"cpu": "100m", "memory": "64Mi"}

# The API server derives status.qosClass from these, as for any pod.
_RESOURCES: Mapping[QosClass, Mapping[str, Mapping[str, str]]] = {
    "Guaranteed": {"requests": _REQUESTS, "limits": _REQUESTS},
    "Burstable": {"requests": _REQUESTS},
    "BestEffort": {},
}


def manifest(
    namespace: str,
    name: str,
    node: str,
    *,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    priority_class: str | None = None,
    qos: QosClass = "BestEffort",
    containers: Sequence[str] = ("main",),
) -> dict[str, Any]:
    """A pod that is already bound to its node, so that no scheduler is needed."""
    spec: dict[str, Any] = {
        "nodeName": node,
        "containers": [{"name": each, "image": IMAGE, "resources": _RESOURCES[qos]} for each in containers],
    }
    if priority_class is not None:
        spec["priorityClassName"] = priority_class
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "annotations": dict(annotations or {}),
            "labels": dict(labels or {}),
        },
        "spec": spec,
    }


def status(
    pod: Mapping[str, Any],
    phase: Phase,
    now: datetime,
    container_ids: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Status of an existing pod in a phase, all its containers alike.

    A container's ID is the given one, else one made of the pod's UID and the container's name: stable, and of the
    form ``containerd://<64 hex digits>``. A pending pod's containers have none, as before their creation.
    """
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    given = container_ids or {}
    statuses = []
    for container in pod["spec"]["containers"]:
        name = container["name"]
        container_id = given.get(name) or default_container_id(pod["metadata"]["uid"], name)
        one: dict[str, Any] = {
            "name": name,
            "image": container["image"],
            "imageID": "",
            "ready": phase == "Running",
            "started": phase == "Running",
            "restartCount": 0,
            "state": _state(phase, stamp, container_id),
        }
        if phase != "Pending":
            one["containerID"] = container_id
        statuses.append(one)
    return {
        "phase": phase,
        "startTime": stamp,
        "conditions": [
            {"type": "Ready", "status": str(phase == "Running"), "lastTransitionTime": stamp},
            {"type": "ContainersReady", "status": str(phase == "Running"), "lastTransitionTime": stamp},
        ],
        "containerStatuses": statuses,
    }


def default_container_id(pod_uid: str, container: str) -> str:
    return "containerd://" + hashlib.sha256(f"{pod_uid}/{container}".encode()).hexdigest()


def _state(phase: Phase, stamp: str, container_id: str) -> dict[str, Any]:
    if phase == "Pending":
        return {"waiting": {"reason": "ContainerCreating"}}
    if phase == "Running":
        return {"running": {"startedAt": stamp}}
    failed = phase == "Failed"
    return {
        "terminated": {
            "exitCode": int(failed),
            "reason": "Error" if failed else "Completed",
            "startedAt": stamp,
            "finishedAt": stamp,
            "containerID": container_id,
        }
    }
