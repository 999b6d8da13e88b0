"""
The journal: original values on disk before the first write, so that whoever comes next can put everything back.

An append-only file of self-contained lines, one write(2) for a whole tick. It lives on tmpfs and dies with the boot as
the knobs do, so appending needs no fsync: a killed process loses nothing it wrote. This module must not know what
stands in any knob.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from plimsoll.actuators.journal_file import READ_LIMIT, JournalFile
from plimsoll.actuators.record import Entry, Key, Record, delete_line, original_line, set_line
from plimsoll.actuators.replay import Replay, replay
from plimsoll.kernel.closing import Closing
from plimsoll.kernel.fault import FaultHook
from plimsoll.model.outcome import Outcome, outcome_of

COMPACT_BYTES = 1 << 20


class State(StrEnum):
    """What was found at the start: a label value, keep it stable."""

    FRESH = "fresh"
    REPLAYED = "replayed"
    FOREIGN_BOOT = "foreign-boot"  # the node was started again: nothing in it is true any more
    QUARANTINED = "quarantined"  # damaged: put aside as journal.corrupt-N; what could be read is kept
    NEWER = "newer"  # a later version wrote to it: put aside as journal.newer-N; what could be read is kept


class Journal(Closing):
    """
    ``state`` and ``reason`` say what was found at the start. ``writable`` is what the last try to write came to; while
    it is not OK no knob is touched for the first time.
    """

    def __init__(
        self,
        file: JournalFile | None,
        boot_id: str,
        *,
        unusable: Outcome = Outcome.OK,
        compact_bytes: int = COMPACT_BYTES,
        read_only: bool = False,
    ) -> None:
        """``file`` is ``None`` where the state directory is ``unusable``. Use :meth:`open`."""
        self._file = file
        self._boot_id = boot_id
        self._compact_bytes = compact_bytes
        self._limit = compact_bytes
        self._read_only = read_only
        self._originals: dict[Key, Record] = {}
        # True in memory, but the file was full or read-only when it was to be told.
        self._untold: dict[Key, None] = {}
        self.state = State.FRESH
        self.reason = ""
        self.writable = unusable
        if file is not None:
            self._load(file)

    @classmethod
    def open(
        cls,
        directory: int | str,
        boot_id: str,
        *,
        fault: FaultHook | None = None,
        write: Callable[[int, bytes], int] = os.write,
        compact_bytes: int = COMPACT_BYTES,
        read_only: bool = False,
    ) -> Journal:
        """
        Open the journal of a state directory (a path, or a descriptor that stays the caller's), made when missing.

        Never raises, whatever is found: see ``state`` and ``writable``. With ``read_only`` the file stays as it is, and
        what is remembered and forgotten is so in memory only; otherwise the caller holds the instance lock.
        ``fault`` and ``write`` are for tests.
        """
        try:
            if isinstance(directory, int):
                descriptor = os.dup(directory)
            else:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            unusable = outcome_of(error.errno or errno.EIO)
            return cls(None, boot_id, unusable=unusable, read_only=read_only)
        file = JournalFile(descriptor, fault, write)
        return cls(file, boot_id, compact_bytes=compact_bytes, read_only=read_only)

    @property
    def originals(self) -> Mapping[Key, Record]:
        """Everything to be put back, in the order of first touch."""
        return MappingProxyType(self._originals)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return 0 if self._file is None else self._file.size

    def remember(self, entries: Iterable[Entry]) -> Outcome:
        """
        Note what is about to be written, all with one write(2). To be called before any of it is.

        An original that is known is never replaced. When the outcome is not OK, the knobs that are new here were *not*
        remembered and must not be touched; the others were, in memory, and the file is told later.
        """
        known: dict[Key, Record] = {}
        first: dict[Key, Record] = {}
        for key, record in entries:
            before = self._originals.get(key)
            if before is None:
                first.setdefault(key, record)
            else:
                known[key] = record._replace(original=before.original)
        self._originals.update(known)
        lines = [set_line(self._boot_id, *each) for each in known.items()]
        lines += [original_line(self._boot_id, *each) for each in first.items()]
        outcome = self._append(lines)
        if outcome is Outcome.OK:
            self._originals.update(first)
        else:
            self._untold.update(dict.fromkeys(known))
        return outcome

    def forget(self, keys: Iterable[Key]) -> Outcome:
        """These knobs are no longer ours: put back, given up, or gone with their cgroup."""
        gone = [key for key in keys if self._originals.pop(key, None) is not None]
        outcome = self._append([delete_line(self._boot_id, key) for key in gone])
        if outcome is not Outcome.OK:
            # Harmless after a crash: what stands there is then the original, or not ours.
            self._untold.update(dict.fromkeys(gone))
        return outcome

    def compact(self) -> Outcome:
        """Write the file anew with what is known now."""
        if self._read_only or self._file is None:
            return self.writable
        text = b"".join(original_line(self._boot_id, key, record) for key, record in self._originals.items())
        try:
            self._file.replace(text)
        except OSError as error:
            self.writable = outcome_of(error.errno or errno.EIO)
            return self.writable
        # What is live may itself be more than the limit: never compact at every tick.
        self._limit = max(self._compact_bytes, 2 * len(text))
        self._untold.clear()
        self.writable = Outcome.OK
        return self.writable

    def close(self) -> None:
        """Let go of the file; closing twice is allowed."""
        if self._file is not None:
            self._file.close()

    def _append(self, lines: list[bytes]) -> Outcome:
        if not lines and not self._untold:
            return Outcome.OK
        if self._read_only:
            return Outcome.OK
        if self._file is None:
            return self.writable
        if not self._file.ready and self.compact() is not Outcome.OK:
            return self.writable
        try:
            self._file.append(b"".join((*map(self._line_of, self._untold), *lines)))
        except OSError as error:
            self.writable = outcome_of(error.errno or errno.EIO)
            return self.writable
        self._untold.clear()
        self.writable = Outcome.OK
        return Outcome.OK

    def tidy(self) -> Outcome:
        """Compact when the file has grown beyond its limit. Should that fail, what it holds stands as it is."""
        return self.compact() if self.size > self._limit else Outcome.OK

    def _line_of(self, key: Key) -> bytes:
        record = self._originals.get(key)
        return delete_line(self._boot_id, key) if record is None else original_line(self._boot_id, key, record)

    def _load(self, file: JournalFile) -> None:
        try:
            data = file.read()
        except FileNotFoundError:
            self.compact()
            return
        except OSError as error:
            found = Replay()
            self.state = State.QUARANTINED
            self.reason = f"unreadable: {errno.errorcode.get(error.errno or 0, 'unknown')}"
        else:
            found = replay(data, self._boot_id)
            self._originals = found.originals
            self.state, self.reason = _judge(found, whole=len(data) < READ_LIMIT)
        if self._read_only:
            return
        try:
            if self.state is State.QUARANTINED:
                file.keep_aside("corrupt")
            elif self.state is State.NEWER:
                file.keep_aside("newer")
            elif not found.torn and not found.foreign:
                file.hold()
                return
        except OSError as error:
            # Not even put aside. Nothing is appended to damage: the first thing to note will replace it.
            self.writable = outcome_of(error.errno or errno.EIO)
            return
        self.compact()


def _judge(found: Replay, *, whole: bool) -> tuple[State, str]:
    if found.corrupt:
        return State.QUARANTINED, f"{found.corrupt} damaged of {found.corrupt + found.lines + found.newer} lines"
    if not whole:
        return State.QUARANTINED, f"larger than {READ_LIMIT} bytes"
    if found.newer:
        return State.NEWER, f"{found.newer} lines of a later version"
    if found.foreign and not found.originals:
        return State.FOREIGN_BOOT, f"{found.foreign} lines of another boot"
    return (State.REPLAYED if found.lines else State.FRESH), ""
