"""
``plimsoll demo``: a simulated node, an API server with its pods, the unmodified agent, and a view of what it sees.

Needs neither root nor a cluster, touches nothing outside its temporary folder, and leaves nothing behind. What is shown
comes from the agent over HTTP; nothing is taken from the simulation directly.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from plimsoll.simulator import cast
from plimsoll.simulator.agent_process import AgentProcess
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import Workload
from plimsoll.status import Unanswered, fetch
from plimsoll.status_view import view
from plimsoll.terminal import Screen, Style, printable, style_of

DEFAULT_LISTEN = "127.0.0.1:9470"
DEFAULT_SECONDS = 60.0
EX_OK, EX_FAILED = 0, 1
# The kernel's totals are up to date whenever they are read; these are as old as one step at most.
_STEP_SECONDS = 0.1
_ASK_SECONDS = 0.5
# What is not redrawn in place, as in a CI log, is shown less often.
_PLAIN_SECONDS = 5.0
# How long the first answer of the agent may take: a cold start on a slow machine.
_START_SECONDS = 60.0
_FETCH_SECONDS = 5.0
# An agent that has no pods by then is worth looking at as it is.
_PATIENT_SECONDS = 15.0
# If this process is killed, the agent ends by itself so much later.
_GRACE_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments; :func:`demo` takes the result."""
    parser.add_argument(
        "--kind",
        type=Kind,
        choices=list(Kind),
        default=Kind.OPENEULER_V1,
        help="the node's kernel (default: %(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=_seconds,
        default=DEFAULT_SECONDS,
        metavar="SECONDS",
        help=f"stop by itself; 0: until Ctrl-C (default: {DEFAULT_SECONDS:g})",
    )
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="ADDRESS:PORT",
        help=f"where the agent serves (default: {DEFAULT_LISTEN}; a free port if that one is taken)",
    )
    parser.add_argument("--plain", action="store_true", help="print tables one after the other instead of redrawing")
    parser.add_argument("--seed", type=int, default=0, help="another number, another workload")
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> int:
    """
    Run the demonstration. Exit code 0, or 1 when the agent died or never answered; its last words are then shown.

    ``options``: kind, duration (seconds), listen, plain, seed; see :func:`add_arguments`. Raises OSError when no
    temporary folder can be had.
    """
    stop = threading.Event()
    with _signals(stop), tempfile.TemporaryDirectory(prefix="plimsoll-demo-") as folder:
        return Demo(options, folder, stop).run(sys.stdout)


