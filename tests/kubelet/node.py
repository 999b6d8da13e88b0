"""
A node in a guest: containerd of Debian, and a real kubelet that joins a control plane on this machine's loopback.

Owns what is put where in the guest, and the two units. Which pods are there is the cluster's business.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.control_plane import ControlPlane
from tests.kubelet.images import ARCHIVE, PAUSE
from tests.vm.image import KERNELS, PACKAGES, Contents
from tests.vm.machine import OUTSIDE, Machine

FILES = Path(__file__).resolve().parent / "files"
NODE = "guest"
# What the service "kubernetes" is for the pods: the first address of the API server's range.
SERVICE = "10.96.0.1"
HOSTS = (OUTSIDE, SERVICE)
APISERVER_PORT = 6443
CONTENTS = Contents(
    "node",
    (*PACKAGES, "containerd", "containernetworking-plugins", "nftables", "procps", "runc"),
    {"6.12": KERNELS["6.12"]},
    3072,
)
# An emulated processor needs a minute for what takes a second.
IMPORT_SECONDS = 600.0
START_SECONDS = 300.0


class KubeletNode:
    """
    The node in a guest of :data:`CONTENTS` that reaches the API server at ``OUTSIDE:APISERVER_PORT``.

    ``driver``: of cgroups, ``systemd`` or ``cgroupfs``, both of the kubelet and of containerd.
    """

    def __init__(self, guest: Machine, cluster: ControlPlane, driver: str = "systemd") -> None:
        self.guest = guest
        self.driver = driver
        self._cluster = cluster

    def start(self) -> None:
        """Puts everything there, starts containerd, imports the images and starts the kubelet."""
        words = {
            "APISERVER": f"{OUTSIDE}:{APISERVER_PORT}",
            "DRIVER": self.driver,
            "PAUSE": PAUSE,
            "SYSTEMD": str(self.driver == "systemd").lower(),
        }
        places = {
            "containerd.toml": "/etc/containerd/config.toml",
            "kubelet.service": "/etc/systemd/system/kubelet.service",
            "kubelet.yaml": "/etc/kubernetes/kubelet.yaml",
            "network.conflist": "/etc/cni/net.d/10-pods.conflist",
            "opt-node.mount": "/etc/systemd/system/opt-node.mount",
            "service.nft": "/etc/kubernetes/service.nft",
            "service.service": "/etc/systemd/system/service.service",
        }
        for name, place in places.items():
            text = (FILES / name).read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(f"@{word}@", value)
            self.guest.push(place, text)
        self.guest.push("/etc/kubernetes/ca.crt", self._cluster.ca_file.read_bytes())
        self.guest.push("/etc/kubernetes/kubeconfig", self._kubeconfig(), mode=0o600)
        self.guest.sh(
            "systemctl daemon-reload && systemctl enable --now opt-node.mount service.service && "
            "systemctl restart containerd",
            timeout=START_SECONDS,
        )
        self.guest.sh(f"ctr --namespace k8s.io images import /opt/node/{ARCHIVE}", timeout=IMPORT_SECONDS)
        self.guest.sh("systemctl enable --now kubelet", timeout=START_SECONDS)

    def logs(self) -> str:
        """The end of what the node's two daemons say."""
        return self.guest.run("systemctl --failed --no-legend; journalctl --no-pager --lines=100").stdout

    def _kubeconfig(self) -> str:
        """With the client certificate of a node: its user and group are what the Node authorizer knows it by."""
        certificate, key = self._cluster.authority.pair(
            f"system:node:{NODE}", client=True, organization="system:nodes", hosts=()
        )
        cluster = {
            "server": f"https://{OUTSIDE}:{APISERVER_PORT}",
            "certificate-authority": "/etc/kubernetes/ca.crt",
        }
        self.guest.push("/etc/kubernetes/node.crt", certificate, mode=0o600)
        self.guest.push("/etc/kubernetes/node.key", key, mode=0o600)
        user = {"client-certificate": "/etc/kubernetes/node.crt", "client-key": "/etc/kubernetes/node.key"}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": NODE, "user": user}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": NODE}}],
                "current-context": "test",
            }
        )
