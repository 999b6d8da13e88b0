"""
The kubelet's cgroups in the guest: where a pod's are, and everything in them that can be set.

Owns the names of both cgroup drivers. Reads only.
"""

from __future__ import annotations

import json
from typing import Any

from tests.vm.machine import Machine

ROOT = "/sys/fs/cgroup"
# Everything below the kubelet's cgroups that is read and written, but for what is no setting: who is in a cgroup,
# triggers, and figures that writing resets.
_SETTINGS = """
import json, os, stat, sys
found = {}
for folder, _, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(folder, name)
        if name in ("cgroup.procs", "cgroup.threads") or name.endswith((".pressure", ".peak", ".events")):
            continue
        try:
            if stat.S_IMODE(os.stat(path).st_mode) & 0o600 == 0o600:
                found[path] = open(path).read().strip()
        except OSError as error:
            if error.errno not in (2, 19):  # a cgroup may go at any moment
                raise
json.dump(found, sys.stdout)
"""

Json = dict[str, Any]


def pod_path(pod: Json, driver: str) -> str:
    """The folder of a pod's cgroup."""
    uid, qos = pod["metadata"]["uid"], pod["status"]["qosClass"].lower()
    middle = [] if qos == "guaranteed" else [qos]
    if driver == "cgroupfs":
        return "/".join([ROOT, "kubepods", *middle, f"pod{uid}"])
    above = [f"kubepods-{each}.slice" for each in middle]
    unit = "-".join(["kubepods", *middle, f"pod{uid.replace('-', '_')}.slice"])
    return "/".join([ROOT, "kubepods.slice", *above, unit])


def settings(guest: Machine, driver: str) -> dict[str, str]:
    """Every setting of every cgroup that the kubelet made, by path."""
    above = "kubepods" if driver == "cgroupfs" else "kubepods.slice"
    found: dict[str, str] = json.loads(guest.run(["python3", "-c", _SETTINGS, f"{ROOT}/{above}"]).check().stdout)
    return found
