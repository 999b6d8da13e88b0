"""
One container of a rendered pod, started as a kubelet and its runtime would: user, capabilities, mounts, nothing else.

Owns the translation of a pod's spec into a podman command, and the volumes' folders. It must know every field that it
is given: one that it does not know is an error, so that no privilege is left out of what a test proves. What differs
from a node: the host's network, so that the tests' loopback is reached.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.deploy.image import podman

Json = dict[str, Any]

_POD_FIELDS = {
    # Where it runs is the scheduler's, and when again the kubelet's.
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "enableServiceLinks",
    "initContainers",
    "nodeSelector",
    "priorityClassName",
    "restartPolicy",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
}
_CONTAINER_FIELDS = {
    "args",
    "env",
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "name",
    "ports",
    "readinessProbe",
    "resources",
    "startupProbe",
    "securityContext",
    "volumeMounts",
}
_SECURITY_FIELDS = {
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
}
_UNITS = {"Mi": 1 << 20}


class PodVolumes:
    """The folders of a pod's volumes: what the kubelet makes of them."""

    def __init__(self, folder: Path, config_map: Json, credentials: dict[str, str]) -> None:
        self._folder = folder
        self._credentials = credentials
        self.write_config(config_map)

    def write_config(self, config_map: Json) -> None:
        """As the kubelet changes one: a new folder, and a link that is swapped."""
        place = self._folder / config_map["metadata"]["name"]
        version = place / f"..{time.monotonic_ns()}"
        version.mkdir(parents=True)
        for name, text in config_map["data"].items():
            (version / name).write_text(text, encoding="utf-8")
            link = place / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        swap = place / "..data_tmp"
        swap.symlink_to(version.name)
        swap.rename(place / "..data")

    def path(self, volume: Json) -> Path:
        """Where the volume is on this node. Raises ValueError for a kind that this chart has no business with."""
        match {key: value for key, value in volume.items() if key != "name"}:
            case {"hostPath": {"path": str(path), "type": "Directory"}}:
                if not Path(path).is_dir():
                    raise ValueError(f"{path} is no directory: the kubelet would not start the pod")
                return Path(path)
            case {"hostPath": {"path": str(path), "type": "DirectoryOrCreate"}}:
                # Not the machine's own: only what is asked for is of interest.
                return self._made(path.replace("/", "-"), 0o755)
            case {"emptyDir": dict()}:
                return self._made(volume["name"], 0o777)
            case {"configMap": {"name": str(name)}}:
                return self._folder / name
            case {"projected": {"sources": list()}}:
                made = self._made(volume["name"], 0o755)
                for name, text in self._credentials.items():
                    (made / name).write_text(text, encoding="utf-8")
                return made
        raise ValueError(f"volume {volume}")

    def _made(self, name: str, mode: int) -> Path:
        made = self._folder / name
        made.mkdir(exist_ok=True)
        made.chmod(mode)
        return made


def command(
    pod: Json,
    image: str,
    volumes: PodVolumes,
    environment: dict[str, str],
    cgroup: str,
    *,
    kind: str = "containers",
) -> list[str]:
    """Arguments of ``podman run``, with the image, without the program's own; ``cgroup`` is the container's parent.

    The container is the only one of its ``kind``. Raises ValueError for a field that is not known here.
    """
    _know(pod, _POD_FIELDS)
    (container,) = pod[kind]
    _know(container, _CONTAINER_FIELDS)
    security = {**pod["securityContext"], **container["securityContext"]}
    _know(security, _SECURITY_FIELDS)
    # Without --passwd=false podman makes an /etc/passwd with the user's name; a node's runtime does not.
    arguments = ["--network=host", "--pull=never", "--passwd=false", "--cgroups=no-conmon"]
    arguments += [f"--cgroup-parent=/{cgroup}"]
    # podman's own limits are higher than a machine that is a guest may set.
    limit = os.sysconf("SC_OPEN_MAX")
    arguments += [f"--ulimit=nofile={limit}:{limit}", "--ulimit=nproc=4096:4096"]
    arguments += [f"--user={security['runAsUser']}:{security['runAsGroup']}"]
    if security.get("runAsNonRoot") and security["runAsUser"] == 0:
        raise ValueError("the kubelet would not start this pod: runAsNonRoot and root")
    if security["privileged"]:
        arguments += ["--privileged"]
    if not security["allowPrivilegeEscalation"]:
        arguments += ["--security-opt=no-new-privileges"]
    if security["seccompProfile"] != {"type": "RuntimeDefault"}:
        raise ValueError(f"seccomp profile {security['seccompProfile']}")
    if security["readOnlyRootFilesystem"]:
        arguments += ["--read-only", "--read-only-tmpfs=false"]
    arguments += [f"--cap-drop={each}" for each in security["capabilities"].get("drop", [])]
    arguments += [f"--cap-add={each}" for each in security["capabilities"].get("add", [])]
    arguments += [f"--memory={_bytes(container['resources']['limits']['memory'])}"]
    arguments += [f"--env={name}={value}" for name, value in environment.items()]
    by_name = {each["name"]: each for each in pod["volumes"]}
    for mount in container["volumeMounts"]:
        option = "ro" if mount.get("readOnly") else "rw"
        arguments += [f"--volume={volumes.path(by_name[mount['name']])}:{mount['mountPath']}:{option},rprivate"]
    return [*arguments, image]


class Container:
    """A running container; a context manager that ends and removes it."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self._name = name
        podman("run", "--detach", f"--name={name}", *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        podman("rm", "--force", "--time=0", self._name)

    @property
    def pid(self) -> int:
        """Of its first process, as numbered here."""
        return int(podman("inspect", "--format={{.State.Pid}}", self._name).stdout)

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A program inside, as ``kubectl exec`` starts it."""
        return podman("exec", self._name, *arguments, check=False)

    def logs(self) -> str:
        done = podman("logs", self._name, check=False)
        return done.stdout + done.stderr

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        podman("kill", "--signal=KILL", self._name)
        podman("wait", self._name)

    def stop(self, seconds: int) -> int:
        """SIGTERM, and SIGKILL after some time, as the kubelet does; the exit code."""
        podman("stop", f"--time={seconds}", self._name)
        return int(podman("inspect", "--format={{.State.ExitCode}}", self._name).stdout)


def _know(given: Json, known: set[str]) -> None:
    if unknown := set(given) - known:
        raise ValueError(f"no translation for {sorted(unknown)}")


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]
