"""Evictions against a real kube-apiserver: what it takes, what a budget says, whom a UID and a right keep from harm."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.eviction import Evict, Evicted
from plimsoll.model.outcome import Outcome
from plimsoll.sources.kube.evicting import Evictor, Limits
from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.running import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

EVICTION_RULE = {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
STATUS = "application/merge-patch+json"
Json = dict[str, Any]
Begin = Callable[..., Evictor]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """This test's alone, for its pod and its budget."""
    return f"evict-{zlib.crc32(request.node.name.encode()):08x}"


@pytest.fixture
def begin(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Begin]:
    """Makes an evictor with the right the chart gives, or with that of another account."""
    control_plane.service_account("default", "evictor", (EVICTION_RULE,))
    begun: list[Evictor] = []

    def start(user: str = "default/evictor") -> Evictor:
        kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig", user=user)
        evictor = Evictor(kubeconfig=str(kubeconfig), limits=Limits(burst=100, backoff_first=0.0))
        evictor.start()
        begun.append(evictor)
        return evictor

    yield start
    for each in begun:
        each.stop()


def a_pod(control_plane: ControlPlane, name: str) -> Evict:
    """A running pod, and the wish to see it go."""
    made = control_plane.create_pod("default", name, "node-1", labels={"app": name})
    control_plane.set_pod_status("default", name)
    return Evict(made["metadata"]["uid"], "default", name, "eviction", "why")


def pod(control_plane: ControlPlane, name: str) -> Json:
    return control_plane.request("GET", f"/api/v1/namespaces/default/pods/{name}")


def settled(evictor: Evictor, wish: Evict) -> Evicted:
    evictor.want((wish,))
    (found,) = until(evictor.take, "an answer")
    return found


def budget(control_plane: ControlPlane, name: str, app: str, allowed: int | None) -> None:
    """A budget as its controller, which does not run here, would have written it; ``None``: it has not come to it."""
    item = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}},
    }
    made = control_plane.apply(BUDGETS, item)
    if allowed is not None:
        status = {
            "observedGeneration": made["metadata"]["generation"],
            "disruptionsAllowed": allowed,
            "currentHealthy": 1 + allowed,
            "desiredHealthy": 1,
            "expectedPods": 1 + allowed,
        }
        control_plane.request("PATCH", f"{BUDGETS}/{name}/status", {"status": status}, content_type=STATUS)


def test_a_pod_is_evicted(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """It begins to end with its own grace period, and its condition says that the eviction API did it."""
    wish = a_pod(control_plane, name)
    assert settled(begin(), wish) == Evicted(wish, Outcome.OK)

    found = pod(control_plane, name)
    assert found["metadata"]["deletionTimestamp"]
    assert found["metadata"]["deletionGracePeriodSeconds"] == found["spec"]["terminationGracePeriodSeconds"]
    (condition,) = [each for each in found["status"]["conditions"] if each["type"] == "DisruptionTarget"]
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")


def test_another_pod_of_the_name_goes_on(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """Made anew under its name after the wish: the UID does not fit, and nothing happens to it."""
    wish = a_pod(control_plane, name)
    control_plane.delete_pod("default", name)
    a_pod(control_plane, name)

    found = settled(begin(), wish)
    assert found.outcome is Outcome.GONE
    assert "409" in found.detail
    assert "deletionTimestamp" not in pod(control_plane, name)["metadata"]


def test_a_pod_that_is_gone(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """404."""
    wish = a_pod(control_plane, name)
    control_plane.delete_pod("default", name)
    assert settled(begin(), wish).outcome is Outcome.GONE


@pytest.mark.parametrize("allowed", [0, None], ids=["exhausted", "not-counted-yet"])
def test_a_budget_is_heeded(control_plane: ControlPlane, begin: Begin, name: str, allowed: int | None) -> None:
    """While it lets nobody go, nobody goes, and its own words are told; when it does, the same wish is granted."""
    wish = a_pod(control_plane, name)
    budget(control_plane, name, name, allowed)
    evictor = begin()

    found = settled(evictor, wish)
    assert found.outcome is Outcome.BUDGET
    assert f"The disruption budget {name} " in found.detail
    assert "deletionTimestamp" not in pod(control_plane, name)["metadata"]

    budget(control_plane, name, name, 1)
    assert settled(evictor, wish).outcome is Outcome.OK
    assert pod(control_plane, name)["metadata"]["deletionTimestamp"]


def test_two_budgets_are_a_failure_of_that_pod(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """The eviction API does not know what to make of them; the pod stays, and the words are the server's."""
    wish = a_pod(control_plane, name)
    for each in ("a", "b"):
        budget(control_plane, f"{name}-{each}", name, 1)
    found = settled(begin(), wish)
    assert found.outcome is Outcome.FAILED
    assert "more than one PodDisruptionBudget" in found.detail
    assert "deletionTimestamp" not in pod(control_plane, name)["metadata"]


def test_without_the_right_nobody_goes(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """403, with the cure."""
    control_plane.service_account("default", "reader", ())
    wish = a_pod(control_plane, name)
    found = settled(begin("default/reader"), wish)
    assert found.outcome is Outcome.DENIED
    assert found.detail.startswith("evict: 403: grant create on pods/eviction to this account with a ClusterRole; ")
    assert "deletionTimestamp" not in pod(control_plane, name)["metadata"]


def test_a_pod_that_ends_already(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """Asked for by two agents: both are told that it goes, and it goes once."""
    wish = a_pod(control_plane, name)
    assert settled(begin(), wish).outcome is Outcome.OK
    before = pod(control_plane, name)["metadata"]["deletionTimestamp"]
    assert settled(begin(), wish).outcome is Outcome.OK
    assert pod(control_plane, name)["metadata"]["deletionTimestamp"] == before


def test_the_server_knows_no_right_beyond_the_one(control_plane: ControlPlane, begin: Begin, name: str) -> None:
    """Whoever may evict may not delete: budgets cannot be passed by."""
    begin()
    a_pod(control_plane, name)
    token = control_plane.token("default", "evictor")
    with pytest.raises(ApiError) as refused:
        control_plane.request("DELETE", f"/api/v1/namespaces/default/pods/{name}", token=token)
    assert refused.value.status == 403
