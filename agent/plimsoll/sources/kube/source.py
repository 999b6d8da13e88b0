"""
The pod source: one background thread follows the API server, :meth:`KubePods.observe` says what it knows.

It must not do I/O on the caller's thread, and knows neither HTTP nor the protocol.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from random import Random

from plimsoll.config.annotations import intent
from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import Pod, PodObject
from plimsoll.model.snapshot import PodSet, SourceState
from plimsoll.sources.kube.report import NAME, Report
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.watch import PodWatch

_POISON_SHOWN = 20
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
# Where the kubelet mounts a pod's token and the cluster's certificate.
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class KubePods:
    """The pods of ``node_name``, followed with list and watch. One object is started and stopped once."""

    def __init__(
        self,
        node_name: str,
        *,
        kubeconfig: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        timing: Timing = Timing(),  # noqa: B008 - an immutable value
        service_account: str = SERVICE_ACCOUNT,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """
        ``kubeconfig``: a file, or ``None`` for the service account of the pod this runs in. ``clock``: monotonic
        seconds. Nothing is sent before :meth:`start`.

        Raises OSError for a file that cannot be read, ValueError for one that is not a kubeconfig, outside a cluster,
        and for a name no node can have.
        """
        if not _NODE_NAME.fullmatch(node_name):
            raise ValueError(f"{node_name[:64]!r} is no node name; give metadata.name of this node (--node-name)")
        # Here, because the kubernetes package costs 8 MiB that only an agent with an API server should pay.
        from plimsoll.sources.kube.connection import Connection  # noqa: PLC0415

        self._clock = clock
        self._connection = Connection(
            kubeconfig, service_account=service_account, environ=environ, clock=clock, timing=timing
        )
        self._stop = threading.Event()
        self._watch = PodWatch(
            node_name,
            self._connection,
            self._published,
            stop=self._stop,
            clock=clock,
            random=random or Random(),
            timing=timing,
        )
        # A daemon thread: one that connects into a black hole must not keep the process from exiting.
        self._thread = threading.Thread(target=self._watch.run, name="kube", daemon=True)
        self._changed = threading.Condition()
        self._report = Report()
        self._priority: PrioritySection | None = None
        self._objects: tuple[PodObject, ...] = ()
        self._pods: dict[str, Pod] = {}

    def start(self) -> None:
        """Begin to follow. An API server that does not answer is not an error."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, also in the middle of a read. Stopping twice, or without a start, is allowed."""
        self._stop.set()
        self._connection.end(self._thread)

    def wait_complete(self, seconds: float) -> bool:
        """Wait until a complete list was seen, for programs that observe once; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._report.complete, seconds)

    def observe(self, priority: PrioritySection) -> PodSet:
        """The last good set of pods. A pod that has not changed is the same object as in the call before."""
        with self._changed:
            report = self._report
        if report.objects is not self._objects or priority is not self._priority:
            known = self._pods if priority is self._priority else {}
            self._pods = {each.uid: _pod(each, known.get(each.uid), priority) for each in report.objects}
            self._objects, self._priority = report.objects, priority
        state = SourceState(
            name=NAME,
            ok=report.ok,
            complete=report.complete,
            age_seconds=None if report.good is None else max(0.0, self._clock() - report.good),
            detail=report.detail,
            errors=report.errors,
        )
        return PodSet(tuple(self._pods.values()), state, report.poison[:_POISON_SHOWN])

    def _published(self, report: Report) -> None:
        with self._changed:
            self._report = report
            self._changed.notify_all()


def _pod(each: PodObject, known: Pod | None, priority: PrioritySection) -> Pod:
    return known if known is not None and known.object is each else Pod(each, intent(each, priority))
