"""How much is said to the API server, and how often. It must not know a clock."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """
    All times in seconds. The defaults are for production.

    A cluster of a thousand such nodes, all of them with something to say at once, makes 25,000 requests in the first
    moment and 100 a second after that; client-go's own event recorder allows every source 25 and one in 300 s.
    """

    burst: int = 25
    every: float = 10.0  # one more request is allowed
    waiting: int = 256  # notices of each channel; what is more is not told
    repeat: float = 3600.0  # something stays true: by default the API server forgets an event after an hour, too
    changed: float = 300.0  # the words changed: an owner who tries again wants to know, one who plays shall not flood
    settle: float = 60.0  # something that ceased to be said is no longer true only if it stays unsaid
    forbidden: float = 600.0  # rights are granted by people
    attempts: int = 5
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    backoff_stable: float = 120.0
    retry_after_longest: float = 300.0
