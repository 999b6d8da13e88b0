"""
One node with the chart's agent on it: Helm installs into a real API server, and the rendered pod runs on this machine.

It owns what scheduler, kubelet and controllers would do: the pod is put here with its rendered user, capabilities and
mounts (container.py), its account's real token, and a cgroup of the running kernel for one pod to be measured.
"""

from __future__ import annotations

import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.port import Port
from tests.deploy.cgroups import Kubepods, parent
from tests.deploy.container import Container, PodVolumes, command
from tests.deploy.helm import CHART, helm, only
from tests.running import until

NAMESPACE, NODE = "plimsoll", "node-1"
CONFIG: dict[str, Any] = {"pressure": {"interval": "1s"}}


class Node(NamedTuple):
    """One installed release, with its agent on this machine."""

    cluster: ControlPlane
    kubeconfig: Path
    values: dict[str, Any]
    pod: dict[str, Any]
    volumes: PodVolumes
    container: Container
    cgroups: Kubepods
    address: str

    def helm(self, verb: str, *arguments: str | Path, **values: Any) -> str:
        return helm(
            verb,
            "plimsoll",
            *arguments,
            f"--namespace={NAMESPACE}",
            values={**self.values, **values} if verb == "upgrade" else None,
            kubeconfig=self.kubeconfig,
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float | None:
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith((name + " ", name + "{")) and all(
                f'{key}="{value}"' in line for key, value in labels.items()
            ):
                return float(line.rpartition(" ")[2])
        return None

    def object(self, path: str) -> dict[str, Any]:
        return self.cluster.request("GET", path)

    @property
    def daemon_set(self) -> dict[str, Any]:
        return self.object(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/plimsoll")


@contextmanager
def installed(
    agent_image: str, cluster: ControlPlane, folder: Path, config: dict[str, Any] | None = None
) -> Iterator[Node]:
    """Install the chart and run its pod here until the end of the block; ``config`` besides what tests need."""
    port = Port()
    address = f"127.0.0.1:{port.number}"
    values = {"config": {**CONFIG, **(config or {}), "http": {"listen": address}}}
    kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
    helm(
        "install",
        "plimsoll",
        CHART,
        f"--namespace={NAMESPACE}",
        "--create-namespace",
        values=values,
        kubeconfig=kubeconfig,
    )
    manifest = helm("get", "manifest", "plimsoll", f"--namespace={NAMESPACE}", kubeconfig=kubeconfig)
    objects = [each for each in yaml.safe_load_all(manifest) if each]
    template = only(objects, "DaemonSet")["spec"]["template"]
    uid = cluster.create_pod("default", "shop", NODE)["metadata"]["uid"]
    cluster.set_pod_status("default", "shop")
    credentials = {"token": cluster.token(NAMESPACE, "plimsoll"), "ca.crt": cluster.ca_file.read_text()}
    volumes = PodVolumes(folder, only(objects, "ConfigMap"), credentials)
    server = cluster.url.removeprefix("https://").split(":")
    environment = {"NODE_NAME": NODE, "KUBERNETES_SERVICE_HOST": server[0], "KUBERNETES_SERVICE_PORT": server[1]}
    (container,) = template["spec"]["containers"]
    with Kubepods(uid) as cgroups, parent() as place:
        arguments = command(template["spec"], agent_image, volumes, environment, place)
        # Ours until now; the agent has no SO_REUSEPORT.
        port.close()
        with Container(f"plimsoll-test-{uuid.uuid4().hex[:8]}", [*arguments, *container["args"]]) as running:
            found = Node(cluster, kubeconfig, values, template["spec"], volumes, running, cgroups, address)
            try:
                until(lambda: _answers(found, "/readyz"), "ready")
            except AssertionError as error:
                error.add_note(running.logs())
                raise
            yield found


def _answers(node: Node, path: str) -> bool:
    try:
        return node.get(path)[0] == 200
    except OSError:
        return False


def until_metric(node: Node, accept: Callable[[float | None], bool], name: str, **labels: str) -> None:
    until(lambda: accept(node.metric(name, **labels)), f"{name} {labels}")
