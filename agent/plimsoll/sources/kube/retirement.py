"""
What is left to do at the API server when the agents are gone for good, for all nodes from one place.

It waits until a DaemonSet, whose pods put the nodes back, is ready everywhere, and takes our conditions away from pods
and our resource from nodes. It must not know what those pods do, nor decide when the agents are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from plimsoll.model.publishing import RESOURCE
from plimsoll.sources.kube.announcing.notice import PodRef
from plimsoll.sources.kube.announcing.objects import Request, found_conditions, removal_request
from plimsoll.sources.kube.announcing.task import Found
from plimsoll.sources.kube.backoff import Backoff
from plimsoll.sources.kube.failure import Failure, Reason, of_status
from plimsoll.sources.kube.publishing import node_status
from plimsoll.sources.kube.publishing.publication import Patch
from plimsoll.sources.kube.status import said
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.transport import Answer, Sender
from plimsoll.sources.kube.watch import LIST_LIMIT
from plimsoll.sources.kube.wire import decode, decode_list

_Answered = TypeVar("_Answered")
_Found = TypeVar("_Found")

PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
PAGE = 500
# A node says which images it has: it takes ten times a pod's room.
NODES_PAGE = 50
ASK_AGAIN_SECONDS = 1.0
REQUEST_SECONDS = 10.0
_OBJECT_LIMIT = 4 << 20
# Asking again does not help for long: somebody has to grant a right, or name another object. At first it does: an API
# server that has just started, or is just told of a right, refuses until its caches follow.
_REFUSED = frozenset({Reason.FORBIDDEN, Reason.STATUS, Reason.CREDENTIALS})
PATIENCE_SECONDS = 30.0


class Progress(NamedTuple):
    """Of ``wanted`` nodes, ``ready`` have a pod that is ready. ``known``: the controller has seen the DaemonSet."""

    ready: int
    wanted: int
    known: bool

    @property
    def done(self) -> bool:
        return self.known and self.ready >= self.wanted


class Retirement:
    """
    One API server. ``clock`` gives monotonic seconds, ``pause`` waits for some; ends are times of the clock. ``page``:
    pods are asked for so many at a time, nodes no more. ``patience``: seconds for which a refusal may yet pass.

    Every method asks again after whatever may pass, and raises Failure at its end, or when it is refused for too long.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        backoff: Backoff,
        clock: Callable[[], float],
        pause: Callable[[float], object],
        timing: Timing,
        page: int = PAGE,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._sender = sender
        self._backoff = backoff
        self._clock = clock
        self._pause = pause
        self._timing = timing
        self._page = page
        self._patience = patience

    def await_nodes(self, namespace: str, daemon_set: str, end: float) -> Progress:
        """Until every node the DaemonSet is for has its pod ready, or the end; how far it has come."""
        while True:
            progress = self._patiently(lambda: self._progress(namespace, daemon_set), end)
            if progress.done or self._clock() + ASK_AGAIN_SECONDS > end:
                return progress
            self._pause(ASK_AGAIN_SECONDS)

    def withdraw_conditions(self, end: float) -> int:
        """Of all pods of the cluster; from how many. A pod that is gone by then is none."""
        found: list[Found] = self._patiently(lambda: self._list(PODS, self._page, found_conditions), end)
        pods: dict[PodRef, list[str]] = {}
        for each in found:
            pods.setdefault(each.notice.pod, []).append(each.notice.reason)
        count = 0
        for pod, reasons in pods.items():
            # 404, 422: no longer there, or another pod's name by now: its conditions went with it.
            count += self._patiently(partial(self._patch, removal_request(pod, reasons), gone=(404, 422)), end)
        return count

    def withdraw_resources(self, end: float) -> int:
        """From all nodes that have ours; from how many. A node that is gone by then is none."""
        page = min(self._page, NODES_PAGE)
        names: list[str] = self._patiently(lambda: self._list(NODES, page, _publishing), end)
        count = 0
        for name in names:
            # Not 422: an admission policy that goes with the release may say so for a moment yet.
            path, body = node_status.request(name, Patch(None))
            request = Request("PATCH", path, body, node_status.MERGE_PATCH, "nodes/status")
            count += self._patiently(partial(self._patch, request, gone=(404,)), end)
        return count

    def _patiently(self, ask: Callable[[], _Answered], end: float) -> _Answered:
        refused: float | None = None
        while True:
            try:
                answer = ask()
            except Failure as failure:
                now = self._clock()
                if failure.reason not in _REFUSED:
                    refused = None
                elif refused is None:
                    refused = now
                last = end if refused is None else min(end, refused + self._patience)
                wait = max(self._backoff.next(), failure.retry_after or 0.0)
                if now + wait > last:
                    raise
                self._pause(wait)
            else:
                self._backoff.healthy()
                return answer

    def _progress(self, namespace: str, name: str) -> Progress:
        path = f"/apis/apps/v1/namespaces/{quote(namespace, safe='')}/daemonsets/{quote(name, safe='')}"
        answer = self._sender.get(path, (), REQUEST_SECONDS)
        try:
            _check(answer, f"get daemonsets {name}")
            return _progress(decode(answer.read(_OBJECT_LIMIT, REQUEST_SECONDS)))
        finally:
            answer.close()

    def _list(self, path: str, page: int, of: Callable[[object], Iterable[_Found]]) -> list[_Found]:
        found: list[_Found] = []
        following = ""
        while True:
            query = (("limit", str(page)), *((("continue", following),) if following else ()))
            answer = self._sender.get(path, query, self._timing.list_read)
            try:
                _check(answer, f"list {path.rpartition('/')[2]}")
                body = answer.read(LIST_LIMIT, self._timing.list_total)
            finally:
                answer.close()
            metadata = decode_list(body, lambda item: found.extend(of(item))).get("metadata")
            token = metadata.get("continue") if isinstance(metadata, dict) else None
            if not token or not isinstance(token, str):
                return found
            following = token

    def _patch(self, request: Request, *, gone: Container[int]) -> int:
        answer = self._sender.send(request.method, request.path, request.body, request.content_type, REQUEST_SECONDS)
        try:
            if answer.status in gone:
                return 0
            _check(answer, f"patch {request.what}")
            return 1
        finally:
            answer.close()


