"""`plimsoll retire` against a real kube-apiserver; the test is the DaemonSet's controller."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from plimsoll.sources.kube.backoff import Backoff
from plimsoll.sources.kube.connection import Connection
from plimsoll.sources.kube.failure import Failure
from plimsoll.sources.kube.retirement import Retirement
from plimsoll.sources.kube.timing import Timing
from tests.cluster.control_plane import ControlPlane
from tests.running import PROGRAM

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

DAEMON_SETS = "/apis/apps/v1/namespaces/default/daemonsets"
MERGE = "application/merge-patch+json"
RULES = (
    {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": ["clean"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
)


def daemon_set(control_plane: ControlPlane, name: str) -> None:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]},
    }
    item = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    control_plane.apply(DAEMON_SETS, item)


def set_status(control_plane: ControlPlane, name: str, ready: int, wanted: int) -> None:
    """As the controller does once it has looked at every node."""
    numbers = {
        "currentNumberScheduled": wanted,
        "desiredNumberScheduled": wanted,
        "numberMisscheduled": 0,
        "numberReady": ready,
    }
    body = {"status": {**numbers, "observedGeneration": 1}}
    control_plane.request("PATCH", f"{DAEMON_SETS}/{name}/status", body, content_type=MERGE)


@contextmanager
def retiring(kubeconfig: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, started."""
    with subprocess.Popen(
        [*PROGRAM, "retire", "--kubeconfig", str(kubeconfig), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def asking(kubeconfig: Path, **settings: Any) -> Iterator[Retirement]:
    """What the command does, in this process."""
    connection = Connection(str(kubeconfig), service_account="", environ={}, clock=time.monotonic, timing=Timing())
    backoff = Backoff(first=0.1, longest=1, stable=60, clock=time.monotonic, random=Random(1))
    try:
        yield Retirement(
            connection, backoff=backoff, clock=time.monotonic, pause=time.sleep, timing=Timing(), **settings
        )
    finally:
        connection.close()


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, tmp_path: Path) -> Path:
    """Of an account with the hook's rights and no others."""
    control_plane.service_account("default", "retiring", RULES)
    return control_plane.kubeconfig(tmp_path / "kubeconfig", user="default/retiring")


@pytest.fixture
def clean(control_plane: ControlPlane) -> Iterator[str]:
    """A DaemonSet that no controller has seen yet."""
    daemon_set(control_plane, "clean")
    yield "clean"
    control_plane.request("DELETE", f"{DAEMON_SETS}/clean")


def test_it_waits_for_every_node(control_plane: ControlPlane, kubeconfig: Path, clean: str) -> None:
    """Not before the controller knows the DaemonSet, not while a node lacks; then at once, and it says how many."""
    with retiring(kubeconfig, "--daemonset", f"default/{clean}", "--timeout", "120") as process:
        for ready, wanted in ((0, 0), (0, 2), (1, 2)):
            if wanted:
                set_status(control_plane, clean, ready, wanted)
            # It asks once a second: three of its looks do not end it.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
        set_status(control_plane, clean, 2, 2)
        out, error = process.communicate(timeout=60)

    assert (process.returncode, error) == (0, "")
    assert out == "2 of 2 nodes are put back\n"


def test_a_node_that_is_away_is_not_waited_for_for_ever(
    control_plane: ControlPlane, kubeconfig: Path, clean: str
) -> None:
    """Exit code 1, and where to look."""
    set_status(control_plane, clean, 1, 2)
    with retiring(kubeconfig, "--daemonset", f"default/{clean}", "--timeout", "2") as process:
        out, error = process.communicate(timeout=60)

    assert process.returncode == 1
    assert out == "1 of 2 nodes are put back\n"
    assert "not all nodes within 2 s: look at the pods of default/clean" in error


@pytest.mark.parametrize(("name", "code"), [("other", 403), ("gone", 404)])
def test_what_waiting_does_not_cure_ends_it_soon(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path, name: str, code: int
) -> None:
    """A missing right, and an object that is not there, are said with the server's own words long before the end."""
    user = kubeconfig if code == 403 else control_plane.kubeconfig(tmp_path / "admin")
    with asking(user, patience=2.0) as retirement, pytest.raises(Failure, match=f"get daemonsets {name}: {code} "):
        retirement.await_nodes("default", name, time.monotonic() + 3600)


def test_an_api_server_that_is_down_for_a_while_is_waited_for(
    control_plane: ControlPlane, kubeconfig: Path, clean: str
) -> None:
    """It asks again until it answers."""
    set_status(control_plane, clean, 1, 1)
    control_plane.stop_apiserver()
    try:
        with retiring(kubeconfig, "--daemonset", f"default/{clean}", "--timeout", "200") as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3)
            control_plane.start_apiserver()
            out, error = process.communicate(timeout=200)
    finally:
        control_plane.restart_apiserver()

    assert (process.returncode, out) == (0, "1 of 1 nodes are put back\n"), error


