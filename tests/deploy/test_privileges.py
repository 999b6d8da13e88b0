"""Privileges follow the features in use: the matrix of docs/security.md, held whole."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.deploy.helm import CHART, helm, hooks, installed, one, only, render
from tests.deploy.openshift import constraint_fields

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("helm", "foreign_kinds")]

# What each feature adds to nothing. Whoever adds a feature adds its row here and in docs/security.md.
OBSERVE = {
    "user": 65532,
    "capabilities": set(),
    "privileged": False,
    "devices": set(),
    "host": {"/sys/fs/cgroup": "ro"},
    "rules": {("", "pods", "list"), ("", "pods", "watch")},
}
ENFORCE = {**OBSERVE, "user": 0, "host": {"/sys/fs/cgroup": "rw", "/run/plimsoll": "rw"}}

# Telling pods' owners takes rights to the API alone.
EVENTS = {("", "events", "create"), ("", "events", "patch")}
CONDITIONS = {("", "pods/status", "patch")}
# So does evicting: the kernel's files are only read for it.
EVICTION = {("", "pods/eviction", "create")}


def telling(**notices):
    return {"config": {"notices": notices}}


ISST = "squat.ai/isst"
CPU = {"/sys/devices/system/cpu": "rw"}
ENERGY = {"/sys/devices/virtual/powercap/intel-rapl": "ro"}
SPEED_SELECT_USED = {**ENFORCE, "host": ENFORCE["host"] | CPU, "capabilities": {"SYS_ADMIN"}, "devices": {ISST}}


def frequencies(mode, **node):
    """``mode``: the policy's; ``None`` where the configuration does not speak of it."""
    return {"config": {} if mode is None else {"frequency": {"mode": mode}}, "frequency": node}


def publishing():
    return {"config": {"overcommit": {"mode": "enforce", "selector": "mglru", "publish": True}}}


