"""What can go wrong between this node and its API server, and what an HTTP status means. It must not do I/O."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a list or watch failed. The values are label values of metrics: keep them stable."""

    TRANSPORT = "transport"  # refused, reset, closed in the middle
    TLS = "tls"
    TIMEOUT = "timeout"
    SILENT = "silent"  # an accepted watch on which not even bookmarks came
    SHORT_WATCH = "short-watch"
    CREDENTIALS = "credentials"  # the token or kubeconfig cannot be read (again)
    UNAUTHORIZED = "unauthorized"  # 401
    FORBIDDEN = "forbidden"  # 403
    EXPIRED = "expired"  # 410, as HTTP status or as an ERROR event
    THROTTLED = "throttled"  # 429
    SERVER = "server"  # 5xx
    STATUS = "status"  # any other HTTP status
    MALFORMED = "malformed"  # not the JSON the protocol has
    INCOMPLETE = "incomplete"  # a list that is not the whole list
    OVERSIZE = "oversize"
    UNCONFIRMED = "unconfirmed"  # a list without most of the known pods: asked again
    UNKNOWN_EVENT = "unknown-event"
    FOREIGN_NODE = "foreign-node"  # a pod of another node in spite of the field selector
    POD_REJECTED = "pod-rejected"
    INTERNAL = "internal"  # a mistake of this program


class Failure(Exception):  # noqa: N818 - it is the answer to one request, not a bug
    """
    One request or stream came to nothing.

    ``relist``: what is known of the stream cannot be trusted, so a list comes before the next watch. ``quorum``: that
    list must come from etcd, not from a cache. ``retry_after``: seconds the server asked for.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        relist: bool = False,
        quorum: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.relist = relist
        self.quorum = quorum
        self.retry_after = retry_after


def of_status(code: int, verb: str, message: str, retry_after: float | None = None) -> Failure:
    """The failure that HTTP status, or Status object, ``code`` stands for; ``verb``: ``list`` or ``watch``."""
    text = f"{verb} pods: {code} {message}".rstrip()
    if code == 401:
        return Failure(Reason.UNAUTHORIZED, f"{text}: the API server does not take this token", retry_after=retry_after)
    if code == 403:
        cure = f"grant verb {verb} (both list and watch are needed) on resource pods to this account with a ClusterRole"
        return Failure(Reason.FORBIDDEN, f"{text}: {cure}", retry_after=retry_after)
    if code == 410:
        return Failure(Reason.EXPIRED, text, relist=True, quorum=True, retry_after=retry_after)
    if code == 429:
        return Failure(Reason.THROTTLED, text, retry_after=retry_after)
    if code >= 500:
        # A cache that is behind the version asked for answers 504; the quorum read does not need it.
        return Failure(Reason.SERVER, text, quorum=code == 504, retry_after=retry_after)
    return Failure(Reason.STATUS, text, retry_after=retry_after)
