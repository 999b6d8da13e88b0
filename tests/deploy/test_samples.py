"""deploy/samples on a real API server: the guard lets through what it should and nothing else; classes are known."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import yaml

from plimsoll.config.annotations import VOCABULARIES
from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import Priority
from tests.cluster.api import ApiError
from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import manifest
from tests.deploy.helm import CHART, one
from tests.running import until

pytestmark = pytest.mark.cluster

SAMPLES = CHART.parents[1] / "samples"
GUARD = list(yaml.safe_load_all((SAMPLES / "priority-guard.yaml").read_text()))
CLASSES = list(yaml.safe_load_all((SAMPLES / "priority-classes.yaml").read_text()))
HIGH = [
    (each.key, value) for each in VOCABULARIES for value, priority in each.values.items() if priority is Priority.HIGH
]
LOWER = [
    (each.key, value)
    for each in VOCABULARIES
    for value, priority in each.values.items()
    if priority is not Priority.HIGH
]
NUMBERS = itertools.count()
PATHS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}


def create(cluster, namespace: str, **marks: dict[str, str]) -> str:
    """A pod with these annotations or labels; its name. Raises ApiError."""
    name = f"pod-{next(NUMBERS)}"
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods", manifest(namespace, name, "", **marks))
    return name


def annotate(cluster, namespace: str, name: str, annotations: dict[str, str]) -> None:
    body = {"metadata": {"annotations": annotations}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    cluster.request("PATCH", path, body, content_type="application/merge-patch+json")


class Guarded(NamedTuple):
    """The API server with the guard in force; ``early``: a pod of `tenant` that had claimed high priority before."""

    cluster: ControlPlane
    early: str


@pytest.fixture(scope="module")
def guarded(cluster):
    """With the guard in force, and two namespaces, of which `trusted` has the label."""
    trusted = {"metadata": {"name": "trusted", "labels": {"plimsoll.io/high-priority": "allowed"}}}
    cluster.namespace("tenant")
    cluster.apply("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", **trusted})
    for namespace in ("tenant", "trusted"):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        cluster.apply(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
    early = create(cluster, "tenant", annotations={"plimsoll.io/qos-priority": "high"})
    for item in GUARD:
        cluster.apply(f"/apis/admissionregistration.k8s.io/v1/{PATHS[item['kind']]}", item)

    def in_force() -> bool:
        try:
            create(cluster, "tenant", annotations={"plimsoll.io/qos-priority": "high"})
        except ApiError as error:
            return error.status == 403
        return False

    until(in_force, "the guard in force")
    policy = cluster.request(
        "GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/plimsoll-priority"
    )
    assert not policy.get("status", {}).get("typeChecking", {}).get("expressionWarnings")
    return Guarded(cluster, early)


@pytest.mark.parametrize("where", ["annotations", "labels"])
@pytest.mark.parametrize(("key", "value"), HIGH)
def test_a_claim_is_refused_where_nobody_has_allowed_it(guarded, where, key, value):
    """In every vocabulary the agent heeds, as annotation and as label; with key, namespace and cure."""
    with pytest.raises(ApiError) as refused:
        create(guarded.cluster, "tenant", **{where: {key: value}})

    assert refused.value.status == 403
    for word in (key, "namespace tenant", "plimsoll.io/high-priority=allowed"):
        assert word in str(refused.value)
    create(guarded.cluster, "trusted", **{where: {key: value}})


@pytest.mark.parametrize(("key", "value"), [*LOWER, ("plimsoll.io/qos-priority", "hihg"), ("example.com/x", "high")])
def test_everything_else_is_nobodys_business(guarded, key, value):
    """To be lower is always allowed; what the agent does not understand is its to report."""
    create(guarded.cluster, "tenant", annotations={key: value}, labels={"app": "x"})


def test_a_pod_cannot_be_raised_later(guarded):
    """A change of the annotation counts as a claim."""
    name = create(guarded.cluster, "tenant", annotations={"plimsoll.io/qos-priority": "low"})
    with pytest.raises(ApiError) as refused:
        annotate(guarded.cluster, "tenant", name, {"plimsoll.io/qos-priority": "high"})

    assert refused.value.status == 403


def test_what_was_there_before_can_still_be_changed(guarded):
    """A pod that has claimed already is not held up by the guard, and may be lowered."""
    annotate(guarded.cluster, "tenant", guarded.early, {"example.com/note": "changed"})
    annotate(guarded.cluster, "tenant", guarded.early, {"plimsoll.io/qos-priority": "low"})
    with pytest.raises(ApiError):
        annotate(guarded.cluster, "tenant", guarded.early, {"plimsoll.io/qos-priority": "high"})


def test_the_classes_are_taken_and_mean_to_the_agent_what_they_are_called(cluster):
    """The API server gives pods their numbers, in this order around those without a class; the agent maps the names."""
    cluster.namespace("classes")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    cluster.apply("/api/v1/namespaces/classes/serviceaccounts", account)
    for item in CLASSES:
        cluster.priority_class(item["metadata"]["name"], **{key: item[key] for key in item if key != "metadata"})
    values = {}
    for name in [*(each["metadata"]["name"] for each in CLASSES), None]:
        pod = create(cluster, "classes", priority_class=name)
        values[name] = cluster.request("GET", f"/api/v1/namespaces/classes/pods/{pod}")["spec"]["priority"]
    text = (SAMPLES / "priority-classes.yaml").read_text()
    (line,) = (line for line in text.splitlines() if "priorityClasses:" in line)
    section = PrioritySection.model_validate(yaml.safe_load(line.lstrip("# ")))

    assert values["plimsoll-high"] > values["plimsoll-normal"] > values[None] > values["plimsoll-low"]
    assert {name: str(priority) for name, priority in section.priority_classes.items()} == {
        f"plimsoll-{each}": each for each in ("high", "normal", "low")
    }
    assert set(section.priority_classes) == {each["metadata"]["name"] for each in CLASSES}


def test_the_guard_knows_every_word_the_agent_knows():
    """A vocabulary that is added to the agent is added here."""
    policy = one(GUARD, "ValidatingAdmissionPolicy")
    (high,) = (each["expression"] for each in policy["spec"]["variables"] if each["name"] == "high")

    assert {(key, value) for key, values in yaml.safe_load(high).items() for value in values} == set(HIGH)
