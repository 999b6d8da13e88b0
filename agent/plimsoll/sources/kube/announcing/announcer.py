"""
Tells pods' owners: the daemon says each tick what there is to say, a thread of its own sends it.

It must not do I/O on the caller's thread, and knows neither what is told when nor how it is spelled.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from random import Random

from plimsoll.config.report_section import NoticesSection
from plimsoll.log import Event, Log
from plimsoll.model.acting import Acting
from plimsoll.model.announcing import Announcing, Channel
from plimsoll.model.snapshot import Snapshot
from plimsoll.sources.kube.announcing.ledger import Ledger
from plimsoll.sources.kube.announcing.limits import Limits
from plimsoll.sources.kube.announcing.notice import said
from plimsoll.sources.kube.announcing.poster import Poster
from plimsoll.sources.kube.announcing.task import TROUBLE, Fate, Reply, Task
from plimsoll.sources.kube.failure import Reason
from plimsoll.sources.kube.source import SERVICE_ACCOUNT
from plimsoll.sources.kube.timing import Timing

NAME = "notices"


class Announcer:
    """
    The notices of ``node_name``'s agent. One object is started and stopped once.

    A connection of its own: the source's is busy with a watch.
    """

    def __init__(
        self,
        node_name: str,
        section: NoticesSection,
        *,
        facts: frozenset[str] = frozenset(),
        kubeconfig: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        random: Random | None = None,
        timing: Timing = Timing(),  # noqa: B008 - an immutable value
        limits: Limits = Limits(),  # noqa: B008 - an immutable value
        service_account: str = SERVICE_ACCOUNT,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """
        ``facts``: reasons of notes that are true whether or not their policy writes. ``clock``: monotonic seconds;
        ``unix``: the time of day. The rest, and what is raised, is as for :class:`KubePods`; nothing is sent before
        :meth:`start`.
        """
        # Here, because the kubernetes package costs 8 MiB that only an agent with an API server should pay.
        from plimsoll.sources.kube.connection import Connection  # noqa: PLC0415

        self._facts = facts
        self._connection = Connection(
            kubeconfig, service_account=service_account, environ=environ, clock=clock, timing=timing
        )
        self._poster = Poster(node_name, self._connection, unix=unix, timing=timing)
        self._changed = threading.Condition()
        self._ledger = Ledger(limits, clock=clock, random=random or Random())
        self._ledger.configure(_channels(section))
        self._stopping = False
        # A daemon thread: one that connects into a black hole must not keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def start(self) -> None:
        """Begin to tell. An API server that does not answer is not an error."""
        self._thread.start()

    def stop(self) -> None:
        """
        End the thread, also in the middle of a request. Stopping twice, or without a start, is allowed.

        What was not told yet is not told; events and conditions stay as they are.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._connection.end(self._thread)

    def reconfigure(self, section: NoticesSection) -> None:
        """From now on."""
        with self._changed:
            self._ledger.configure(_channels(section))
            self._changed.notify_all()

    def observe(self, snapshot: Snapshot, acting: Acting | None) -> None:
        """Take in a tick. Waits for nothing."""
        with self._changed:
            if not self._ledger.state.channels:
                return
            told = said(snapshot, acting, self._facts)
            if told is not None:
                self._ledger.hear(told)
                self._changed.notify_all()

    @property
    def state(self) -> Announcing:
        """What became of the notices so far."""
        with self._changed:
            return self._ledger.state

    def _run(self) -> None:
        while (task := self._next()) is not None:
            reply = self._send(task)
            with self._changed:
                if self._stopping:
                    return
                self._ledger.settle(task, reply)
            if reply.fate in TROUBLE:
                _log.warning(Event.NOTICE_FAILED, reason=reply.reason, detail=reply.message, limit=reply.reason)

    def _next(self) -> Task | None:
        """The next task, waited for; ``None``: stop."""
        with self._changed:
            while not self._stopping:
                step = self._ledger.next()
                if step is not None and not isinstance(step, (int, float)):
                    return step
                self._changed.wait(step)
        return None

    def _send(self, task: Task) -> Reply:
        try:
            return self._poster.send(task)
        except Exception as error:  # noqa: BLE001 - reported; a thread that ended would never tell anybody anything
            _log.exception(Event.NOTICE_FAILED, reason=Reason.INTERNAL, limit=Reason.INTERNAL)
            return Reply(Fate.REFUSED, Reason.INTERNAL, repr(error)[:200])


def _channels(section: NoticesSection) -> frozenset[Channel]:
    wanted = {Channel.EVENT: section.events, Channel.CONDITION: section.pod_conditions}
    return frozenset(channel for channel, on in wanted.items() if on)


_log = Log(NAME)
