"""
``plimsoll retire``: the last command of all, when the agents are gone: for the chart's hook.

Owns its arguments, exit codes and words. What is asked of the API server is ``sources/kube/retirement.py``'s.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from random import Random

from plimsoll.model.publishing import RESOURCE
from plimsoll.sources.kube.backoff import Backoff
from plimsoll.sources.kube.failure import Failure
from plimsoll.sources.kube.retirement import Retirement
from plimsoll.sources.kube.source import SERVICE_ACCOUNT
from plimsoll.sources.kube.timing import Timing

TIMEOUT_SECONDS = 240.0
EX_OK, EX_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments; :func:`run` takes the result."""
    parser.add_argument("--kubeconfig", metavar="FILE", help="the cluster (default: the one this runs in as a pod)")
    parser.add_argument(
        "--daemonset",
        metavar="NAMESPACE/NAME",
        type=_object,
        help="wait until this one, whose pods put the nodes back, is ready on every node",
    )
    parser.add_argument("--conditions", action="store_true", help="take plimsoll.io conditions away from all pods")
    parser.add_argument(
        "--resources", action="store_true", help=f"take {RESOURCE}, which agents published, away from all nodes"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="for all of it (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Do what was asked. Exit code 0, or 1 with what is still to be done.

    Raises OSError and ValueError for credentials that cannot be had.
    """
    # Here, because the kubernetes package takes memory and time that no other command should pay.
    from plimsoll.sources.kube.connection import Connection  # noqa: PLC0415

    timing = Timing()
    connection = Connection(
        options.kubeconfig, service_account=SERVICE_ACCOUNT, environ=os.environ, clock=time.monotonic, timing=timing
    )
    backoff = Backoff(
        first=timing.backoff_first,
        longest=timing.backoff_longest,
        stable=timing.backoff_stable,
        clock=time.monotonic,
        random=Random(),
    )
    retirement = Retirement(
        connection, backoff=backoff, clock=time.monotonic, pause=threading.Event().wait, timing=timing
    )
    end = time.monotonic() + options.timeout
    try:
        # First what can be done at once: nodes may be away.
        if options.conditions:
            sys.stdout.write(f"conditions taken away from {retirement.withdraw_conditions(end)} pods\n")
        if options.resources:
            sys.stdout.write(f"{RESOURCE} taken away from {retirement.withdraw_resources(end)} nodes\n")
        if options.daemonset is not None:
            namespace, name = options.daemonset
            progress = retirement.await_nodes(namespace, name, end)
            sys.stdout.write(f"{progress.ready} of {progress.wanted} nodes are put back\n")
            if not progress.done:
                advice = f"not all nodes within {options.timeout:g} s: look at the pods of {namespace}/{name}"
                sys.stderr.write(f"plimsoll: {advice}\n")
                return EX_FAILED
    except Failure as failure:
        sys.stderr.write(f"plimsoll: {failure.message}\n")
        return EX_FAILED
    finally:
        connection.close()
    return EX_OK


def _object(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    if not namespace or not name:
        raise ValueError(text)
    return namespace, name


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise ValueError(text)
    return seconds
