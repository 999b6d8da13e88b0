"""
5,000 pods created and deleted under one agent, 110 alive at most: descriptors, threads, series and memory stay flat.

``--pods`` makes it longer or shorter. The slope is that of a straight line through the second half of the run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.churn import churn

TMPFS = Path("/dev/shm")
SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--alive", type=int, default=110)
    options = parser.parse_args()
    print(f"{'pods made':>9} {'descriptors':>11} {'threads':>7} {'series':>6} {'RSS MiB':>8}")
    with tempfile.TemporaryDirectory(dir=TMPFS if TMPFS.is_dir() else None) as folder:
        left = []
        for each in churn(Path(folder), pods=options.pods, alive=options.alive, batch=options.alive // 2):
            left.append(each)
            if len(left) % max(1, options.pods // options.alive * 2 // SHOWN) == 1:
                now = each.usage
                figures = f"{now.descriptors:>11} {now.threads:>7} {each.series:>6} {now.resident_mib:>8.1f}"
                print(f"{each.pods:>9} {figures}", flush=True)
    late = left[len(left) // 2 :]
    made = [each.pods for each in late]
    for what, values in (
        ("descriptors", [each.usage.descriptors for each in late]),
        ("threads", [each.usage.threads for each in late]),
        ("series", [each.series for each in late]),
        ("RSS KiB", [each.usage.resident_mib * 1024 for each in late]),
    ):
        slope = statistics.linear_regression(made, values).slope if len(set(values)) > 1 else 0.0
        print(f"second half, {what:>11}: {min(values):.0f} to {max(values):.0f}, {1000 * slope:+.2f} per 1,000 pods")


main()
