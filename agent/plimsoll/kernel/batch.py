"""
The batch reader: every file of a tick in one pass over descriptors that are held open.

Opening a cgroup file costs several times what reading it does, so descriptors are held, a bounded number. Where the C
reader can be used it reads and parses everything held in one call with the interpreter lock released. Files it could
not finish, and every file where it cannot be used or faults are scripted, are read one by one in Python. Both follow
one contract (tests/contract/test_batch.py). This module must not know pods.
"""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Callable, Iterable

from plimsoll.kernel.batch_files import File, OpenFiles, descriptor_bound
from plimsoll.kernel.batch_format import (
    NOTHING,
    UNLIMITED,
    FileSpec,
    Format,
    Parsed,
    parse,
    parse_keyed,
    parse_value,
)
from plimsoll.kernel.batch_native import Table, native_available
from plimsoll.kernel.hostfs import Directory
from plimsoll.kernel.pressure import Lines
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.pressure import Pressure

__all__ = ["UNLIMITED", "BatchReader", "FileSpec", "Format", "native_available", "parse_keyed", "parse_value"]

_GOOD = 0


def _holder(table: Table | None) -> Callable[[File, int], None]:
    def hold(file: File, descriptor: int) -> None:
        if table is not None and file.row is not None:
            table.hold(file.row, descriptor)

    return hold


