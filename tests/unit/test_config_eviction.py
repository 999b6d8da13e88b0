"""What may be said about evictions: by the administrator, by a pod's owner, and by the object about itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from plimsoll.config.annotations import EVICTION_KEY, intent
from plimsoll.config.eviction_section import EvictionSection
from plimsoll.config.pod_object import decode
from plimsoll.config.schema import Config, PrioritySection
from plimsoll.model.pod import PodIntent, PodObject
from tests.fixtures.colocated import UID


def decoded(spec: object = None, **metadata: object) -> PodObject:
    pod = decode({"metadata": {"name": "web", "namespace": "shop", "uid": UID.format(1), **metadata}, "spec": spec})
    assert isinstance(pod, PodObject)
    return pod


def said(annotation: object, label: object = None) -> PodIntent:
    pod = decoded(annotations={EVICTION_KEY: annotation}, labels={EVICTION_KEY: label})
    return intent(pod, PrioritySection())


def test_one_word_is_a_configuration() -> None:
    """What the documentation promises; and by default nobody is evicted."""
    assert Config.model_validate({"eviction": {"mode": "enforce"}}).eviction.max_per_hour == 6
    assert EvictionSection().mode == "observe"


def test_a_part_of_a_resource_keeps_the_rest() -> None:
    """Of each resource its own defaults."""
    found = EvictionSection.model_validate({"cpu": {"stalled": 0.8}, "memory": {"sustained": "5m"}, "io": None})
    assert found.cpu is not None
    assert found.memory is not None
    assert (found.cpu.stalled, found.cpu.calm, found.cpu.sustained) == (0.8, 0.2, 60.0)
    assert (found.memory.stalled, found.memory.calm, found.memory.sustained) == (0.2, 0.1, 300.0)
    assert found.io is None


@pytest.mark.parametrize(
    "values",
    [
        {"cpu": {"stalled": 0.2}},
        {"cpu": {"stalled": 0}},
        {"cpu": {"stalled": 1.1}},
        {"memory": {"calm": -0.1}},
        {"memory": {"sustained": "9s"}},
        {"io": {"sustained": "2h"}},
        {"io": {"full": 0.2}},
        {"settle": "10s"},
        {"maxPerHour": 0},
        {"maxPerHour": 61},
        {"maxPerHour": 1.5},
        {"leastUse": 0},
        {"node": "yes"},
        {"mode": "kill"},
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object]) -> None:
    """Thresholds that begin and end at once, times without a bound, words it does not know."""
    with pytest.raises(ValidationError):
        EvictionSection.model_validate(values)


@pytest.mark.parametrize(
    ("annotation", "label", "expected"),
    [
        (None, None, None),
        ("auto", None, True),
        ("never", None, False),
        (None, "never", False),
        ("auto", "never", False),
        ("auto", "auto", True),
        ("Never", None, None),
        ("x" * 5000, "auto", True),
    ],
)
def test_what_an_owner_says(annotation: str | None, label: str | None, expected: bool | None) -> None:
    """The one who says never has it; what cannot be read says nothing, and is told."""
    found = said(annotation, label)
    assert found.eviction is expected
    odd = [each.key for each in found.rejected]
    assert odd == ([EVICTION_KEY] if annotation in ("Never", "x" * 5000) else [])


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (None, None),
        ([], None),
        ("ReplicaSet", None),
        ([{"kind": "ReplicaSet", "controller": True}], "ReplicaSet"),
        ([{"kind": "ConfigMap"}, {"kind": "DaemonSet", "controller": True}], "DaemonSet"),
        ([{"kind": "ReplicaSet", "controller": "true"}], None),
        ([None, 7, {"kind": "ReplicaSet"}], None),
        ([{"kind": "../etc", "controller": True}], "Unknown"),
        ([{"controller": True}], "Unknown"),
    ],
)
def test_who_makes_a_pod_anew(owners: object, expected: str | None) -> None:
    """Only the owner that is its controller does."""
    assert decoded(ownerReferences=owners).controller == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-24T08:00:00Z", 1_795_507_200.0),
        ("2026-11-24T08:00:00.123456789Z", 1_795_507_200.0),
        (datetime(2026, 11, 24, 8, tzinfo=UTC), 1_795_507_200.0),
        (datetime(2026, 11, 24, 8), None),  # noqa: DTZ001 - YAML without a zone
        ("2026-02-30T08:00:00Z", None),
        ("yesterday", None),
        (1_795_507_200, None),
        (None, None),
    ],
)
def test_when_a_pod_was_made(value: object, expected: float | None) -> None:
    """As the API server and as a folder of YAML files has it; what is not a time is unknown."""
    assert decoded(creationTimestamp=value).created == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (-10, -10), (2_000_001_000, 2_000_001_000), (True, None), ("5", None), (1 << 40, None), (None, None)],
)
def test_kubernetes_own_priority(value: object, expected: int | None) -> None:
    """An int32 or nothing."""
    assert decoded({"priority": value}).scheduling_priority == expected
