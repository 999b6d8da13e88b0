"""
Commands that look, or act, once and are done.

The running agent is ``daemon.py``'s business; what they print is the command line's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from plimsoll import __version__
from plimsoll.actor import Actor
from plimsoll.actuators import journal_file
from plimsoll.config.schema import Config
from plimsoll.daemon import AlreadyRunning
from plimsoll.draining import Drained
from plimsoll.exporter import audit
from plimsoll.exporter.metrics import AgentFacts, Exporter
from plimsoll.kernel.batch import native_available
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.survey import Survey, survey
from plimsoll.kernel.kubepods import Kubepods
from plimsoll.kernel.lock import LOCK_NAME, Held, InstanceLock, Taken
from plimsoll.kernel.probe import probe
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.kernel.state_directory import forget as forget_files
from plimsoll.model.acting import Acting
from plimsoll.model.plan import Result
from plimsoll.model.publishing import Publishing
from plimsoll.model.snapshot import Capability
from plimsoll.observer import Observer, pod_source
from plimsoll.options import Options
from plimsoll.recording import BadRecording, Configured, Recording, recorder_of
from plimsoll.replay import Replay, Tick
from plimsoll.sources.kube.publishing import Publisher

# What a person waits for.
PODS_DEADLINE = 30.0
RESTORE_DEADLINE = 60.0
WITHDRAW_DEADLINE = 30.0
STATE_FILES = (*journal_file.FILES, *audit.FILES, LOCK_NAME)
"""What agents have in their state directory, the lock last."""


def node_name_default() -> str:
    """The name of this node: the downward API's variable, else the host name, as the kubelet does."""
    return os.environ.get("NODE_NAME") or os.uname().nodename.lower()


@contextmanager
def _observer(options: Options, config: Config) -> Iterator[Observer]:
    source = pod_source(options)
    observer = Observer(options, config, source)
    try:
        source.start()
        if not source.wait_complete(PODS_DEADLINE):
            detail = source.observe(config.priority).state.detail
            raise TimeoutError(f"no list of pods within {PODS_DEADLINE:g} s: {detail}")
        yield observer
    finally:
        source.stop()
        observer.close()


def one_page(options: Options, config: Config) -> bytes:
    """
    Observe once and give the metrics as text.

    Raises TimeoutError when the pods are not to be had: a page without pods would look like a node without pods.
    """
    begun = time.monotonic()
    with _observer(options, config) as observer:
        snapshot = observer.snapshot()
        exporter = Exporter(config.pressure)
        seconds = time.monotonic() - begun
        exporter.observe(
            snapshot,
            AgentFacts(
                version=__version__,
                started=begun,
                heartbeat=begun,
                interval=config.pressure.interval,
                tick_seconds=seconds,
                tick_seconds_total=seconds,
                config_reload_unix=time.time(),
                native=native_available()[0],
            ),
        )
        return exporter.text()


def plan(options: Options, config: Config) -> Acting:
    """
    What the policies want now and what would be written, with nothing written. Raises as :func:`one_page`.

    ``results`` is for the policies that enforce, ``observed`` for those that only observe; OK stands for a write. The
    snapshot is recorded if the options say so; raises OSError when that cannot be.
    """
    with recorder_of(options) or nullcontext() as recording, _observer(options, config) as observer:
        actor = Actor(
            observer.host, observer.hierarchies, observer.speed_select, options.state_dir, config, read_only=True
        )
        try:
            # The registers may be as an agent that runs, or was killed, has left them.
            observer.registers_held = actor.registers_held
            snapshot = observer.snapshot()
            if recording is not None:
                recording.record(snapshot, config)
                if recording.stopped:
                    raise OSError(f"{options.record}: {recording.stopped}")
            return actor.act(snapshot)
        finally:
            actor.close()


def replay(recording: Recording, config: Config | None) -> Iterator[Tick]:
    """
    What the policies want of each snapshot, by ``config`` or else by the configuration that was in force then.

    Raises BadRecording and OSError where the recording is found broken.
    """
    replayed = None if config is None else Replay(config)
    for each in recording:
        if not isinstance(each, Configured):
            if replayed is None:
                raise BadRecording(f"{recording.path}: a snapshot comes before any configuration; name one (--config)")
            yield replayed.tick(each)
        elif replayed is None:
            replayed = Replay(each.config())
        elif config is None:
            replayed.reconfigure(each.config())


class Restored(NamedTuple):
    """
    ``left``: knobs still to be put back, of which ``staying`` cannot be or shall not. ``kept``: files that stay.
    ``drained``: what bringing memory back came to, if that was asked for.
    """

    results: tuple[Result, ...]
    left: int
    staying: int
    kept: tuple[str, ...] = ()
    drained: Drained | None = None


def withdraw(node_name: str, kubeconfig: str | None) -> Publishing:
    """
    Take back what an agent that no longer runs has published of this node: tried once.

    Raises OSError and ValueError for credentials that are none.
    """
    publisher = Publisher(node_name, kubeconfig=kubeconfig)
    publisher.observe(None, on=True)
    publisher.start()
    publisher.stop(WITHDRAW_DEADLINE)
    return publisher.state


def restore(
    root: str,
    state_directory: str,
    *,
    kept: bool = False,
    lock_wait: float = 0.0,
    forget: bool = False,
    config: Config | None = None,
) -> Restored:
    """
    Put back what an agent that no longer runs has left, from its journal alone.

    ``lock_wait``: for so many seconds an agent may still be ending. ``forget``: no agent is to come any more, so unless
    something is left that could be put back, its files are removed, too. ``config``: whose ``overcommit.onExit`` is
    followed before. Raises AlreadyRunning while an agent runs, and OSError for a state directory that cannot be used.
    """
    with HostFs(root) as host:
        taken = InstanceLock(host, state_directory).wait(lock_wait, threading.Event().wait)
        if isinstance(taken, Taken):
            raise AlreadyRunning(taken.holder_pid)
        if not isinstance(taken, Held):
            raise OSError(f"{taken.path}: {taken.outcome}")
        with taken:
            found = _put_back(host, state_directory, kept=kept, config=config)
            if not forget or found.left > found.staying:
                return found
            return found._replace(kept=forget_files(host, state_directory, STATE_FILES))


def _put_back(host: HostFs, state_directory: str, *, kept: bool, config: Config | None) -> Restored:
    with Hierarchies.detect(host) as hierarchies:
        actor = Actor(host, hierarchies, SpeedSelect(host), state_directory, config or Config())
        try:
            drained = actor.drain()
            results = actor.restore(RESTORE_DEADLINE, kept=kept)
            return Restored(results, actor.held, actor.staying, drained=drained)
        finally:
            actor.close()


def speed_select(root: str) -> Survey | Absence:
    """Everything Speed Select says of this node, or why there is none; reads only. Raises OSError for a bad root."""
    with HostFs(root) as host:
        found = Platform.detect(host)
        return survey(found) if isinstance(found, Platform) else found


def capabilities(root: str) -> tuple[Capability, ...]:
    """What this node can do. Raises OSError when ``root`` is not a directory."""
    with HostFs(root) as host, Hierarchies.detect(host) as hierarchies:
        return probe(host, hierarchies, Kubepods.find(hierarchies))
