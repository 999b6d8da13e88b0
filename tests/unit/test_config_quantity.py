"""Quantities and what a pod's containers add up to: exact, as Kubernetes has it, whatever a stranger writes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.pod_resources import CPU, MEMORY, Amounts, amounts, resizing
from plimsoll.config.quantity import MAX_VALUE, quantity, whole
from plimsoll.model.pod import PodObject
from tests.support import UID

MI = 1 << 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("128Mi", 128 * MI),
        ("1.5Gi", 1536 * MI),
        ("1G", 10**9),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", Fraction(12, 10)),
        ("500m", Fraction(1, 2)),
        ("1n", Fraction(1, 10**9)),
        ("3u", Fraction(3, 10**6)),
        (".5Ki", 512),
        ("5.k", 5000),
        ("+7", 7),
        ("-1Ti", -(1 << 40)),
        (128, 128),
        (0.1, Fraction(1, 10)),
        (1e3, 1000),
        (str(MAX_VALUE), MAX_VALUE),
    ],
)
def test_quantities(text: object, value: Fraction | int) -> None:
    """Every spelling Kubernetes has, exactly: 0.1 is a tenth."""
    assert quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mi",
        ".",
        "1mi",
        "1KI",
        "1 Mi",
        " 1",
        "1\n",
        "1e3Mi",
        "1e",
        "0x10",
        "١٢",
        "1_000",
        "nan",
        "inf",
        "1e9999",
        "1e999",
        "1e999999999",
        "9223372036854775808",
        "8Ei",
        "9" * 65,
        pytest.param(10**5000, id="5000-digits"),
        float("nan"),
        float("inf"),
        True,
        None,
        ["1"],
        {"a": 1},
    ],
)
def test_what_is_no_quantity(text: object) -> None:
    """All else is refused with a ValueError: other scripts, other words, NaN, and what no 64-bit integer holds."""
    with pytest.raises(ValueError, match=r"not a quantity|out of range"):
        quantity(text)


@given(st.one_of(st.text(max_size=80), st.integers(), st.floats(), st.from_regex(r"[+-]?\d+\.?\d*[eE][+-]?\d{1,9}")))
def test_any_text_is_answered(text: object) -> None:
    """Whatever is written, there is a number within the bounds or a ValueError."""
    try:
        found = quantity(text)
    except ValueError:
        pass
    else:
        assert abs(found) <= MAX_VALUE


@given(st.integers(0, MAX_VALUE))
def test_whole_numbers_come_back(number: int) -> None:
    """An integer is itself, however it is written."""
    assert whole(str(number)) == whole(number) == number


def test_whole() -> None:
    """What counts something is rounded up, and is not negative."""
    assert whole("1500m") == 2
    assert whole("1n") == 1
    with pytest.raises(ValueError, match="negative"):
        whole("-1")


def container(request: object = None, limit: object = None, **more: object) -> dict[str, object]:
    resources: dict[str, object] = {}
    if request is not None:
        resources["requests"] = {"memory": request, "cpu": "1"}
    if limit is not None:
        resources["limits"] = {"memory": limit}
    return {"name": "main", "resources": resources, **more}


def sidecar(request: object = None, limit: object = None) -> dict[str, object]:
    return container(request, limit, restartPolicy="Always")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Amounts()),
        ({"containers": [container()]}, Amounts()),
        ({"containers": [container("64Mi", "128Mi"), container("32Mi", "32Mi")]}, Amounts(96 * MI, 160 * MI)),
        # A request that was left out is the limit.
        ({"containers": [container(None, "128Mi")]}, Amounts(128 * MI, 128 * MI)),
        # One container without a limit, or with a limit of zero, leaves the pod without one.
        ({"containers": [container("64Mi", "128Mi"), container("1Mi")]}, Amounts(65 * MI, None)),
        ({"containers": [container("64Mi", "0")]}, Amounts(64 * MI, None)),
        # An init container runs alone: the larger of the two counts.
        ({"containers": [container("64Mi")], "initContainers": [container("100Mi")]}, Amounts(100 * MI, None)),
        ({"containers": [container("64Mi")], "initContainers": [container("10Mi")]}, Amounts(64 * MI, None)),
        # A sidecar goes on running, and beside the init containers after it.
        ({"containers": [container("64Mi")], "initContainers": [sidecar("10Mi")]}, Amounts(74 * MI, None)),
        (
            {"containers": [container("64Mi")], "initContainers": [sidecar("10Mi"), container("70Mi")]},
            Amounts(80 * MI, None),
        ),
        (
            {"containers": [container("64Mi")], "initContainers": [container("70Mi"), sidecar("10Mi")]},
            Amounts(74 * MI, None),
        ),
        # What the pod says as a whole counts first, and the runtime's overhead on top of everything.
        (
            {
                "containers": [container("64Mi")],
                "resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "300Mi"}},
                "overhead": {"memory": "20Mi"},
            },
            Amounts(220 * MI, 320 * MI),
        ),
        # What cannot be read is unknown, of the whole pod: a part of the sum would be a wrong sum.
        ({"containers": [container("64Mi"), container("lots")]}, Amounts()),
        ({"containers": [container("-1")]}, Amounts()),
        ({"containers": [container("5Ei"), container("5Ei")]}, Amounts()),
        ({"containers": "none", "initContainers": {"a": 1}, "resources": [], "overhead": 3}, Amounts()),
        ({"containers": [None, 3, {"resources": {"requests": []}}, {"resources": None}]}, Amounts()),
    ],
)
def test_memory_of_a_pod(spec: dict[str, object], expected: Amounts) -> None:
    """The pod's request and limit are added up as Kubernetes does, and unknown where they cannot be."""
    assert amounts(spec, MEMORY) == expected


