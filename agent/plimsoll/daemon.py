"""
The composition root: wires sources, exporter and configuration together and runs the tick.

Only this module knows all the layers. It must not know file formats or metric names.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable

from plimsoll import __version__
from plimsoll.actor import Actor
from plimsoll.config.loader import ConfigFile, Loaded
from plimsoll.config.schema import Config
from plimsoll.exporter.audit import AuditLog
from plimsoll.exporter.http import HttpServer
from plimsoll.exporter.metrics import AgentFacts, Exporter
from plimsoll.kernel.batch import native_available
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.lock import Held, InstanceLock, Taken, Unusable
from plimsoll.log import Event, Log, configure
from plimsoll.model.acting import Acting
from plimsoll.model.announcing import Announcing
from plimsoll.observer import Observer, pod_source
from plimsoll.options import Options
from plimsoll.policies.preemption import NOT_REVERSIBLE
from plimsoll.recording import recorder_of
from plimsoll.sources.kube.announcing import Announcer
from plimsoll.sources.kube.evicting import Evictor
from plimsoll.sources.kube.publishing import Publisher

CONFIG_SECONDS = 5.0
# The state directory is in memory on most nodes: three files of this size are the log's part of the agent's limit.
AUDIT_BYTES = 2 << 20


class AlreadyRunning(Exception):  # noqa: N818 - a state of the node, not a fault
    """Another agent holds this node's lock."""

    def __init__(self, holder: int | None) -> None:
        self.holder = holder
        super().__init__(f"another agent runs on this node (process {holder or 'unknown'})")


_log = Log("daemon")


