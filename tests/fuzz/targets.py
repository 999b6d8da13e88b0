"""What is fuzzed: one function per parser of text that is not ours, with what must hold for every input."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from plimsoll.config.annotations import KEYS, OWN_KEY, REASONS, intent
from plimsoll.config.loader import parse_config
from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.problem import ConfigError
from plimsoll.config.schema import PrioritySection
from plimsoll.config.yaml_text import load_all
from plimsoll.kernel.batch import parse_keyed, parse_value
from plimsoll.kernel.pressure import format_pressure_stat, format_psi, parse_pressure_stat, parse_psi
from plimsoll.kernel.proc import parse_cpu_count, parse_meminfo, parse_swaps

_LINE = b"some avg10=1.25 avg60=0.40 avg300=0.09 total=%d\nfull avg10=0.75 avg60=0.21 avg300=0.05 total=402118\n"
_STRICT = PrioritySection.model_validate({"trustedNamespaces": ["prod-*"], "qosClasses": {"BestEffort": "low"}})
_POD = {
    "metadata": {
        "uid": "0f0d3c2b-5b0a-4c7e-9d3e-0a1b2c3d4e5f",
        "namespace": "prod-a",
        "name": "web-0",
        "annotations": {OWN_KEY: "hgih", "volcano.sh/preemptable": "true"},
    },
    "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 1}}}], "priorityClassName": "x"},
    "status": {"phase": "Running", "containerStatuses": [{"name": "a", "containerID": "containerd://" + "a" * 64}]},
}


class Target(NamedTuple):
    """``check`` raises for an input that breaks what must hold; ``seeds`` are inputs to start from."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def psi(data: bytes) -> None:
    """What is accepted is spelled the same again; all else is a ValueError."""
    with contextlib.suppress(ValueError):
        some, full = parse_psi(data.decode("ascii"))
        assert parse_psi(format_psi(some, full)) == (some, full)


def pressure_stat(data: bytes) -> None:
    """As :func:`psi`, section by section, and no cause stands twice."""
    with contextlib.suppress(ValueError):
        found = parse_pressure_stat(data.decode("ascii"))
        assert parse_pressure_stat(format_pressure_stat(found)) == found
        assert len({each.cause for each in found}) == len(found)


def keyed(data: bytes) -> None:
    """Only whole numbers come out; all else is a ValueError."""
    for parse in (parse_value, lambda text: parse_keyed(text, {b"nr_throttled": 0, b"high": 1})):
        with contextlib.suppress(ValueError):
            found = parse(data)
            values = found if isinstance(found, tuple) else (found,)
            assert all(each is None or 0 <= each < 1 << 63 for each in values)


def proc(data: bytes) -> None:
    """Files of /proc of any shape give figures or nothing."""
    text = data.decode("utf-8", "replace")
    assert all(each is None or each >= 0 for each in parse_meminfo(text))
    assert all(each.size >= 0 or each.size % 1024 == 0 for each in parse_swaps(text))
    parse_cpu_count(text)


def _places(node: object) -> Iterator[tuple[dict[str, object] | list[object], str | int]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from _places(value)


def _spoilt(data: bytes) -> object:
    """A good pod with some of its parts replaced: byte flips in JSON text hardly ever get past the JSON."""
    pod = json.loads(json.dumps(_POD))
    for step in data.split(b"\n")[:8]:
        if len(step) < 2:
            continue
        places = list(_places(pod))
        where, key = places[step[0] % len(places)]
        text = step[2:].decode("utf-8", "replace")
        odd = (text, None, len(text), [], {}, [text], {text: text}, {"name": text}, 1e400, "x" * 70_000)
        where[key] = odd[step[1] % len(odd)]
    return pod


def pod_object(data: bytes) -> None:
    """F01-F04, F25: whatever JSON an API server sends is a pod with bounded, allow-listed text, or rejected."""
    found = decode(_spoilt(data))
    if isinstance(found, PodRejected):
        return
    assert set(found.annotations) | set(found.labels) <= KEYS
    assert all(len(each.id) == 64 and each.id.isalnum() for each in found.containers)
    for section in (PrioritySection(), _STRICT):
        decided = intent(found, section)
        assert {each.reason for each in decided.rejected} <= set(REASONS)
        assert all(len(each.message) < 600 for each in decided.rejected)
        assert decided == intent(found, section)


def annotations(data: bytes) -> None:
    """F03, F04: no value of an owner raises, and none raises a pod above what its namespace may claim."""
    text = data.decode("utf-8", "replace")
    for key in KEYS:
        pod = decode({"metadata": {**_POD["metadata"], "namespace": "tenant", "annotations": {key: text}}})
        assert not isinstance(pod, PodRejected)
        assert intent(pod, _STRICT).priority.rank <= 1


def config(data: bytes) -> None:
    """F34: a file is a configuration, or every problem names the file, what is wrong and the cure."""
    problems = None
    try:
        parse_config(data.decode("utf-8", "replace"), "plimsoll.yaml")
    except ConfigError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert all(str(each).startswith("plimsoll.yaml") for each in problems)


def manifests(data: bytes) -> None:
    """A folder's file is plain data or a ConfigError, and each pod in it is judged alone."""
    with contextlib.suppress(ConfigError):
        for document in load_all(data.decode("utf-8", "replace"), file="pods.yaml"):
            decode(document.data)


TARGETS = {
    "psi": Target(psi, (_LINE % 7, b"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")),
    "pressure_stat": Target(pressure_stat, (b"swap\n" + _LINE % 1 + b"compact\n" + _LINE % 2,)),
    "keyed": Target(keyed, (b"max\n", b"17\n", b"nr_periods 9\nnr_throttled 4\nhigh 2\n")),
    "proc": Target(
        proc,
        (
            b"MemTotal: 1000 kB\nSwapFree:  0 kB\n",
            b"Filename\tType\tSize\tUsed\tPriority\n/dev/vdb\\040x partition 8 4 -2\n",
            b"cpu  1\ncpu0 1\ncpu1 1\n",
        ),
    ),
    "pod_object": Target(pod_object, (b"", b"\x05\x00high\n\x01\x01", b"\x0b\x05x\n\x03\x00kube-system")),
    "annotations": Target(annotations, (b"high", b"LSE", b"true", b"dedicated_cores")),
    "config": Target(config, (b"pressure: {interval: 5s, windows: [10s]}\nhttp:\n  listen: ':1'\n", b"a: &a [*a]\n")),
    "manifests": Target(manifests, (b"kind: Pod\nmetadata: {name: a, uid: b}\n---\n- 0o7\n- !!binary aa\n",)),
}
