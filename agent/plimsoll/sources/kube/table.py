"""
The pods of one node by UID, as lists and events leave them. Pure: no I/O, no clock, no thread.

Names are reused (a StatefulSet deletes and creates ``db-0``), UIDs are not, so the UID is the key.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.model.pod import PodObject

Poison = tuple[str, str, str]

# A node runs a few hundred pods; what is more than these bounds comes from no real API server.
_POISON_KEPT = 256
_TOMBSTONES = 1024


class Change(StrEnum):
    """What became of an object."""

    TAKEN = "taken"
    STALE = "stale"  # older than what is known, or not known at all: a duplicate, or out of order
    FOREIGN = "foreign"  # of another node


class Entry(NamedTuple):
    """A pod and the resource version it was seen at; ``None``: not a number."""

    object: PodObject
    version: int | None


@dataclass(slots=True)
class Listing:
    """The pods of one list, being collected."""

    entries: dict[str, Entry] = field(default_factory=dict)
    poison: dict[str, Poison] = field(default_factory=dict)
    foreign: int = 0


class PodTable:
    """The known pods of ``node_name``."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._entries: dict[str, Entry] = {}
        self._poison: dict[str, Poison] = {}
        # Deleted pods, so that a late event does not raise them from the dead.
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def objects(self) -> tuple[PodObject, ...]:
        """The pods. One that has not changed is the same object as before."""
        return tuple(entry.object for entry in self._entries.values())

    @property
    def poison(self) -> tuple[Poison, ...]:
        return tuple(self._poison.values())

    def collect(self, listing: Listing, raw: object) -> None:
        """Take one item of a list into ``listing``; the table itself is left alone."""
        decoded = decode(raw)
        if isinstance(decoded, PodRejected):
            _keep(listing.poison, raw, decoded)
        elif _node_of(raw) != self._node_name:
            listing.foreign += 1
        else:
            listing.entries[decoded.uid] = Entry(decoded, version_of(raw))

    def lost(self, listing: Listing) -> int:
        """How many known pods the listing does not have."""
        return len(self._entries.keys() - listing.entries.keys())

    def replace(self, listing: Listing) -> None:
        """Believe a complete list."""
        self._entries = {uid: self._same(uid, entry) for uid, entry in listing.entries.items()}
        self._poison = listing.poison
        self._deleted.clear()

    def put(self, raw: object) -> Change | PodRejected:
        """An object that was added or modified."""
        decoded = decode(raw)
        if isinstance(decoded, PodRejected):
            _keep(self._poison, raw, decoded)
            return decoded
        if _node_of(raw) != self._node_name:
            return Change.FOREIGN
        uid, version = decoded.uid, version_of(raw)
        known = self._entries.get(uid)
        if uid in self._deleted or (known is not None and _older(version, known.version)):
            return Change.STALE
        # A name has one pod at a time: the deletion of the one before it may come late, or never.
        for other, entry in list(self._entries.items()):
            if other != uid and (entry.object.namespace, entry.object.name) == (decoded.namespace, decoded.name):
                if _older(version, entry.version):
                    return Change.STALE
                self._bury(other)
        self._entries[uid] = self._same(uid, Entry(decoded, version))
        return Change.TAKEN

    def delete(self, raw: object) -> Change:
        """An object that was deleted. Only its UID counts: a new pod may have its name by now."""
        uid = _text(_metadata(raw).get("uid"))[:64]
        if uid in self._entries:
            self._bury(uid)
            return Change.TAKEN
        return Change.STALE if self._poison.pop(_key(raw), None) is None else Change.TAKEN

    def _bury(self, uid: str) -> None:
        del self._entries[uid]
        self._deleted[uid] = None
        if len(self._deleted) > _TOMBSTONES:
            self._deleted.popitem(last=False)

    def _same(self, uid: str, entry: Entry) -> Entry:
        known = self._entries.get(uid)
        return entry._replace(object=known.object) if known is not None and known.object == entry.object else entry


def version_of(raw: object) -> int | None:
    """The resource version as a number, by which two of them compare; ``None`` when it is not one."""
    text = version_text(raw)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def version_text(raw: object) -> str:
    """The resource version as the server wrote it; empty when there is none."""
    return _text(_metadata(raw).get("resourceVersion"))


def _older(version: int | None, known: int | None) -> bool:
    return version is not None and known is not None and version < known


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _metadata(raw: object) -> dict[str, object]:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _node_of(raw: object) -> str:
    spec = raw.get("spec") if isinstance(raw, dict) else None
    return _text(spec.get("nodeName")) if isinstance(spec, dict) else ""


def _key(raw: object) -> str:
    metadata = _metadata(raw)
    return (
        _text(metadata.get("uid"))[:64] or f"{_text(metadata.get('namespace'))[:64]}/{_text(metadata.get('name'))[:64]}"
    )


def _keep(poison: dict[str, Poison], raw: object, rejected: PodRejected) -> None:
    key = _key(raw)
    if key in poison or len(poison) < _POISON_KEPT:
        poison[key] = (f"{rejected.namespace}/{rejected.name}", rejected.reason, rejected.message)
