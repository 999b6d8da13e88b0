"""
Sends what is to be told and says what came of it. One thread.

It must not decide what is told or when: that is the ledger's. What an HTTP status means for a notice is decided here.
"""

from __future__ import annotations

from collections.abc import Callable

from plimsoll.sources.kube.announcing.objects import Request, condition_request, event_request, found_conditions
from plimsoll.sources.kube.announcing.task import ConditionTask, EventTask, Fate, Found, Reply, Task
from plimsoll.sources.kube.failure import Failure, Reason, of_status
from plimsoll.sources.kube.status import causes_of, check_status, content_of, message_of
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.transport import Query, Sender
from plimsoll.sources.kube.watch import LIST_LIMIT, PODS
from plimsoll.sources.kube.wire import decode_list

GONE = "gone"
"""The reason of a notice whose pod or namespace is no longer there, beside those of ``failure.Reason``."""

REQUEST_SECONDS = 10.0
# What the causes of an error say of an object that is not to be had any more; without one, 403 is a missing right and
# 422 a mistake of ours.
_GONE = {403: ("reason", "NamespaceTerminating"), 422: ("field", "metadata.uid")}
_FATES = {
    Reason.FORBIDDEN: Fate.FORBIDDEN,
    Reason.STATUS: Fate.REFUSED,
    Reason.TRANSPORT: Fate.AWAY,
    Reason.TLS: Fate.AWAY,
    Reason.CREDENTIALS: Fate.AWAY,
    Reason.UNAUTHORIZED: Fate.AWAY,
    Reason.THROTTLED: Fate.AWAY,
}


class Poster:
    """For the agent of ``node_name``. ``unix``: the time of day, in seconds."""

    def __init__(self, node_name: str, sender: Sender, *, unix: Callable[[], float], timing: Timing) -> None:
        self._node_name = node_name
        self._sender = sender
        self._unix = unix
        self._timing = timing

    def send(self, task: Task) -> Reply:
        """Do it. Raises nothing that a server or a network may cause."""
        try:
            if isinstance(task, EventTask):
                return self._write(event_request(task, self._node_name, self._unix()))
            if isinstance(task, ConditionTask):
                return self._write(condition_request(task, self._unix()))
            return Reply(Fate.DONE, found=tuple(self._list()))
        except Failure as failure:
            return self._failed(failure)

    def _list(self) -> list[Found]:
        query: Query = (("fieldSelector", f"spec.nodeName={self._node_name}"), ("resourceVersion", "0"))
        found: list[Found] = []
        answer = self._sender.get(PODS, query, self._timing.list_read)
        try:
            check_status(answer, "list")
            body = answer.read(LIST_LIMIT, self._timing.list_total)
            decode_list(body, lambda item: found.extend(found_conditions(item)))
        finally:
            answer.close()
        return found

    def _write(self, request: Request) -> Reply:
        method, path, body, content_type, what = request
        answer = self._sender.send(method, path, body, content_type, REQUEST_SECONDS)
        try:
            content = content_of(answer, REQUEST_SECONDS)
        finally:
            answer.close()
        code = answer.status
        created = method == "POST"
        match code:
            case 200 | 201:
                times = content.get("count")
                return Reply(Fate.DONE, times=times if isinstance(times, int) else None)
            case 404 if what == "events" and not created:
                return Reply(Fate.EXPIRED)
            case 409 if created:
                return Reply(Fate.EXISTS)
        did = f"{'create' if created else 'patch'} {what}: {code}"
        said = f"{did} {message_of(content)}".rstrip()
        # No longer there, about to go, or another pod's name by now.
        if code == 404 or any(_GONE.get(code) == cause for cause in causes_of(content)):
            return Reply(Fate.GONE, GONE, said)
        if code == 409:
            # The server tries a patch again by itself when somebody else writes at the same time, but not for ever.
            return Reply(Fate.FAILED, Reason.STATUS, said)
        if code == 403:
            # The cure first: what the server says is long, and lines are cut.
            verbs = "create and patch" if what == "events" else "patch"
            said = f"{did}: grant {verbs} on {what} to this account with a ClusterRole; {message_of(content)}"
        raise Failure(of_status(code, "", "").reason, said, retry_after=answer.retry_after)

    def _failed(self, failure: Failure) -> Reply:
        reason, message = failure.reason, failure.message
        if reason is Reason.UNAUTHORIZED:
            try:
                self._sender.reload()
            except Failure as unreadable:
                reason, message = unreadable.reason, unreadable.message
        fate = _FATES.get(failure.reason, Fate.FAILED)
        return Reply(fate, reason, message, retry_after=failure.retry_after)
