"""
``plimsoll status``: ask a running agent what it sees, and show it.

Only HTTP is spoken here; how it looks is ``status_view``'s business.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any, TextIO
from urllib.parse import urlsplit

from plimsoll.status_view import view
from plimsoll.terminal import Screen, printable, style_of

DEFAULT_URL = "http://127.0.0.1:9470"
EX_UNAVAILABLE = 69
WATCH_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
# A node of 500 pods says about a megabyte.
_LIMIT_BYTES = 64 << 20


class Unanswered(Exception):  # noqa: N818 - says what happened to the question
    """No status came: the reason, in words for a person."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments; :func:`run` takes the result."""
    parser.add_argument("--url", default=DEFAULT_URL, help=f"where the agent listens (default: {DEFAULT_URL})")
    parser.add_argument("--watch", action="store_true", help=f"show it again every {WATCH_SECONDS:g} s until Ctrl-C")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--ca-file", metavar="FILE", help="the CA of the agent's certificate (default: the system's)")
    parser.add_argument("--cert-file", metavar="FILE", help="a client certificate, where the agent asks for one")
    parser.add_argument("--key-file", metavar="FILE", help="its key (default: in the same file)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Show the status once, or again and again. Exit code 0, or 69 when there is no answer.

    Raises ValueError for a URL that is none, OSError for a certificate file that cannot be used. Interrupting a watch
    raises KeyboardInterrupt.
    """
    url = status_url(options.url)
    tls = _tls(options)
    if options.watch:
        with Screen(sys.stdout) as screen:
            watch(url, options.format, screen, sys.stdout, threading.Event().wait, tls=tls)
        return 0
    try:
        document = fetch(url, tls=tls)
    except Unanswered as error:
        sys.stderr.write(f"plimsoll: {_advice(url, error)}\n")
        return EX_UNAVAILABLE
    if options.format == "json":
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in view(document, style_of(sys.stdout, os.environ))))
    return 0


def _tls(options: argparse.Namespace) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except ssl.SSLError as error:
        raise ValueError(f"--ca-file, --cert-file, --key-file: not PEM files that fit together: {error}") from error
    return context


def watch(
    url: str,
    layout: str,
    screen: Screen,
    stream: TextIO,
    wait: Callable[[float], bool],
    *,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Show one status after the other until ``wait(seconds)`` is true. An agent that is away may come back."""
    while True:
        style = style_of(stream, os.environ)
        try:
            document = fetch(url, tls=tls)
        except Unanswered as error:
            text = json.dumps({"error": str(error)}) if layout == "json" else _advice(url, error)
            screen.show([printable(text, style)], style._replace(live=style.live and layout == "table"))
        else:
            if layout == "json":
                # One line each, for programs.
                screen.show([json.dumps(document)], style._replace(live=False))
            else:
                screen.show(view(document, style), style)
        if wait(WATCH_SECONDS):
            return


def status_url(text: str) -> str:
    """The address of ``/status.json`` from what a person writes: ``host:port`` or a URL. Raises ValueError."""
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not an address: write for example {DEFAULT_URL}")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('.json') else path + '/status.json'}"


def fetch(url: str, timeout: float = _TIMEOUT_SECONDS, tls: ssl.SSLContext | None = None) -> Mapping[str, Any]:
    """Get and decode a status. ``tls`` is for https; ``None``: what the system trusts. Raises Unanswered."""
    # An agent is asked on its own node or through a tunnel; a proxy meant for the internet would only be in the way.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls or ssl.create_default_context())
    )
    try:
        with opener.open(url, timeout=timeout) as answer:
            body = answer.read(_LIMIT_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 503:
                raise Unanswered("the agent has not finished its first observation yet") from error
            raise Unanswered(f"the answer is {error.code} {error.reason}: probably not a Plimsoll agent") from error
    except urllib.error.URLError as error:
        raise Unanswered(f"no answer: {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise Unanswered(f"no answer: {str(error) or type(error).__name__}") from error
    try:
        document = json.loads(body) if len(body) <= _LIMIT_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("pods"), list):
        raise Unanswered("the answer is not a status: probably not a Plimsoll agent")
    return document


def _advice(url: str, error: Unanswered) -> str:
    return f"{url}: {error}. Is the agent running? Give its address with --url (http.listen in its configuration)."
