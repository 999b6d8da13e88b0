"""
A real Prometheus server on this machine (Debian's package), scraping agents on the loopback with the chart's rules.

Owns its configuration and its life. What is asked of it: promql.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.cluster.port import Port
from tests.deploy.helm import CHART
from tests.process import Process
from tests.promql import Promql

RULES = CHART / "files/rules.yaml"
START_SECONDS = 300.0
STOP_SECONDS = 60.0


class Prometheus:
    """
    A server that scrapes every second, from the block's begin to its end.

    ``targets``: the agents' addresses by the name of their node, which each series then carries as the label ``node``,
    as the chart's monitors give it. ``hasty``: alerts do not wait for minutes. Raises ProcessError when it does not
    start.
    """

    def __init__(self, folder: Path, targets: Mapping[str, str], *, hasty: bool = False) -> None:
        folder.mkdir(parents=True)
        rules = RULES
        if hasty:
            rules = folder / "rules.yaml"
            rules.write_text(re.sub(r"\bfor: \d+m$", "for: 1s", RULES.read_text(), flags=re.MULTILINE))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "plimsoll",
                    "honor_labels": True,
                    "static_configs": [
                        {"targets": [address], "labels": {"node": node}} for node, address in targets.items()
                    ],
                }
            ],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._port = Port()
        # Port keeps ours until now; the server has no SO_REUSEPORT.
        address = self._port.url("http").removeprefix("http://")
        self._port.close()
        self._process = Process(
            "prometheus",
            [
                shutil.which("prometheus") or "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            folder / "log",
        )
        self.promql = Promql(f"http://{address}")

    def __enter__(self) -> Self:
        self._process.start()
        try:
            self._process.wait_until(self.promql.ready, "ready", START_SECONDS)
        except BaseException:
            self._process.stop(STOP_SECONDS)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(STOP_SECONDS)
