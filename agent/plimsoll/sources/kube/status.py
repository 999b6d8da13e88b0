"""
What the API server's errors say: a response that is not 200, and the Status object of an ERROR event.

The meaning of a code stands in ``failure``; here it is found, in whatever a server or a load balancer has sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plimsoll.sources.kube.failure import Failure, Reason, of_status
from plimsoll.sources.kube.transport import Answer
from plimsoll.sources.kube.wire import decode

_STATUS_LIMIT = 64 << 10
_STATUS_SECONDS = 10.0
# A pod comes back whole from its patch; the API server's own limit on an object is 1.5 MiB.
_BODY_LIMIT = 4 << 20


def check_status(answer: Answer, verb: str) -> None:
    """Raise the Failure that the answer stands for, unless it is 200."""
    if answer.status == 200:
        return
    raise of_status(answer.status, verb, said(answer), answer.retry_after)


def said(answer: Answer) -> str:
    """The message of an error, empty where it has none."""
    # The body of an error is a Status object from the API server and anything at all from what stands before it.
    try:
        status = decode(answer.read(_STATUS_LIMIT, _STATUS_SECONDS))
    except Failure:
        status = None
    return message_of(status)


def of_error_event(raw: object) -> Failure:
    """The failure that the object of an ERROR event stands for."""
    code = raw.get("code") if isinstance(raw, dict) else None
    if not isinstance(code, int):
        return Failure(Reason.MALFORMED, "watch pods: an ERROR event without a code", relist=True)
    details = raw.get("details") if isinstance(raw, dict) else None
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    retry_after = float(seconds) if isinstance(seconds, int) and seconds > 0 else None
    failure = of_status(code, "watch", message_of(raw), retry_after)
    # The stream broke off with an error of the server's own: what it would have said is not known.
    failure.relist = True
    return failure


def content_of(answer: Answer, seconds: float) -> Mapping[str, object]:
    """The object of an answer to a write; empty where what came is none: what counts is the status."""
    try:
        content = decode(answer.read(_BODY_LIMIT, seconds))
    except Failure:
        return {}
    return content if isinstance(content, dict) else {}


def message_of(status: object) -> str:
    """What a Status object says to a person."""
    message = status.get("message") if isinstance(status, dict) else None
    return message[:200] if isinstance(message, str) else ""


def causes_of(status: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The details of a Status object, key by key: a ``reason`` here is one of a closed set."""
    details = status.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    for each in causes if isinstance(causes, list) else ():
        if isinstance(each, dict):
            yield from each.items()
