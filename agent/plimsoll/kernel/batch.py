"""
The batch reader: every file of a tick in one pass over descriptors that are held open.

Opening a cgroup file costs several times what reading it does, so descriptors are held, a bounded number, least
recently used closed first. The native reader (``plimsoll._native``) does the same with the interpreter lock released;
both follow one contract (tests/contract/test_batch.py). This module must not know pods.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from plimsoll.kernel.hostfs import READ_LIMIT, Directory
from plimsoll.kernel.pressure import Lines, parse_pressure_stat, parse_psi
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.pressure import Pressure

UNLIMITED = (1 << 63) - 1
"""What ``max`` in a single-value file reads as: known, and without a bound."""


class Format(IntEnum):
    """How the text of a file is laid out."""

    VALUE = 0  # one integer, or `max`
    KEYED = 1  # lines of `key integer`
    PSI = 2
    PRESSURE_STAT = 3


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What to read: ``keys`` are those wanted of a KEYED file, in the order the values are given back."""

    name: str
    format: Format
    keys: tuple[str, ...] = ()


@dataclass(slots=True)
class _Slot:
    directory: Directory
    path: str
    spec: FileSpec
    wanted: dict[bytes, int] = field(default_factory=dict)
    inode: int = 0
    generation: int = 0
    outcome: Outcome = Outcome.MISSING
    value: int | None = None
    keyed: tuple[int | None, ...] = ()
    psi: Lines = (None, None)
    stat: tuple[Pressure, ...] = ()


def native_available() -> tuple[bool, str]:
    """Whether the C extension can be used, and if not, why."""
    return False, "not built into this version"


