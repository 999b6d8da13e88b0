"""Pods as the agent sees them: what the API server said, bounded and decoded, and what the owner asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from plimsoll.model.disk import IoLimit


class Priority(StrEnum):
    """``high``: online, latency-critical; ``normal``: online, the default; ``low``: offline, gives way."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Larger is more important: low 0, normal 1, high 2."""
        return _RANK[self]


_RANK = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


class QosClass(StrEnum):
    """Kubernetes' own classes, which also name the cgroup a pod lives below."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod. ``id`` is the 64 hex digits without the runtime's prefix."""

    name: str
    runtime: str  # containerd | cri-o | docker | isulad
    id: str


@dataclass(frozen=True, slots=True)
class PodObject:
    """
    The fields of a pod object this agent uses, decoded once from untrusted JSON or YAML.

    ``annotations`` and ``labels`` hold only allow-listed keys with bounded values. ``mirror`` marks the API server's
    image of a static pod: its cgroup is named by a hash anybody could forge, so it is never acted upon.

    ``memory_request_bytes``, ``memory_limit_bytes`` and ``cpu_request_millis`` (thousandths of a CPU) are the whole
    pod's, as Kubernetes adds them up; ``None`` where it has none or they cannot be read. ``resizing``: the kubelet is
    changing the pod's resources in place just now.

    ``controller`` is the kind of what makes the pod anew when it is gone (``ReplicaSet``, ``Job``, ``DaemonSet``);
    ``None`` where nothing does. ``scheduling_priority`` is Kubernetes' own number, ``created`` seconds since the epoch.
    """

    uid: str
    namespace: str
    name: str
    qos_class: QosClass
    phase: str
    deleting: bool
    mirror: bool
    priority_class: str | None
    containers: tuple[Container, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_request_bytes: int | None = None
    memory_limit_bytes: int | None = None
    resizing: bool = False
    cpu_request_millis: int | None = None
    controller: str | None = None
    scheduling_priority: int | None = None
    created: float | None = None

    @property
    def finished(self) -> bool:
        """Completed and failed pods have no processes; their series must vanish at once."""
        return self.phase in {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something a pod owner wrote that was not followed: the key, why, and what to write instead."""

    key: str
    reason: str  # a short identifier from a closed set: it becomes a label value
    message: str


@dataclass(frozen=True, slots=True)
class PodIntent:
    """
    What the owner and the administrator together ask for.

    ``origin`` names what decided the priority: an annotation key, ``priorityClass``, ``namespace``, ``qosClass`` or
    ``default``. ``managed`` is false for pods that are never acted upon (kube-system, mirror pods). ``reclaim`` is
    false where the owner wants no memory moved out, and ``memory_floor`` the bytes that shall stay in any case.
    ``io_limits`` are the pod's shares of disks; ``None`` where what the owner wrote of them cannot be read.
    ``eviction``: whether the owner lets the pod be evicted; ``None`` where nothing is said.
    """

    priority: Priority
    origin: str
    managed: bool = True
    rejected: tuple[Rejected, ...] = ()
    reclaim: bool = True
    memory_floor: int = 0
    io_limits: tuple[IoLimit, ...] | None = ()
    eviction: bool | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node with its intent."""

    object: PodObject
    intent: PodIntent

    @property
    def uid(self) -> str:
        return self.object.uid

    @property
    def namespace(self) -> str:
        return self.object.namespace

    @property
    def name(self) -> str:
        return self.object.name

    @property
    def priority(self) -> Priority:
        return self.intent.priority
