"""
Pods in a guest, as a kubelet and a container runtime leave them: cgroups, processes in them, a manifest for the agent.

Owns names and places. The cgroups of the systemd driver are made by systemd itself, those of the cgroupfs driver with
mkdir, as the kubelet does.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.vm.agent import HOME, PODS
from tests.vm.machine import Machine

NAMESPACE = "shop"


class Pod:
    """
    One pod with one container. ``number`` tells a guest's pods apart; ``qos``: Guaranteed, Burstable, BestEffort;
    ``priority``: what its owner says, if anything; ``memory``: its container's request; ``annotations``: what else the
    owner says, to be declared anew after a change.
    """

    def __init__(
        self,
        guest: Machine,
        number: int,
        name: str,
        qos: str = "Burstable",
        priority: str | None = None,
        *,
        memory: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.annotations = dict(annotations or {})
        self.priority = priority
        self.memory = memory
        self._guest = guest
        self.name = name
        self.qos = qos
        self.uid = f"11111111-2222-3333-4444-{number:012d}"
        self.container = f"{number:064x}"
        self._procs: tuple[str, ...] = ()

    @property
    def slice(self) -> str:
        """The systemd driver's unit for the pod."""
        middle = "" if self.qos == "Guaranteed" else f"{self.qos.lower()}-"
        return f"kubepods-{middle}pod{self.uid.replace('-', '_')}.slice"

    @property
    def scope(self) -> str:
        """The systemd driver's unit for the container."""
        return f"cri-containerd-{self.container}.scope"

    @property
    def slice_path(self) -> str:
        """The pod's directory in the systemd driver, below a hierarchy's root."""
        qos = "" if self.qos == "Guaranteed" else f"kubepods-{self.qos.lower()}.slice/"
        return f"kubepods.slice/{qos}{self.slice}"

    @property
    def cgroupfs_path(self) -> str:
        """The pod's directory in the cgroupfs driver, below a hierarchy's root."""
        qos = "" if self.qos == "Guaranteed" else f"{self.qos.lower()}/"
        return f"kubepods/{qos}pod{self.uid}"

    def start(self, *properties: str) -> None:
        """Make the cgroups with systemd, the container's with these unit properties, and a process in it that idles."""
        # What the kubelet asks of systemd for every pod; it brings all the controllers into the pod's cgroups.
        usual = (
            "CPUWeight=100",
            "CPUAccounting=yes",
            "IOAccounting=yes",
            "MemoryAccounting=yes",
            "TasksAccounting=yes",
        )
        options = " ".join(f"-p {shlex.quote(each)}" for each in (*usual, *properties))
        self._guest.sh(
            f"systemd-run --quiet --scope --unit={self.scope} --slice={self.slice} {options} "
            f"python3 {HOME}/scripts/load.py idle </dev/null >/dev/null 2>/run/{self.name}.err &"
        )
        self._procs = (f"/sys/fs/cgroup/{self.slice_path}/{self.scope}/cgroup.procs",)
        self.declare()

    def wait(self) -> None:
        """Until systemd has the container, and with it the cgroups, of a pod it was told to start."""
        self._guest.sh(f"until systemctl is-active --quiet {self.scope}; do sleep 0.2; done")

    def wait_for(self, file: str, value: str) -> None:
        """Until this file of the pod's cgroup (v2) has the value."""
        path = f"/sys/fs/cgroup/{self.slice_path}/{file}"
        self._guest.sh(f"until [ $(cat {path}) = {value} ]; do sleep 0.2; done", timeout=120)

    def make(self, *controllers: str) -> None:
        """Make the cgroups in these v1 hierarchies as the cgroupfs driver does."""
        places = [f"/sys/fs/cgroup/{each}/{self.cgroupfs_path}/{self.container}" for each in controllers]
        self._guest.sh(f"mkdir -p {shlex.join(places)}")
        self._procs = tuple(f"{place}/cgroup.procs" for place in places)
        self.declare()

    def declare(self) -> None:
        """Give the agent the pod's manifest."""
        # A file is there whole or not at all: the agent may look at any moment.
        self._guest.push(f"/run/{self.name}.yaml", self.manifest())
        self._guest.sh(f"mv /run/{self.name}.yaml {PODS}/")

    def forget(self) -> None:
        """Take the manifest away, as when the pod was deleted."""
        self._guest.sh(f"rm {PODS}/{self.name}.yaml")

    def manifest(self) -> str:
        """The pod object as YAML."""
        words = self.annotations | ({} if self.priority is None else {"plimsoll.io/qos-priority": self.priority})
        said = f"  annotations: {json.dumps(words)}\n" if words else ""
        request = f"{{name: main, resources: {{requests: {{memory: {self.memory}}}}}}}"
        wanted = "" if self.memory is None else f"spec: {{containers: [{request}]}}\n"
        return (
            f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {self.name}\n  namespace: {NAMESPACE}\n  uid: {self.uid}\n"
            f"{said}{wanted}"
            f"status:\n  phase: Running\n  qosClass: {self.qos}\n  containerStatuses:\n"
            f"  - name: main\n    containerID: containerd://{self.container}\n"
        )

    @contextmanager
    def parts(
        self, hot: int, warm: int, cold: int, warm_seconds: float = 1000.0, *, mortal: bool = False
    ) -> Iterator[None]:
        """While inside, the pod has so many MiB that it uses all the time, now and then, and never again: parts.py."""
        ready = f"/run/{self.name}.ready"
        self._guest.sh(f"rm -f {ready}")
        with self.load(*map(str, (hot, warm, cold, warm_seconds)), ready, program="parts.py", mortal=mortal):
            self._guest.sh(f"until [ -e {ready} ]; do sleep 0.2; done", timeout=240)
            yield

    @contextmanager
    def load(self, *arguments: str, program: str = "load.py", mortal: bool = False) -> Iterator[None]:
        """
        While inside, this one of scripts/ runs with these arguments in the pod's container.

        ``mortal``: it may be killed before.
        """
        # It moves before it becomes the load, so that nothing it does is charged elsewhere, into a session of its own,
        # so that all of it can be ended.
        join = " && ".join(f"echo $$ > {procs}" for procs in self._procs)
        script = f'{join} && exec python3 {HOME}/scripts/{program} "$@"'
        pid = self._guest.sh(
            f"setsid /bin/sh -c {shlex.quote(script)} load {shlex.join(arguments)} "
            f"</dev/null >/dev/null 2>/run/{self.name}.err & echo $!"
        ).strip()
        try:
            yield
        finally:
            # A task that its quota holds back dies only when it may run again: until then counters still move.
            ended = self._guest.run(
                f"kill -KILL -- -{pid}; cat /run/{self.name}.err >&2\n"
                f"while kill -0 -- -{pid} 2>/dev/null; do sleep 0.1; done"
            )
        if ended.stderr and not mortal:
            raise AssertionError(f"the load of {self.name} ended by itself: {ended.stderr}")
