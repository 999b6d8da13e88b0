"""
The events of a simulated cluster: created, patched, and forgotten when somebody says so.

It must not know HTTP. Events are replaced, never changed, so what was handed out stays true outside the lock.
"""

from __future__ import annotations

import copy
import threading

from plimsoll.simulator.object_patch import Invalid, Json, merged


class EventStore:
    """The events by namespace and name. Every operation may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[tuple[str, str], Json] = {}

    def create(self, namespace: str, event: Json) -> Json | None:
        """Store a copy and give what was stored; ``None``: there is one of this name. Raises Invalid."""
        name = event["metadata"].get("name") if isinstance(event.get("metadata"), dict) else None
        involved = event.get("involvedObject")
        if not isinstance(name, str):
            raise Invalid("metadata.name")
        if not isinstance(involved, dict) or involved.get("namespace") != namespace:
            raise Invalid("involvedObject.namespace")
        stored = copy.deepcopy(event)
        stored["metadata"]["namespace"] = namespace
        with self._lock:
            if (namespace, name) in self._events:
                return None
            self._events[namespace, name] = stored
        return stored

    def patch(self, namespace: str, name: str, patch: Json) -> Json | None:
        """What the event became; ``None``: there is none."""
        with self._lock:
            before = self._events.get((namespace, name))
            if before is None:
                return None
            stored: Json = merged(before, patch)
            self._events[namespace, name] = stored
        return stored

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._events.clear()

    @property
    def all(self) -> tuple[Json, ...]:
        """The events, the oldest first."""
        with self._lock:
            return tuple(self._events.values())
