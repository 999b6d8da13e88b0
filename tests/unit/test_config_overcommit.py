"""What may be said about overcommit: by the administrator, and by a pod's owner."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from plimsoll.config.annotations import FLOOR_KEY, RECLAIM_KEY, intent
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.config.pod_object import decode
from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import PodIntent, PodObject
from tests.fixtures.colocated import UID

MIB = 1 << 20


def section(**values: object) -> OvercommitSection:
    return OvercommitSection.model_validate(values)


def said(annotations: dict[str, str], labels: dict[str, str] | None = None, namespace: str = "shop") -> PodIntent:
    metadata = {"name": "web", "namespace": namespace, "uid": UID.format(1), "annotations": annotations}
    pod = decode({"metadata": {**metadata, "labels": labels or {}}, "spec": {}, "status": {}})
    assert isinstance(pod, PodObject)
    return intent(pod, PrioritySection())


def test_three_words_are_a_configuration() -> None:
    """What the documentation promises."""
    found = section(mode="enforce", ratio=2.0, swapDevice="/dev/vdb")
    assert found.wanted
    assert (found.write_rate, found.interval, found.selector) == (MIB, 10.0, "auto")


def test_by_default_nothing_is_wanted() -> None:
    """A ratio of 1.0 is off, whatever the mode."""
    assert not section(mode="enforce").wanted


@pytest.mark.parametrize("device", ["/dev/vdb", "/dev/disk/by-id/x-1", "UUID=1f2e-33", "LABEL=low_prio", "/swap.img"])
def test_devices(device: str) -> None:
    """A path, or what mkswap wrote into it."""
    assert section(swapDevice=device).swap_device == device


@pytest.mark.parametrize(
    "values",
    [
        {"swapDevice": "vdb"},
        {"swapDevice": "/dev/../etc/passwd"},
        {"swapDevice": "/dev/.."},
        {"swapDevice": "/dev/vdb\n"},
        {"swapDevice": "UUID="},
        {"swapDevice": "PARTUUID=1"},
        {"swapDevice": "/" + "x" * 300},
        {"ratio": 0.99},
        {"ratio": 3.01},
        {"ratio": "2.0"},
        {"ratio": 2.0, "podRatio": 1.5},
        {"target": "budget"},
        {"budget": "1Gi"},
        {"writeBudget": 0},
        {"writeBudget": "-1"},
        {"deviceFloor": 0.1},
        {"watermark": 0.5},
        {"interval": "1s"},
        {"step": {"start": 0.1}},
        {"step": {"start": 0.001}},
        {"selector": "best"},
        {"swapDevice": "/swap/low", "swapFileSize": "1Gi"},
        {"activate": True, "swapFileSize": "1Gi"},
        {"activate": True, "swapDevice": "/dev/vdb", "swapFileSize": "1Gi"},
        {"activate": True, "swapDevice": "UUID=1f2e-33", "swapFileSize": "1Gi"},
        {"activate": True, "swapDevice": "/swapfile", "swapFileSize": "1Gi"},
        {"activate": True, "swapDevice": "/swap/", "swapFileSize": "1Gi"},
        {"activate": True, "swapDevice": "/swap/low", "swapFileSize": 0},
        {"endurance": {"capacity": "1T"}},
        {"endurance": {"capacity": 0, "dwpd": 1.0}},
        {"unknown": 1},
    ],
)
def test_refusals(values: dict[str, object]) -> None:
    """Each of these would be a mistake that nobody notices."""
    with pytest.raises(ValidationError):
        section(**values)


def test_a_file_to_be_made() -> None:
    """Where it shall be, and how large."""
    assert section(activate=True, swapDevice="/swap/low", swapFileSize="1Gi").swap_file_size == 1 << 30
    assert section(activate=True, swapDevice="/development/low", swapFileSize="1Gi").swap_file_size == 1 << 30


def test_endurance() -> None:
    """960 GB at one drive write a day, half of it for swap: 5.6 MB/s; to last for ten years, half of that."""
    drive = {"capacity": "960G", "dwpd": 1.0}
    assert section(endurance=drive).write_rate == pytest.approx(960e9 / 86400 / 2)
    assert section(endurance={**drive, "years": 10.0}).write_rate == pytest.approx(960e9 / 86400 / 4)
    assert section(endurance=drive, writeBudget="1Mi").write_rate == MIB
    assert section(writeBudget="2Mi").write_rate == 2 * MIB


def test_an_owner_may_keep_everything() -> None:
    """In the annotation or in the label: either is enough."""
    assert said({}).reclaim
    assert said({RECLAIM_KEY: "auto"}).reclaim
    assert not said({RECLAIM_KEY: "never"}).reclaim
    assert not said({RECLAIM_KEY: "auto"}, {RECLAIM_KEY: "never"}).reclaim
    assert not said({RECLAIM_KEY: "never"}, namespace="kube-system").reclaim


def test_an_owner_may_keep_some() -> None:
    """The larger counts."""
    assert said({}).memory_floor == 0
    assert said({FLOOR_KEY: "512Mi"}, {FLOOR_KEY: "1Gi"}).memory_floor == 1 << 30


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (RECLAIM_KEY, "Never", "malformed"),
        (RECLAIM_KEY, "x" * 5000, "too-long"),
        (FLOOR_KEY, "lots", "malformed"),
        (FLOOR_KEY, "-1Mi", "malformed"),
        (FLOOR_KEY, "9" * 50, "malformed"),
        (FLOOR_KEY, "", "malformed"),
    ],
)
def test_what_cannot_be_followed_is_told(key: str, value: str, reason: str) -> None:
    """And changes nothing."""
    found = said({key: value})
    assert (found.reclaim, found.memory_floor) == (True, 0)
    (rejected,) = found.rejected
    assert (rejected.key, rejected.reason) == (key, reason)
    assert len(rejected.message) < 300


def test_a_near_miss_is_named() -> None:
    """A capital letter is easily overlooked."""
    assert "did you mean never?" in said({RECLAIM_KEY: "Never"}).rejected[0].message