def _check(answer: Answer, what: str) -> None:
    """Raise what the answer stands for, unless it is 200."""
    if answer.status != 200:
        reason = of_status(answer.status, "", "").reason
        raise Failure(reason, f"{what}: {answer.status} {said(answer)}".rstrip(), retry_after=answer.retry_after)


def _publishing(node: object) -> tuple[str, ...]:
    """The node's name, if our resource stands on it."""
    known = node if isinstance(node, dict) else {}
    metadata, status = (each if isinstance(each, dict) else {} for each in (known.get("metadata"), known.get("status")))
    places = (status.get("capacity"), status.get("allocatable"))
    name = metadata.get("name")
    stands = any(isinstance(each, dict) and RESOURCE in each for each in places)
    return (name,) if stands and isinstance(name, str) else ()


def _progress(item: object) -> Progress:
    known = item if isinstance(item, dict) else {}
    status, metadata = known.get("status"), known.get("metadata")
    if not isinstance(status, dict) or not isinstance(metadata, dict):
        raise Failure(Reason.MALFORMED, "a DaemonSet without metadata and status")
    generation, observed = (_count(*each) for each in ((metadata, "generation"), (status, "observedGeneration")))
    return Progress(_count(status, "numberReady"), _count(status, "desiredNumberScheduled"), 0 < generation <= observed)


def _count(fields: dict[str, object], name: str) -> int:
    value = fields.get(name)
    # A count of 0 is left out.
    return value if isinstance(value, int) else 0
