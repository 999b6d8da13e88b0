"""
Runs in the guest: pods come and go, somebody else writes the agent's knobs, and what the agent uses is noted.

    soak.py SECONDS PLAN    PLAN: a file of JSON, see main()

The time is cut into rounds. In each, pods are made and removed and the outsider writes, all at random moments; then it
is quiet until the agent's page shows only the pods that live on, and a line of JSON is printed. So every line is taken
under the same conditions, and what rises from line to line is kept of what is gone. The last line says how often the
outsider wrote, and which of its values must outlive the agent.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from soak_outsider import Outsider
from soak_pods import Living, Model, Slot

STATE = "/run/plimsoll"
ROUND_SECONDS = 12.0
SLOTS = 12
# How long the agent may take to let go of what is gone: it observes every second.
QUIET_SECONDS = 60.0
LOOK_SECONDS = 0.5
LOOKS = 5


class Agent:
    """The running agent, from outside."""

    def __init__(self, process: int, url: str) -> None:
        self._process = process
        self._url = url

    def page(self) -> str:
        with urllib.request.urlopen(self._url, timeout=60) as answer:
            return answer.read().decode()

    def quiet_page(self, pods: int) -> str:
        """Its page once it shows no more pods than these. Raises TimeoutError."""
        end = time.monotonic() + QUIET_SECONDS
        while len(samples(page := self.page(), "plimsoll_pod_info")) != pods:
            if time.monotonic() > end:
                raise TimeoutError(f"after {QUIET_SECONDS} s it is not the {pods} pods that live on:\n{page}")
            time.sleep(LOOK_SECONDS)
        return page

    def descriptors(self) -> int:
        """Those that are kept: some are open for a moment."""
        counts = []
        for _ in range(LOOKS):
            counts.append(len(os.listdir(f"/proc/{self._process}/fd")))
            time.sleep(0.1)
        return min(counts)

    def uses(self) -> dict[str, int]:
        """What it holds now. Memory is in KiB, of its own: what it shares with a file is the kernel's to drop."""
        proc = f"/proc/{self._process}"
        with open(f"{proc}/status") as file:
            status = dict(line.split(":", 1) for line in file)
        return {
            "descriptors": self.descriptors(),
            "threads": int(status["Threads"]),
            "memory": int(status["RssAnon"].split()[0]),
            "journal": os.stat(f"{STATE}/journal").st_size,
            "state": sum(each.stat().st_size for each in os.scandir(STATE)),
        }


def samples(page: str, name: str) -> list[float]:
    """The values of all series of one name."""
    return [float(each) for each in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)]


def main() -> None:
    seconds = float(sys.argv[1])
    with open(sys.argv[2]) as file:
        plan = json.load(file)
    agent = Agent(plan["process"], plan["page"])
    living = Living()
    model = Model(**plan["model"])
    outsider = Outsider(**plan["outsider"], living=living, above=model.above)
    busy = (outsider, *(Slot(number, model, living) for number in range(SLOTS)))
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        most: dict[str, int] = {}
        end = time.monotonic() + ROUND_SECONDS
        with ThreadPoolExecutor(len(busy)) as pool:
            running = [pool.submit(each.run, end) for each in busy]
            while time.monotonic() < end:
                most = {name: max(value, most.get(name, 0)) for name, value in agent.uses().items()}
                time.sleep(LOOK_SECONDS)
        for each in running:
            each.result()
        page = agent.quiet_page(plan["pods"])
        line = {
            "seconds": round(time.monotonic() - begun, 1),
            "made": living.made,
            **agent.uses(),
            "series": sum(not each.startswith("#") for each in page.splitlines()),
            "series of pods": len(re.findall(r'^[^#].*\bpod="', page, re.MULTILINE)),
            "held": sum(samples(page, "plimsoll_knobs_held")),
            "writes": sum(samples(page, "plimsoll_writes_total")),
            "drifts": sum(samples(page, "plimsoll_knob_drift_total")),
            "most": most,
        }
        print(json.dumps(line), flush=True)
    print(json.dumps({"outsider": outsider.writes, "own": outsider.own}), flush=True)


if __name__ == "__main__":
    main()
