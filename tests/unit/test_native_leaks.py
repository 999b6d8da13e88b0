"""The C extension keeps nothing: every function, called often with good and bad arguments, leaves no memory behind."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType

import pytest

from plimsoll.kernel.batch import BatchReader, FileSpec, Format, native_available
from plimsoll.kernel.batch_native import Table
from plimsoll.kernel.hostfs import HostFs
from tests.support import pressure_stat, psi

NATIVE, WHY_NOT = native_available()
pytestmark = pytest.mark.skipif(not NATIVE, reason=WHY_NOT or "available")

ROUNDS = 400
# What the interpreter and the C library may keep for themselves in that many rounds; one leaked object or
# allocation per round would be ROUNDS blocks, or many times as many bytes.
BLOCKS = ROUNDS // 8
BYTES = ROUNDS * 8


@pytest.fixture(autouse=True, scope="module")
def nothing_of_others() -> Iterator[None]:
    """The collector, asked ten times in each test, need not go through what thousands of other tests have made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _allocated() -> tuple[int, int]:
    """Blocks of the interpreter's allocator, and bytes of the C library's (0 where it cannot tell)."""
    gc.collect()
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return sys.getallocatedblocks(), 0
    library.mallinfo2.restype = _Mallinfo2
    found = library.mallinfo2()
    return sys.getallocatedblocks(), found.uordblks + found.hblkhd


def growth(call: Callable[[], object]) -> tuple[int, int]:
    """What ROUNDS calls left behind, the least of a few tries: other threads may allocate meanwhile."""
    for _ in range(50):
        call()
    found: list[tuple[int, int]] = []
    for _ in range(4):
        blocks, size = _allocated()
        for _ in range(ROUNDS):
            call()
        after = _allocated()
        found.append((after[0] - blocks, after[1] - size))
    return min(blocks for blocks, _ in found), min(size for _, size in found)


def assert_no_leak(call: Callable[[], object]) -> None:
    # What an earlier test left to the collector would close its files in between.
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    blocks, size = growth(call)
    assert blocks < BLOCKS
    assert size < BYTES
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_every_function_is_in_this_file():
    """A function without a leak test is a function nobody watches."""
    from plimsoll import _native

    functions = {name for name, value in vars(_native).items() if callable(value) and not name.startswith("__")}
    assert not any(isinstance(value, FunctionType) for value in vars(_native).values())
    assert functions == {"read"}


def test_the_measure_sees_a_leak():
    """One object kept per call is noticed, and so is one allocation of C."""
    kept: list[object] = []
    assert growth(lambda: kept.append(object()))[0] >= BLOCKS

    library = ctypes.CDLL(None)
    if hasattr(library, "mallinfo2"):
        library.malloc.restype = ctypes.c_void_p
        library.malloc.argtypes = (ctypes.c_size_t,)
        library.free.argtypes = (ctypes.c_void_p,)
        pointers: list[int] = []
        assert growth(lambda: pointers.append(library.malloc(64)))[1] >= BYTES
        for pointer in pointers:
            library.free(pointer)


