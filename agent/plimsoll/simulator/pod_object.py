"""A simulated pod as the API server would give it: the object's JSON, as plain data."""

from __future__ import annotations

import uuid

from plimsoll.simulator.workload import Instance


def pod_object(instance: Instance, node_name: str, runtime: str) -> dict[str, object]:
    """The v1 Pod with what a kubelet has reported. ``runtime`` is the prefix of its container IDs."""
    spec = instance.spec
    status: dict[str, object] = {
        "phase": "Succeeded" if instance.finished else "Running",
        "qosClass": spec.qos_class.value,
        "containerStatuses": [
            {
                "name": "main",
                "containerID": f"{runtime}://{instance.container}",
                "image": f"registry.example/{spec.name}:1",
                "imageID": "",
                "ready": not instance.finished,
                "restartCount": 0,
            }
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": spec.namespace,
            "name": instance.name,
            "uid": instance.uid,
            "annotations": dict(spec.annotations),
            "labels": {"app": spec.name},
            "ownerReferences": [_owner(instance)],
        },
        "spec": {
            "nodeName": node_name,
            "containers": [
                {"name": "main", "image": f"registry.example/{spec.name}:1", "resources": _resources(instance)}
            ],
        },
        "status": status,
    }


def _owner(instance: Instance) -> dict[str, object]:
    spec = instance.spec
    kind, version = ("Job", "batch/v1") if spec.lifetime is not None else ("ReplicaSet", "apps/v1")
    uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{spec.name}.{spec.namespace}"))
    return {"apiVersion": version, "kind": kind, "name": spec.name, "uid": uid, "controller": True}


def _resources(instance: Instance) -> dict[str, dict[str, str]]:
    spec = instance.spec
    limits, requests = {}, {}
    if spec.cpu_limit is not None:
        limits["cpu"] = f"{round(spec.cpu_limit * 1000)}m"
    if spec.memory_limit is not None:
        limits["memory"] = str(spec.memory_limit)
    if spec.cpu_request is not None:
        requests["cpu"] = f"{round(spec.cpu_request * 1000)}m"
    found = {}
    if limits:
        found["limits"] = limits
    if requests:
        found["requests"] = requests
    return found
