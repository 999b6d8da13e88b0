"""
What a scrape costs, against prometheus-client writing the same samples.

A page of 5,000 series of pods is served over a real socket on the loopback. The page is made once per tick and only
copied by a scrape, so both are told: the scrape alone, and a scrape with the page it needs (one scrape per tick). The
endpoint's CPU is the process's less that of the client's thread. Measured turn by turn and told as medians; every value
changes with every tick, which is the worst case, and each part begins with a collected heap: nobody pays for the
garbage of another. The status page is made between scrapes in fragments: the longest is what a scrape may wait.
"""

from __future__ import annotations

import gc
import gzip
import http.client
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from prometheus_client import generate_latest

from plimsoll.config.schema import HttpSection, PressureSection
from plimsoll.exporter.exposition import metrics
from plimsoll.exporter.http import HttpServer
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.page import fragments
from plimsoll.log import configure
from tests.fixtures.snapshots import FACTS, HEARTBEAT, pod_sample, snapshot

SERIES = 5000
PODS = 140
ROUNDS = 40
TARGET_MS, TARGET_RATIO = 5.0, 10.0


class Fixed:
    """What prometheus-client collects from: its own objects, made beforehand."""

    def __init__(self, families):
        self.metrics = list(metrics(families))

    def collect(self):
        return self.metrics


class Figures:
    """Milliseconds by name, one list each."""

    def __init__(self):
        self.by_name: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        self.by_name.setdefault(name, []).append(1000 * seconds)

    def median(self, name: str) -> float:
        return statistics.median(self.by_name[name])


def cpu(work: Callable[[], object]) -> float:
    """CPU of this thread."""
    gc.collect()
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def scrape(client: http.client.HTTPConnection, path: str, figures: Figures, name: str, **headers: str) -> int:
    """One request; its time as the client sees it, and the CPU of all threads but this one."""
    process, own, begun = time.process_time(), time.thread_time(), time.perf_counter()
    client.request("GET", path, headers=headers)
    body = client.getresponse().read()
    figures.add(f"{name} time", time.perf_counter() - begun)
    figures.add(f"{name} cpu", max(0.0, time.process_time() - process - (time.thread_time() - own)))
    return len(body)


def held_up(made: Iterator[bytes], figures: Figures) -> None:
    """A page in fragments: all of it, and the longest a scrape has to wait for one of them."""
    gc.collect()
    total = longest = 0.0
    begun = time.thread_time()
    for _ in made:
        took = time.thread_time() - begun
        total, longest = total + took, max(longest, took)
        begun = time.thread_time()
    figures.add("status page cpu", total)
    figures.add("  longest fragment", longest)


def main() -> None:
    configure(level="error")
    exporter = Exporter(PressureSection.model_validate({"maxSeries": SERIES}))
    server = HttpServer(exporter, "127.0.0.1:0", HttpSection(), clock=lambda: HEARTBEAT)
    server.start()
    figures = Figures()
    client = http.client.HTTPConnection(server.address)
    size = zipped = 0
    for tick in range(1, ROUNDS + 4):
        seen = snapshot(tuple(pod_sample(number, tick) for number in range(PODS)), tick=tick)
        figures.add("render cpu", cpu(lambda seen=seen: exporter.observe(seen, FACTS)))
        size = scrape(client, "/metrics", figures, "scrape")
        zipped = scrape(client, "/metrics", figures, "first gzip", **{"Accept-Encoding": "gzip"})
        scrape(client, "/metrics", figures, "next gzip", **{"Accept-Encoding": "gzip"})
        held_up(fragments(exporter.page), figures)
        library = Fixed(exporter.families(seen, FACTS))
        text: list[bytes] = []
        figures.add("library cpu", cpu(lambda library=library, text=text: text.append(generate_latest(library))))
        figures.add("library gzip cpu", cpu(lambda text=text: gzip.compress(text[0])))
        if tick == 3:
            # The first rounds make what later ones keep.
            figures.by_name.clear()
    server.stop()
    report(figures, exporter, size, zipped)


def report(figures: Figures, exporter: Exporter, size: int, zipped: int) -> None:
    series = sum(line.startswith(b"plimsoll_pod_") for line in exporter.text().splitlines())
    print(f"{series} series of pods, {size} bytes, {zipped} compressed; medians of {ROUNDS} ticks")
    for name in sorted(figures.by_name):
        values = figures.by_name[name]
        print(f"  {name:<22} {statistics.median(values):8.3f} ms   worst {max(values):8.3f} ms")
    library, library_gzip = figures.median("library cpu"), figures.median("library gzip cpu")
    copied, made = figures.median("scrape cpu"), figures.median("render cpu")
    first, again = figures.median("first gzip cpu"), figures.median("next gzip cpu")
    ratios = {
        "a scrape alone": library / copied,
        "a scrape and its page": library / (copied + made),
        "a compressed scrape of a page already compressed": (library + library_gzip) / again,
        "a compressed scrape and its page": (library + library_gzip) / (first + made),
    }
    print("CPU of prometheus-client for the same, as a multiple of ours:")
    for name, ratio in ratios.items():
        print(f"  {name:<50} {ratio:8.1f}")
    longest = max(figures.median("scrape time"), figures.median("first gzip time"))
    print(f"a scrape in at most {TARGET_MS:g} ms: {'met' if longest <= TARGET_MS else 'missed'} ({longest:.2f} ms)")
    met = ratios["a scrape alone"] >= TARGET_RATIO
    print(f"a scrape at least {TARGET_RATIO:g} times cheaper: {'met' if met else 'missed'}")


main()
