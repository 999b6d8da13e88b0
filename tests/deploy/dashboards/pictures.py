"""
The pictures of docs/dashboards: agents run on simulated nodes for a while, and every dashboard is drawn.

    python -m tests.deploy.dashboards.pictures        (root, and Debian's package prometheus)
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tests.deploy.dashboards.all import DASHBOARDS, chosen
from tests.deploy.dashboards.picture import Span, picture
from tests.deploy.helm import CHART
from tests.deploy.prometheus import Prometheus
from tests.deploy.simulated import Fleet

DOCS = CHART.parents[2] / "docs/dashboards"
SECONDS = 120.0
START_SECONDS = 300.0
STEP_SECONDS = 0.1

# One pod, so that its lines can be told apart.
CHOICES = {
    "plimsoll-fleet": {},
    "plimsoll-node": {"node": ".*"},
    "plimsoll-pod": {"namespace": "analytics", "pod": "warehouse"},
}


class Living(Protocol):
    """A node, or all of them."""

    def live(self) -> None: ...


def live(fleet: Living, until: Callable[[], bool], seconds: float) -> bool:
    """Let nodes live until something has come about; whether it has, within so many seconds."""
    end = time.monotonic() + seconds
    while not (done := until()) and time.monotonic() < end:
        fleet.live()
        time.sleep(STEP_SECONDS)
    return done


@contextmanager
def watched(folder: Path) -> Iterator[tuple[Fleet, Prometheus]]:
    """Both nodes and the server that scrapes their agents. Raises RuntimeError when an agent does not serve."""
    with Fleet(folder / "fleet") as fleet:
        if not live(fleet, lambda: len(fleet.addresses()) == len(fleet.nodes), START_SECONDS):
            raise RuntimeError("\n".join(line for each in fleet.nodes for line in each.agent.tail()))
        with Prometheus(folder / "prometheus", fleet.addresses()) as server:
            yield fleet, server


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="plimsoll-pictures-") as folder, watched(Path(folder)) as (fleet, server):
        start = time.time()
        live(fleet, lambda: False, SECONDS / 2)
        fleet.meddle()
        live(fleet, lambda: False, SECONDS / 2)
        DOCS.mkdir(exist_ok=True)
        span = Span(start, time.time(), 3.0)
        for file, dashboard in DASHBOARDS.items():
            values = CHOICES[dashboard.uid]
            text = picture(dashboard, server.promql, lambda each, values=values: chosen(each, values), span)
            (DOCS / f"{file.stem}.svg").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
