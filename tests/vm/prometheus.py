"""
A real Prometheus server in a guest, scraping the agent there.

Owns its configuration and its start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.promql import Promql, Sample
from tests.vm.agent import PORT as AGENT_PORT
from tests.vm.machine import Machine

PORT = 9090
TARGETS = "/etc/prometheus/targets.json"
CONFIG = f"""\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: plimsoll
  honor_labels: true
  file_sd_configs: [{{files: ["{TARGETS}"]}}]
"""
ASK_AGAIN_SECONDS = 1.0


class Prometheus:
    """The server; started at once. ``agent``: the address it scrapes."""

    def __init__(self, guest: Machine, agent: str = f"127.0.0.1:{AGENT_PORT}") -> None:
        self._guest = guest
        self.scrape(agent)
        guest.push("/etc/prometheus/plimsoll.yml", CONFIG)
        guest.sh(
            "systemd-run --quiet --unit=prometheus-test.service prometheus --config.file=/etc/prometheus/plimsoll.yml "
            f"--storage.tsdb.path=/var/lib/prometheus-test --web.listen-address=0.0.0.0:{PORT}"
        )
        self._promql = Promql(f"http://127.0.0.1:{guest.forward(PORT)}")

    def scrape(self, agent: str) -> None:
        """Have it scrape this address from now on."""
        # It follows the file, which is there whole or not at all.
        self._guest.push(f"{TARGETS}.new", json.dumps([{"targets": [agent]}]))
        self._guest.sh(f"mv {TARGETS}.new {TARGETS}")

    def query(self, promql: str) -> list[Sample]:
        """The instant vector that the expression is now. Raises OSError when there is no answer."""
        return self._promql.query(promql)

    def wait(self, promql: str, accept: Callable[[list[Sample]], bool], seconds: float) -> list[Sample]:
        """The first vector that is accepted. Raises AssertionError with the last one at the deadline."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                found = self.query(promql)
            except OSError as error:
                # It takes seconds to start.
                last = error
            else:
                if accept(found):
                    return found
                last = found
            time.sleep(ASK_AGAIN_SECONDS)
        raise AssertionError(f"after {seconds:.0f} s {promql} is still {last}\n{self._guest.console()}")
