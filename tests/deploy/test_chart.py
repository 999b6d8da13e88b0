"""What the chart renders, by Helm itself."""

from __future__ import annotations

import shutil

import pytest
import yaml

from plimsoll.config.loader import load_config
from tests.deploy import made
from tests.deploy.helm import CHART, HelmError, helm, hooks, one, only, render, render_text

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
        ({"registry": "ghcr.io/acme"}, "ghcr.io/acme/plimsoll:0.1.0"),
        ({"registry": "host:5000/a/b-c", "digest": DIGEST}, f"host:5000/a/b-c/plimsoll@{DIGEST}"),
        ({"digest": DIGEST, "tag": "x"}, f"plimsoll@{DIGEST}"),
    ],
)
def test_the_images_name(image, expected):
    """Registry, repository, tag and digest, the digest first; the tag is the chart's own version by default."""
    assert container({"image": image})["image"] == expected


def test_a_parent_chart_says_where_all_images_are():
    """For every pod, those that clean up among them: its registry counts, and its secrets are there besides."""
    parents = {"imageRegistry": "ghcr.io/acme", "imagePullSecrets": ["one", {"name": "two"}], "others": {"x": 1}}
    own = {"image": {"registry": "quay.io"}, "imagePullSecrets": [{"name": "three"}]}
    objects = render({"global": parents, **own, "postDeleteCleanup": {"mode": "always"}})
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("DaemonSet", "Job")]

    assert len(pods) == 3
    for pod in pods:
        assert [each["name"] for each in pod["imagePullSecrets"]] == ["one", "two", "three"]
        for each in (*pod.get("initContainers", ()), *pod["containers"]):
            assert each["image"] == "ghcr.io/acme/plimsoll:0.1.0"


def test_more_objects_come_with_the_release():
    """As mappings and as text, with templates in both."""
    first = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-tls"}}
    second = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: '{{ include \"plimsoll.fullname\" . }}'}\n"
    objects = render({"extraManifests": [first, second]}, release="a")

    assert only(objects, "Secret")["metadata"]["name"] == "a-tls"
    assert only(objects, "LimitRange")["metadata"]["name"] == "a-plimsoll"
    assert len(objects) == len(render(release="a")) + 2


@pytest.mark.parametrize("way", ["serviceMonitor", "podMonitor"])
def test_a_monitor_may_be_where_prometheus_looks(way):
    """In another namespace it says in which one the pods are."""
    monitor = {"namespace": "monitoring", "annotations": {"a": "b"}, "sampleLimit": 20000}
    kind = f"{way[0].upper()}{way[1:]}"
    found = only(render({"prometheus": {way: {"enabled": True}, "monitor": monitor}}), kind)
    plain = only(render({"prometheus": {way: {"enabled": True}}}), kind)

    assert found["metadata"]["namespace"] == "monitoring"
    assert found["metadata"]["annotations"] == {"a": "b"}
    assert found["spec"]["namespaceSelector"] == {"matchNames": ["plimsoll"]}
    assert found["spec"]["sampleLimit"] == 20000
    assert plain["metadata"]["namespace"] == "plimsoll"
    assert not {"namespaceSelector", "sampleLimit"} & set(plain["spec"])


def test_the_manifests_are_for_every_kubernetes():
    """An API server before 1.30 has no such field, and kubectl refuses it."""
    assert "recursiveReadOnly" not in made.MANIFESTS.read_text()


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"pressure": {"intervall": "5s"}}},
        {"config": {"pressure": {"maxSeries": 1}}},
        {"config": {"log": {"level": "loud"}}},
        {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}},
        {"image": {"digest": "latest"}},
        {"image": {"registry": "https://ghcr.io"}},
        {"image": {"registry": "ghcr.io/acme/"}},
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


