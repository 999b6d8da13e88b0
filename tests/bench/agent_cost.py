"""
What the whole agent costs its node: resident memory, and CPU of one core at a tick each second while being scraped.

The agent is the installed program, its pods come from an API server stub over HTTP, its kernel files from a folder on
tmpfs, and a scraper takes the compressed page once a second. ``--seconds`` sets how long each node is watched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from plimsoll.simulator.apiserver import ApiServer
from tests.bench import nodes
from tests.running import Running, Usage, until
from tests.support import pod_json

NODE = "bench"
SIZES = ((1, 3), (110, 330), (250, 1000))
TARGET_MIB, TARGET_SHARE = 64.0, 0.01
TMPFS = Path("/dev/shm")


def measure(folder: Path, size: tuple[int, int], seconds: float, *, scraped: bool) -> tuple[float, float, float, int]:
    """CPU share of one core, resident MiB, highest MiB, and the series on the page."""
    found = nodes.pods(*size)
    root = folder / f"node-{size[0]}-{scraped}"
    nodes.folder(root, found)
    (root / "run").mkdir()
    config = folder / "plimsoll.yaml"
    config.write_text("pressure: {interval: 1s, maxSeries: 100000}\n")
    server = ApiServer()
    server.start()
    try:
        for pod in found:
            server.put_pod(pod_json(pod, NODE))
        kubeconfig = server.write_kubeconfig(folder / "kubeconfig")
        agent = Running(folder, "--root", root, "--kubeconfig", kubeconfig, "--node-name", NODE, "--config", config)
        try:
            until(lambda: agent.get("/readyz")[0] == 200, "ready")
            until(lambda: (agent.metric("plimsoll_ticks_total") or "0") >= "3", "the first ticks")
            begun, used = time.monotonic(), Usage.of(agent.process.pid).cpu_seconds
            while (elapsed := time.monotonic() - begun) < seconds:
                if scraped:
                    agent.get("/metrics", **{"Accept-Encoding": "gzip"})
                time.sleep(1.0 - (time.monotonic() - begun) % 1.0)
            usage = Usage.of(agent.process.pid)
            series = sum(not line.startswith(b"#") for line in agent.get("/metrics")[1].splitlines())
            return (usage.cpu_seconds - used) / elapsed, usage.resident_mib, usage.peak_mib, series
        finally:
            agent.stop()
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print(
        f"{'pods':>5} {'containers':>10} {'series':>7} {'scraped':>8} {'CPU of a core':>14} {'RSS MiB':>8} {'peak':>6}"
    )
    with tempfile.TemporaryDirectory(dir=TMPFS if TMPFS.is_dir() else None) as folder:
        for size in SIZES:
            for scraped in (False, True):
                share, now, peak, series = measure(Path(folder), size, options.seconds, scraped=scraped)
                each = f"{'each s' if scraped else 'no':>8}"
                print(
                    f"{size[0]:>5} {size[1]:>10} {series:>7} {each} {share:>13.2%} {now:>8.1f} {peak:>6.1f}", flush=True
                )
                if size == SIZES[1] and not scraped:
                    cpu = "met" if share <= TARGET_SHARE else "missed"
                    memory = "met" if peak <= TARGET_MIB else "missed"
                    print(f"      at most {TARGET_SHARE:.0%} CPU: {cpu}; at most {TARGET_MIB:g} MiB: {memory}")


main()
