"""The plain form of a snapshot: nothing is lost, nothing is taken that is no snapshot, and new fields need no line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plimsoll.model.acting import Acting
from plimsoll.model.plain import PlainForm
from plimsoll.model.plain_leaf import Unfit
from plimsoll.model.snapshot import Snapshot
from plimsoll.simulator.node import Kind
from tests.fixtures.snapshots import busy
from tests.recorded import day

FORM = PlainForm(Snapshot)
# As text comes from parsers: also half a surrogate pair, but no pair in two halves.
TEXT = st.text(st.characters(exclude_categories=()), max_size=6).map(lambda text: json.loads(json.dumps(text)))
LEAVES: Mapping[object, st.SearchStrategy[object]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 53), 1 << 53),
    str: TEXT,
    NoneType: st.none(),
}


def any_of(hint: Any, known: dict[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Values of a type as its hints say, every field of every record filled."""
    if hint in known:
        return known[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        made = st.lists(any_of(arguments[0], known), max_size=2).map(tuple)
    elif origin is tuple:
        made = st.tuples(*(any_of(each, known) for each in arguments))
    elif origin is frozenset:
        made = st.frozensets(any_of(arguments[0], known), max_size=4)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        made = st.dictionaries(any_of(arguments[0], known), any_of(arguments[1], known), max_size=2)
    elif arguments:
        made = st.one_of(*(any_of(each, known) for each in arguments))
    elif issubclass(hint, StrEnum):
        made = st.sampled_from(list(hint))
    else:
        made = st.builds(hint, **{name: any_of(each, known) for name, each in get_type_hints(hint).items()})
    known[hint] = made
    return made


SNAPSHOTS: st.SearchStrategy[Snapshot] = any_of(Snapshot, dict(LEAVES))


def exact(value: object) -> object:
    """A value with the types of all its parts: a NamedTuple equals any tuple, a StrEnum its text."""
    if dataclasses.is_dataclass(value):
        return type(value), {each.name: exact(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return type(value), [exact(each) for each in value]
    if isinstance(value, Mapping):
        return Mapping, [(exact(key), exact(each)) for key, each in value.items()]
    return type(value), value


def through(snapshot: Snapshot) -> Snapshot:
    return FORM.decode(json.loads(json.dumps(FORM.encode(snapshot))))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(SNAPSHOTS)
def test_every_snapshot_comes_back(snapshot: Snapshot) -> None:
    """Also its types and the order of its mappings; a second time it is spelled the same."""
    back = through(snapshot)

    assert back == snapshot
    assert exact(back) == exact(snapshot)
    assert json.dumps(FORM.encode(back)) == json.dumps(FORM.encode(snapshot))


@pytest.mark.parametrize("kind", Kind)
def test_a_simulated_node_comes_back(kind, tmp_path):
    """What is observed in a day: pods that come and go, every figure, every capability."""
    count = 0
    for snapshot, _ in day(kind, tmp_path):
        assert exact(through(snapshot)) == exact(snapshot)
        count += len(snapshot.pods)
    assert count > 50


def test_everything_is_written_down():
    """Also what has its default: a later version may have another."""
    plain = FORM.encode(busy(9))
    assert list(plain) == [each.name for each in dataclasses.fields(Snapshot)]
    sample = plain["pods"][0]
    assert (sample["errors"], sample["kubelet_root"], sample["pod"]["object"]["resizing"]) == ({}, None, False)


def change(plain: Any, path: str, value: object) -> Any:
    """A copy with another value at a place such as ``pods/0/state``."""
    copy = json.loads(json.dumps(plain))
    *places, last = path.split("/")
    at = copy
    for each in places:
        at = at[int(each) if isinstance(at, list) else each]
    at[int(last) if isinstance(at, list) else last] = value
    return copy


def test_what_an_older_version_did_not_know_has_its_default():
    """A field that has one; any other is asked for by name."""
    plain = FORM.encode(busy(9))
    del plain["pods"][0]["kubelet_root"], plain["pods"][0]["knobs"], plain["poison"]
    assert FORM.decode(plain) == busy(9)

    del plain["pods"][0]["state"], plain["pods"][0]["pod"]
    with pytest.raises(Unfit) as refused:
        FORM.decode(plain)
    assert str(refused.value) == "pods[0]: lacks pod, state"


def test_the_order_of_fields_does_not_matter():
    """Another program may have sorted them."""
    plain = json.loads(json.dumps(FORM.encode(busy(9)), sort_keys=True))
    assert FORM.decode(plain) == busy(9)


WRONG = [
    ("sequence", "1", "sequence: is '1', not a whole number"),
    ("sequence", True, "sequence: is True, not a whole number"),
    ("sequence", 1.0, "sequence: is 1.0, not a whole number"),
    ("monotonic", False, "monotonic: is False, not a number"),
    ("monotonic", float("inf"), "monotonic: is inf, not a number"),
    ("monotonic", 1 << 80, "monotonic: is a huge number, not a number"),
    ("interval", "x" * 500, f"interval: is '{'x' * 39}…, not a number"),
    ("node_name", None, "node_name: is None, not text"),
    ("pods", {}, "pods: is a mapping, not a list"),
    ("pods/1", [], "pods[1]: is a list, not a mapping"),
    ("pods/1/colour", 7, "pods[1].colour: is no field of PodSample"),
    ("pods/0/state", "lost", "pods[0].state: is 'lost', not one of found, pending, gone, denied, illegal"),
    ("pods/0/pod/intent/managed", 1, "pods[0].pod.intent.managed: is 1, not true or false"),
    ("pods/0/pod/object/annotations", [], "pods[0].pod.object.annotations: is a list, not a mapping"),
    (
        "pods/0/pressures/2/full/avg10",
        "1.25",
        "pods[0].pressures[2].full.avg10: is '1.25', not a whole number",
    ),
    ("pods/0/stall_rates", {"swap": [1]}, "pods[0].stall_rates['swap']: has 1 values, not 2"),
    ("pods/0/stall_rates", {"swap": [1, ""]}, "pods[0].stall_rates['swap'][1]: is '', not a number"),
    ("pods/0/knobs", {"cpu.idles": "1"}, "pods[0].knobs['cpu.idles']: is 'cpu.idles', not one of "),
    ("pods/0/pinned", [3, 3], "pods[0].pinned: has a member twice"),
    ("node/frequency", {"watts": {"01": 5}}, "node.frequency.watts['01']: is no number"),
    ("node/frequency", {"watts": {"9" * 5000: 5}}, "node.frequency.watts['999999999999"),
    ("poison", [["a", "b"]], "poison[0]: has 2 values, not 3"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "told"), WRONG)
def test_what_is_no_snapshot_is_refused(path, value, told):
    """With the place and what stands there, cut where it is long."""
    plain = change(FORM.encode(busy(9)), path, value)

    with pytest.raises(Unfit) as refused:
        FORM.decode(plain)
    assert str(refused.value).startswith(told)


class Colour(StrEnum):
    RED = "red"


class Before(NamedTuple):
    name: str


@dataclass(frozen=True)
class After:
    name: str
    colours: Mapping[Colour, tuple[int, ...]] = field(default_factory=lambda: {Colour.RED: (7,)})
    cpus: frozenset[int] = frozenset({1})
    shares: Mapping[int, float | None] = field(default_factory=dict)


def test_new_fields_of_any_shape_need_no_line():
    """What an older version wrote is read with their defaults, and what they hold comes back."""
    old = PlainForm(Before).encode(Before("x"))
    form = PlainForm(After)
    assert form.decode(old) == After("x")

    new = After("y", {Colour.RED: (1, 2)}, frozenset({8, 1}), {-1: None, 2: 0.5})
    plain = form.encode(new)
    assert plain["cpus"] == [1, 8]
    assert exact(form.decode(json.loads(json.dumps(plain)))) == exact(new)


@dataclass(frozen=True)
class Doubtful:
    either: int | str


@dataclass(frozen=True)
class Opaque:
    data: bytes


@dataclass(frozen=True)
class Crowd:
    those: frozenset[Before]


@pytest.mark.parametrize("kind", [Doubtful, Opaque, Crowd, Acting])
def test_a_type_without_a_plain_form_is_told_at_once(kind):
    """Before anything is written: not when the first such value comes."""
    with pytest.raises(TypeError, match="has no plain form"):
        PlainForm(kind)