class Agent:
    """The running agent: one loop, one tick per interval, until a signal or the given duration ends it."""

    def __init__(
        self,
        options: Options,
        config: Config,
        config_file: ConfigFile | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _allow_open_files()
        self._options = options
        self._config = config
        self._config_file = config_file
        self._clock = clock
        self._source = pod_source(options, clock)
        self._observer = Observer(options, config, self._source, clock)
        self._exporter = Exporter(config.pressure)
        self._server = HttpServer(self._exporter, options.listen or config.http.listen, config.http)
        self._actor: Actor | None = None
        self._audit: AuditLog | None = None
        self._announcer: Announcer | None = None
        self._evictor: Evictor | None = None
        self._publisher: Publisher | None = None
        self._recorder = recorder_of(options)
        self._started = clock()
        self._stop = threading.Event()
        self._reload = threading.Event()
        self._reload_ok = True
        self._reload_unix = time.time()
        self._problems: tuple[str, ...] = ()
        self._tick_seconds = 0.0
        self._tick_seconds_total = 0.0
        self._heartbeat = clock()
        self._config_read = clock()

    @property
    def address(self) -> str:
        """Where /metrics is served, once running."""
        return self._server.address

    def stop(self) -> None:
        """End the loop after the tick it is in. Safe from a signal handler and from another thread."""
        self._stop.set()

    def run(self) -> None:
        """Run until stopped. Raises AlreadyRunning, and OSError when the listen address cannot be had."""
        # Before all else: who waits for a predecessor can be told to stop, too.
        previous = self._install_signals()
        try:
            with HostFs(self._options.root) as host:
                lock = InstanceLock(host, self._options.state_dir)
                taken = lock.wait(self._options.lock_wait, self._pause, self._clock)
            if not isinstance(taken, Taken):
                self._run(taken)
                return
            self._observer.close()
            if not self._stop.is_set():
                raise AlreadyRunning(taken.holder_pid)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _pause(self, seconds: float) -> bool:
        _log.info(Event.LOCK_WAITING, path=self._options.state_dir, limit="lock")
        return self._stop.wait(seconds)

    def _run(self, taken: Held | Unusable) -> None:
        if not isinstance(taken, Held):
            # Collecting writes nothing, so an agent without a state directory is worth having; one that acts is not.
            _log.warning(Event.STATE_DIR_UNUSABLE, path=self._options.state_dir, outcome=taken.outcome)
        self._observer.state_directory = taken
        if self._options.pods is None and isinstance(taken, Held):
            self._evictor = self._observer.evictions = Evictor(kubeconfig=self._options.kubeconfig, clock=self._clock)
        # Without the lock another agent may be writing: only what would be written is said.
        actor = self._actor = Actor(
            self._observer.host,
            self._observer.hierarchies,
            self._observer.speed_select,
            self._options.state_dir,
            self._config,
            clock=self._clock,
            read_only=not isinstance(taken, Held),
            evictor=self._evictor,
        )
        self._observer.reclaimed = actor.reclaimer
        self._observer.registers_held = actor.registers_held
        self._audit = self._open_audit() if isinstance(taken, Held) else None
        if self._options.pods is None and isinstance(taken, Held):
            # Two agents would tell everything twice, so it takes the lock too.
            self._announcer = Announcer(
                self._options.node_name,
                self._config.notices,
                facts=frozenset({NOT_REVERSIBLE}),
                kubeconfig=self._options.kubeconfig,
                clock=self._clock,
            )
            self._publisher = Publisher(self._options.node_name, kubeconfig=self._options.kubeconfig, clock=self._clock)
        try:
            self._server.start()
            self._source.start()
            if self._publisher is not None:
                self._publisher.start()
            if self._announcer is not None:
                self._announcer.start()
            if self._evictor is not None:
                self._evictor.start()
            _log.info(
                Event.AGENT_STARTED,
                version=__version__,
                node=self._options.node_name,
                root=self._options.root,
                listen=self._server.address,
                native=native_available()[0],
            )
            self._loop()
        finally:
            # First of all, and while the source still knows the pods: the kubelet does not wait for long.
            actor.drain()
            results = actor.restore()
            if self._evictor is not None:
                self._evictor.stop()
            self._record(Acting(results=results, evicted=() if self._evictor is None else self._evictor.take()))
            actor.close()
            if self._publisher is not None:
                self._publisher.stop()
            if self._announcer is not None:
                self._announcer.stop()
            if self._audit is not None:
                self._audit.close()
            if self._recorder is not None:
                self._recorder.close()
            self._source.stop()
            self._server.stop()
            self._observer.close()
            if isinstance(taken, Held):
                taken.release()
            _log.info(Event.AGENT_STOPPED, seconds=round(self._clock() - self._started, 1))

    def _install_signals(self) -> dict[signal.Signals, signal._HANDLER]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: self._stop.set()),
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: self._stop.set()),
            signal.SIGHUP: signal.signal(signal.SIGHUP, lambda *_: self._reload.set()),
        }

    def _loop(self) -> None:
        end = None if self._options.duration is None else self._started + self._options.duration
        due = self._clock()
        while not self._stop.is_set():
            self._tick()
            interval = self._interval
            due += interval
            now = self._clock()
            if now > due:
                # Do not run the missed ticks one after the other: the next one starts a fresh rhythm.
                _log.warning(Event.TICK_LATE, seconds=round(now - due, 2), limit="tick")
                due = now + interval
            if end is not None:
                if now >= end:
                    return
                due = min(due, end)
            self._stop.wait(max(0.0, due - self._clock()))

    @property
    def _interval(self) -> float:
        """Seconds between two ticks: a policy that acts may want more of them than are wanted for show."""
        interval = self._config.pressure.interval
        return interval if self._actor is None else min(interval, self._actor.pace)

    def _tick(self) -> None:
        begun = self._clock()
        self._follow_config(begun)
        snapshot = self._observer.snapshot()
        if self._stop.is_set():
            # What time the kubelet gives is for putting back.
            return
        acting = None if self._actor is None else self._actor.act(snapshot)
        self._heartbeat = self._clock()
        self._exporter.observe(snapshot, self._facts(), acting)
        if acting is not None:
            self._record(acting)
            if self._announcer is not None:
                self._announcer.observe(snapshot, acting)
            self._publish(acting)
        if self._recorder is not None:
            self._recorder.record(snapshot, self._config)
        self._tick_seconds = self._clock() - begun
        self._tick_seconds_total += self._tick_seconds

    def _open_audit(self) -> AuditLog | None:
        try:
            return AuditLog(
                self._observer.host.open(self._options.state_dir, os.O_RDONLY | os.O_DIRECTORY), max_bytes=AUDIT_BYTES
            )
        except OSError as error:
            _log.warning(Event.STATE_DIR_UNUSABLE, path=self._options.state_dir, error=repr(error))
            return None

    def _record(self, acting: Acting) -> None:
        if self._audit is not None:
            self._audit.record(self._observer.sequence, time.time(), acting, self._exporter.owners)

    def _facts(self) -> AgentFacts:
        return AgentFacts(
            version=__version__,
            started=self._started,
            heartbeat=self._heartbeat,
            interval=self._interval,
            tick_seconds=self._tick_seconds,
            tick_seconds_total=self._tick_seconds_total,
            config_reload_ok=self._reload_ok,
            config_reload_unix=self._reload_unix,
            config_problems=self._problems,
            native=native_available()[0],
            audit_lines_lost=None if self._audit is None else self._audit.lost,
            announcing=self._announcing(),
            publishing=None if self._publisher is None else self._publisher.state,
        )

    def _publish(self, acting: Acting) -> None:
        if self._publisher is None:
            return
        overcommit = self._config.overcommit
        if not overcommit.publish or overcommit.mode != "enforce":
            self._publisher.observe(None, on=False)
            return
        figures = next((each.overcommit for each in acting.reports if each.overcommit is not None), None)
        if figures is not None:
            # Without a decision the last one stands.
            self._publisher.observe(figures.offer or None, on=True)

    def _announcing(self) -> Announcing:
        if self._announcer is not None:
            return self._announcer.state
        return Announcing(unavailable="read-only" if self._options.pods is None else "no-api-server")

    def _follow_config(self, now: float) -> None:
        if self._config_file is None:
            return
        if not self._reload.is_set() and now - self._config_read < CONFIG_SECONDS:
            return
        self._reload.clear()
        self._config_read = now
        reload = self._config_file.poll()
        if reload is None:
            return
        if isinstance(reload, Loaded):
            self._config = reload.config
            configure(level=reload.config.log.level, style=reload.config.log.format)
            self._observer.reconfigure(reload.config)
            self._exporter.reconfigure(reload.config.pressure)
            if self._actor is not None:
                self._actor.reconfigure(reload.config)
            if self._announcer is not None:
                self._announcer.reconfigure(reload.config.notices)
            self._reload_ok, self._reload_unix, self._problems = True, time.time(), ()
            _log.info(Event.CONFIG_RELOADED, file=self._options.config)
        else:
            self._reload_ok = False
            self._problems = tuple(str(problem) for problem in reload.problems)
            _log.error(Event.CONFIG_REJECTED, file=self._options.config, problems=list(self._problems[:10]))


def _allow_open_files() -> None:
    # Each pod's files are held open. The soft limit is small for the sake of select(2), which nothing here uses.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
