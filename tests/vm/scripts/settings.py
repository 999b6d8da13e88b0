"""
Runs in the guest: every setting of the cgroups below the kubelet's roots, as the kernel prints them.

    settings.py     JSON of them by path

A setting is a file that can be written and keeps what was written until somebody writes again: not one that counts, or
that lists processes.
"""

import json
import os
import stat
import sys
from glob import glob

ROOTS = ("/sys/fs/cgroup/kubepods*", "/sys/fs/cgroup/*/kubepods*")
# They can be written (to move a process, to start anew at 0, to ask for a notice), but change by themselves.
NO_SETTINGS = ("tasks", "cgroup.procs", "cgroup.threads", "cpuacct.usage")
NO_SETTINGS_ENDING = (".pressure", ".peak", "usage_in_bytes", "failcnt")


def settings() -> dict[str, str]:
    """By path. A cgroup that vanishes meanwhile is not there."""
    found = {}
    # cpu and cpuacct are links to one hierarchy.
    for root in sorted({os.path.realpath(each) for pattern in ROOTS for each in glob(pattern)}):
        for folder, _, names in os.walk(root):
            for name in names:
                path = f"{folder}/{name}"
                text = setting(path)
                if text is not None:
                    found[path] = text
    return found


def setting(path: str) -> str | None:
    """What stands there; ``None`` for a file that is no setting, or that this kernel will not show."""
    name = os.path.basename(path)
    if name in NO_SETTINGS or name.endswith(NO_SETTINGS_ENDING):
        return None
    try:
        if os.stat(path).st_mode & (stat.S_IRUSR | stat.S_IWUSR) != stat.S_IRUSR | stat.S_IWUSR:
            return None
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


if __name__ == "__main__":
    json.dump(settings(), sys.stdout)
