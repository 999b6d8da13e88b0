"""
Who made a pod and when, from its metadata: untrusted JSON or YAML to plain values, or ``None``.

Pure; nothing here may raise for anything an object can hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

# What another API group may call a kind.
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}", re.ASCII)
UNKNOWN_KIND = "Unknown"
# RFC 3339 as the API server writes it, in whole seconds or finer.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)


def controller(metadata: Mapping[str, object]) -> str | None:
    """The kind of the controller that makes the pod anew when it is gone; ``None``: nothing does."""
    owners = metadata.get("ownerReferences")
    for each in owners if isinstance(owners, list) else ():
        if isinstance(each, dict) and each.get("controller") is True:
            kind = each.get("kind")
            return kind if isinstance(kind, str) and _KIND.fullmatch(kind) else UNKNOWN_KIND
    return None


def created(metadata: Mapping[str, object]) -> float | None:
    """Seconds since the epoch."""
    text = metadata.get("creationTimestamp")
    if isinstance(text, datetime) and text.tzinfo is not None:
        # What YAML takes for a time when it is not quoted.
        return text.timestamp()
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        # The thirtieth of February.
        return None


def scheduling_priority(spec: Mapping[str, object]) -> int | None:
    """The number the admission has put there for the pod's PriorityClass."""
    value = spec.get("priority")
    # Kubernetes' own type is an int32.
    return value if type(value) is int and -(1 << 31) <= value < 1 << 31 else None
