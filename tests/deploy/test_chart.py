"""What the chart renders, by Helm itself."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy import made
from tests.deploy.helm import CHART, HelmError, helm, only, render

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("helm")]

SAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))
DIGEST = f"sha256:{'0' * 64}"


def template(values=None):
    return only(render(values), "DaemonSet")["spec"]["template"]


def container(values=None):
    (found,) = template(values)["spec"]["containers"]
    return found


@pytest.mark.parametrize("sample", [None, *SAMPLES], ids=lambda each: each.stem if each else "default")
def test_helm_has_nothing_to_say(sample):
    """`helm lint --strict` checks the values against the schema, and every object's shape."""
    helm("lint", "--strict", CHART, *(["--values", sample] if sample else []))


def test_the_manifests_are_in_step():
    """`python -m tests.deploy.made` writes them."""
    assert made.MANIFESTS.read_text() == made.manifests()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "plimsoll:0.1.0"),
        ({"registry": "host:5000", "repository": "team/agent", "tag": "x"}, "host:5000/team/agent:x"),
        ({"digest": DIGEST, "tag": "x"}, f"plimsoll@{DIGEST}"),
    ],
)
def test_the_images_name(image, expected):
    """Registry, repository, tag and digest, the digest first; the tag is the chart's own version by default."""
    assert container({"image": image})["image"] == expected


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"pressure": {"intervall": "5s"}}},
        {"config": {"pressure": {"maxSeries": 1}}},
        {"config": {"log": {"level": "loud"}}},
        {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}},
        {"image": {"digest": "latest"}},
        {"tolerations": "all"},
        {"resource": {}},
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_installed(values):
    """By the schema: unknown keys, and in the configuration what the agent itself would refuse."""
    (path,) = values
    with pytest.raises(HelmError, match=path):
        render(values)


@pytest.mark.parametrize("pair", [("serviceMonitor", "podMonitor"), ("podMonitor", "annotations")])
def test_two_ways_to_be_scraped_are_refused(pair):
    """Prometheus would have every series twice."""
    with pytest.raises(HelmError, match="At most one of"):
        render({"prometheus": {each: {"enabled": True} for each in pair}})


@pytest.mark.parametrize("way", ["serviceMonitor", "podMonitor", "annotations", None])
def test_the_way_to_be_scraped_is_the_only_one(way):
    """One monitor or the annotations, with what it needs and nothing of the others."""
    objects = render({"prometheus": {way: {"enabled": True}}} if way else {})
    kinds = {each["kind"] for each in objects} & {"Service", "ServiceMonitor", "PodMonitor"}
    annotations = only(objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"]

    assert kinds == {"serviceMonitor": {"Service", "ServiceMonitor"}, "podMonitor": {"PodMonitor"}}.get(way, set())
    assert ("prometheus.io/scrape" in annotations) == (way == "annotations")


def test_the_port_and_the_scheme_are_those_of_the_configuration():
    """One place says them: probes, port, annotations and monitors follow."""
    config = {"http": {"listen": "[::]:9000", "tls": {"certFile": "/a", "keyFile": "/b"}}}
    values = {"config": config, "prometheus": {"annotations": {"enabled": True}}}
    found = container(values)
    annotations = template(values)["metadata"]["annotations"]

    assert found["ports"] == [{"name": "metrics", "containerPort": 9000}]
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics", "scheme": "HTTPS"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics", "scheme": "HTTPS"}
    assert annotations["prometheus.io/port"] == "9000"
    assert annotations["prometheus.io/scheme"] == "https"


def test_only_what_the_agent_cannot_follow_restarts_the_pods():
    """A change of `http` is another pod; a change of anything else is not."""
    assert template() == template({"config": {"pressure": {"interval": "10s"}, "log": {"level": "debug"}}})
    assert template() != template({"config": {"http": {"maxConnections": 65}}})


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 30),
        ({"mode": "observe", "onExit": "drain"}, 30),
        ({"mode": "enforce", "onExit": "drain"}, 90),
        ({"mode": "enforce", "activate": True, "swapDevice": "/dev/vdb"}, 30),
        ({"mode": "enforce", "onExit": "drain", "drainTimeout": "1m30s"}, 120),
        ({"mode": "enforce", "onExit": "drain", "drainTimeout": "1h"}, 3630),
        ({"mode": "enforce", "onExit": "drain", "drainTimeout": 45}, 75),
    ],
)
def test_the_kubelet_waits_for_what_has_to_come_back(said, seconds):
    """drainTimeout is added to the time that the agent needs besides, however it is spelled."""
    assert template({"config": {"overcommit": said}})["spec"]["terminationGracePeriodSeconds"] == seconds


def test_the_configuration_arrives_as_it_was_said():
    """What the schema let through is what the agent reads, whole."""
    config = {"priority": {"namespaces": {"batch": "low"}}, "pressure": {"causes": ["swap", "cpu*"], "interval": 2}}
    data = only(render({"config": config}), "ConfigMap")["data"]

    assert yaml.safe_load(data["plimsoll.yaml"]) == config


def test_the_runbooks_are_where_the_administrator_says():
    """Every alert's link gets the given beginning."""
    objects = render({"prometheus": {"rules": {"enabled": True, "runbookUrl": "https://wiki.example.com/x"}}})
    rules = [rule for group in only(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    alerts = [each for each in rules if "alert" in each]

    assert alerts
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example.com/x#{rule['alert'].lower()}"


def test_two_releases_keep_apart():
    """Names and selectors differ, so that one does not adopt the other's pods."""
    first, second = (only(render(release=name), "DaemonSet") for name in ("a", "b"))

    assert first["metadata"]["name"] == "a-plimsoll"
    assert first["spec"]["selector"] != second["spec"]["selector"]
