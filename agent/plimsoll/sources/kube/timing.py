"""
How long the API server source waits for what. It must not know a clock.

The backoff and the length of a watch are those of Kubernetes' own client (client-go's reflector), so that a sick API
server sees one kind of client.
"""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """All in seconds. The defaults are for production; tests of faults shorten them."""

    connect: float = 5.0
    list_read: float = 30.0  # between two reads of a list
    list_total: float = 120.0
    # The API server sends a bookmark about every 60 s; a watch that is silent for longer is not to be trusted.
    watch_read: float = 75.0
    watch_shortest: float = 300.0
    watch_longest: float = 600.0
    # A watch that the server ends sooner is a failure: reconnecting at once would be a hot loop.
    watch_too_short: float = 10.0
    relist: float = 1800.0  # +-20 %
    backoff_first: float = 0.8
    backoff_longest: float = 30.0
    backoff_stable: float = 120.0
    # Rights are granted by people: asking sooner only fills the audit log.
    forbidden: float = 30.0
    retry_after_longest: float = 300.0
    # A peer that vanished without a FIN is noticed after idle + interval * count = 50 s.
    keepalive_idle: int = 20
    keepalive_interval: int = 10
    keepalive_count: int = 3
