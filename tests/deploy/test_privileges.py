"""Privileges follow the features in use: the matrix of docs/security.md, held whole."""

from __future__ import annotations

import pytest

from tests.deploy.helm import CHART, only, render

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("helm")]

# What each feature adds to nothing. Whoever adds a feature adds its row here and in docs/security.md.
OBSERVE = {
    "user": 65532,
    "capabilities": set(),
    "privileged": False,
    "host": {"/sys/fs/cgroup": "ro"},
    "rules": {("", "pods", "list"), ("", "pods", "watch")},
}
ENFORCE = {**OBSERVE, "user": 0, "host": {"/sys/fs/cgroup": "rw", "/run/plimsoll": "rw"}}

# Telling pods' owners takes rights to the API alone.
EVENTS = {("", "events", "create"), ("", "events", "patch")}
CONDITIONS = {("", "pods/status", "patch")}


def telling(**notices):
    return {"config": {"notices": notices}}


def publishing():
    return {"config": {"overcommit": {"mode": "enforce", "publish": True}}}


FEATURES = {
    "observe": ({}, OBSERVE),
    "a policy that observes": ({"config": {"preemption": {"mode": "observe"}}}, OBSERVE),
    "a policy that is off": ({"config": {"preemption": {"mode": "off"}}}, OBSERVE),
    "a policy that enforces": ({"config": {"preemption": {"mode": "enforce"}}}, ENFORCE),
    "notices that are off": (telling(events=False, podConditions=False), OBSERVE),
    "events": (telling(events=True), {**OBSERVE, "rules": OBSERVE["rules"] | EVENTS}),
    "conditions": (telling(podConditions=True), {**OBSERVE, "rules": OBSERVE["rules"] | CONDITIONS}),
    "events and conditions": (
        telling(events=True, podConditions=True),
        {**OBSERVE, "rules": OBSERVE["rules"] | EVENTS | CONDITIONS},
    ),
    "a swap device that is observed": (
        {"config": {"overcommit": {"swapDevice": "/dev/vdb"}}},
        {**OBSERVE, "host": OBSERVE["host"] | {"/dev/vdb": "ro"}},
    ),
    "a swap device that is used": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb"}}},
        {**ENFORCE, "host": ENFORCE["host"] | {"/dev/vdb": "ro"}},
    ),
    "a swap device that is emptied in the end": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "onExit": "drain"}}},
        {**ENFORCE, "privileged": True, "host": ENFORCE["host"] | {"/dev/vdb": "rw"}},
    ),
    "a swap device that is turned on": (
        {"config": {"overcommit": {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb", "activate": True}}},
        {**ENFORCE, "privileged": True, "host": ENFORCE["host"] | {"/dev/vdb": "rw"}},
    ),
    "memory that is published": (
        publishing(),
        {**ENFORCE, "rules": ENFORCE["rules"] | {("", "nodes/status", "patch")}},
    ),
    "memory that would be": ({"config": {"overcommit": {"publish": True}}}, OBSERVE),
    "a swap device that would be": ({"config": {"overcommit": {"onExit": "drain"}}}, OBSERVE),
    "a swap device that is not": ({"config": {"overcommit": {"mode": "off", "swapDevice": "/dev/vdb"}}}, OBSERVE),
    **{each.stem: (each, OBSERVE) for each in sorted((CHART / "ci").glob("*-values.yaml"))},
}


def privileges(objects):
    """What the rendered pods may, and the rights of their account."""
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    security = {**spec["securityContext"], **container["securityContext"]}
    modes = {mount["name"]: "ro" if mount.get("readOnly") else "rw" for mount in container["volumeMounts"]}
    rules = [rule for each in objects if each["kind"] in ("ClusterRole", "Role") for rule in each["rules"]]
    return {
        "user": security["runAsUser"],
        "capabilities": set(security.get("capabilities", {}).get("add", ())),
        "privileged": security["privileged"],
        "host": {each["hostPath"]["path"]: modes[each["name"]] for each in spec["volumes"] if "hostPath" in each},
        "rules": {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        },
    }


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


@pytest.mark.parametrize("feature", FEATURES)
def test_what_no_feature_ever_gets(feature):
    """Whatever is configured: no host namespace, no escalation, no writable image, no long-lived token."""
    values, expected = FEATURES[feature]
    arguments = ["--skip-schema-validation"]
    objects = render(values, *arguments) if isinstance(values, dict) else render(None, *arguments, "--values", values)
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    security = container["securityContext"]

    assert not {"hostPID", "hostIPC", "hostNetwork"} & set(spec)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"] is True
    if not expected["privileged"]:
        assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
        assert security["capabilities"]["drop"] == ["ALL"]
    assert spec["automountServiceAccountToken"] is False
    (token,) = [source for each in spec["volumes"] if "projected" in each for source in each["projected"]["sources"]][
        :1
    ]
    assert token["serviceAccountToken"]["expirationSeconds"] == 3600
    # A node has no two agents at once, also during an update.
    assert only(objects, "DaemonSet")["spec"]["updateStrategy"].get("rollingUpdate", {"maxSurge": 0})["maxSurge"] == 0


@pytest.mark.parametrize(
    ("values", "version", "expected"),
    [
        ({}, "1.34.0", 0),
        (telling(events=True), "1.34.0", 0),
        (telling(podConditions=True), "1.34.0", 2),
        ({**telling(podConditions=True), "rbac": {"create": False}}, "1.34.0", 2),
        (publishing(), "1.34.0", 2),
        ({**publishing(), "rbac": {"create": False}}, "1.34.0", 2),
        (publishing(), "1.29.9", 0),
        ({"config": {"overcommit": {"publish": True}}}, "1.34.0", 0),
        (telling(podConditions=True), "1.29.9", 0),
    ],
)
def test_the_right_to_patch_a_status_comes_with_the_policy_that_narrows_it(values, version, expected):
    """For the account that the pods run as, whoever gave it the right; where Kubernetes has such policies."""
    objects = render(values, "--skip-schema-validation", "--kube-version", version)
    admission = [each for each in objects if each["kind"].startswith("ValidatingAdmissionPolicy")]

    assert len(admission) == expected
    if admission:
        (condition,) = only(objects, "ValidatingAdmissionPolicy")["spec"]["matchConditions"]
        account = only(objects, "DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"]
        assert f"'system:serviceaccount:plimsoll:{account}'" in condition["expression"]
        assert only(objects, "ValidatingAdmissionPolicyBinding")["spec"]["validationActions"] == ["Deny"]


def test_an_old_api_server_is_not_given_what_it_does_not_know():
    """`recursiveReadOnly` came with Kubernetes 1.30 and is on from 1.31."""

    def mount(version):
        (container,) = only(render(None, "--kube-version", version), "DaemonSet")["spec"]["template"]["spec"][
            "containers"
        ]
        return container["volumeMounts"][0]

    assert mount("1.31.0") == {**mount("1.30.9"), "recursiveReadOnly": "IfPossible"}