DAMON = {"/sys/kernel/mm": "rw"}
PUBLISH = {("", "nodes/status", "patch")}
SAMPLES = {
    **dict.fromkeys(
        ("annotations-values", "openshift-values", "pod-monitor-tls-values", "service-monitor-values"), OBSERVE
    ),
    "enforce-values": {
        **ENFORCE,
        "host": ENFORCE["host"] | CPU | DAMON | {"/dev/disk/by-partlabel/batch-swap": "ro"},
        "rules": OBSERVE["rules"] | EVENTS | CONDITIONS | EVICTION,
    },
    "overcommit-drain-values": {
        **ENFORCE,
        "privileged": True,
        "host": ENFORCE["host"] | DAMON | {"/dev": "rw"},
        "rules": OBSERVE["rules"] | PUBLISH,
    },
    "own-rights-values": ENFORCE,
    "speed-select-values": {**SPEED_SELECT_USED, "host": SPEED_SELECT_USED["host"] | ENERGY},
}
FEATURES = {
    "observe": ({}, OBSERVE),
    "a policy that observes": ({"config": {"preemption": {"mode": "observe"}}}, OBSERVE),
    "a policy that is off": ({"config": {"preemption": {"mode": "off"}}}, OBSERVE),
    "a policy that enforces": ({"config": {"preemption": {"mode": "enforce"}}}, ENFORCE),
    "frequencies that are observed": (frequencies("observe"), OBSERVE),
    "frequencies that are enforced": (frequencies("enforce"), {**ENFORCE, "host": ENFORCE["host"] | CPU}),
    "Speed Select that is observed": (
        frequencies("observe", speedSelectResource=ISST),
        {**OBSERVE, "user": 0, "devices": {ISST}},
    ),
    "Speed Select that is used": (frequencies("enforce", speedSelectResource=ISST), SPEED_SELECT_USED),
    "a frequency section without a mode": (
        {"config": {"frequency": {"window": "1m"}}, "frequency": {"speedSelectResource": ISST}},
        {**OBSERVE, "user": 0, "devices": {ISST}},
    ),
    "power that is observed": (
        frequencies("observe", packageEnergy=True),
        {**OBSERVE, "user": 0, "host": OBSERVE["host"] | ENERGY},
    ),
    "power and frequencies": (
        frequencies("enforce", packageEnergy=True),
        {**ENFORCE, "host": ENFORCE["host"] | CPU | ENERGY},
    ),
    **{
        f"frequencies that are {name}": (frequencies(mode, speedSelectResource=ISST, packageEnergy=True), OBSERVE)
        for name, mode in (("off", "off"), ("off in YAML 1.1", False), ("not spoken of", None))
    },
    "notices that are off": (telling(events=False, podConditions=False), OBSERVE),
    "events": (telling(events=True), {**OBSERVE, "rules": OBSERVE["rules"] | EVENTS}),
    "conditions": (telling(podConditions=True), {**OBSERVE, "rules": OBSERVE["rules"] | CONDITIONS}),
    "events and conditions": (
        telling(events=True, podConditions=True),
        {**OBSERVE, "rules": OBSERVE["rules"] | EVENTS | CONDITIONS},
    ),
    "evictions that are observed": ({"config": {"eviction": {"mode": "observe"}}}, OBSERVE),
    "evictions that are off": ({"config": {"eviction": {"mode": False}}}, OBSERVE),
    "evictions": ({"config": {"eviction": {"mode": "enforce"}}}, {**OBSERVE, "rules": OBSERVE["rules"] | EVICTION}),
    "evictions and a policy that enforces": (
        {"config": {"eviction": {"mode": "enforce"}, "preemption": {"mode": "enforce"}}},
        {**ENFORCE, "rules": ENFORCE["rules"] | EVICTION},
    ),
    "a swap device that is observed": (
        {"config": {"overcommit": {"swapDevice": "/dev/vdb"}}},
        {**OBSERVE, "host": OBSERVE["host"] | {"/dev/vdb": "ro"}},
    ),
    "a swap device that is used": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb"}}},
        {**ENFORCE, "host": ENFORCE["host"] | {"/dev/vdb": "ro", "/sys/kernel/mm": "rw"}},
    ),
    "a swap device, cold memory found by DAMON": (
        {"config": {"overcommit": {"mode": "enforce", "swapDevice": "UUID=1", "selector": "damon"}}},
        {**ENFORCE, "host": ENFORCE["host"] | {"/sys/kernel/mm": "rw"}},
    ),
    "a swap device, cold memory found in another way": (
        {"config": {"overcommit": {"mode": "enforce", "swapDevice": "UUID=1", "selector": "mglru"}}},
        ENFORCE,
    ),
    "a swap device that is emptied in the end": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "onExit": "drain"}}},
        {**ENFORCE, "privileged": True, "host": ENFORCE["host"] | {"/dev/vdb": "rw", "/sys/kernel/mm": "rw"}},
    ),
    "a swap device that is turned on": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "activate": True}}},
        {**ENFORCE, "privileged": True, "host": ENFORCE["host"] | {"/dev/vdb": "rw", "/sys/kernel/mm": "rw"}},
    ),
    "a swap file that the agent makes": (
        {
            "config": {
                "overcommit": {
                    "mode": "enforce",
                    "ratio": 2.0,
                    "swapDevice": "/var/lib/swap/low",
                    "activate": True,
                    "swapFileSize": "8Gi",
                }
            }
        },
        {**ENFORCE, "privileged": True, "host": ENFORCE["host"] | {"/var/lib/swap": "rw", "/sys/kernel/mm": "rw"}},
    ),
    "memory that is published": (
        publishing(),
        {**ENFORCE, "rules": ENFORCE["rules"] | PUBLISH},
    ),
    "memory that would be": ({"config": {"overcommit": {"publish": True}}}, OBSERVE),
    "a swap device that would be": ({"config": {"overcommit": {"onExit": "drain"}}}, OBSERVE),
    "a swap device that is not": ({"config": {"overcommit": {"mode": "off", "swapDevice": "/dev/vdb"}}}, OBSERVE),
    # A sample without a row is a KeyError.
    **{each.stem: (each, SAMPLES[each.stem]) for each in sorted((CHART / "ci").glob("*-values.yaml"))},
}


