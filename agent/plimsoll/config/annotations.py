"""
What a pod owner may say, in every vocabulary this agent understands: hostile text to a :class:`PodIntent`.

Pure: the same pod and section give the same intent. Nothing here may raise for anything an owner can write.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import NamedTuple

from plimsoll.config.io_limits import OWN_EXAMPLE, RUBIK_EXAMPLE, parse_own, parse_rubik
from plimsoll.config.quantity import whole
from plimsoll.config.schema import PrioritySection
from plimsoll.model.disk import IoLimit
from plimsoll.model.pod import PodIntent, PodObject, Priority, Rejected

OWN_KEY = "plimsoll.io/qos-priority"
RECLAIM_KEY = "plimsoll.io/memory-reclaim"
FLOOR_KEY = "plimsoll.io/memory-floor"
IO_LIMIT_KEY = "plimsoll.io/io-limit"
RUBIK_IO_LIMIT_KEY = "volcano.sh/blkio-limit"
EVICTION_KEY = "plimsoll.io/eviction"
# An accepted value is a few letters; what is longer is not read further.
MAX_VALUE = 4096
_SHOWN = 40

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


class Vocabulary(NamedTuple):
    """One project's key: what its values mean here; ``None``: a value that is right there and says nothing here."""

    key: str
    values: Mapping[str, Priority | None]
    strict: bool = True  # whether any other value is a mistake


# In order of precedence.
VOCABULARIES = (
    Vocabulary(OWN_KEY, {"high": HIGH, "normal": NORMAL, "low": LOW}),
    # rubik: "true" is offline, anything else is online, which says nothing about how important.
    Vocabulary("volcano.sh/preemptable", {"true": LOW}, strict=False),
    Vocabulary("volcano.sh/qos-level", {"LC": HIGH, "HLS": HIGH, "LS": NORMAL, "BE": LOW}),
    Vocabulary("koordinator.sh/qosClass", {"LSE": HIGH, "LSR": HIGH, "LS": NORMAL, "BE": LOW, "SYSTEM": None}),
    Vocabulary(
        "katalyst.kubewharf.io/qos_level",
        {"dedicated_cores": HIGH, "shared_cores": NORMAL, "reclaimed_cores": LOW, "system_cores": None},
    ),
)
_PERMISSION: Mapping[str, bool] = MappingProxyType({"auto": True, "never": False})

# In order of precedence: how to read each, and an example of what can be read.
_IO_LIMITS: Mapping[str, tuple[Callable[[str], tuple[IoLimit, ...]], str]] = MappingProxyType(
    {IO_LIMIT_KEY: (parse_own, OWN_EXAMPLE), RUBIK_IO_LIMIT_KEY: (parse_rubik, RUBIK_EXAMPLE)}
)

KEYS = frozenset({*(vocabulary.key for vocabulary in VOCABULARIES), RECLAIM_KEY, FLOOR_KEY, EVICTION_KEY, *_IO_LIMITS})
"""The only annotation and label keys ever kept of a pod."""

REASONS = ("malformed", "too-long", "conflict", "untrusted-namespace", "unmanaged", "unsupported")
"""Every reason a :class:`Rejected` of this module may carry: they become label values."""


class _Statement(NamedTuple):
    key: str
    priority: Priority


def intent(pod: PodObject, section: PrioritySection) -> PodIntent:
    """Decide a pod's priority, and say of every statement that was not followed why."""
    base, origin = _administrator(pod, section)
    rejected: list[Rejected] = []
    statements = list(_statements(pod, rejected))
    wishes = PodIntent(
        base,
        origin,
        reclaim=_permission(pod, RECLAIM_KEY, rejected) is not False,
        memory_floor=_memory_floor(pod, rejected),
        io_limits=_io_limits(pod, rejected),
        eviction=_permission(pod, EVICTION_KEY, rejected),
    )
    if pod.mirror or _matches(pod.namespace, ("kube-system", *section.unmanaged_namespaces)):
        why = "it is a static pod" if pod.mirror else f"namespace {pod.namespace} is never managed"
        rejected.extend(Rejected(each.key, "unmanaged", f"not followed: {why}") for each in statements)
        return replace(wishes, managed=False, rejected=tuple(rejected))
    trusted = _matches(pod.namespace, section.trusted_namespaces)
    chosen: _Statement | None = None
    for each in statements:
        if each.priority.rank > base.rank and not trusted:
            message = (
                f"{each.priority} is above {base}, which this namespace may not claim; "
                "ask the administrator to add it to priority.trustedNamespaces"
            )
            rejected.append(Rejected(each.key, "untrusted-namespace", message))
        elif chosen is None:
            chosen = each
        elif each.priority is not chosen.priority:
            message = f"says {each.priority}, but {chosen.key} says {chosen.priority} and counts first"
            rejected.append(Rejected(each.key, "conflict", message))
    if chosen is None:
        return replace(wishes, rejected=tuple(rejected))
    return replace(wishes, priority=chosen.priority, origin=chosen.key, rejected=tuple(rejected))


