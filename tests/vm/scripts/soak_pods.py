"""
Runs in the guest, for soak.py: pods that come and go, at moments nobody can foresee.

Owns their cgroups, processes and manifests, of which nothing is left in the end.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from typing import NamedTuple

LIFE_SECONDS = (0.2, 8.0)


class Model(NamedTuple):
    """
    What the pods are made like: the manifest of one, with what differs between any two, the folder of manifests, and
    the cgroup that theirs are made in.
    """

    manifest: str
    name: str
    uid: str
    container: str
    folder: str
    above: str


class Living:
    """The pods' cgroups while they are there, and how many pods there were."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def number(self) -> int:
        """Of the next pod."""
        with self._lock:
            self.made += 1
            return self.made

    def come(self, path: str) -> None:
        with self._lock:
            self._paths.add(path)

    def go(self, path: str) -> None:
        with self._lock:
            self._paths.remove(path)

    def one(self, chance: random.Random) -> str | None:
        """Any of them, if there is one."""
        with self._lock:
            return chance.choice(sorted(self._paths)) if self._paths else None


class Slot:
    """Room for one pod at a time, made and removed as a kubelet and a container runtime do. One thread each."""

    def __init__(self, number: int, model: Model, living: Living) -> None:
        self._model = model
        self._living = living
        self._chance = random.Random(number)

    def run(self, end: float) -> None:
        """One pod after the other until ``end`` (monotonic seconds)."""
        while time.monotonic() < end:
            self._life(self._living.number(), end)

    def _life(self, number: int, end: float) -> None:
        model = self._model
        uid = model.uid[:-12] + f"{number + 1000:012d}"
        text = model.manifest.replace(model.uid, uid).replace(model.name, f"churn-{number}")
        manifest = f"{model.folder}/churn-{number}.yaml"
        prefix = os.path.basename(model.above).removesuffix(".slice")
        pod = f"{model.above}/{prefix}-pod{uid.replace('-', '_')}.slice"
        self._declare(manifest, text.replace(model.container, f"{number:064x}"))
        # The second one has the same name and is another cgroup: nothing of the first may be put back there.
        for _ in range(1 + (self._chance.random() < 0.3)):
            self._run(pod, f"cri-containerd-{number:064x}.scope", end)
        os.unlink(manifest)

    def _declare(self, path: str, text: str) -> None:
        # A file is there whole or not at all: the agent may look at any moment.
        with open(f"{path}.new", "w") as file:
            file.write(text)
        os.rename(f"{path}.new", path)

    def _run(self, pod: str, container: str, end: float) -> None:
        os.mkdir(pod)
        os.mkdir(f"{pod}/{container}")
        self._living.come(pod)
        with subprocess.Popen(["sleep", "600"]) as process:
            with open(f"{pod}/{container}/cgroup.procs", "w") as procs:
                procs.write(str(process.pid))
            time.sleep(max(0.0, min(self._chance.uniform(*LIFE_SECONDS), end - time.monotonic())))
            process.kill()
        self._living.go(pod)
        os.rmdir(f"{pod}/{container}")
        os.rmdir(pod)