def of_pod(spec, container):
    """What one container of rendered pods may."""
    security = {**spec["securityContext"], **container["securityContext"]}
    modes = {mount["name"]: "ro" if mount.get("readOnly") else "rw" for mount in container.get("volumeMounts", ())}
    host = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each}
    return {
        "user": security["runAsUser"],
        "capabilities": set(security.get("capabilities", {}).get("add", ())),
        "privileged": security["privileged"],
        # Of resources with a domain a device plugin gives something of the node.
        "devices": {each for each in container["resources"].get("limits", {}) if "/" in each},
        "host": {host[name]: mode for name, mode in modes.items() if name in host},
    }


def rights(objects):
    """What the objects' account may."""
    rules = [rule for each in objects if each["kind"] in ("ClusterRole", "Role") for rule in each["rules"]]
    return {
        (group, "/".join([resource, *rule.get("resourceNames", ())]), verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def privileges(objects):
    """What the rendered agents may, and the rights of their account."""
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return {**of_pod(spec, container), "rules": rights(installed(objects))}


def test_every_sample_is_there():
    """No row is of one that is gone, and some enforce: what CI installs is what people install."""
    assert {each.stem for each in (CHART / "ci").iterdir()} == set(SAMPLES)
    assert sum(each["user"] == 0 for each in SAMPLES.values()) >= 4


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_has_exactly_its_privileges(feature):
    """Mounts of the node, capabilities, user and API rights, none missing and none more."""
    values, expected = FEATURES[feature]
    # The schema knows a policy from the version on that has it; the privileges are a matter of the mode alone.
    arguments = ["--skip-schema-validation"]
    objects = render(values, *arguments) if isinstance(values, dict) else render(None, *arguments, "--values", values)
    found = privileges(objects)
    if not any(each["kind"] == "ClusterRole" for each in objects):
        expected = {**expected, "rules": set()}

    assert found == expected


NOTHING = {"user": 65532, "capabilities": set(), "privileged": False, "devices": set(), "host": {}}
NODES = {("apps", "daemonsets/plimsoll-cleanup", "get")}
WITHDRAW = {("", "pods", "list"), ("", "pods/status", "patch")}
UNPUBLISH = {("", "nodes", "list"), ("", "nodes/status", "patch")}
ENFORCING = {"config": {"preemption": {"mode": "enforce"}}}


@pytest.mark.parametrize(
    ("values", "nodes", "rules"),
    [
        ({}, None, set()),
        ({**ENFORCING, "postDeleteCleanup": {"mode": "never"}}, None, set()),
        (telling(podConditions=True), None, WITHDRAW),
        (ENFORCING, ENFORCE, NODES),
        (
            {"config": {"overcommit": {"mode": "enforce", "selector": "mglru", "onExit": "drain"}}},
            {**ENFORCE, "privileged": True},
            NODES,
        ),
        (frequencies("enforce", speedSelectResource=ISST), SPEED_SELECT_USED, NODES),
        (publishing(), ENFORCE, NODES | UNPUBLISH),
        ({"config": {"overcommit": {"publish": True}}}, None, set()),
        ({"postDeleteCleanup": {"mode": "always"}}, ENFORCE, NODES | WITHDRAW | UNPUBLISH),
        ({**ENFORCING, "rbac": {"create": False}}, ENFORCE, set()),
    ],
)
def test_what_cleans_up_has_exactly_its_privileges(values, nodes, rules):
    """Only where there may be something to clean up; the pods on nodes have no token, the one with a token no mount."""
    found = hooks(render(values, "--skip-schema-validation"))

    assert rights(found) == rules
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in found} <= {"post-delete"}
    assert [each["kind"] for each in found].count("DaemonSet") == (nodes is not None)
    if nodes is not None:
        spec = one(found, "DaemonSet")["spec"]["template"]["spec"]
        (restore,), (done,) = spec["initContainers"], spec["containers"]
        assert of_pod(spec, restore) == {key: value for key, value in nodes.items() if key != "rules"}
        assert of_pod(spec, done) == NOTHING
        assert not any("projected" in each for each in spec["volumes"])
    if found:
        spec = one(found, "Job")["spec"]["template"]["spec"]
        assert of_pod(spec, spec["containers"][0]) == NOTHING
    else:
        assert not rules


def noted(values):
    """What the notes of an installation say, and each list of rules in them."""
    text = helm("install", "plimsoll", CHART, "--namespace=plimsoll", "--dry-run=client", values=values)
    notes = text.partition("NOTES:\n")[2] + "\n"
    blocks = re.findall(r"(?:^  (?:- |  )\S.*\n)+", notes, re.MULTILINE)
    return notes, [{"kind": "ClusterRole", "rules": yaml.safe_load(each)} for each in blocks]


@pytest.mark.parametrize(
    ("values", "accounts"),
    [
        ({}, ["plimsoll"]),
        (publishing(), ["plimsoll", "plimsoll-cleanup"]),
        ({**telling(events=True, podConditions=True)}, ["plimsoll", "plimsoll-cleanup"]),
        ({"postDeleteCleanup": {"mode": "always"}}, ["plimsoll", "plimsoll-cleanup"]),
        ({**ENFORCING, "serviceAccount": {"create": False, "name": "ours"}}, ["ours"]),
    ],
)
def test_whoever_gives_the_rights_is_told_which(values, accounts):
    """Exactly those that the chart would give, to agents and to what cleans up behind them, and to which accounts."""
    given = rights(render(values))
    notes, rules = noted({**values, "rbac": {"create": False}})

    assert rights(rules) == given
    for account in accounts:
        assert f"account {account} of plimsoll" in notes
    # Where the chart gives them there is nothing to say.
    assert noted(values)[1] == []


@pytest.mark.parametrize("feature", FEATURES)
def test_what_no_feature_ever_gets(feature):
    """Whatever is configured: no host namespace, no escalation, no writable image, no long-lived token."""
    values, expected = FEATURES[feature]
    arguments = ["--skip-schema-validation"]
    objects = render(values, *arguments) if isinstance(values, dict) else render(None, *arguments, "--values", values)
    specs = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("DaemonSet", "Job")]

    assert specs
    for spec in specs:
        assert not {"hostPID", "hostIPC", "hostNetwork"} & set(spec)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            if security["privileged"]:
                assert expected["privileged"]
                continue
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
        tokens = [
            source["serviceAccountToken"]
            for each in spec["volumes"]
            for source in each.get("projected", {"sources": ()})["sources"]
            if "serviceAccountToken" in source
        ]
        assert [each["expirationSeconds"] for each in tokens] in ([], [3600])
    # A node has no two agents at once, also during an update.
    assert only(objects, "DaemonSet")["spec"]["updateStrategy"].get("rollingUpdate", {"maxSurge": 0})["maxSurge"] == 0