def condition_types(control_plane: ControlPlane, name: str) -> set[str]:
    status = control_plane.request("GET", f"/api/v1/namespaces/default/pods/{name}")["status"]
    return {each["type"] for each in status["conditions"]}


def test_conditions_are_taken_away_from_every_pod(control_plane: ControlPlane, kubeconfig: Path) -> None:
    """Ours and no others, whatever node the pods are on, and however many answers the list comes in."""
    ours = [{"type": f"plimsoll.io/{each}", "status": "True", "reason": "preemption"} for each in ("A", "B")]
    foreign: dict[str, Any] = {"type": "example.com/plimsoll.io", "status": "True", "reason": "x"}
    before = {}
    for number in range(3):
        name = f"told-{number}"
        control_plane.create_pod("default", name, f"node-{number}")
        control_plane.set_pod_status("default", name)
        path = f"/api/v1/namespaces/default/pods/{name}/status"
        kept = {"status": {"conditions": [foreign]}}
        control_plane.request("PATCH", path, kept, content_type="application/strategic-merge-patch+json")
        before[name] = condition_types(control_plane, name)
        told = {"status": {"conditions": ours[: number + 1]}}
        control_plane.request("PATCH", path, told, content_type="application/strategic-merge-patch+json")
    with asking(kubeconfig, page=2) as retirement:
        assert retirement.withdraw_conditions(time.monotonic() + 60) == 3
        assert retirement.withdraw_conditions(time.monotonic() + 60) == 0

    assert {name: condition_types(control_plane, name) for name in before} == before
    for name in before:
        control_plane.delete_pod("default", name)


def node_status(control_plane: ControlPlane, name: str) -> dict[str, Any]:
    status: dict[str, Any] = control_plane.request("GET", f"/api/v1/nodes/{name}")["status"]
    return status


def test_the_resource_is_taken_away_from_every_node(control_plane: ControlPlane, kubeconfig: Path) -> None:
    """Ours in either place and no other, however many answers the list comes in; nodes without it are not written."""
    before = {}
    for number, places in enumerate((("capacity", "allocatable"), ("capacity",), ("allocatable",), ())):
        name = f"offers-{number}"
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        control_plane.request("POST", "/api/v1/nodes", body)
        amounts = {"cpu": "4", "memory": "8Gi", "example.com/gpu": "2"}
        path = f"/api/v1/nodes/{name}/status"
        status = {"status": dict.fromkeys(("capacity", "allocatable"), amounts)}
        control_plane.request("PATCH", path, status, content_type=MERGE)
        before[name] = node_status(control_plane, name)
        if places:
            published = {"status": {each: {"plimsoll.io/low-memory": "5Gi"} for each in places}}
            control_plane.request("PATCH", path, published, content_type=MERGE)
            assert node_status(control_plane, name) != before[name]
    untouched = control_plane.request("GET", "/api/v1/nodes/offers-3")
    with asking(kubeconfig, page=2) as retirement:
        assert retirement.withdraw_resources(time.monotonic() + 60) == 3
    with retiring(kubeconfig, "--resources") as process:
        out, error = process.communicate(timeout=60)

    assert (process.returncode, out, error) == (0, "plimsoll.io/low-memory taken away from 0 nodes\n", "")
    assert {name: node_status(control_plane, name) for name in before} == before
    assert control_plane.request("GET", "/api/v1/nodes/offers-3") == untouched
    for name in before:
        control_plane.request("DELETE", f"/api/v1/nodes/{name}")


def test_a_missing_right_to_a_node_is_said(control_plane: ControlPlane, tmp_path: Path) -> None:
    """With the server's own words: what is still published is not passed over."""
    control_plane.service_account("default", "powerless", RULES[:1])
    user = control_plane.kubeconfig(tmp_path / "kubeconfig", user="default/powerless")
    with asking(user, patience=2.0) as retirement, pytest.raises(Failure, match="list nodes: 403 "):
        retirement.withdraw_resources(time.monotonic() + 3600)