class BatchReader:
    """
    Reads many cgroup files in one pass.

    ``max_open`` bounds the descriptors held. One pass at a time; adding and removing from another thread waits for it.
    """

    def __init__(self, max_open: int = 4096) -> None:
        self._max_open = max_open
        self._slots: dict[int, _Slot] = {}
        self._next = 0
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def held(self) -> int:
        """How many descriptors are open now."""
        return len(self._open)

    def add(self, directory: Directory, path: str, spec: FileSpec) -> int:
        """Register the file ``path`` strictly beneath ``directory``; it is opened by the next pass."""
        with self._lock:
            slot = self._next
            self._next += 1
            wanted = {key.encode("ascii"): index for index, key in enumerate(spec.keys)}
            self._slots[slot] = _Slot(directory, path, spec, wanted)
            return slot

    def remove(self, slot: int) -> None:
        """Forget a file and close it."""
        with self._lock:
            del self._slots[slot]
            self._shut(slot)

    def close(self) -> None:
        """Forget every file."""
        with self._lock:
            for slot in list(self._open):
                self._shut(slot)
            self._slots.clear()

    def read(self, slots: Iterable[int] | None = None) -> None:
        """One pass over all files, or over some. Raises nothing that the kernel may cause: see :meth:`outcome`."""
        with self._lock:
            for number in list(self._slots if slots is None else slots):
                self._read(number, self._slots[number])

    def outcome(self, slot: int) -> Outcome:
        """How the last pass went for this file; MISSING before the first."""
        return self._slots[slot].outcome

    def generation(self, slot: int) -> int:
        """Grows each time another file was found in its place: the cgroup was made again, counters start anew."""
        return self._slots[slot].generation

    def value(self, slot: int) -> int | None:
        """The integer of a VALUE file; :data:`UNLIMITED` for ``max``."""
        return self._slots[slot].value

    def keyed(self, slot: int) -> tuple[int | None, ...]:
        """The values of a KEYED file in the order of its spec's keys; ``None`` for a key the kernel does not print."""
        return self._slots[slot].keyed

    def psi(self, slot: int) -> Lines:
        """(some, full) of a PSI file."""
        return self._slots[slot].psi

    def pressure_stat(self, slot: int) -> tuple[Pressure, ...]:
        """The sections of a PRESSURE_STAT file."""
        return self._slots[slot].stat

    def _shut(self, slot: int) -> None:
        descriptor = self._open.pop(slot, None)
        if descriptor is not None:
            os.close(descriptor)

    def _descriptor(self, number: int, slot: _Slot) -> int:
        descriptor = self._open.get(number)
        if descriptor is not None:
            self._open.move_to_end(number)
            return descriptor
        # Kernel files never block on open; a FIFO in a recorded tree would.
        descriptor = slot.directory.open(slot.path, os.O_RDONLY | os.O_NONBLOCK)
        inode = os.fstat(descriptor).st_ino
        if inode != slot.inode:
            slot.inode = inode
            slot.generation += 1
        if len(self._open) >= self._max_open:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
        self._open[number] = descriptor
        return descriptor

    def _bytes(self, number: int, slot: _Slot) -> bytes:
        try:
            return self._pread(number, slot)
        except OSError as error:
            # The cgroup behind the descriptor is gone; another may stand under its name by now.
            self._shut(number)
            if error.errno != errno.ENODEV:
                raise
        try:
            return self._pread(number, slot)
        except OSError as error:
            self._shut(number)
            if error.errno == errno.ENOENT:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), slot.path) from error
            raise

    def _pread(self, number: int, slot: _Slot) -> bytes:
        descriptor = self._descriptor(number, slot)
        if slot.directory.fault is not None:
            code = slot.directory.fault("read", f"{slot.directory.path}/{slot.path}")
            if code:
                raise OSError(code, os.strerror(code), slot.path)
        data = os.pread(descriptor, 65536, 0)
        size = len(data)
        while size and size % 4096 == 0:
            # kernfs gives at most a page or a buffer at a time; only an empty read is the end.
            more = os.pread(descriptor, 65536, size)
            if not more:
                break
            data += more
            size = len(data)
            if size > READ_LIMIT:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), slot.path)
        return data

    def _read(self, number: int, slot: _Slot) -> None:
        slot.value, slot.keyed, slot.psi, slot.stat = None, (), (None, None), ()
        try:
            data = self._bytes(number, slot)
        except OSError as error:
            slot.outcome = outcome_of(error.errno or errno.EIO)
            return
        try:
            self._parse(slot, data)
        except ValueError:
            slot.outcome = Outcome.MALFORMED
        else:
            slot.outcome = Outcome.OK

    @staticmethod
    def _parse(slot: _Slot, data: bytes) -> None:
        layout = slot.spec.format
        if layout is Format.PSI:
            slot.psi = parse_psi(data.decode("ascii"))
        elif layout is Format.PRESSURE_STAT:
            slot.stat = parse_pressure_stat(data.decode("ascii"))
        elif layout is Format.VALUE:
            slot.value = parse_value(data)
        else:
            slot.keyed = parse_keyed(data, slot.wanted)


def parse_value(data: bytes) -> int:
    """One integer, or ``max`` as :data:`UNLIMITED`. Raises ValueError."""
    text = data.strip()
    if text == b"max":
        return UNLIMITED
    return _integer(text)


def parse_keyed(data: bytes, wanted: dict[bytes, int]) -> tuple[int | None, ...]:
    """The wanted values of ``key integer`` lines; a key that is not printed is ``None``. Raises ValueError."""
    if not data.endswith(b"\n"):
        raise ValueError("keyed file ends within a line")
    found: list[int | None] = [None] * len(wanted)
    for line in data.splitlines():
        key, _, value = line.partition(b" ")
        index = wanted.get(key)
        if index is not None:
            found[index] = _integer(value)
    return tuple(found)


def _integer(text: bytes) -> int:
    # int() also takes signs, underscores and other scripts' digits; the kernel prints none of these.
    digits = text.strip(b" ")
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"not an integer: {text[:40]!r}")
    return min(int(digits), UNLIMITED)