EVICTS = {"config": {"eviction": {"mode": "enforce"}}}


@pytest.mark.parametrize(
    ("values", "version", "expected"),
    [
        ({}, "1.34.0", []),
        (telling(events=True), "1.34.0", []),
        (telling(podConditions=True), "1.34.0", ["conditions"]),
        ({**telling(podConditions=True), "rbac": {"create": False}}, "1.34.0", ["conditions"]),
        (telling(podConditions=True), "1.29.9", []),
        ({"config": {"eviction": {"mode": "observe"}}}, "1.34.0", []),
        (EVICTS, "1.34.0", ["evictions"]),
        ({**EVICTS, "rbac": {"create": False}}, "1.34.0", ["evictions"]),
        (EVICTS, "1.29.9", []),
        ({"config": {**EVICTS["config"], "notices": {"podConditions": True}}}, "1.34.0", ["conditions", "evictions"]),
        (publishing(), "1.34.0", ["node"]),
        ({**publishing(), "rbac": {"create": False}}, "1.34.0", ["node"]),
        (publishing(), "1.29.9", []),
        ({"config": {"overcommit": {"publish": True}}}, "1.34.0", []),
    ],
)
def test_a_right_that_is_too_wide_comes_with_the_policy_that_narrows_it(values, version, expected):
    """For the account that the pods run as, whoever gave it the right; where Kubernetes has such policies."""
    objects = render(values, "--skip-schema-validation", "--kube-version", version)
    account = only(objects, "DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"]
    policies = [each for each in objects if each["kind"] == "ValidatingAdmissionPolicy"]
    bindings = [each for each in objects if each["kind"] == "ValidatingAdmissionPolicyBinding"]

    names = [f"plimsoll-{each}" for each in expected]
    assert [each["metadata"]["name"] for each in policies] == names
    assert [each["spec"]["policyName"] for each in bindings] == names
    for policy in policies:
        (condition,) = policy["spec"]["matchConditions"]
        assert f"'system:serviceaccount:plimsoll:{account}'" in condition["expression"]
        assert policy["spec"]["failurePolicy"] == "Fail"
    for binding in bindings:
        assert binding["spec"]["validationActions"] == ["Deny"]


