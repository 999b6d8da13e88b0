"""A day in the life of the API server source: a simulated API server, scripted to fail, and a source following it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plimsoll.config.schema import PrioritySection
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.exchange import Exchange
from plimsoll.sources.kube import KubePods, Timing
from tests.following import Following

NODE = "node-1"
PRIORITY = PrioritySection()
# Delays are short and time-outs long, so that a test shows the one it shortens.
QUICK = Timing(
    connect=10.0,
    list_read=30.0,
    watch_read=60.0,
    watch_too_short=0.0,
    backoff_first=0.01,
    backoff_longest=0.1,
    forbidden=0.2,
)

Step = Callable[[Exchange], None] | None


def manifest(name: str, *, node: str = NODE, uid: str | None = None, **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": "shop", "name": name, "annotations": annotations}
    if uid is not None:
        metadata["uid"] = uid
    return {
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "qosClass": "BestEffort"},
    }


@dataclass
class Script:
    """The first lists and watches, one step each; ``None`` and everything after the last are the server's own."""

    lists: list[Step] = field(default_factory=list)
    watches: list[Step] = field(default_factory=list)
    seen: list[tuple[float, Exchange]] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> bool:
        self.seen.append((time.monotonic(), exchange))
        steps = self.watches if exchange.watching else self.lists
        step = steps.pop(0) if steps else None
        if step is None:
            return False
        step(exchange)
        return True

    def asked(self, *, watching: bool) -> list[Exchange]:
        return [exchange for _, exchange in self.seen if exchange.watching is watching]

    def times(self, *, watching: bool) -> list[float]:
        return [at for at, exchange in self.seen if exchange.watching is watching]


@dataclass(kw_only=True)
class Day(Following):
    """The source and what it follows."""

    server: ApiServer
    script: Script
    kubeconfig: Path

    def until_watching(self, watches: int = 1) -> None:
        """Until the server was asked for that many watches."""
        self.until(lambda: len(self.script.asked(watching=True)) >= watches, f"watching {watches} times")


@contextmanager
def day(
    folder: Path,
    *pods: str,
    lists: tuple[Step, ...] = (),
    watches: tuple[Step, ...] = (),
    timing: Timing = QUICK,
    bookmark_seconds: float = 60.0,
) -> Iterator[Day]:
    """A running server with these pods, and a source that was just started."""
    script = Script(list(lists), list(watches))
    server = ApiServer(bookmark_seconds=bookmark_seconds, script=script)
    server.start()
    try:
        for name in pods:
            server.put_pod(manifest(name))
        kubeconfig = folder / "kubeconfig"
        source = KubePods(NODE, kubeconfig=server.write_kubeconfig(kubeconfig), timing=timing)
        try:
            source.start()
            yield Day(source=source, priority=PRIORITY, server=server, script=script, kubeconfig=kubeconfig)
        finally:
            source.stop()
    finally:
        server.stop()
