"""
Runs in the guest: a service with requests of a few milliseconds of work, and how long each took.

    latency.py COUNT     JSON of p50 and p99 in milliseconds; a request begins every 50 ms, whatever became of the last
"""

import json
import sys
import time

WORK = 60_000
PERIOD = 0.05


def request() -> None:
    total = 0
    for each in range(WORK):
        total += each * each


def main() -> None:
    count = int(sys.argv[1])
    taken = []
    due = time.monotonic()
    for _ in range(count):
        time.sleep(max(0.0, due - time.monotonic()))
        # From when it was due: what waited in the queue counts.
        request()
        now = time.monotonic()
        taken.append((now - due) * 1000)
        due = max(due + PERIOD, now)
    taken.sort()
    print(json.dumps({"p50": taken[count // 2], "p99": taken[count * 99 // 100]}))


main()