SPECS = (
    FileSpec("value", Format.VALUE),
    FileSpec("keyed", Format.KEYED, ("low", "high", "max")),
    FileSpec("psi", Format.PSI),
    FileSpec("stat", Format.PRESSURE_STAT),
    FileSpec("odd", Format.PSI),
    FileSpec("long", Format.KEYED, ("low",)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"value": "5\n", "keyed": "low 1\nhigh 2\n", "psi": psi(1), "stat": pressure_stat(), "odd": "?\n"}
    for name, text in {**texts, "long": "low 1\n" * 20_000}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_reading(folder):
    """Rows that are read well, that are odd, too long, closed, and refused by the kernel."""
    table = Table()
    descriptors = [os.open(folder / spec.name, os.O_RDONLY) for spec in SPECS]
    rows = [table.join(spec) for spec in (*SPECS, SPECS[0], SPECS[0])]
    directory = os.open(folder, os.O_RDONLY)
    for row, descriptor in zip(rows, (*descriptors, directory), strict=False):
        table.hold(row, descriptor)
    assert table.read(None) == rows[4:]

    assert_no_leak(lambda: table.read(None))
    assert_no_leak(lambda: table.read(rows[:3]))
    assert_no_leak(lambda: table.read([]))
    for descriptor in (*descriptors, directory):
        os.close(descriptor)


ROW = (-1, int(Format.VALUE), 0, 0, 0)


def _int32(*values: int) -> array[int]:
    return array("i", values)


BAD = {
    "no arguments": (TypeError, ()),
    "keys that could change": (TypeError, (_int32(), bytearray(), array("q"), _int32())),
    "values that cannot be written": (TypeError, (_int32(), b"", bytes(8), _int32())),
    "rows that are no buffer": (TypeError, (_int32(), b"", array("q"), _int32(), [0])),
    "half a row": (ValueError, (_int32(*ROW[:3]), b"", array("q", [0]), _int32(0))),
    "more rows than statuses": (ValueError, (_int32(*ROW, *ROW), b"", array("q", [0]), _int32(0))),
    "half a word": (ValueError, (_int32(*ROW), b"", bytearray(12), _int32(0))),
    "a table that is not aligned": (ValueError, (memoryview(bytes(21))[1:], b"", array("q", [0]), _int32(0))),
    "a row that is not there": (IndexError, (_int32(*ROW), b"", array("q", [0]), _int32(0), _int32(1))),
    "a row below zero": (IndexError, (_int32(*ROW), b"", array("q", [0]), _int32(0), _int32(-1))),
    "an unknown format": (ValueError, (_int32(-1, 4, 0, 0, 0), b"", array("q", [0]), _int32(0))),
    "values beyond the end": (ValueError, (_int32(-1, 0, 1, 0, 0), b"", array("q", [0]), _int32(0))),
    "values before the begin": (ValueError, (_int32(-1, 0, -1, 0, 0), b"", array("q", [0]), _int32(0))),
    "values partly beyond the end": (ValueError, (_int32(-1, 2, 0, 0, 0), b"", array("q", [0] * 8), _int32(0))),
    "keys for a value": (ValueError, (_int32(-1, 0, 0, 0, 1), b"\x01a", array("q", [0] * 2), _int32(0))),
    "too many keys": (ValueError, (_int32(-1, 1, 0, 0, 32), b"\x01a" * 32, array("q", [0] * 64), _int32(0))),
    "fewer keys than none": (ValueError, (_int32(-1, 1, 0, 0, -1), b"", array("q", [0]), _int32(0))),
    "key text before its begin": (ValueError, (_int32(-1, 1, 0, -1, 1), b"\x01a", array("q", [0] * 2), _int32(0))),
    "key text beyond its end": (ValueError, (_int32(-1, 1, 0, 3, 1), b"\x01a", array("q", [0] * 2), _int32(0))),
    "a key cut off": (ValueError, (_int32(-1, 1, 0, 0, 1), b"\x05a", array("q", [0] * 2), _int32(0))),
    "a missing key": (ValueError, (_int32(-1, 1, 0, 0, 2), b"\x01a", array("q", [0] * 3), _int32(0))),
    "an empty key": (ValueError, (_int32(-1, 1, 0, 0, 1), b"\x00a", array("q", [0] * 2), _int32(0))),
    "a key with a space": (ValueError, (_int32(-1, 1, 0, 0, 1), b"\x03a b", array("q", [0] * 2), _int32(0))),
    "a key with a line in it": (ValueError, (_int32(-1, 1, 0, 0, 1), b"\x03a\nb", array("q", [0] * 2), _int32(0))),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    """Each is refused before anything is read, leaves the status as it was and no memory behind."""
    from plimsoll import _native

    error, arguments = BAD[name]

    def call() -> None:
        with suppress(error):
            _native.read(*arguments)

    with pytest.raises(error):
        _native.read(*arguments)
    if len(arguments) > 3 and len(arguments[3]):
        assert set(arguments[3]) == {0}
    assert_no_leak(call)


def test_buffers_are_given_back():
    """After a call, refused or not, the arrays can grow again."""
    from plimsoll import _native

    arguments = (_int32(*ROW), b"", array("q", [0]), _int32(0), _int32(0))
    assert _native.read(*arguments) == [0]
    with pytest.raises(IndexError):
        _native.read(*arguments[:4], _int32(7))
    with pytest.raises(TypeError):
        _native.read(*arguments[:4], [7])
    for each in (arguments[0], *arguments[2:]):
        each.append(1)


def test_a_reader_s_whole_life(folder):
    """Files that join, are read, asked for and leave, in readers that come and go."""
    with HostFs(str(folder.parent)) as host, host.directory(folder.name) as directory:

        def life() -> None:
            reader = BatchReader(max_open=4, native=True)
            slots = [reader.add(directory, spec.name, spec) for spec in SPECS[:5]]
            for _ in range(2):
                reader.read()
            for slot in slots:
                reader.value(slot), reader.keyed(slot), reader.psi(slot), reader.pressure_stat(slot)
            reader.remove(slots[0])
            reader.close()

        assert_no_leak(life)
