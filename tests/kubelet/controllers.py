"""
Scheduler and controllers of a real control plane, beside its API server on the loopback.

Owns the two processes. Only the controllers that a DaemonSet and a Helm release need are on; each of the others would
take its share of a small machine.
"""

from __future__ import annotations

from typing import Self

from tests.cluster.build import build_each
from tests.cluster.control_plane import ControlPlane
from tests.process import Process

PROGRAMS = ("kube-controller-manager", "kube-scheduler")
CONTROLLERS = (
    "daemonset-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    # Takes the taint of a new node away once the node is ready.
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
)
STOP_SECONDS = 30.0


class Controllers:
    """Both programs; a context manager. They wait for an API server that is away."""

    def __init__(self, cluster: ControlPlane) -> None:
        programs = build_each(*PROGRAMS)
        kubeconfig = cluster.kubeconfig(cluster.folder / "controllers.kubeconfig")
        # One of each, which serves nobody.
        common = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        own = {
            "kube-controller-manager": [
                f"--controllers={','.join(CONTROLLERS)}",
                f"--root-ca-file={cluster.ca_file}",
                # A node that is emulated, and starts again in the middle, is not given up.
                "--node-monitor-grace-period=1h",
            ],
            "kube-scheduler": [],
        }
        self._processes = [
            Process(name, [str(programs[name]), *common, *own[name]], cluster.folder / f"{name}.log")
            for name in PROGRAMS
        ]

    def __enter__(self) -> Self:
        for each in self._processes:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            each.stop(STOP_SECONDS)

    def logs(self) -> str:
        """The end of both logs."""
        return "\n".join(each.tail() for each in self._processes)
