"""What a pod owner may say: every vocabulary, every mistake, and no way up without trust."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.annotations import KEYS, OWN_KEY, REASONS, intent
from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import PodObject, Priority
from tests.support import UID


def pod(annotations=None, *, namespace="shop", **more) -> PodObject:
    metadata = {"name": "web", "namespace": namespace, "uid": UID.format(1), "annotations": annotations or {}}
    decoded = decode({"metadata": {**metadata, **more}, "spec": {"priorityClassName": "gold"}, "status": {}})
    assert isinstance(decoded, PodObject)
    return decoded


def section(**values) -> PrioritySection:
    return PrioritySection.model_validate(values)


@pytest.mark.parametrize(
    ("key", "value", "priority"),
    [
        (OWN_KEY, "high", "high"),
        (OWN_KEY, "normal", "normal"),
        (OWN_KEY, "low", "low"),
        ("volcano.sh/preemptable", "true", "low"),
        ("volcano.sh/preemptable", "false", "normal"),
        ("volcano.sh/qos-level", "LC", "high"),
        ("volcano.sh/qos-level", "HLS", "high"),
        ("volcano.sh/qos-level", "LS", "normal"),
        ("volcano.sh/qos-level", "BE", "low"),
        ("koordinator.sh/qosClass", "LSE", "high"),
        ("koordinator.sh/qosClass", "LSR", "high"),
        ("koordinator.sh/qosClass", "LS", "normal"),
        ("koordinator.sh/qosClass", "BE", "low"),
        ("katalyst.kubewharf.io/qos_level", "dedicated_cores", "high"),
        ("katalyst.kubewharf.io/qos_level", "shared_cores", "normal"),
        ("katalyst.kubewharf.io/qos_level", "reclaimed_cores", "low"),
    ],
)
@pytest.mark.parametrize("place", ["annotations", "labels"])
def test_every_vocabulary_as_annotation_and_label(key, value, priority, place):
    """The table of docs/annotations.md."""
    found = intent(pod(**{place: {key: value}}), section())

    assert (found.priority, found.rejected) == (Priority(priority), ())


def test_the_own_key_wins_and_the_conflict_is_told():
    """A pod moved from another project may carry both; what is not followed is visible."""
    found = intent(pod({OWN_KEY: "high", "volcano.sh/preemptable": "true"}), section())

    assert (found.priority, found.origin) == (Priority.HIGH, OWN_KEY)
    assert [(each.key, each.reason) for each in found.rejected] == [("volcano.sh/preemptable", "conflict")]


def test_a_typo_is_told_with_the_cure_and_the_next_statement_decides():
    """The pod owner who wrote `hihg`."""
    found = intent(pod({OWN_KEY: "hihg", "volcano.sh/preemptable": "true"}), section())

    assert found.priority is Priority.LOW
    assert found.rejected[0].reason == "malformed"
    assert found.rejected[0].message == "'hihg' is not a value; did you mean high? write one of: high, normal, low"


def test_case_matters_and_is_explained():
    """`High` is not `high`; the message says so."""
    (rejected,) = intent(pod({OWN_KEY: "High"}), section()).rejected

    assert "did you mean high?" in rejected.message


def test_the_administrators_mapping_in_its_order():
    """PriorityClass, then namespace, then QoS class, then normal."""
    all_three = {
        "priorityClasses": {"gold": "high"},
        "namespaces": {"shop": "low"},
        "qosClasses": {"BestEffort": "low"},
    }

    assert intent(pod(), section(**all_three)).origin == "priorityClass"
    del all_three["priorityClasses"]
    assert intent(pod(), section(**all_three)).origin == "namespace"
    del all_three["namespaces"]
    assert intent(pod(), section(**all_three)).origin == "qosClass"
    assert intent(pod(), section()).origin == "default"


def test_raising_oneself_needs_trust_lowering_does_not():
    """F04: promotion from a namespace that is not listed is refused and counted; demotion works."""
    strict = section(trustedNamespaces=["prod-*"])

    up = intent(pod({OWN_KEY: "high"}), strict)
    assert (up.priority, up.rejected[0].reason) == (Priority.NORMAL, "untrusted-namespace")
    assert intent(pod({OWN_KEY: "low"}), strict).priority is Priority.LOW
    assert intent(pod({OWN_KEY: "high"}, namespace="prod-web"), strict).priority is Priority.HIGH


def test_a_refused_claim_hides_no_humbler_statement():
    """F04: what may not be followed does not count; the next statement of the same pod does."""
    found = intent(
        pod({OWN_KEY: "high", "volcano.sh/preemptable": "true"}, namespace="tenant"), section(trustedNamespaces=[])
    )

    assert (found.priority, found.origin) == (Priority.LOW, "volcano.sh/preemptable")
    assert [each.reason for each in found.rejected] == ["untrusted-namespace"]


@pytest.mark.parametrize("namespace", ["kube-system", "infra"])
def test_unmanaged_namespaces_are_left_alone(namespace):
    """kube-system always, whatever the list says."""
    found = intent(pod({OWN_KEY: "low"}, namespace=namespace), section(unmanagedNamespaces=["infra"]))

    assert (found.managed, found.priority) == (False, Priority.NORMAL)
    assert found.rejected[0].reason == "unmanaged"


def test_a_mirror_pod_is_never_managed_and_its_hash_never_read():
    """F01: the annotation that names a static pod's cgroup is forgeable."""
    hostile = {"kubernetes.io/config.mirror": "x", "kubernetes.io/config.hash": "x/../../system.slice", OWN_KEY: "low"}
    found = pod(hostile)

    assert found.mirror
    assert set(found.annotations) <= KEYS
    assert not intent(found, section()).managed


