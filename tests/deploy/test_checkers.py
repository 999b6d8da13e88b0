"""What others' checkers find is what is exempted with a reason, no more and no less; every object is a valid one."""

from __future__ import annotations

import pytest
import yaml

from plimsoll.config.schema import Config
from tests.deploy.checkers import checkov, kube_score, kubeconform
from tests.deploy.conform import write_schemas
from tests.deploy.exemptions import EXEMPTIONS
from tests.deploy.helm import CHART, Json, hooks, only, render, render_text
from tests.deploy.made import MANIFESTS
from tests.deploy.monitoring import custom_resources
from tests.running import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500), pytest.mark.usefixtures("checkers")]

DOCKERFILE = CHART.parents[2] / "Dockerfile"
# Everything there is, without what makes the pods privileged: a capability would not be seen any more.
FULL: Json = {
    "image": {"registry": "registry.example.com", "digest": f"sha256:{'0' * 64}"},
    "config": {
        "preemption": {"mode": "enforce"},
        "ioLimit": {"mode": "enforce"},
        "overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "publish": True},
        "frequency": {"mode": "enforce"},
        "eviction": {"mode": "enforce"},
        "notices": {"events": True, "podConditions": True},
    },
    "frequency": {"speedSelectResource": "squat.ai/isst", "packageEnergy": True},
    "networkPolicy": {"enabled": True},
    "dashboards": {"enabled": True},
    "prometheus": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}},
    "postDeleteCleanup": {"mode": "always"},
}
PRIVILEGED = {
    **FULL,
    "config": {**FULL["config"], "overcommit": {**FULL["config"]["overcommit"], "activate": True, "onExit": "drain"}},
    # One or the other.
    "prometheus": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}},
}
VALUES = {"default": {}, "full": FULL, "privileged": PRIVILEGED}
# No checker and no API server here knows this kind, whose fields test_chart.py holds; and what is no object.
LEFT_OUT = {"openshift.securityContextConstraints.create", "prometheus.annotations.enabled"}


def switches(values: Json, path: str = "") -> set[str]:
    """The paths of what can be turned on."""
    found = set()
    for key, value in values.items():
        if isinstance(value, dict):
            found |= switches(value, f"{path}{key}.")
        elif isinstance(value, bool):
            found.add(f"{path}{key}")
    return found


def test_everything_is_turned_on():
    """Each switch of the chart that is off by itself, each policy, each right, and each way to a privilege."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    off = {each for each in switches(defaults) if not dig(defaults, each)}
    policies = {
        field.alias or name
        for name, field in Config.model_fields.items()
        if "mode" in getattr(field.annotation, "model_fields", ())
    }

    assert {"frequency.packageEnergy", "prometheus.podMonitor.enabled"} < off
    assert {each for each in off if not (dig(FULL, each) or dig(PRIVILEGED, each))} == LEFT_OUT
    assert {each for each in policies if FULL["config"].get(each, {}).get("mode") != "enforce"} == set()
    assert policies == {"preemption", "ioLimit", "overcommit", "frequency", "eviction"}
    contexts = {
        name: only(render(values), "DaemonSet")["spec"]["template"]["spec"]["containers"][0]["securityContext"]
        for name, values in VALUES.items()
    }
    assert [contexts[name]["privileged"] for name in ("default", "full", "privileged")] == [False, False, True]
    assert contexts["full"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    (role,) = (each for each in render(FULL) if each["kind"] == "ClusterRole" and not hooks([each]))
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {
        "pods", "events", "pods/status", "pods/eviction", "nodes/status",
    }  # fmt: skip


def dig(values: Json, path: str) -> object:
    """The value at ``a.b.c``."""
    found: object = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found


@pytest.fixture(scope="module")
def rendered(helm, tmp_path_factory):
    """The chart with its defaults, with all there is, and with that and privileged, in a file each."""
    folder = tmp_path_factory.mktemp("rendered")
    for name, values in VALUES.items():
        (folder / f"{name}.yaml").write_text(render_text("plimsoll", "plimsoll", values=values))
    return [folder / f"{name}.yaml" for name in VALUES]


@pytest.fixture(scope="module")
def findings(rendered):
    """All that checkov and kube-score find, with nothing skipped."""
    found = checkov(DOCKERFILE, "dockerfile")
    for file in rendered:
        found |= checkov(file, "kubernetes") | kube_score(file)
    return found


def test_every_finding_is_exempted_and_every_exemption_is_needed(findings):
    """By checker, check and object: what is new must be mended or given a reason, what is mended loses its reason."""
    exempted = {(each.checker, each.check, target) for each in EXEMPTIONS for target in each.targets}

    assert {tuple(each) for each in findings} == exempted
    assert sum(len(each.targets) for each in EXEMPTIONS) == len(exempted)
    assert all(len(each.reason) > 5 for each in EXEMPTIONS)


def test_a_bad_object_would_be_found(rendered, tmp_path):
    """The checkers do look: what the chart never does shows."""
    objects = [each for each in yaml.safe_load_all(rendered[0].read_text()) if each]
    (agent,) = (each for each in objects if each["kind"] == "DaemonSet")
    agent["spec"]["template"]["spec"]["hostPID"] = True
    agent["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump_all(objects))

    assert {"CKV_K8S_16", "CKV_K8S_17"} <= {each.check for each in checkov(file, "kubernetes")}
    assert "container-security-context-privileged" in {each.check for each in kube_score(file)}


@pytest.fixture(scope="module")
def schemas(server, tmp_path_factory):
    """Of the API server of the tests, the Prometheus operator's kinds among them."""
    folder = tmp_path_factory.mktemp("schemas")
    # What it says of a kind that was just made follows a moment after the kind is served.
    wanted = {definition["spec"]["names"]["kind"] for definition in custom_resources()}

    def told() -> bool:
        document = server.request("GET", "/openapi/v2")
        known = {
            each["kind"]
            for definition in document["definitions"].values()
            for each in definition.get("x-kubernetes-group-version-kind", ())
        }
        return wanted <= known and write_schemas(document, folder) > 100

    until(told, "every kind has its schema")
    return folder


def test_every_object_conforms(rendered, schemas):
    """Strictly, to the kinds of the release that the tests build; none is skipped."""
    for file in (*rendered, MANIFESTS):
        count = len([each for each in yaml.safe_load_all(file.read_text()) if each])

        assert kubeconform(file, schemas) == (count, [])


def test_an_object_that_does_not_conform_would_be_found(rendered, schemas, tmp_path):
    """An unknown field and a wrong type."""
    objects = [each for each in yaml.safe_load_all(rendered[0].read_text()) if each]
    (agent,) = (each for each in objects if each["kind"] == "DaemonSet")
    agent["spec"]["template"]["spec"]["hostPidd"] = True
    agent["spec"]["revisionHistoryLimit"] = "many"
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    valid, said = kubeconform(file, schemas)

    assert valid == len(objects) - 1
    (told,) = said
    assert told.startswith("DaemonSet/plimsoll: statusInvalid")