class BatchReader:
    """
    Reads many cgroup files in one pass.

    ``max_open`` bounds the descriptors held; the process's own limit may lower it. ``native`` forces one of the two
    readers; by default it is the C reader where that can be used. Raises ValueError for a reader that cannot.

    One thread reads; a second pass at the same time is refused. :meth:`add`, :meth:`remove` and :meth:`close` may be
    called by any thread at any time and never wait for a pass, which may hang in the kernel: what they ask for is then
    done when that pass comes back. What was read may be asked for while no pass runs; during one, the figures are of
    either pass.
    """

    def __init__(self, max_open: int = 4096, *, native: bool | None = None) -> None:
        available, reason = native_available()
        if native and not available:
            raise ValueError(f"the C reader is not available: {reason}")
        self._table = Table() if (available if native is None else native) else None
        self._files: dict[int, File] = {}
        self._next = 0
        # Guards what is in this block; held for moments only, never during a system call that may hang.
        self._lock = threading.Lock()
        self._passing = False
        self._joining: list[File] = []
        self._leaving: list[File] = []
        # Touched by the pass that is under way, or by whoever holds the lock while none is.
        self._rows: dict[int, File] = {}
        self._plain: dict[File, None] = {}
        self._open = OpenFiles(descriptor_bound(max_open), _holder(self._table))
        weakref.finalize(self, self._open.close).atexit = False

    def __len__(self) -> int:
        return len(self._files)

    @property
    def native(self) -> bool:
        """Whether the C reader is in use."""
        return self._table is not None

    @property
    def held(self) -> int:
        """How many descriptors are open now."""
        return len(self._open)

    def add(self, directory: Directory, path: str, spec: FileSpec) -> int:
        """Register the file ``path`` strictly beneath ``directory``; it is opened by the next pass."""
        file = File(directory, path, spec, spec.wanted())
        with self._lock:
            slot = self._next
            self._next += 1
            self._files[slot] = file
            self._joining.append(file)
            return slot

    def remove(self, slot: int) -> None:
        """Forget a file and close it. Raises KeyError for one that is not known."""
        with self._lock:
            self._forget(self._files.pop(slot))
            self._settle()

    def close(self) -> None:
        """Forget every file and close it."""
        with self._lock:
            for file in self._files.values():
                self._forget(file)
            self._files.clear()
            self._settle()

    def read(self, slots: Iterable[int] | None = None) -> None:
        """
        One pass over all files, or over some. Raises nothing that the kernel may cause: see :meth:`outcome`.

        Raises RuntimeError while another pass is under way, KeyError for a slot that is not known.
        """
        with self._lock:
            if self._passing:
                raise RuntimeError("a pass over these files is under way")
            self._settle()
            files = None if slots is None else [self._files[slot] for slot in slots]
            self._passing = True
        try:
            self._pass(files)
        finally:
            with self._lock:
                self._passing = False
                self._settle()

    def outcome(self, slot: int) -> Outcome:
        """How the last pass went for this file; MISSING before the first."""
        file = self._files[slot]
        if self._table is None or file.row is None:
            return file.outcome
        status = self._table.status[file.row]
        if status == _GOOD:
            return Outcome.OK
        return Outcome.UNSUPPORTED if status == errno.EOPNOTSUPP else file.outcome

    def generation(self, slot: int) -> int:
        """Grows each time another file was found in its place: the cgroup was made again, counters start anew."""
        return self._files[slot].generation

    def value(self, slot: int) -> int | None:
        """The integer of a VALUE file; :data:`UNLIMITED` for ``max``."""
        file = self._files[slot]
        table, row = self._table, file.row
        if table is not None and row is not None and table.status[row] == _GOOD:
            return table.value(row) if file.spec.format is Format.VALUE else None
        return self._parsed(file).value

    def keyed(self, slot: int) -> tuple[int | None, ...]:
        """The values of a KEYED file in the order of its spec's keys; ``None`` for a key the kernel does not print."""
        file = self._files[slot]
        table, row = self._table, file.row
        if table is not None and row is not None and table.status[row] == _GOOD:
            return table.keyed(row, len(file.wanted)) if file.spec.format is Format.KEYED else ()
        return self._parsed(file).keyed

    def psi(self, slot: int) -> Lines:
        """(some, full) of a PSI file."""
        file = self._files[slot]
        table, row = self._table, file.row
        if table is not None and row is not None and table.status[row] == _GOOD:
            return table.psi(row) if file.spec.format is Format.PSI else (None, None)
        return self._parsed(file).psi

    def pressure_stat(self, slot: int) -> tuple[Pressure, ...]:
        """The sections of a PRESSURE_STAT file."""
        file = self._files[slot]
        table, row = self._table, file.row
        if table is not None and row is not None and table.status[row] == _GOOD:
            return table.pressure_stat(row) if file.spec.format is Format.PRESSURE_STAT else ()
        return self._parsed(file).stat

    def _parsed(self, file: File) -> Parsed:
        """What Python read; the C reader leaves it alone when it finds a feature turned off."""
        if self._table is not None and file.row is not None and self._table.status[file.row] == errno.EOPNOTSUPP:
            return NOTHING
        return file.parsed

    def _forget(self, file: File) -> None:
        file.forgotten = True
        self._leaving.append(file)

    def _settle(self) -> None:
        """Let files in and out; while a pass is under way its files and arrays must stay as they are."""
        if self._passing:
            return
        for file in self._joining:
            if file.forgotten:
                continue
            if self._table is not None and file.directory.fault is None:
                file.row = self._table.join(file.spec)
            if file.row is None:
                self._plain[file] = None
            else:
                self._rows[file.row] = file
        self._joining.clear()
        for file in self._leaving:
            self._open.shut(file)
            self._plain.pop(file, None)
            if self._table is not None and file.row is not None:
                self._table.leave(file.row, file.spec)
                del self._rows[file.row]
        self._leaving.clear()

    def _pass(self, files: list[File] | None) -> None:
        self._open.begin(files)
        if self._table is not None:
            rows = None if files is None else [file.row for file in files if file.row is not None]
            for row in self._table.read(rows):
                self._read(self._rows[row])
        for file in self._plain if files is None else files:
            if file.row is None:
                self._read(file)

    def _read(self, file: File) -> None:
        if file.forgotten:
            return
        file.parsed = NOTHING
        try:
            data = self._open.read(file)
        except OSError as error:
            file.outcome = outcome_of(error.errno or errno.EIO)
            return
        try:
            file.parsed = parse(file.spec.format, file.wanted, data)
        except ValueError:
            file.outcome = Outcome.MALFORMED
        else:
            file.outcome = Outcome.OK
