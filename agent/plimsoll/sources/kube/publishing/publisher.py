"""
Publishes what the node offers: the daemon says each tick what that is, a thread of its own sends it.

It must not do I/O on the caller's thread, and knows neither when something is written nor how it is spelled.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from random import Random

from plimsoll.log import Event, Log
from plimsoll.model.publishing import Publishing
from plimsoll.sources.kube.failure import Reason
from plimsoll.sources.kube.publishing.node_status import renew, send
from plimsoll.sources.kube.publishing.publication import Fate, Limits, Patch, Publication, Reply
from plimsoll.sources.kube.source import SERVICE_ACCOUNT
from plimsoll.sources.kube.timing import Timing

NAME = "publisher"
# The kubelet does not wait for long, and whoever comes next withdraws it as well.
WITHDRAW_SECONDS = 5.0


class Publisher:
    """
    The extended resource of ``node_name``. One object is started and stopped once.

    A connection of its own: the source's is busy with a watch.
    """

    def __init__(
        self,
        node_name: str,
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

        self._node_name = node_name
        self._connection = Connection(
            kubeconfig, service_account=service_account, environ=environ, clock=clock, timing=timing
        )
        self._changed = threading.Condition()
        self._publication = Publication(limits, clock=clock, random=random or Random())
        self._stopping = False
        # A daemon thread: one that connects into a black hole must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def start(self) -> None:
        """Begin. An API server that does not answer is not an error."""
        self._thread.start()

    def stop(self, seconds: float = WITHDRAW_SECONDS) -> None:
        """
        Withdraw what stands, try that once for at most so long, and end the thread, also in the middle of a request.

        Stopping twice, or without a start, is allowed.
        """
        with self._changed:
            self._stopping = True
            self._publication.want(None, on=False)
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        self._connection.end(self._thread)

    def observe(self, size: int | None, *, on: bool) -> None:
        """Take in what a tick offers, in bytes. ``on``: whether that is to be published. Waits for nothing."""
        with self._changed:
            self._publication.want(size, on=on)
            self._changed.notify_all()

    @property
    def state(self) -> Publishing:
        """What became of it so far."""
        with self._changed:
            return self._publication.state

    def _run(self) -> None:
        while (patch := self._next()) is not None:
            reply = self._send(patch)
            with self._changed:
                self._publication.settle(patch, reply)
                ending = self._stopping and patch.size is None
            if reply.fate is not Fate.DONE:
                _log.warning(Event.PUBLISH_FAILED, reason=reply.reason, detail=reply.message, limit=reply.reason)
            if ending:
                return

    def _next(self) -> Patch | None:
        """The next thing to write, waited for; ``None``: stop."""
        with self._changed:
            while True:
                step = self._publication.next(last=self._stopping)
                if isinstance(step, Patch):
                    return step
                if self._stopping:
                    return None
                self._changed.wait(step)

    def _send(self, patch: Patch) -> Reply:
        try:
            return renew(self._connection, send(self._connection, self._node_name, patch))
        except Exception as error:  # noqa: BLE001 - reported; a thread that ended would never tell anybody anything
            _log.exception(Event.PUBLISH_FAILED, reason=Reason.INTERNAL, limit=Reason.INTERNAL)
            return Reply(Fate.FAILED, Reason.INTERNAL, repr(error)[:200])


_log = Log(NAME)