class Demo:
    """One demonstration in an empty folder, until its time is over or ``stop`` is set."""

    def __init__(
        self,
        options: argparse.Namespace,
        folder: str,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._folder = folder
        self._stop = stop
        self._clock = clock
        root = os.path.join(folder, "node")
        os.mkdir(root)
        workload = Workload(cast.PODS, seed=options.seed)
        self._node = SimulatedNode(root, options.kind, workload, cast.NODE, name=cast.NODE_NAME, seed=options.seed)
        self._api = ApiServer()
        self._known: dict[tuple[str, str], dict[str, object]] = {}
        self._born = clock()

    def run(self, stream: TextIO) -> int:
        """Run it and give the exit code."""
        self._api.start()
        try:
            self._follow()
            with AgentProcess(self._arguments(), os.path.join(self._folder, "agent.log")) as agent:
                last, problem = self._watch(agent, stream)
                code = agent.stop()
                if not problem and code != 0:
                    problem = f"the agent ended with exit code {code}"
                if problem:
                    stream.flush()
                    sys.stderr.write(f"plimsoll: {problem}; its last words:\n")
                    sys.stderr.write("".join(f"  {printable(line, Style())}\n" for line in agent.tail()))
                    return EX_FAILED
        finally:
            self._api.stop()
        self._farewell(last, stream)
        return EX_OK

    def _arguments(self) -> list[str]:
        config = os.path.join(self._folder, "plimsoll.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(cast.CONFIG)
        arguments = [
            *("--root", self._node.root),
            *("--config", config),
            *("--kubeconfig", self._api.write_kubeconfig(os.path.join(self._folder, "kubeconfig"))),
            *("--node-name", cast.NODE_NAME),
            *("--listen", _free(self._options.listen)),
        ]
        if self._options.duration:
            arguments += ["--duration", str(self._options.duration + _START_SECONDS + _GRACE_SECONDS)]
        return arguments

    def _watch(self, agent: AgentProcess, stream: TextIO) -> tuple[Mapping[str, Any] | None, str]:
        """Keep the node alive and show what the agent says of it; the last answer, and what went wrong if anything."""
        started = self._clock()
        end: float | None = None
        ask = due = started
        last: Mapping[str, Any] | None = None
        with Screen(stream) as screen:
            while True:
                self._node.advance(self._clock() - self._born)
                self._follow()
                if agent.ended() is not None:
                    return last, f"the agent ended by itself with exit code {agent.ended()}"
                now = self._clock()
                answer = self._ask(agent, patient=now - started < _PATIENT_SECONDS) if now >= ask else None
                if answer is not None:
                    ask = now + _ASK_SECONDS
                    # The time shown counts from the first answer: a slow start does not shorten it.
                    if last is None and self._options.duration:
                        end = self._clock() + self._options.duration
                    last = answer
                    style = self._style(stream)
                    if style.live or now >= due:
                        due = now + _PLAIN_SECONDS
                        screen.show(self._picture(agent, answer, style, end), style)
                elif last is None and now - started > _START_SECONDS:
                    return None, f"the agent did not answer within {_START_SECONDS:g} s"
                if (end is not None and self._clock() >= end) or self._stop.wait(_STEP_SECONDS):
                    return last, ""

    @staticmethod
    def _ask(agent: AgentProcess, *, patient: bool) -> Mapping[str, Any] | None:
        """What the agent says now, if anything; a ``patient`` asker waits until it knows pods."""
        address = agent.address()
        if address is None:
            return None
        try:
            answer = fetch(f"http://{address}/status.json", _FETCH_SECONDS)
        except Unanswered:
            # Not listening yet, or just dying: what has become of it is looked at in the next round.
            return None
        if patient and not answer["pods"]:
            return None
        return answer

    def _follow(self) -> None:
        """Tell the API server what became of the pods."""
        objects = self._node.objects()
        for namespace, name in self._known.keys() - objects.keys():
            self._api.delete_pod(namespace, name)
        for key, item in objects.items():
            if self._known.get(key) != item:
                self._api.put_pod(item)
        self._known = objects

    def _picture(self, agent: AgentProcess, answer: Mapping[str, Any], style: Style, end: float | None) -> list[str]:
        left = "until Ctrl-C" if end is None else f"{max(0.0, end - self._clock()):.0f} s left, Ctrl-C ends it"
        kind = self._options.kind
        lines = [f"SIMULATED node ({kind}); the agent is real: process {agent.pid}; {left}"]
        lines.append(f"http://{agent.address()}/  http://{agent.address()}/metrics")
        return [*(printable(line, style)[: style.width] for line in lines), "", *view(answer, style), ""]

    def _style(self, stream: TextIO) -> Style:
        style = style_of(stream, os.environ)
        return style._replace(live=False, colour=False) if self._options.plain else style

    def _farewell(self, last: Mapping[str, Any] | None, stream: TextIO) -> None:
        if last is None:
            stream.write("Stopped before the agent had answered; nothing was left behind.\n")
            return
        # On a terminal the alternate screen is gone: leave the last picture where it can be read and copied.
        stream.write("".join(f"{line}\n" for line in view(last, self._style(stream))))
        stream.write(f"Done: {last.get('tick')} observations; the agent ended cleanly; nothing was left behind.\n")
        stream.flush()


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ValueError(text)
    return value


def _free(listen: str) -> str:
    """``listen``, or port 0 of the same host when somebody has that port. Any other fault is the agent's to report."""
    host, separator, port = listen.rpartition(":")
    if not separator or not (port.isascii() and port.isdecimal()):
        return listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host.strip("[]"), int(port)), family=family):
            return listen
    except OSError as error:
        return f"{host}:0" if error.errno == errno.EADDRINUSE else listen
    except OverflowError:
        return listen


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """While inside, the signals that would end the program set ``stop``, so that everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in numbers
        # What was ignored from the start (nohup) stays so.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
