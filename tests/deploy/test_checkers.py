"""What others' checkers find is what is exempted with a reason, no more and no less; every object is a valid one."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy.checkers import checkov, kube_score, kubeconform
from tests.deploy.conform import write_schemas
from tests.deploy.exemptions import EXEMPTIONS
from tests.deploy.helm import CHART, render_text
from tests.deploy.made import MANIFESTS

# Making checkov's environment takes a minute, once.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

DOCKERFILE = CHART.parents[2] / "Dockerfile"
# Everything there is: what asks for the most.
FULL = {
    "image": {"registry": "registry.example.com", "digest": f"sha256:{'0' * 64}"},
    "config": {
        "preemption": {"mode": "enforce"},
        "overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb"},
        "notices": {"events": True, "podConditions": True},
    },
    "networkPolicy": {"enabled": True},
    "dashboards": {"enabled": True},
    "prometheus": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}},
    "postDeleteCleanup": {"mode": "always"},
}
VALUES = {"default": {}, "full": FULL}


@pytest.fixture(scope="module")
def rendered(helm, tmp_path_factory):
    """The chart with its defaults, and with all there is, in a file each."""
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
    assert write_schemas(server.request("GET", "/openapi/v2"), folder) > 100
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
