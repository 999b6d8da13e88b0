"""
Runs in the guest: work that is counted in finished units, by whoever does it. Ends when it is killed.

    work.py batch N FILE                N processes, each of which does one unit after the other
    work.py serve FILE                  a request of ten units every 50 ms, if the last one is finished by then
    work.py measure SECONDS FILE...     JSON: units per second in that time, by FILE; ends by itself

All units are the same work, so that they can be added up. Each process has a number in FILE to count them in.
"""

import json
import mmap
import os
import sys
import time
from collections.abc import Callable

SIZE = 512
PERIOD = 0.05
REQUEST = 10
STEPS = 2000


def unit() -> None:
    total = 0
    for each in range(STEPS):
        total += each * each


def counter(path: str) -> memoryview:
    """One number for each process, in a file that is made when missing."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, SIZE)
    return memoryview(mmap.mmap(descriptor, SIZE)).cast("Q")


def batch(processes: str, path: str) -> None:
    finished = counter(path)
    worker = next((each for each in range(1, int(processes)) if os.fork() == 0), 0)
    while True:
        unit()
        finished[worker] += 1


def serve(path: str) -> None:
    finished = counter(path)
    due = time.monotonic()
    while True:
        for _ in range(REQUEST):
            unit()
            finished[0] += 1
        due = max(due + PERIOD, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def measure(seconds: str, *paths: str) -> None:
    counters = [counter(path) for path in paths]
    begun = time.monotonic()
    before = [sum(each) for each in counters]
    time.sleep(float(seconds))
    after = [sum(each) for each in counters]
    # Woken late, as others work too.
    taken = time.monotonic() - begun
    json.dump([(now - then) / taken for now, then in zip(after, before, strict=True)], sys.stdout)


WORK: dict[str, Callable[..., None]] = {"batch": batch, "serve": serve, "measure": measure}

if __name__ == "__main__":
    WORK[sys.argv[1]](*sys.argv[2:])
