"""
What a pod asks for and may have as a whole, added up from its containers as Kubernetes does.

Everything is untrusted: a pod whose figures cannot be read has none. It must not know what they are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from plimsoll.config.quantity import MAX_VALUE, whole

# What the kubelet is doing about a resize: a condition since Kubernetes 1.33, a word in the status before.
_IN_PROGRESS_CONDITION = "PodResizeInProgress"
_IN_PROGRESS_WORDS = frozenset({"Proposed", "InProgress"})
_MAX_CONTAINERS = 256
_MAX_CONDITIONS = 64


class Resource(NamedTuple):
    """A resource of containers, and in how many parts of its unit it is counted."""

    name: str
    parts: int


MEMORY = Resource("memory", 1)  # bytes
CPU = Resource("cpu", 1000)  # thousandths of a CPU


class Amounts(NamedTuple):
    """In parts of the resource's unit; ``None`` where the pod says nothing, or nothing that can be read."""

    request: int | None = None
    limit: int | None = None


def amounts(spec: Mapping[str, object], resource: Resource) -> Amounts:
    """
    The pod's request and limit of one resource. Never raises.

    Application containers and sidecars run together and count together; an init container runs alone beside the
    sidecars started before it, and counts where it needs more than they. What the pod as a whole says counts before
    that, and the runtime's overhead comes on top.
    """
    try:
        return _amounts(spec, resource)
    except ValueError:
        return Amounts()


def resizing(status: Mapping[str, object]) -> bool:
    """Whether the kubelet says that it is changing this pod's resources now; one that waits for room is not."""
    word = status.get("resize")
    if isinstance(word, str) and word in _IN_PROGRESS_WORDS:
        return True
    return any(
        each.get("type") == _IN_PROGRESS_CONDITION and each.get("status") == "True"
        for each in _mappings(status.get("conditions"), _MAX_CONDITIONS)
    )


def _amounts(spec: Mapping[str, object], resource: Resource) -> Amounts:
    containers = [_pair(each.get("resources"), resource) for each in _mappings(spec.get("containers"), _MAX_CONTAINERS)]
    sidecars: list[Amounts] = []
    starting: list[int] = []
    for each in _mappings(spec.get("initContainers"), _MAX_CONTAINERS):
        pair = _pair(each.get("resources"), resource)
        if each.get("restartPolicy") == "Always":
            sidecars.append(pair)
            starting.append(0)
        else:
            starting.append(pair.request or 0)
        starting[-1] += sum(sidecar.request or 0 for sidecar in sidecars)
    running = [*containers, *sidecars]
    request = max(sum(pair.request or 0 for pair in running), *starting, 0)
    limits = [pair.limit for pair in running]
    # One container without a limit leaves the pod without one.
    limit = sum(each for each in limits if each is not None) if limits and None not in limits else None
    own = _pair(spec.get("resources"), resource)
    overhead = _amount(_mapping(spec.get("overhead")), resource) or 0
    request = (request if own.request is None else own.request) + overhead
    limit = limit if own.limit is None else own.limit
    limit = None if limit is None else limit + overhead
    if max(request, limit or 0) > MAX_VALUE:
        raise ValueError("out of range")
    return Amounts(request or None, limit or None)


def _pair(resources: object, resource: Resource) -> Amounts:
    found = _mapping(resources)
    # Kubernetes takes a limit of zero for none.
    limit = _amount(_mapping(found.get("limits")), resource) or None
    request = _amount(_mapping(found.get("requests")), resource)
    # The API server fills in a request that was left out; a manifest on disk has not met it.
    return Amounts(limit if request is None else request, limit)


def _amount(found: Mapping[str, object], resource: Resource) -> int | None:
    value = found.get(resource.name)
    return None if value is None else whole(value, resource.parts)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object, most: int) -> list[Mapping[str, object]]:
    return [each for each in value[:most] if isinstance(each, dict)] if isinstance(value, list) else []