@given(st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(), st.text() | st.integers() | st.none()), st.text())
def test_no_metadata_raises_and_reasons_are_a_closed_set(annotations, extra):
    """F03, F32: whatever is written, the answer is bounded."""
    found = intent(pod({**annotations, OWN_KEY: extra * 50}), section(trustedNamespaces=[]))

    assert found.priority.rank <= Priority.NORMAL.rank
    assert all(each.reason in REASONS and len(each.message) < 400 for each in found.rejected)


def test_a_huge_value_is_refused_not_read():
    """200 KiB in an annotation."""
    (rejected,) = intent(pod({OWN_KEY: "high" * 50_000}), section()).rejected

    assert rejected.reason == "too-long"


@pytest.mark.parametrize(
    "uid", ["..", "/", "", "a" * 10_000, "é" * 36, "ABCDEF11" + UID.format(1)[8:], UID.format(1) + "\n", None, 7]
)
def test_a_uid_no_path_may_be_built_from_is_refused(uid):
    """F02."""
    found = decode({"metadata": {"name": "a", "namespace": "b", "uid": uid}})

    assert isinstance(found, PodRejected)
    assert found.reason == "uid"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={"metadata": JSON, "spec": JSON, "status": JSON},
    )
)
def test_no_object_raises(raw):
    """F25: a poisonous object is a refusal, not an exception."""
    decode(raw)
    decode({**raw, "metadata": {"name": "a", "uid": UID.format(1), "annotations": raw.get("spec")}})


def test_null_containers_hurt_only_themselves():
    """F25: null lists, missing image, unknown enums; the rest is used."""
    good = {"name": "main", "containerID": "containerd://" + "a" * 64, "restartCount": "many"}
    found = decode(
        {
            "metadata": {"name": "a", "uid": UID.format(1), "labels": None},
            "spec": {"containers": None},
            "status": {
                "phase": "Odd",
                "qosClass": "Platinum",
                "containerStatuses": [None, {"name": "x", "containerID": "containerd://../x"}, good],
                "initContainerStatuses": None,
            },
        }
    )

    assert isinstance(found, PodObject)
    assert [each.name for each in found.containers] == ["main"]
    assert (found.phase, found.qos_class) == ("Unknown", "BestEffort")


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"memory": "1Gi"}}], "Burstable"),
    ],
)
def test_the_qos_class_without_a_status(resources, qos):
    """Kubernetes' own rule, for manifests that carry no status."""
    found = decode(
        {
            "metadata": {"name": "a", "uid": UID.format(1)},
            "spec": {"containers": [{"name": "c", "resources": each} for each in resources]},
        }
    )

    assert isinstance(found, PodObject)
    assert found.qos_class == qos
