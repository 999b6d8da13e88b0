"""
Runs in the guest: one of the laws on one pod.

    control.py LAW CGROUP       for ever
"""

import sys
import time

from laws import LAWS
from readings import read


def main() -> None:
    law, cgroup = LAWS[sys.argv[1]], sys.argv[2]
    before = read(cgroup)
    due = before.at
    while True:
        due += law.period
        # What it asked for may have taken longer than its period.
        time.sleep(max(0.0, due - time.monotonic()))
        now = read(cgroup)
        size = law.size(before, now)
        before = now
        if size <= 0:
            continue
        try:
            with open(f"{cgroup}/memory.reclaim", "w") as file:
                file.write(str(size))
        except BlockingIOError:
            # Less was found than was asked for.
            continue


if __name__ == "__main__":
    main()
