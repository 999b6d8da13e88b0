"""
Runs in the guest: makes the tasks of a pod want what they cannot have. Ends when it is killed.

    load.py spin N          N processes that want a CPU each
    load.py touch MIB N     N that write to every page of so much memory each, over and over
    load.py read DEVICE     one that reads blocks from a disk, past the page cache
    load.py idle            one that works for a moment every second
"""

import mmap
import os
import random
import sys
import time
from collections.abc import Callable

BLOCK = 4096


def fork(count: str) -> None:
    """From here on there are ``count`` processes."""
    for _ in range(int(count) - 1):
        if os.fork() == 0:
            break


def spin(count: str) -> None:
    fork(count)
    while True:
        pass


def touch(mebibytes: str, count: str) -> None:
    fork(count)
    size = int(mebibytes) << 20
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # With huge pages one fault would bring back 2 MiB.
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    ones = b"1" * (size // BLOCK)
    while True:
        # One byte of every page, written by C: the pod shall wait for memory, not for an interpreter.
        memory[::BLOCK] = ones


def read(device: str) -> None:
    descriptor = os.open(device, os.O_RDONLY | os.O_DIRECT)
    blocks = os.lseek(descriptor, 0, os.SEEK_END) // BLOCK
    # O_DIRECT wants memory that is aligned to a block, as a mapping is.
    block = mmap.mmap(-1, BLOCK)
    while True:
        os.preadv(descriptor, [block], random.randrange(blocks) * BLOCK)


def idle() -> None:
    while True:
        time.sleep(1)


LOADS: dict[str, Callable[..., None]] = {"spin": spin, "touch": touch, "read": read, "idle": idle}

if __name__ == "__main__":
    LOADS[sys.argv[1]](*sys.argv[2:])
