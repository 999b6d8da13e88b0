"""
Runs in the guest: holds memory of which it is known how much is in use. Ends when it is killed.

    parts.py HOT WARM COLD WARM_SECONDS [READY]     MiB that are used twice a second, every so many seconds, and never
                                                    again; READY: a file that is made when all of it is there

Each part is private anonymous memory with data that is not zeros and no huge pages.
"""

import mmap
import os
import sys
import time

PAGE = mmap.PAGESIZE
HOT_SECONDS = 0.5


def part(mebibytes: str) -> mmap.mmap:
    """So much memory, every page of it there."""
    size = int(mebibytes) << 20
    memory = mmap.mmap(-1, max(size, PAGE), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    # Pages that are all zeros need no room on a swap device.
    block = os.urandom(PAGE)
    for start in range(0, size, PAGE):
        memory[start : start + PAGE] = block
    return memory


def main() -> None:
    hot, warm, cold = (part(each) for each in sys.argv[1:4])
    period = float(sys.argv[4])
    for ready in sys.argv[5:]:
        with open(ready, "w"):
            pass
    due = time.monotonic()
    while True:
        # Reading one byte of each page, in C.
        hot[::PAGE]
        if time.monotonic() >= due:
            warm[::PAGE]
            due = time.monotonic() + period
        time.sleep(HOT_SECONDS)
        assert cold


if __name__ == "__main__":
    main()