OPENSHIFT = {"openshift": {"securityContextConstraints": {"create": True}}}


@pytest.mark.parametrize("feature", FEATURES)
def test_openshift_is_asked_for_what_the_pods_need_and_no_more(feature):
    """Fields that there are, for the pods' own account; user, capabilities and volumes are those of the pods."""
    values, expected = FEATURES[feature]
    arguments = ["--skip-schema-validation"]
    arguments += [] if isinstance(values, dict) else ["--values", values]
    objects = render({**OPENSHIFT, **(values if isinstance(values, dict) else {})}, *arguments)
    pods = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    found = only(objects, "SecurityContextConstraints")
    privileged = expected["privileged"]

    assert set(found) - {"apiVersion", "kind"} <= constraint_fields()
    assert found["users"] == [f"system:serviceaccount:plimsoll:{pods['serviceAccountName']}"]
    assert found["runAsUser"] == {"type": "MustRunAs", "uid": pods["securityContext"]["runAsUser"]}
    assert {key for each in pods["volumes"] for key in each if key != "name"} <= set(found["volumes"])
    allowed = {key for key, value in found.items() if key.startswith("allow") and value not in (False, [])}
    assert allowed - {"allowedCapabilities"} == {"allowHostDirVolumePlugin"} | (
        {"allowPrivilegeEscalation", "allowPrivilegedContainer"} if privileged else set()
    )
    assert found["allowedCapabilities"] == (["*"] if privileged else sorted(expected["capabilities"]))
    # As OpenShift has it in its own: what is dropped may be allowed again by name.
    assert found["requiredDropCapabilities"] == ([] if privileged else ["ALL"])


def test_openshift_lets_the_clean_up_run():
    """Its permission goes with the release, so the hooks bring one for their own account, before their pods."""
    found = hooks(render({**OPENSHIFT, **ENFORCING}))
    constraints, clean = one(found, "SecurityContextConstraints"), one(found, "DaemonSet")
    account = clean["spec"]["template"]["spec"]["serviceAccountName"]
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (constraints, clean)]

    assert constraints["users"] == [f"system:serviceaccount:plimsoll:{account}"]
    assert weights[0] < weights[1]
    assert constraints["runAsUser"] == {"type": "RunAsAny"}
    # Where no node is put back there is the Job's pod, whose user is none of the namespace's range either.
    (alone,) = (each for each in hooks(render({**OPENSHIFT, **telling(podConditions=True)})) if "users" in each)
    assert alone["runAsUser"] == {"type": "MustRunAs", "uid": 65532}
    assert not [each for each in render(ENFORCING) if each["kind"] == "SecurityContextConstraints"]


def test_an_old_api_server_is_not_given_what_it_does_not_know():
    """`recursiveReadOnly` came with Kubernetes 1.30 and is on from 1.31."""

    def mount(version):
        (container,) = only(render(None, "--kube-version", version), "DaemonSet")["spec"]["template"]["spec"][
            "containers"
        ]
        return container["volumeMounts"][0]

    assert mount("1.31.0") == {**mount("1.30.9"), "recursiveReadOnly": "IfPossible"}