@pytest.mark.parametrize("way", ["serviceMonitor", "podMonitor"])
def test_the_alerts_know_the_agents_by_whatever_name(way):
    """`nameOverride` changes every label that objects have; job="plimsoll" is what rules and dashboards ask for."""
    objects = render({"nameOverride": "pressure", "prometheus": {way: {"enabled": True}}})
    spec = only(objects, f"{way[0].upper()}{way[1:]}")["spec"]
    (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
    jobs = [each for each in endpoint["relabelings"] if each["targetLabel"] == "job"]

    assert spec["selector"]["matchLabels"]["app.kubernetes.io/name"] == "pressure"
    # No source and no regular expression: of every target, over what the operator has made of other labels.
    assert jobs == [{"targetLabel": "job", "replacement": "plimsoll"}]
    assert 'job="plimsoll"' in (CHART / "files/rules.yaml").read_text()


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
    """
    drainTimeout is added to the time that the agent needs besides, however it is spelled; twice to what the clean-up
    waits for, as the agent may be killed at the end of its time, and somebody else begins anew.
    """
    objects = render({"config": {"overcommit": said}, "postDeleteCleanup": {"mode": "always"}})
    assert only(objects, "DaemonSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds
    job = one(hooks(objects), "Job")["spec"]
    waited = 240 + 2 * (seconds - 30)
    assert f"--timeout={waited}" in job["template"]["spec"]["containers"][0]["args"]
    assert job["activeDeadlineSeconds"] == waited + 30


@pytest.mark.parametrize(
    ("path", "type_"),
    [("/dev/vdb", "BlockDevice"), ("/dev/disk/by-id/x", "BlockDevice"), ("/swapfile", "File"), ("/device/x", "File")],
)
def test_a_swap_device_that_is_not_there_is_not_made(path, type_):
    """The kubelet makes a folder of a path of no type, on every node that has no such device."""
    objects = render({"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": path}}})
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "DaemonSet"]
    volumes = [each["hostPath"] for pod in pods for each in pod["volumes"] if each["name"] == "swap-device"]

    assert volumes == [{"path": path, "type": type_}] * len(pods)


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


