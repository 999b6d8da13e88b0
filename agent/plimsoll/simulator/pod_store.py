"""
The pods of a simulated cluster and their history: resource versions, events, compaction, field selectors.

It must not know HTTP. Objects are replaced, never changed, so what was handed out stays true outside the lock.
"""

from __future__ import annotations

import copy
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from plimsoll.simulator.object_patch import Invalid, Json, merged

Match = Callable[[Json], bool]

_FIELDS: Mapping[str, tuple[str, str]] = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "status.phase": ("status", "phase"),
}


class Change(NamedTuple):
    """One step of history: what an object was and what it became; ``None``: not there."""

    version: int
    before: Json | None
    after: Json | None


class Forgotten(Exception):  # noqa: N818 - Kubernetes calls it a state: 410 Gone
    """The history from this version on is no longer known."""


class Conflict(Exception):  # noqa: N818 - Kubernetes calls it a state: 409 Conflict
    """A precondition is not met."""

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}")


class PodStore:
    """The pods by namespace and name. Every operation may come from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pods: dict[tuple[str, str], Json] = {}
        self._history: list[Change] = []
        self._version = 1
        self._compacted = 1  # a watch cannot begin before this version
        self._lost = 0  # the newest change that compaction took away

    def put(self, pod: Json) -> Json:
        """Store a copy of ``pod`` and give what was stored: see ``ApiServer.put_pod``."""
        stored = copy.deepcopy(pod)
        stored.setdefault("apiVersion", "v1")
        stored.setdefault("kind", "Pod")
        metadata = stored["metadata"]
        metadata.setdefault("namespace", "default")
        key = (metadata["namespace"], metadata["name"])
        with self._changed:
            before = self._pods.get(key)
            if before is not None and metadata.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
                self._record(before, None)
                before = None
            known = {} if before is None else before["metadata"]
            metadata.setdefault("uid", known.get("uid") or str(uuid.uuid4()))
            metadata["creationTimestamp"] = known.get("creationTimestamp") or _now()
            self._pods[key] = stored
            self._record(before, stored)
            return copy.deepcopy(stored)

    def patch_status(self, namespace: str, name: str, patch: Json) -> Json | None:
        """
        Merge the status of ``patch`` into the pod's and give the pod; ``None``: there is none. Whatever else the patch
        says is left alone. Raises Invalid when the patch names another UID.
        """
        with self._changed:
            before = self._pods.get((namespace, name))
            if before is None:
                return None
            uid = before["metadata"]["uid"]
            if patch.get("metadata", {}).get("uid", uid) != uid:
                raise Invalid("metadata.uid")
            status = merged(before.get("status"), patch.get("status", {}))
            stored = {**before, "metadata": dict(before["metadata"]), "status": status}
            self._pods[namespace, name] = stored
            self._record(before, stored)
            return stored

    def begin_deletion(self, namespace: str, name: str, uid: str | None) -> Json | None:
        """
        Mark the pod as going, as deleting with a grace period does; the pod, or ``None``: there is none.

        Whoever plays its kubelet deletes it. Raises Conflict when ``uid`` is given and another pod has the name.
        """
        with self._changed:
            before = self._pods.get((namespace, name))
            if before is None:
                return None
            if uid is not None and uid != before["metadata"]["uid"]:
                raise Conflict(uid, before["metadata"]["uid"])
            if "deletionTimestamp" in before["metadata"]:
                return before
            stored = {**before, "metadata": {**before["metadata"], "deletionTimestamp": _now()}}
            self._pods[namespace, name] = stored
            self._record(before, stored)
            return stored

    def delete(self, namespace: str, name: str) -> None:
        """Raises KeyError when there is no such pod."""
        with self._changed:
            self._record(self._pods.pop((namespace, name)), None)

    def compact(self) -> None:
        """Forget all history, and make every version known so far too old."""
        with self._changed:
            if self._history:
                self._lost = self._history[-1].version
            self._version += 1
            self._compacted = self._version
            self._history.clear()

    def snapshot(self) -> tuple[int, tuple[Json, ...]]:
        """The newest version and all pods at it."""
        with self._changed:
            return self._version, tuple(self._pods.values())

    def oldest(self) -> int:
        """The oldest version that a watch may begin at."""
        with self._changed:
            return self._compacted

    def wait(self, since: int, seconds: float, stopping: Callable[[], bool]) -> tuple[int, list[Change]]:
        """
        The changes after version ``since``, waited for at most ``seconds``, and the version they lead to.

        Raises Forgotten when some of them are lost.
        """
        with self._changed:
            self._changed.wait_for(lambda: stopping() or self._newer(since), seconds)
            if since < self._lost:
                raise Forgotten
            return self._version, self._history[self._after(since) :]

    def wake(self) -> None:
        """Let those who wait ask again whether they are to stop."""
        with self._changed:
            self._changed.notify_all()

    def _after(self, since: int) -> int:
        return bisect_right(self._history, since, key=lambda each: each.version)

    def _newer(self, since: int) -> bool:
        return since < self._lost or self._after(since) < len(self._history)

    def _record(self, before: Json | None, after: Json | None) -> None:
        self._version += 1
        if after is not None:
            after["metadata"]["resourceVersion"] = str(self._version)
        self._history.append(Change(self._version, before, after))
        self._changed.notify_all()


def selector(text: str) -> Match:
    """What a field selector matches. Raises ValueError for a field that pods cannot be selected by."""
    terms: list[tuple[tuple[str, str], bool, str]] = []
    for term in filter(None, text.split(",")):
        label, _, value = term.partition("=")
        name = label.removesuffix("!")
        if name not in _FIELDS:
            raise ValueError(f"field label not supported: {name[:64]}")
        terms.append((_FIELDS[name], name == label, value.removeprefix("=")))

    def matches(pod: Json) -> bool:
        return all(((pod.get(part) or {}).get(key, "") == value) is equal for (part, key), equal, value in terms)

    return matches


def events(change: Change, matches: Match) -> Iterator[tuple[str, Json]]:
    """The event that a watcher with a selector sees: what begins to match is added to what it watches."""
    was = change.before is not None and matches(change.before)
    if change.after is not None and matches(change.after):
        yield "MODIFIED" if was else "ADDED", change.after
    elif was and change.before is not None:
        # The last state, at the version of the deletion.
        metadata = {**change.before["metadata"], "resourceVersion": str(change.version)}
        yield "DELETED", {**change.before, "metadata": metadata}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