def test_cpus_of_a_pod() -> None:
    """CPU is counted in thousandths, rounded up, by the same rules; what is said of another resource does not count."""
    spec = {"containers": [{"resources": {"requests": {"cpu": each}}} for each in ("500m", "1.5", 2, "100u")]}
    assert amounts(spec, CPU) == Amounts(4001, None)
    assert amounts({"containers": [container(None, "1Gi")]}, CPU) == Amounts()
    assert amounts({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, CPU) == Amounts(2000, 2000)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        ({"resize": "Proposed"}, True),
        ({"resize": "InProgress"}, True),
        ({"resize": "Deferred"}, False),
        ({"resize": "Infeasible"}, False),
        ({"resize": ["InProgress"]}, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"conditions": [{"type": "PodResizeInProgress", "status": "True"}]}, True),
        ({"conditions": [{"type": "PodResizeInProgress", "status": "False"}]}, False),
        # It waits for room, maybe for days: the kubelet writes nothing meanwhile.
        ({"conditions": [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}]}, False),
        ({"conditions": {"type": "PodResizeInProgress"}}, False),
        ({"conditions": [None, {"type": ["PodResizeInProgress"], "status": "True"}]}, False),
    ],
)
def test_resizing(status: dict[str, object], expected: bool) -> None:
    """A resize counts while the kubelet carries it out, in the words of every Kubernetes since 1.27."""
    assert resizing(status) is expected


def decoded(spec: object, status: object) -> PodObject:
    raw: dict[str, Any] = {"metadata": {"uid": UID.format(1), "name": "web"}, "spec": spec, "status": status}
    found = decode(raw)
    assert not isinstance(found, PodRejected)
    return found


def test_decoded_with_the_pod() -> None:
    """A pod object carries its memory and its resize; one that says neither has neither."""
    pod = decoded({"containers": [container("64Mi", "1Gi")]}, {"resize": "InProgress"})
    assert (pod.memory_request_bytes, pod.memory_limit_bytes, pod.resizing) == (64 * MI, 1 << 30, True)
    assert pod.cpu_request_millis == 1000
    bare = decoded(None, None)
    assert (bare.memory_request_bytes, bare.memory_limit_bytes, bare.resizing) == (None, None, False)
    assert bare.cpu_request_millis is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["containers", "initContainers", "resources", "requests", "limits", "memory", "cpu", "conditions"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["containers", "initContainers", "resources", "overhead"]), JSON), JSON)
def test_no_object_can_raise(spec: dict[str, object], status: object) -> None:
    """Whatever shape a stranger gives the object, it is decoded, and its figures are in range or unknown."""
    pod = decoded(spec, status)
    for figure in (pod.memory_request_bytes, pod.memory_limit_bytes, pod.cpu_request_millis):
        assert figure is None or 0 < figure <= MAX_VALUE