def _administrator(pod: PodObject, section: PrioritySection) -> tuple[Priority, str]:
    if pod.priority_class is not None and pod.priority_class in section.priority_classes:
        return section.priority_classes[pod.priority_class], "priorityClass"
    if pod.namespace in section.namespaces:
        return section.namespaces[pod.namespace], "namespace"
    if pod.qos_class in section.qos_classes:
        return section.qos_classes[pod.qos_class], "qosClass"
    return NORMAL, "default"


def _matches(namespace: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(namespace, pattern) for pattern in patterns)


def _statements(pod: PodObject, rejected: list[Rejected]) -> Iterator[_Statement]:
    for vocabulary in VOCABULARIES:
        for value in _texts(pod, vocabulary.key, f"one of: {', '.join(vocabulary.values)}", rejected):
            if value not in vocabulary.values:
                if vocabulary.strict:
                    rejected.append(_malformed(value, vocabulary.key, vocabulary.values))
            else:
                priority = vocabulary.values[value]
                if priority is None:
                    message = f"{value} has no counterpart here; write {OWN_KEY} to say a priority"
                    rejected.append(Rejected(vocabulary.key, "unsupported", message))
                else:
                    yield _Statement(vocabulary.key, priority)


def _permission(pod: PodObject, key: str, rejected: list[Rejected]) -> bool | None:
    """What the owner lets be done: nothing if the annotation or the label says never; ``None``: neither says a word."""
    said: list[bool] = []
    for value in _texts(pod, key, f"one of: {', '.join(_PERMISSION)}", rejected):
        if value in _PERMISSION:
            said.append(_PERMISSION[value])
        else:
            rejected.append(_malformed(value, key, _PERMISSION))
    return all(said) if said else None


def _memory_floor(pod: PodObject, rejected: list[Rejected]) -> int:
    """Bytes of the pod's memory that stay: the larger of what the annotation and the label say."""
    floor = 0
    for value in _texts(pod, FLOOR_KEY, "a quantity such as 512Mi", rejected):
        try:
            floor = max(floor, whole(value))
        except ValueError as error:
            message = f"{_show(value)} is no amount of memory ({error}); write a quantity such as 512Mi"
            rejected.append(Rejected(FLOOR_KEY, "malformed", message))
    return floor


def _io_limits(pod: PodObject, rejected: list[Rejected]) -> tuple[IoLimit, ...] | None:
    """What the first key that says anything says; ``None`` where that cannot be read."""
    found: list[tuple[str, tuple[IoLimit, ...] | None]] = []
    for key, (parse, example) in _IO_LIMITS.items():
        value = pod.annotations.get(key)
        if value is None:
            continue
        limits: tuple[IoLimit, ...] | None = None
        if len(value) > MAX_VALUE:
            rejected.append(_too_long(key, value, example))
        else:
            try:
                limits = parse(value)
            except ValueError as error:
                rejected.append(Rejected(key, "malformed", f"{error}; for example: {example}"))
        found.append((key, limits))
    if not found:
        return ()
    (first, chosen), *others = found
    for key, limits in others:
        if limits != chosen:
            rejected.append(Rejected(key, "conflict", f"says something else than {first}, which counts first"))
    return chosen


def _texts(pod: PodObject, key: str, instead: str, rejected: list[Rejected]) -> Iterator[str]:
    """What the annotation and the label of this key say, in this order, as far as it is short enough to look at."""
    for metadata in (pod.annotations, pod.labels):
        value = metadata.get(key)
        if value is None:
            continue
        if len(value) > MAX_VALUE:
            rejected.append(_too_long(key, value, instead))
        else:
            yield value


def _too_long(key: str, value: str, instead: str) -> Rejected:
    return Rejected(key, "too-long", f"{len(value)} characters are too many; write {instead}")


def _malformed(value: str, key: str, values: Iterable[str]) -> Rejected:
    by_folded = {known.casefold(): known for known in values}
    near = difflib.get_close_matches(value[:_SHOWN].casefold(), by_folded, n=1)
    hint = f"did you mean {by_folded[near[0]]}? " if near else ""
    message = f"{_show(value)} is not a value; {hint}write one of: {', '.join(by_folded.values())}"
    return Rejected(key, "malformed", message)


def _show(value: str) -> str:
    # repr() can make ten characters of one.
    return repr(value[:_SHOWN])[: 2 * _SHOWN] + ("…" if len(value) > _SHOWN else "")
