"""
Runs in the guest: work that is counted in finished units, by whoever does it. Ends when it is killed.

    work.py batch N FILE    N processes, each of which does one unit after the other
    work.py serve FILE      a request of ten units every 50 ms, if the last one is finished by then

All units are the same work, so that they can be added up. A process has eight bytes of FILE to count them in, in the
machine's order.
"""

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


WORK: dict[str, Callable[..., None]] = {"batch": batch, "serve": serve}

if __name__ == "__main__":
    WORK[sys.argv[1]](*sys.argv[2:])
