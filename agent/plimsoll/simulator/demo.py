"""
``plimsoll demo``: a simulated node, an API server with its pods, the unmodified agent, and a view of what it sees.

Owns the command: its arguments, its exit code, the signals that end it. Needs neither root nor a cluster, touches
nothing outside its temporary folder, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from plimsoll.simulator.demonstration import Demonstration, Failed
from plimsoll.simulator.node import Kind
from plimsoll.simulator.stage import Stage
from plimsoll.terminal import Style, printable

DEFAULT_LISTEN = "127.0.0.1:9470"
DEFAULT_SECONDS = 60.0
EX_OK, EX_FAILED = 0, 1


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
    Run the demonstration. Exit code 0, or 1 when an agent died by itself, did not answer, or left anything changed.

    ``options``: kind, duration (seconds), listen, plain, seed; see :func:`add_arguments`. Raises OSError when no
    temporary folder can be had.
    """
    stop = threading.Event()
    stage = Stage(sys.stdout, time.monotonic, plain=options.plain)
    with _signals(stop), tempfile.TemporaryDirectory(prefix="plimsoll-demo-") as folder:
        show = Demonstration(
            folder,
            options.kind,
            seconds=options.duration or None,
            listen=options.listen,
            seed=options.seed,
            stop=stop,
        )
        try:
            with stage:
                show.run(stage)
        except Failed as failure:
            sys.stdout.flush()
            sys.stderr.write(f"plimsoll: {failure}\n")
            sys.stderr.write("".join(f"  {printable(line, Style())}\n" for line in failure.details))
            return EX_FAILED
    if show.last is None:
        sys.stdout.write("Stopped before the agent had answered; nothing was left behind.\n")
    else:
        stage.keep(show.last, [*show.told, "Done: nothing was left behind."])
    return EX_OK


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise ValueError(text)
    return value


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
