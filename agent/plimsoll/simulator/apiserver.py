"""
An API server for pods: the part of Kubernetes' list and watch protocol that an observer of pods meets, the events and
conditions it may write, and evictions.

It must not know the agent. There is no scheduler, kubelet or admission: an object is stored as it is given, with the
metadata that an API server adds. A ``script`` sees each request first and may answer in its place, so that a bad day
can be played.
"""

from __future__ import annotations

import copy
import json
import os
import secrets
import threading
import time
from collections.abc import Callable

from plimsoll.simulator.event_store import EventStore
from plimsoll.simulator.exchange import Exchange, Server, bookmark, status_object
from plimsoll.simulator.object_patch import Invalid, Json
from plimsoll.simulator.pod_store import Conflict, Forgotten, Match, PodStore, events, selector

PODS = "/api/v1/pods"
_NAMESPACES = "/api/v1/namespaces/"
_NO_RESOURCE = "the server could not find the requested resource"
# As in Kubernetes, a watch that asks for no end has one all the same.
_WATCH_SECONDS = 1800

Script = Callable[[Exchange], bool]
"""Answers a request in the server's place and returns true, or returns false and leaves it to the server."""


class ApiServer:
    """
    Serves pods on the loopback, in plain HTTP, to bearers of ``token``.

    ``token``, ``script`` and ``budgeted`` may be changed at any time. ``budgeted``: the pods, by namespace and name,
    that a PodDisruptionBudget lets nobody evict now. ``bookmark_seconds``: how often a quiet watch gets a bookmark.
    Operations on pods may come from any thread, also while the server is stopped.
    """

    def __init__(
        self, *, token: str | None = None, bookmark_seconds: float = 60.0, script: Script | None = None
    ) -> None:
        self.token = secrets.token_hex(16) if token is None else token
        self.script = script
        self.budgeted: frozenset[tuple[str, str]] = frozenset()
        self._bookmark_seconds = bookmark_seconds
        self._store = PodStore()
        self._events = EventStore()
        self._port = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; after a :meth:`stop`, on the same port and with the same pods. Raises OSError."""
        self._server = Server(self._port, self._answer)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="apiserver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all watches and refuse connections. Stopping twice is allowed."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.stopping = True
        self._store.wake()
        # Before, too: a connection that is kept would be served until the last moment.
        server.hang_up()
        server.shutdown()
        server.hang_up()
        thread.join()
        server.server_close()
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """Where it is, once started."""
        return f"http://127.0.0.1:{self._port}"

    def write_kubeconfig(self, path: str | os.PathLike[str]) -> str:
        """Write a kubeconfig that leads here, readable by its owner only; its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "simulated", "cluster": {"server": self.url}}],
            "users": [{"name": "agent", "user": {"token": self.token}}],
            "contexts": [{"name": "simulated", "context": {"cluster": "simulated", "user": "agent"}}],
            "current-context": "simulated",
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)  # JSON is YAML
        return os.fspath(path)

    @property
    def pods(self) -> tuple[Json, ...]:
        """Copies of all pods."""
        return tuple(copy.deepcopy(each) for each in self._store.snapshot()[1])

    @property
    def events(self) -> tuple[Json, ...]:
        """Copies of all events, the oldest first."""
        return tuple(copy.deepcopy(each) for each in self._events.all)

    def forget_events(self) -> None:
        """As a real server does with each, an hour after its last change."""
        self._events.clear()

    @property
    def version(self) -> str:
        """The newest resource version."""
        return str(self._store.snapshot()[0])

    def put_pod(self, pod: Json) -> Json:
        """
        Create the pod, or replace the one of its namespace and name; a copy of the object as stored.

        A UID that is not given is made, or kept from the pod that is replaced; another UID is a deletion and a
        creation, as for any two pods of one name.
        """
        return self._store.put(pod)

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete at once. Raises KeyError when there is no such pod."""
        self._store.delete(namespace, name)

    def compact(self) -> None:
        """Forget all history: a watch from any version known so far gets a 410."""
        self._store.compact()

    def _answer(self, exchange: Exchange) -> None:
        if self.script is None or not self.script(exchange):
            self.answer(exchange)

    def answer(self, exchange: Exchange) -> None:
        """Answer one request as Kubernetes would."""
        if exchange.authorization.partition(" ")[2] != self.token:
            exchange.status(401, "Unauthorized")
        elif exchange.path == "/version":
            exchange.json({"major": "1", "minor": "0", "gitVersion": "v1.0.0-simulated"})
        elif exchange.method != "GET":
            self._write(exchange)
        elif exchange.path != PODS:
            exchange.status(404, _NO_RESOURCE)
        else:
            try:
                matches = selector(exchange.query.get("fieldSelector", ""))
                since = _number(exchange.query.get("resourceVersion", "0"))
                seconds = _number(exchange.query.get("timeoutSeconds", "0")) or _WATCH_SECONDS
            except ValueError as error:
                exchange.status(400, str(error))
                return
            if exchange.watching:
                exchange.stream()
                self._watch(exchange, matches, since, time.monotonic() + seconds)
            else:
                self._list(exchange, matches, since)

    def _write(self, exchange: Exchange) -> None:
        try:
            content = json.loads(exchange.content)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            exchange.status(400, "the body is no object")
            return
        try:
            match exchange.path.removeprefix(_NAMESPACES).split("/"):
                case [namespace, "pods", name, "eviction"] if exchange.method == "POST":
                    self._evict(exchange, namespace, name, content)
                    return
            stored, name = self._stored(exchange, content)
        except Invalid as error:
            exchange.status(422, str(error), causes=({"field": error.field},))
            return
        except Conflict as error:
            exchange.status(409, str(error))
            return
        if stored is not None:
            exchange.json(stored, 201 if exchange.method == "POST" else 200)
        elif (exchange.method, name) == ("POST", "events"):
            exchange.status(409, f"{name} already exists")
        else:
            exchange.status(404, f"{name} not found")

    def _evict(self, exchange: Exchange, namespace: str, name: str, content: Json) -> None:
        metadata, options = content.get("metadata"), content.get("deleteOptions") or {}
        if not isinstance(metadata, dict) or (metadata.get("namespace"), metadata.get("name")) != (namespace, name):
            exchange.status(400, "name in URL does not match name in Eviction object")
            return
        if (namespace, name) in self.budgeted:
            cause = {"reason": "DisruptionBudget", "message": "The disruption budget needs 1 healthy pods and has 1"}
            exchange.status(429, "Cannot evict pod as it would violate the pod's disruption budget.", causes=(cause,))
        elif self._store.begin_deletion(namespace, name, (options.get("preconditions") or {}).get("uid")) is None:
            exchange.status(404, f'pods "{name}" not found')
        else:
            exchange.json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    def _stored(self, exchange: Exchange, content: Json) -> tuple[Json | None, str]:
        """What a write leads to, ``None``: nothing; and of what kind it is. Raises Invalid."""
        match exchange.method, exchange.path.removeprefix(_NAMESPACES).split("/"):
            case "POST", [namespace, "events"]:
                return self._events.create(namespace, content), "events"
            case "PATCH", [namespace, "events", name]:
                return self._events.patch(namespace, name, content), "events"
            case "PATCH", [namespace, "pods", name, "status"]:
                return self._store.patch_status(namespace, name, content), "pods"
        return None, "the requested resource"

    def _list(self, exchange: Exchange, matches: Match, since: int) -> None:
        version, pods = self._store.snapshot()
        if since > version:
            exchange.status(504, f"Too large resource version: {since}, current: {version}")
            return
        items = [each for each in pods if matches(each)]
        metadata = {"resourceVersion": str(version)}
        exchange.json({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items})

    def _watch(self, exchange: Exchange, matches: Match, since: int, end: float) -> None:
        if since == 0:
            # From no version in particular: first what there is, as if it were new.
            since, pods = self._store.snapshot()
            for each in filter(matches, pods):
                exchange.event("ADDED", each)
        elif since < self._store.oldest():
            exchange.event("ERROR", status_object(410, f"too old resource version: {since} ({self._store.oldest()})"))
            return
        bookmarks = exchange.query.get("allowWatchBookmarks", "") in {"1", "true"}
        while not self._stopping() and (left := end - time.monotonic()) > 0:
            try:
                version, changes = self._store.wait(since, min(left, self._bookmark_seconds), self._stopping)
            except Forgotten:
                exchange.event("ERROR", status_object(410, f"too old resource version: {since}"))
                return
            for change in changes:
                for kind, item in events(change, matches):
                    exchange.event(kind, item)
            if not changes and bookmarks and not self._stopping():
                exchange.event("BOOKMARK", bookmark(str(version)))
            since = version

    def _stopping(self) -> bool:
        return self._server is None or self._server.stopping


def _number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"invalid number: {value[:40]!r}")
    return int(value)
