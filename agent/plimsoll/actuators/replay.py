"""
From the bytes of a journal, whatever became of them, to all that can be known of the originals.

Pure: what to do about a damaged file is ``actuators/journal.py``'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plimsoll.actuators.record import LINE_START, Flaw, Key, Line, Record, parse


@dataclass
class Replay:
    """
    What was read. ``originals`` are those of the given boot, in the order of first touch.

    ``corrupt``, ``newer`` and ``foreign`` count lines: damaged, of a later version, of another boot. ``torn``: the end
    of the file is the beginning of a line, as a killed writer leaves it.
    """

    originals: dict[Key, Record] = field(default_factory=dict)
    lines: int = 0
    corrupt: int = 0
    newer: int = 0
    foreign: int = 0
    torn: bool = False


def replay(data: bytes, boot_id: str) -> Replay:
    """Read everything that can be read: a damaged line costs what it said, never its neighbours."""
    found = Replay()
    lines = data.split(b"\n")
    # A writer that was killed leaves a line without its end.
    tail = lines.pop()
    for text in lines:
        if text:
            _take(found, parse(text), boot_id)
    if tail:
        found.torn = True
        last = parse(tail)
        if isinstance(last, Line):
            _take(found, last, boot_id)
        elif not (tail.startswith(LINE_START) or LINE_START.startswith(tail)):
            # No writer of ours began this.
            found.corrupt += 1
    return found


def _take(found: Replay, line: Line | Flaw, boot_id: str) -> None:
    if line is Flaw.CORRUPT:
        found.corrupt += 1
    elif line is Flaw.NEWER:
        found.newer += 1
    elif isinstance(line, Line):
        found.lines += 1
        if line.boot_id != boot_id:
            # The knobs of another boot went with it, and its inode numbers mean other cgroups now.
            found.foreign += 1
            return
        known = found.originals.get(line.key)
        if line.record is None:
            found.originals.pop(line.key, None)
        elif known is not None:
            found.originals[line.key] = line.record._replace(original=known.original)
        elif line.operation == "orig":
            found.originals[line.key] = line.record
