"""
Runs in the guest: fills the queue of a disk that does nearly nothing.

    crowd.py DEVICE COUNT       so many reads at once, each from the disk itself; ends when all of them have come back
"""

import mmap
import os
import sys
import threading

BLOCK = 4096


def read(disk: int, number: int) -> None:
    # Direct, into memory that begins at a page's start.
    with mmap.mmap(-1, BLOCK) as memory:
        os.preadv(disk, [memory], number * BLOCK)


def main() -> None:
    disk = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
    threading.stack_size(64 << 10)
    threads = [threading.Thread(target=read, args=(disk, 2 * number)) for number in range(int(sys.argv[2]))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


if __name__ == "__main__":
    main()
