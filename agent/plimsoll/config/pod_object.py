"""
A pod object, as the API server or a manifest has it, decoded once to the few fields this agent uses.

Everything is untrusted and checked; a poisonous object is a :class:`PodRejected` and hurts no other. Nothing of the raw
object is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from plimsoll.config import pod_metadata, pod_resources
from plimsoll.config.annotations import KEYS
from plimsoll.model.pod import Container, PodObject, QosClass

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_CONTAINER_ID = re.compile(r"(containerd|cri-o|docker|isulad)://([0-9a-f]{64})", re.ASCII)
_PHASES = frozenset({"Pending", "Running", "Succeeded", "Failed", "Unknown"})
# The value of this key is never read: anybody may write one.
_MIRROR = "kubernetes.io/config.mirror"
_MAX_CONTAINERS = 256
_RESOURCES = ("cpu", "memory")


class PodRejected(NamedTuple):
    """An object that is not a pod this agent can follow. ``reason`` is one of ``REASONS``."""

    namespace: str
    name: str
    reason: str
    message: str


REASONS = ("not-an-object", "metadata", "uid")


def decode(raw: object) -> PodObject | PodRejected:
    """Decode one pod. Never raises."""
    if not isinstance(raw, dict) or not isinstance(raw.get("metadata"), dict):
        return PodRejected("", "", "not-an-object", "a pod is a mapping with metadata")
    metadata = raw["metadata"]
    namespace = metadata.get("namespace") or "default"
    name = metadata.get("name")
    if not (_text(namespace, _NAMESPACE) and _text(name, _NAME)):
        return PodRejected(
            _show(namespace), _show(name), "metadata", "namespace or name is not a legal Kubernetes name"
        )
    annotations = metadata.get("annotations")
    mirror = isinstance(annotations, dict) and _MIRROR in annotations
    uid = metadata.get("uid")
    if not (isinstance(uid, str) and (mirror or _UID.fullmatch(uid))):
        return PodRejected(
            namespace, name, "uid", "metadata.uid is not a UID: 8-4-4-4-12 lower-case hexadecimal digits"
        )
    spec, status = _mapping(raw.get("spec")), _mapping(raw.get("status"))
    phase, priority_class = status.get("phase"), spec.get("priorityClassName")
    memory = pod_resources.amounts(spec, pod_resources.MEMORY)
    return PodObject(
        uid=uid[:64],
        namespace=namespace,
        name=name,
        qos_class=_qos_class(spec, status),
        phase=phase if isinstance(phase, str) and phase in _PHASES else "Unknown",
        deleting=metadata.get("deletionTimestamp") is not None,
        mirror=mirror,
        priority_class=priority_class if isinstance(priority_class, str) and _text(priority_class, _NAME) else None,
        containers=tuple(_containers(status)),
        annotations=_allowed(annotations),
        labels=_allowed(metadata.get("labels")),
        memory_request_bytes=memory.request,
        memory_limit_bytes=memory.limit,
        cpu_request_millis=pod_resources.amounts(spec, pod_resources.CPU).request,
        resizing=pod_resources.resizing(status),
        controller=pod_metadata.controller(metadata),
        scheduling_priority=pod_metadata.scheduling_priority(spec),
        created=pod_metadata.created(metadata),
    )


def _text(value: object, shape: re.Pattern[str]) -> bool:
    return isinstance(value, str) and shape.fullmatch(value) is not None


def _show(value: object) -> str:
    return value[:64] if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _allowed(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict):
        return {}
    return {key: metadata[key] for key in KEYS if isinstance(metadata.get(key), str)}


def _containers(status: Mapping[str, object]) -> Iterable[Container]:
    seen = 0
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in _list(status.get(kind)):
            container = _mapping(each)
            name, identity = container.get("name"), container.get("containerID")
            match = _CONTAINER_ID.fullmatch(identity) if isinstance(identity, str) else None
            if match is not None and isinstance(name, str) and _text(name, _NAMESPACE):
                seen += 1
                if seen > _MAX_CONTAINERS:
                    return
                yield Container(name, match[1], match[2])


def _qos_class(spec: Mapping[str, object], status: Mapping[str, object]) -> QosClass:
    declared = status.get("qosClass")
    if isinstance(declared, str) and declared in set(QosClass):
        return QosClass(declared)
    # Kubernetes' own rule: no request or limit at all is BestEffort; every container with cpu and memory limits and
    # requests equal to them (or left out) is Guaranteed; the rest is Burstable.
    containers = [_mapping(each) for kind in ("containers", "initContainers") for each in _list(spec.get(kind))]
    resources = [_mapping(each.get("resources")) for each in containers]
    pairs = [(_mapping(each.get("requests")), _mapping(each.get("limits"))) for each in resources]
    if not any(requests.get(name) or limits.get(name) for requests, limits in pairs for name in _RESOURCES):
        return QosClass.BEST_EFFORT
    guaranteed = all(
        limits.get(name) and requests.get(name, limits[name]) == limits[name]
        for requests, limits in pairs
        for name in _RESOURCES
    )
    return QosClass.GUARANTEED if guaranteed else QosClass.BURSTABLE
