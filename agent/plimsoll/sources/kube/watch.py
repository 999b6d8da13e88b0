"""
List, then watch: what is asked next, what an answer means, and when it is believed.

The state machine only: connections come through :class:`Transport`, time through a clock and :class:`Stop`, so that six
hours of outage are played in milliseconds. It must not know HTTP libraries, threads or priorities.

Four rules hold it together. Only a complete list replaces what is known. An event changes one pod. Whatever fails, the
last good set stays, for ever if need be. Nothing that failed is asked again without a jittered delay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from plimsoll.config.pod_object import PodRejected
from plimsoll.log import Event, Log
from plimsoll.sources.kube.backoff import Backoff
from plimsoll.sources.kube.failure import Failure, Reason
from plimsoll.sources.kube.report import NAME, Report
from plimsoll.sources.kube.status import check_status, of_error_event
from plimsoll.sources.kube.table import Change, Listing, PodTable, version_text
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.transport import Query, Stop, Transport
from plimsoll.sources.kube.wire import decode, decode_list, lines

PODS = "/api/v1/pods"
# The API server's own limit on an object is 1.5 MiB.
LINE_LIMIT = 4 << 20
LIST_LIMIT = 64 << 20
# Answered from the API server's cache: thousands of agents may start together.
_ANY_VERSION = "0"
_GUARDED = 3


class PodWatch:
    """Follows the pods of ``node_name`` and hands every change to ``publish``, on the caller's thread."""

    def __init__(
        self,
        node_name: str,
        transport: Transport,
        publish: Callable[[Report], None],
        *,
        stop: Stop,
        clock: Callable[[], float],
        random: Random,
        timing: Timing,
    ) -> None:
        self._selector = f"spec.nodeName={node_name}"
        self._transport = transport
        self._publish = publish
        self._stop = stop
        self._clock = clock
        self._random = random
        self._timing = timing
        self._table = PodTable(node_name)
        self._backoff = Backoff(
            first=timing.backoff_first,
            longest=timing.backoff_longest,
            stable=timing.backoff_stable,
            clock=clock,
            random=random,
        )
        self._version = ""  # of the last list, event or bookmark: where a watch goes on
        self._relist = True
        self._quorum = False
        self._relist_at = 0.0
        self._ok = False
        self._complete = False
        self._good: float | None = None
        self._detail = Report().detail
        self._errors: Counter[str] = Counter()

    def run(self) -> None:
        """List and watch until stopped."""
        while not self._stop.is_set():
            delay = self.step()
            if delay > 0 and self._stop.wait(delay):
                return

    def step(self) -> float:
        """List if it is time to, watch until that ends, and say how many seconds to wait before the next step."""
        try:
            if self._relist or self._clock() >= self._relist_at:
                self._list()
            self._watch()
        except Failure as failure:
            return 0.0 if self._stop.is_set() else self._failed(failure)
        except Exception as error:  # noqa: BLE001 - reported; a thread that ended would leave an old set for ever
            _log.exception(Event.SOURCE_FAILED, source=NAME, reason=Reason.INTERNAL, limit=Reason.INTERNAL)
            return self._failed(Failure(Reason.INTERNAL, repr(error)[:200], relist=True))
        return 0.0

    def _list(self) -> None:
        listing, version = self._get_list(None if self._quorum else self._version or _ANY_VERSION)
        lost = self._table.lost(listing)
        if lost > _GUARDED and lost * 2 > len(self._table):
            # A cache that has just started, or an etcd restored from a backup, forgets most of a node. Deletions of
            # this size are true only if etcd itself says so as well.
            self._errors[Reason.UNCONFIRMED] += 1
            listing, version = self._get_list(None)
        if listing.foreign:
            self._errors[Reason.FOREIGN_NODE] += listing.foreign
        for where, reason, message in listing.poison.values():
            self._rejected(where, reason, message)
        self._table.replace(listing)
        self._version = version
        self._relist = self._quorum = False
        self._relist_at = self._clock() + self._timing.relist * self._random.uniform(0.8, 1.2)
        self._complete = True
        self._confirmed()

    def _get_list(self, version: str | None) -> tuple[Listing, str]:
        query: Query = (("fieldSelector", self._selector),)
        if version is not None:
            query += (("resourceVersion", version),)
        answer = self._transport.get(PODS, query, self._timing.list_read)
        listing = Listing()
        try:
            check_status(answer, "list")
            fields = decode_list(
                answer.read(LIST_LIMIT, self._timing.list_total), lambda raw: self._table.collect(listing, raw)
            )
        finally:
            answer.close()
        metadata = fields.get("metadata")
        found = version_text(fields)
        if fields.get("kind") != "PodList" or not isinstance(metadata, dict) or not found:
            raise Failure(Reason.INCOMPLETE, "list pods: not a PodList with a resourceVersion")
        if metadata.get("continue"):
            raise Failure(Reason.INCOMPLETE, "list pods: only a part of the list came", quorum=True)
        return listing, found

    def _watch(self) -> None:
        timing = self._timing
        begun = self._clock()
        seconds = self._random.uniform(timing.watch_shortest, timing.watch_longest)
        seconds = min(seconds, max(timing.watch_read, self._relist_at - begun))
        query: Query = (
            ("fieldSelector", self._selector),
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(max(1, round(seconds)))),
            ("resourceVersion", self._version),
        )
        answer = self._transport.get(PODS, query, timing.watch_read)
        accepted = False
        try:
            check_status(answer, "watch")
            # The server knows the version the watch goes on from: nothing was missed.
            self._confirmed()
            accepted = True
            for line in lines(answer.chunks(), LINE_LIMIT):
                self._event(decode(line))
        except Failure as failure:
            if not accepted or failure.reason is not Reason.TIMEOUT:
                raise
            # Not even a bookmark: a half-open connection, or a cluster in which nothing happens. A new connection
            # tells, and cannot be a hot loop after so long a silence.
            self._errors[Reason.SILENT] += 1
            return
        finally:
            answer.close()
        if self._clock() - begun < timing.watch_too_short:
            raise Failure(Reason.SHORT_WATCH, "watch pods: the API server ended the watch long before its time")

    def _event(self, event: object) -> None:
        if not isinstance(event, dict):
            raise Failure(Reason.MALFORMED, "watch pods: an event that is not an object", relist=True)
        raw = event.get("object")
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                change: Change | PodRejected = self._table.put(raw)
            case "DELETED":
                change = self._table.delete(raw)
            case "BOOKMARK":
                change = Change.TAKEN
            case "ERROR":
                raise of_error_event(raw)
            case _:
                # A newer API server's invention: what it means is not known, the next events still are.
                self._errors[Reason.UNKNOWN_EVENT] += 1
                return
        if isinstance(change, PodRejected):
            self._rejected(f"{change.namespace}/{change.name}", change.reason, change.message)
        elif change is Change.FOREIGN:
            self._errors[Reason.FOREIGN_NODE] += 1
        self._advance(version_text(raw))
        self._confirmed()

    def _advance(self, version: str) -> None:
        if version and not (version.isdigit() and self._version.isdigit() and int(version) < int(self._version)):
            self._version = version

    def _confirmed(self) -> None:
        self._good = self._clock()
        self._backoff.healthy()
        if not self._ok:
            if self._errors:
                _log.info(Event.SOURCE_RECOVERED, source=NAME, pods=len(self._table))
            self._ok = True
            self._detail = ""
        self._report()

    def _failed(self, failure: Failure) -> float:
        timing = self._timing
        self._errors[failure.reason] += 1
        self._relist = self._relist or failure.relist
        self._quorum = self._quorum or failure.quorum
        delay = self._backoff.next()
        if failure.reason is Reason.FORBIDDEN:
            delay = timing.forbidden * self._random.uniform(0.5, 1.0)
        elif failure.reason is Reason.UNAUTHORIZED:
            self._reload()
        if failure.retry_after is not None:
            wanted = min(failure.retry_after, timing.retry_after_longest)
            delay = max(delay, wanted + self._random.uniform(0.0, timing.backoff_first))
        # An expired version is everyday life: only when the list fails too is something wrong.
        if failure.reason is not Reason.EXPIRED:
            self._ok = False
            self._detail = failure.message
            _log.warning(
                Event.SOURCE_FAILED, source=NAME, reason=failure.reason, detail=failure.message, limit=failure.reason
            )
        self._report()
        return delay

    def _reload(self) -> None:
        try:
            self._transport.reload()
        except Failure as failure:
            self._errors[failure.reason] += 1
            _log.warning(
                Event.SOURCE_FAILED, source=NAME, reason=failure.reason, detail=failure.message, limit=failure.reason
            )

    def _rejected(self, where: str, reason: str, message: str) -> None:
        self._errors[Reason.POD_REJECTED] += 1
        _log.warning(Event.POD_REJECTED, pod=where, reason=reason, message=message, limit=where)

    def _report(self) -> None:
        self._publish(
            Report(
                objects=self._table.objects,
                poison=self._table.poison,
                ok=self._ok,
                complete=self._complete,
                good=self._good,
                detail=self._detail,
                errors={str(reason): count for reason, count in self._errors.items()},
            )
        )


_log = Log("kube")
