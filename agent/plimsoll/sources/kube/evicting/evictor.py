"""
Asks the API server for evictions, one at a time, on a thread of its own.

A wish is for now: what cannot be asked now is not asked later, when it may no longer be wished for. It must not know
why a pod shall go, nor what an HTTP status means.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import NamedTuple

from plimsoll.log import Event, Log
from plimsoll.model.eviction import Attempt, Evict, Evicted
from plimsoll.model.outcome import Outcome
from plimsoll.sources.kube.evicting.eviction import JSON, Verdict, body_of, judge, path_of
from plimsoll.sources.kube.failure import Failure
from plimsoll.sources.kube.pace import Pace
from plimsoll.sources.kube.source import SERVICE_ACCOUNT
from plimsoll.sources.kube.status import content_of
from plimsoll.sources.kube.timing import Timing

NAME = "evictions"
# The API server itself tries again for some seconds when a budget is being written by somebody else.
REQUEST_SECONDS = 15.0
KEPT_SECONDS = 3600.0
# Should nobody pick results up, or whoever wishes go mad.
_MOST = 256
# More than a node sees in a year of evicting as fast as may be configured in a day: never one of these again.
_REMEMBERED = 4096

_QUIET = frozenset({Outcome.OK, Outcome.GONE})


class Limits(NamedTuple):
    """How often the API server is asked, at most; the policy asks much less. Times in seconds."""

    burst: int = 5
    every: float = 20.0
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    backoff_stable: float = 120.0
    retry_after_longest: float = 300.0


class Evictor:
    """
    The evictions of one node's agent. One object is started and stopped once.

    A connection of its own: the source's is busy with a watch.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        timing: Timing = Timing(),  # noqa: B008 - an immutable value
        limits: Limits = Limits(),  # noqa: B008 - an immutable value
        service_account: str = SERVICE_ACCOUNT,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``clock``: monotonic seconds. The rest, and what is raised, is as for :class:`KubePods`."""
        # Here, because the kubernetes package costs 8 MiB that only an agent with an API server should pay.
        from plimsoll.sources.kube.connection import Connection  # noqa: PLC0415

        self._clock = clock
        self._connection = Connection(
            kubeconfig, service_account=service_account, environ=environ, clock=clock, timing=timing
        )
        self._changed = threading.Condition()
        self._pace = Pace(limits, clock=clock, random=random or Random())
        self._wish: Evict | None = None
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._results: deque[Evicted] = deque(maxlen=_MOST)
        self._stopping = False
        # A daemon thread: one that connects into a black hole must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def start(self) -> None:
        """Begin to listen for wishes. An API server that does not answer is not an error."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, also in the middle of a request. Stopping twice, or without a start, is allowed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._connection.end(self._thread)

    def want(self, evictions: Iterable[Evict]) -> None:
        """Have these pods evicted now, if that is possible now. Waits for nothing."""
        with self._changed:
            for each in evictions:
                if each.pod in self._gone or (self._wish is not None and self._wish.pod == each.pod):
                    continue
                if self._wish is not None or self._stopping:
                    self._settle(each, Verdict(Outcome.HELD, "Another eviction is under way."))
                elif (seconds := self._pace.wait()) > 0:
                    self._settle(each, Verdict(Outcome.HELD, f"Too early after the last: {seconds:.0f} s."))
                else:
                    self._pace.take()
                    self._wish = each
                    self._note(Attempt(each, None, self._clock()))
            self._changed.notify_all()

    def take(self) -> tuple[Evicted, ...]:
        """What has become of evictions since this was asked last."""
        with self._changed:
            taken = tuple(self._results)
            self._results.clear()
            return taken

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last one for each pod of the last hour, in the order they were settled; the one under way last."""
        with self._changed:
            now = self._clock()
            return tuple(each for each in self._attempts.values() if now - each.at < KEPT_SECONDS)

    def _run(self) -> None:
        while (wish := self._next()) is not None:
            verdict, retry_after = self._ask(wish)
            with self._changed:
                if self._stopping:
                    return
                if verdict.away:
                    self._pace.failed(retry_after)
                else:
                    self._pace.succeeded()
                self._wish = None
                self._settle(wish, verdict)
            self._tell(wish, verdict)

    def _next(self) -> Evict | None:
        """The next wish, waited for; ``None``: stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._wish is not None)
            return None if self._stopping else self._wish

    def _ask(self, wish: Evict) -> tuple[Verdict, float | None]:
        try:
            answer = self._connection.send("POST", path_of(wish), body_of(wish), JSON, REQUEST_SECONDS)
            try:
                content = content_of(answer, REQUEST_SECONDS)
            finally:
                answer.close()
            if answer.status == 401:
                self._connection.reload()
            return judge(answer.status, content), answer.retry_after
        except Failure as failure:
            return Verdict(Outcome.FAILED, f"evict: {failure.reason}: {failure.message}", away=True), None
        except Exception as error:  # noqa: BLE001 - reported; a thread that ended would never evict anybody again
            _log.exception(Event.EVICTION_FAILED, pod=wish.pod, limit=NAME)
            return Verdict(Outcome.FAILED, f"evict: {error!r}"[:200], away=True), None

    def _settle(self, wish: Evict, verdict: Verdict) -> None:
        self._note(Attempt(wish, verdict.outcome, self._clock()))
        self._results.append(Evicted(wish, verdict.outcome, verdict.detail))
        if verdict.outcome in _QUIET:
            self._gone[wish.pod] = None
            while len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)

    def _note(self, attempt: Attempt) -> None:
        self._attempts[attempt.evict.pod] = attempt
        self._attempts.move_to_end(attempt.evict.pod)
        while len(self._attempts) > _MOST:
            self._attempts.popitem(last=False)

    def _tell(self, wish: Evict, verdict: Verdict) -> None:
        facts = {"pod": f"{wish.namespace}/{wish.name}", "uid": wish.pod, "outcome": verdict.outcome}
        if verdict.outcome in _QUIET:
            _log.info(Event.POD_EVICTED, **facts, reason=wish.reason, detail=verdict.detail)
        else:
            _log.warning(Event.EVICTION_FAILED, **facts, detail=verdict.detail, limit=verdict.outcome)


_log = Log(NAME)
