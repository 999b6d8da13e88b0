"""
Asking a Prometheus server over its HTTP API: what an expression is now, or was over a while.

Owns the questions' form. Starts no server: see vm/prometheus.py for one in a guest, deploy/prometheus.py for one here.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

REQUEST_SECONDS = 30.0

Sample = tuple[dict[str, str], float]
Series = tuple[dict[str, str], list[tuple[float, float]]]


class Promql:
    """One server's API below ``url``. Every question raises OSError when there is no answer, or it is an error."""

    def __init__(self, url: str) -> None:
        self._url = url
        # Without the empty ProxyHandler, urllib would send requests for the loopback to $http_proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready(self) -> bool:
        """Whether it answers questions yet."""
        try:
            with self._opener.open(f"{self._url}/-/ready", timeout=REQUEST_SECONDS) as response:
                return response.status == 200
        except OSError:
            return False

    def query(self, promql: str) -> list[Sample]:
        """The instant vector that the expression is now."""
        return [(each["metric"], float(each["value"][1])) for each in self._ask("query", query=promql)]

    def query_range(self, promql: str, start: float, end: float, step: float) -> list[Series]:
        """What the expression was between two times, in seconds since the epoch, every ``step`` seconds."""
        found = self._ask("query_range", query=promql, start=str(start), end=str(end), step=str(step))
        return [(each["metric"], [(at, float(value)) for at, value in each["values"]]) for each in found]

    def _ask(self, what: str, **parameters: str) -> list[Any]:
        with self._opener.open(f"{self._url}/api/v1/{what}?{urlencode(parameters)}", timeout=REQUEST_SECONDS) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return found
