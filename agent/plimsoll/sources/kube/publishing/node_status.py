"""
Writes the extended resource of a node and says what came of it. One thread.

It must not decide what is written or when. What an HTTP status means for it is decided here.
"""

from __future__ import annotations

from typing import Any

from plimsoll.model.publishing import RESOURCE
from plimsoll.sources.kube.failure import Failure, Reason, of_status
from plimsoll.sources.kube.publishing.publication import Fate, Patch, Reply
from plimsoll.sources.kube.transport import Answer, Sender
from plimsoll.sources.kube.wire import decode

REQUEST_SECONDS = 10.0
MERGE_PATCH = "application/merge-patch+json"
# A node of a thousand images comes back whole from its patch; the API server's own limit on an object is 1.5 MiB.
_BODY_LIMIT = 4 << 20
_SHOWN = 200


def request(node_name: str, patch: Patch) -> tuple[str, dict[str, Any]]:
    """
    The path and the body of a merge patch of the node's status.

    The kubelet makes what is allocatable of the capacity, in its own time; a scheduler need not wait for that.
    """
    amounts = {RESOURCE: None if patch.size is None else str(patch.size)}
    return f"/api/v1/nodes/{node_name}/status", {"status": {"capacity": amounts, "allocatable": amounts}}


def send(sender: Sender, node_name: str, patch: Patch) -> Reply:
    """Do it. Raises nothing that a server or a network may cause."""
    path, body = request(node_name, patch)
    try:
        answer = sender.send("PATCH", path, body, MERGE_PATCH, REQUEST_SECONDS)
        try:
            said = _message(answer)
        finally:
            answer.close()
        return _reply(answer, f"patch nodes/status: {answer.status} {said}".rstrip())
    except Failure as failure:
        return Reply(Fate.FAILED, failure.reason, failure.message, failure.retry_after)


def renew(sender: Sender, reply: Reply) -> Reply:
    """Read the credentials again where the server did not take them."""
    if reply.reason != Reason.UNAUTHORIZED:
        return reply
    try:
        sender.reload()
    except Failure as unreadable:
        return reply._replace(reason=unreadable.reason, message=unreadable.message)
    return reply


def _reply(answer: Answer, said: str) -> Reply:
    code = answer.status
    if code == 200:
        return Reply(Fate.DONE)
    reason = of_status(code, "", "").reason
    if code == 403:
        said = f"{said}; grant patch on nodes/status to this account with a ClusterRole"
    # 422 is what an admission policy says of a node that is not the agent's: as little a matter of time as a right.
    fate = Fate.FORBIDDEN if code in (403, 422) else Fate.FAILED
    return Reply(fate, reason, said, answer.retry_after)


def _message(answer: Answer) -> str:
    try:
        content = decode(answer.read(_BODY_LIMIT, REQUEST_SECONDS))
    except Failure:
        # What counts is the status.
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message[:_SHOWN] if isinstance(message, str) else ""
