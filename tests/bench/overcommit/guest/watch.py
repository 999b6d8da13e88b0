"""
Runs in the guest: a line of JSON a second about some pods together, their swap device, and whoever reclaims.

    watch.py DISK CONTROLLER OUT CGROUP...      DISK as in /sys/block; CONTROLLER: a cgroup that may not be there
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


def held(disk: str) -> int:
    """Bytes of memory that the device itself takes for what is on it: a compressing one does."""
    try:
        with open(f"/sys/block/{disk}/mm_stat") as file:
            return int(file.read().split()[2])
    except FileNotFoundError:
        return 0


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
    disk, controller, out, *cgroups = sys.argv[1:]
    due, threads = time.monotonic(), KernelThreads()
    with open(out, "w", buffering=1) as file:
        while True:
            pods, stats = [read(each) for each in cgroups], [keyed(f"{each}/memory.stat") for each in cgroups]
            line = {
                "at": pods[0].at,
                "current": sum(each.current for each in pods) + held(disk),
                "swap": sum(number(f"{each}/memory.swap.current") for each in cgroups),
                "memory": sum(each.memory_some for each in pods),
                "io": sum(each.io_some for each in pods),
                "refaults": sum(each["workingset_refault_anon"] + each["workingset_refault_file"] for each in stats),
                "written": written(disk),
                "cpu": cpu(controller) + threads.cpu(),
            }
            print(json.dumps(line), file=file)
            due += 1
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
