"""
What the journal remembers of one knob, and one line of text for it.

A line is a JSON object that begins with the CRC-32 of the rest, and stands for itself: with its schema version and the
boot it belongs to, so that no other line has to be whole for it to count. This module must not know files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from plimsoll.model.plan import Knob, OnExit, Target, TargetKind

VERSION = 1
LINE_START = b'{"crc":"'
_CRC_END = len(LINE_START) + 8


class Key(NamedTuple):
    """A knob of one cgroup in one life: ``identity`` is the inode number of its directory, 0 for the node."""

    target: Target
    knob: Knob
    identity: int


class Record(NamedTuple):
    """
    What is known of a knob we changed. Values are as the kernel spelled them, without the end of the line.

    ``original`` stood there before our first write. ``last``: the values of ours that may stand there, one or a few: a
    crash leaves open which of them reached the kernel; the last one is what is wanted. ``phase`` is the highest of any
    write, ``chain`` that of the first with one: an earlier value may still stand there, and what depends on it was
    written after that one.
    """

    original: str
    last: tuple[str, ...]
    on_exit: OnExit
    policy: str
    phase: int = 0
    chain: str = ""

    def by_way_of(self, value: str) -> Record:
        """The same where this value, too, may stand there for a while."""
        return self if value in self.last else self._replace(last=(*self.last[:-1], value, self.last[-1]))


class Entry(NamedTuple):
    """Something to remember: ``record`` is as it will be once the write was tried."""

    key: Key
    record: Record


class Operation(StrEnum):
    """What a line says."""

    ORIGINAL = "orig"  # the first touch of a knob: everything
    SET = "set"  # another value: everything but the original
    DELETE = "del"  # no longer ours


class Flaw(StrEnum):
    """Why a line cannot be used."""

    CORRUPT = "corrupt"
    NEWER = "newer"  # whole, but written by a version that knows more


class Line(NamedTuple):
    """A line that was read. ``record`` is ``None`` for a deletion, and its ``original`` empty for a ``set``."""

    operation: Operation
    boot_id: str
    key: Key
    record: Record | None


def original_line(boot_id: str, key: Key, record: Record) -> bytes:
    return _line(boot_id, Operation.ORIGINAL, key, {"value": record.original, **_rest(record)})


def set_line(boot_id: str, key: Key, record: Record) -> bytes:
    return _line(boot_id, Operation.SET, key, _rest(record))


def delete_line(boot_id: str, key: Key) -> bytes:
    return _line(boot_id, Operation.DELETE, key, {})


def parse(line: bytes) -> Line | Flaw:
    """Read one line, without its end. Never raises."""
    body = b"{" + line[_CRC_END + 2 :]
    if not line.startswith(LINE_START) or line[_CRC_END : _CRC_END + 2] != b'",':
        return Flaw.CORRUPT
    if line[len(LINE_START) : _CRC_END] != _crc(body):
        return Flaw.CORRUPT
    try:
        fields = json.loads(body)
        if fields["v"] != VERSION:
            return Flaw.NEWER
        return _line_of(fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        # The checksum held, so this is what was written: by somebody who knows other knobs or fields.
        return Flaw.NEWER


def _line_of(fields: Mapping[str, Any]) -> Line:
    operation = Operation(fields["op"])
    target = Target(TargetKind(fields["kind"]), _text(fields["path"]))
    key = Key(target, Knob(fields["knob"]), int(fields["id"]))
    record = None
    if operation is not Operation.DELETE:
        record = Record(
            original=_text(fields["value"]) if operation is Operation.ORIGINAL else "",
            last=tuple(_text(each) for each in fields["last"]),
            on_exit=OnExit(fields["exit"]),
            policy=_text(fields["policy"]),
            phase=int(fields["phase"]),
            # Journals of versions that knew no chains have none.
            chain=_text(fields.get("chain", "")),
        )
        if not record.last:
            raise ValueError("no value")
    return Line(operation, _text(fields["boot"]), key, record)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _rest(record: Record) -> dict[str, object]:
    return {
        "last": record.last,
        "exit": record.on_exit,
        "policy": record.policy,
        "phase": record.phase,
        "chain": record.chain,
    }


def _line(boot_id: str, operation: Operation, key: Key, rest: Mapping[str, object]) -> bytes:
    body = json.dumps(
        {
            "v": VERSION,
            "boot": boot_id,
            "op": operation,
            "kind": key.target.kind,
            "path": key.target.path,
            "knob": key.knob,
            "id": key.identity,
            **rest,
        },
        separators=(",", ":"),
    ).encode("ascii")
    return LINE_START + _crc(body) + b'",' + body[1:] + b"\n"


def _crc(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
