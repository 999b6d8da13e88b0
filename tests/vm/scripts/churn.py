"""
Runs in the guest: makes pods' cgroups with a process in each and removes them again, at moments nobody can foresee.

    churn.py SECONDS POD_DIRECTORY...

Each pod comes and goes in a thread of its own, as a container runtime would have it: the process killed and reaped, the
container's cgroup removed, then the pod's. Prints how many pods were removed. Nothing is left.
"""

import os
import random
import subprocess
import sys
import threading
import time

LIFE_SECONDS = (0.5, 7.0)
AWAY_SECONDS = (0.0, 1.0)


class Churn(threading.Thread):
    def __init__(self, pod: str, end: float) -> None:
        super().__init__()
        self.pod = pod
        self.end = end
        self.removed = 0

    def run(self) -> None:
        container = f"{self.pod}/cri-containerd-{self.removed:064x}.scope"
        while time.monotonic() < self.end:
            os.mkdir(self.pod)
            os.mkdir(container)
            with subprocess.Popen(["sleep", "600"]) as process:
                with open(f"{container}/cgroup.procs", "w") as procs:
                    procs.write(str(process.pid))
                time.sleep(random.uniform(*LIFE_SECONDS))
                process.kill()
            os.rmdir(container)
            os.rmdir(self.pod)
            self.removed += 1
            time.sleep(random.uniform(*AWAY_SECONDS))


def main() -> None:
    end = time.monotonic() + float(sys.argv[1])
    threads = [Churn(pod, end) for pod in sys.argv[2:]]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    print(sum(each.removed for each in threads))


if __name__ == "__main__":
    main()