def test_cleaning_up_comes_in_its_order():
    """Rights, then the nodes, then what waits for them; everything is gone afterwards, and Helm waits long enough."""
    values = {"config": {"preemption": {"mode": "enforce"}}, "postDeleteCleanup": {"timeoutSeconds": 100}}
    found = hooks(render(values))
    weights = {each["kind"]: int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in found}
    policies = {each["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for each in found}

    assert max(weight for kind, weight in weights.items() if kind not in ("DaemonSet", "Job")) < weights["DaemonSet"]
    assert weights["DaemonSet"] < weights["Job"] == max(weights.values())
    assert policies == {"before-hook-creation,hook-succeeded"}
    job = one(found, "Job")["spec"]
    (retire,) = job["template"]["spec"]["containers"]
    assert retire["args"] == ["retire", "--timeout=100", "--daemonset=plimsoll/plimsoll-cleanup"]
    assert job["activeDeadlineSeconds"] > 100


def test_cleaning_up_goes_where_the_agents_were():
    """The same nodes, whatever was said about affinity; not beside an agent that is still there; not one's own pods."""
    terms = [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["mixed"]}]}]
    other = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [other]},
    }
    config = {"preemption": {"mode": "enforce"}}
    objects = render({"config": config, "affinity": affinity, "nodeSelector": {"pool": "mixed"}})
    agents, clean = only(objects, "DaemonSet")["spec"], one(hooks(objects), "DaemonSet")["spec"]
    there, here = agents["template"]["spec"], clean["template"]["spec"]
    apart = here["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert there["affinity"] == affinity
    assert here["affinity"]["nodeAffinity"] == affinity["nodeAffinity"]
    assert apart[0] == other
    assert apart[1]["labelSelector"]["matchLabels"] == agents["selector"]["matchLabels"]
    labels = clean["template"]["metadata"]["labels"]
    assert not apart[1]["labelSelector"]["matchLabels"].items() <= labels.items()
    for name in ("nodeSelector", "tolerations", "priorityClassName"):
        assert here[name] == there[name]


DRAIN = {"mode": "enforce", "ratio": 2.0, "swapDevice": "LABEL=low", "onExit": "drain", "publish": True}


def test_behind_a_killed_agent_memory_is_brought_back_too(tmp_path):
    """By the same section of the configuration, with the folders that the administrator added to find the device."""
    extra = [{"name": "dev", "hostPath": {"path": "/dev"}}, {"name": "tls", "secret": {"secretName": "tls"}}]
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in extra]
    values = {"config": {"overcommit": DRAIN}, "extraVolumes": extra, "extraVolumeMounts": mounts}
    found = hooks(render(values))
    config = one(found, "ConfigMap")
    spec = one(found, "DaemonSet")["spec"]["template"]["spec"]
    (restore,) = spec["initContainers"]
    file = tmp_path / "plimsoll.yaml"
    file.write_text(config["data"]["plimsoll.yaml"])
    section = load_config(str(file)).overcommit

    assert (section.mode, section.on_exit, section.swap_device) == ("enforce", "drain", "LABEL=low")
    # Without a token it could not withdraw anything: that is the Job's.
    assert not section.publish
    assert "--config=/etc/plimsoll/plimsoll.yaml" in restore["args"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    places = {each["mountPath"]: volumes[each["name"]] for each in restore["volumeMounts"]}
    assert places["/etc/plimsoll"]["configMap"] == {"name": config["metadata"]["name"]}
    assert places["/dev"]["hostPath"] == {"path": "/dev"}
    # A secret of the namespace may be gone by then, and the pod would wait for it.
    assert not any("secret" in each for each in spec["volumes"])


def test_what_cleans_up_has_no_configuration_without_need():
    """What is in the journal needs none."""
    found = hooks(render({"config": {"overcommit": {**DRAIN, "onExit": "leave"}}}))

    assert "ConfigMap" not in {each["kind"] for each in found}
    assert not any(
        "--config" in each for each in one(found, "DaemonSet")["spec"]["template"]["spec"]["initContainers"][0]["args"]
    )


NAMES = {"name", "namespace", "serviceAccountName", "priorityClassName", "policyName"}


def test_names_may_look_like_numbers():
    """Unquoted they would be numbers, which no API server takes for a name or a label."""
    values = {
        "nameOverride": "7",
        "fullnameOverride": "123",
        "priorityClassName": "9",
        "config": {"overcommit": DRAIN, "notices": {"podConditions": True}},
        "openshift": {"securityContextConstraints": {"create": True}},
        "prometheus": {"serviceMonitor": {"enabled": True}, "rules": {"enabled": True}},
        "networkPolicy": {"enabled": True},
        "dashboards": {"enabled": True},
    }
    seen = set()

    def check(value):
        if isinstance(value, list):
            for each in value:
                check(each)
        elif isinstance(value, dict):
            for key, each in value.items():
                if key in NAMES or key.startswith("app.kubernetes.io/"):
                    assert isinstance(each, str), (key, each)
                    seen.add(each)
                check(each)

    for each in yaml.safe_load_all(render_text("456", "789", values=values)):
        check(each)
    assert seen >= {"7", "123", "9", "456", "789"}


@pytest.mark.parametrize("enabled", [True, False])
def test_another_chart_may_have_this_one_among_its_own(tmp_path, enabled):
    """With the usual switch, which Helm gives to the chart as a value, too."""
    dependency = {"name": "plimsoll", "version": "*", "condition": "plimsoll.enabled"}
    parent = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    shutil.copytree(CHART, tmp_path / "charts/plimsoll")
    text = helm("template", "platform", tmp_path, values={"plimsoll": {"enabled": enabled}})

    assert ("kind: DaemonSet" in text) == enabled


def test_two_releases_keep_apart():
    """Names and selectors differ, so that one does not adopt the other's pods."""
    first, second = (only(render(release=name), "DaemonSet") for name in ("a", "b"))

    assert first["metadata"]["name"] == "a-plimsoll"
    assert first["spec"]["selector"] != second["spec"]["selector"]
