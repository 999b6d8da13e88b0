"""
Runs in the guest: a line of JSON a second about one pod, its swap device, and whoever reclaims.

    watch.py CGROUP DISK CONTROLLER OUT     DISK as in /sys/block; CONTROLLER: a cgroup that may not be there
"""

import json
import sys
import time
from glob import glob

from readings import keyed, number, read

SECTOR = 512


def written(disk: str) -> int:
    """Bytes written to the device so far."""
    with open(f"/sys/block/{disk}/stat") as file:
        return int(file.read().split()[6]) * SECTOR


class KernelThreads:
    """The kernel's own threads that page out for a controller: they are in no cgroup, and come and go."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def cpu(self) -> float:
        """Seconds of CPU time of all of them so far, as far as they were looked at before they ended."""
        for path in glob("/sys/kernel/mm/damon/admin/kdamonds/*/pid"):
            try:
                with open(path) as file:
                    pid = file.read().strip()
                with open(f"/proc/{pid}/schedstat") as file:
                    self._seconds[pid] = int(file.read().split()[0]) / 1e9
            except OSError:
                # It has ended meanwhile, a pid of -1 is that of none, and the tree may be busy for a moment.
                continue
        return sum(self._seconds.values())


def cpu(controller: str) -> float:
    """Seconds of CPU time; 0 where nobody reclaims."""
    try:
        return keyed(f"{controller}/cpu.stat")["usage_usec"] / 1e6
    except FileNotFoundError:
        return 0.0


def main() -> None:
    cgroup, disk, controller, out = sys.argv[1:]
    due, threads = time.monotonic(), KernelThreads()
    with open(out, "w", buffering=1) as file:
        while True:
            seen, stat = read(cgroup), keyed(f"{cgroup}/memory.stat")
            line = {
                "at": seen.at,
                "current": seen.current,
                "swap": number(f"{cgroup}/memory.swap.current"),
                "memory": seen.memory_some,
                "io": seen.io_some,
                "refaults": stat["workingset_refault_anon"] + stat["workingset_refault_file"],
                "written": written(disk),
                "cpu": cpu(controller) + threads.cpu(),
            }
            print(json.dumps(line), file=file)
            due += 1
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
