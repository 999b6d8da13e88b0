"""
A whole cluster of one node: the control plane on this machine's loopback, the kubelet in a guest.

Owns the order of starting and ending. Also for people; up until Ctrl-C or the end of standard input:

    python -m tests.kubelet.up [--driver=cgroupfs]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.deploy.image import image as agent_image
from tests.kept import say
from tests.kubelet.controllers import Controllers
from tests.kubelet.images import disk
from tests.kubelet.node import APISERVER_PORT, CONTENTS, HOSTS, NODE, KubeletNode
from tests.vm.image import Image
from tests.vm.image import image as guest_image
from tests.vm.machine import Machine

READY_SECONDS = 600.0
LOOK_AGAIN_SECONDS = 1.0
MEMORY_MB = 2560


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running one."""

    control_plane: ControlPlane
    controllers: Controllers
    node: KubeletNode

    def logs(self) -> str:
        """The end of all logs."""
        return f"{self.control_plane.logs()}\n{self.controllers.logs()}\n{self.node.logs()}"


@contextmanager
def up(
    folder: Path, image: Image, agent: str, *, driver: str = "systemd", qemu: Sequence[str] = ()
) -> Iterator[Cluster]:
    """
    A cluster with its node ready, until the end of the block.

    ``folder`` gets keys, data and logs; ``image``: of the guest; ``agent``: the identity of the agent's image;
    ``qemu``: more of QEMU's options for the node.
    """
    flags = ("--enable-admission-plugins=NodeRestriction",)
    with ControlPlane(folder, disabled_admission=(), apiserver_flags=flags, hosts=HOSTS) as control_plane:
        port = int(control_plane.url.rpartition(":")[2])
        machine = Machine(
            image,
            memory_mb=MEMORY_MB,
            disks={"plimsoll-node": disk(folder, agent)},
            reaches={APISERVER_PORT: port},
            qemu=qemu,
        )
        with Controllers(control_plane) as controllers, machine as guest:
            say(f"guest booted in {guest.boot_seconds:.0f} s with {guest.accelerator}")
            started = time.monotonic()
            node = KubeletNode(guest, control_plane, driver)
            cluster = Cluster(control_plane, controllers, node)
            try:
                node.start()
                say(f"kubelet started in {time.monotonic() - started:.0f} s")
                _wait_until_ready(control_plane)
            except BaseException as error:
                error.add_note(cluster.logs())
                raise
            say(f"node ready after {time.monotonic() - started:.0f} s")
            yield cluster


def _wait_until_ready(control_plane: ControlPlane) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _ready(control_plane):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {READY_SECONDS:.0f} s the node is not ready")
        time.sleep(LOOK_AGAIN_SECONDS)


def _ready(control_plane: ControlPlane) -> bool:
    try:
        node: dict[str, Any] = control_plane.request("GET", f"/api/v1/nodes/{NODE}")
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", ())}
    # A taint is taken away by a controller, a moment after the kubelet says that it is ready.
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kubelet.up", description=__doc__)
    parser.add_argument("--driver", choices=("systemd", "cgroupfs"), default="systemd")
    chosen = parser.parse_args()
    guest, agent = guest_image(CONTENTS), agent_image()
    with (
        tempfile.TemporaryDirectory(prefix="plimsoll-cluster-") as folder,
        up(Path(folder), guest, agent, driver=chosen.driver) as cluster,
        suppress(KeyboardInterrupt),
    ):
        print(f"export KUBECONFIG={cluster.control_plane.kubeconfig(Path(folder) / 'kubeconfig')}", flush=True)
        say("up; Ctrl-C or the end of standard input takes it down")
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
