"""
How Kubernetes spells it: events of core/v1, conditions of pods, and the paths they are written to. Pure.

Events are core/v1 and not events.k8s.io/v1: count, first and last time are what every version of kubectl shows, and the
right to write them is one rule.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from plimsoll.sources.kube.announcing.notice import MESSAGE_BYTES, Notice, PodRef
from plimsoll.sources.kube.announcing.task import ConditionTask, EventTask, Found
from plimsoll.sources.kube.announcing.truth import Truth

COMPONENT = "plimsoll"
DOMAIN = "plimsoll.io/"
"""The prefix of every condition's type."""

_JSON = "application/json"
# Of the lists in an object it replaces the elements it names: the kubelet's conditions stay.
_PATCH = "application/strategic-merge-patch+json"
_REASON = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z-]{0,62}", re.ASCII)
_INSTANCE_LIMIT = 128

Json = dict[str, Any]


class Request(NamedTuple):
    """One request with a body; ``what`` is the resource, for a person who grants rights."""

    method: str
    path: str
    body: Json
    content_type: str
    what: str


def event_request(task: EventTask, node_name: str, unix: float) -> Request:
    """Create an event, or count one. ``unix``: seconds, now."""
    events = f"/api/v1/namespaces/{task.notice.pod.namespace}/events"
    now = _time(unix)
    if not task.repeat:
        return Request("POST", events, _event(task.notice, node_name, now), _JSON, "events")
    body: Json = {"lastTimestamp": now}
    if task.times is not None:
        body["count"] = task.times
    return Request("PATCH", f"{events}/{event_name(task.notice)}", body, _PATCH, "events")


def event_name(notice: Notice) -> str:
    """
    The same for the same words about the same pod, so that an agent that was restarted finds what it has told.

    The pod's name stands before it, as in every other event.
    """
    words = f"{notice.pod.uid}/{notice.reason}/{notice.message}"
    digest = hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{notice.pod.name[:200].rstrip('-.')}.{digest}"


def _event(notice: Notice, node_name: str, now: str) -> Json:
    pod = notice.pod
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": pod.namespace, "name": event_name(notice)},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": notice.message,
        "source": {"component": COMPONENT, "host": node_name},
        "reportingComponent": COMPONENT,
        "reportingInstance": node_name[:_INSTANCE_LIMIT],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def condition_request(task: ConditionTask, unix: float) -> Request:
    """Write a condition. Its ``reason`` is who says so: an agent that was restarted knows whom to ask."""
    notice, pod = task.notice, task.notice.pod
    message = notice.message if task.truth is Truth.TRUE else ""
    condition: Json = {
        "type": DOMAIN + notice.reason,
        "status": task.truth.value,
        "reason": notice.origin,
        "message": message,
    }
    if task.transition:
        condition["lastTransitionTime"] = _time(unix)
    return _status_patch(pod, [condition])


def removal_request(pod: PodRef, reasons: Iterable[str]) -> Request:
    """Take our conditions for these reasons away from a pod."""
    gone: list[Json] = [{"type": DOMAIN + each, "$patch": "delete"} for each in reasons]
    return _status_patch(pod, gone)


def _status_patch(pod: PodRef, conditions: list[Json]) -> Request:
    # Names are used again: with the UID, another pod of this name is not touched (422: a UID is immutable).
    body = {"metadata": {"uid": pod.uid}, "status": {"conditions": conditions}}
    return Request("PATCH", f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status", body, _PATCH, "pods/status")


def found_conditions(pod: object) -> list[Found]:
    """Our conditions of a pod of a list; what is no pod has none."""
    metadata, status = _mapping(_mapping(pod).get("metadata")), _mapping(_mapping(pod).get("status"))
    names = (metadata.get("uid"), metadata.get("namespace"), metadata.get("name"))
    conditions = status.get("conditions")
    if not isinstance(conditions, list):
        return []
    uid, namespace, name = (each if isinstance(each, str) else "" for each in names)
    ref = PodRef(uid, namespace, name)
    return [found for each in conditions if (found := _condition(ref, _mapping(each))) is not None]


def _condition(pod: PodRef, condition: Json) -> Found | None:
    type_, status, origin, message = (condition.get(key) for key in ("type", "status", "reason", "message"))
    if not (isinstance(type_, str) and type_.startswith(DOMAIN) and status in list(Truth)):
        return None
    reason = type_.removeprefix(DOMAIN)
    # Whoever may write a pod's status may write such a thing, too.
    if not (_REASON.fullmatch(reason) and isinstance(origin, str) and _ORIGIN.fullmatch(origin)):
        return None
    words = message[:MESSAGE_BYTES] if isinstance(message, str) else ""
    return Found(Notice(pod, origin, reason, words), Truth(status))


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _time(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
