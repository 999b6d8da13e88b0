"""One contract for the batch reader, held by both ways of reading: the C extension and Python alone."""

from __future__ import annotations

import ast
import errno
import os
import resource
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import plimsoll
from plimsoll.kernel.batch import UNLIMITED, BatchReader, FileSpec, Format, native_available
from plimsoll.kernel.batch_native import Table
from plimsoll.kernel.hostfs import READ_LIMIT, Directory, HostFs
from plimsoll.model.outcome import Outcome
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, Pressure, PressureLine, Source
from tests.fixtures.hosts.faults import Faults
from tests.support import pressure_stat, psi

if TYPE_CHECKING:
    from collections.abc import Iterator

NATIVE, WHY_NOT = native_available()
BACKENDS = [
    pytest.param(True, id="native", marks=pytest.mark.skipif(not NATIVE, reason=WHY_NOT or "available")),
    pytest.param(False, id="python"),
]
needs_native = pytest.mark.skipif(not NATIVE, reason=WHY_NOT or "available")

VALUE = FileSpec("memory.current", Format.VALUE)
PSI = FileSpec("cpu.pressure", Format.PSI)
STAT = FileSpec("pressure.stat", Format.PRESSURE_STAT)
KEYED = FileSpec("memory.events", Format.KEYED, ("high", "max", "oom"))


class Answer(NamedTuple):
    """Everything a reader says about a slot."""

    outcome: Outcome
    value: int | None
    keyed: tuple[int | None, ...]
    psi: tuple[PressureLine | None, PressureLine | None]
    stat: tuple[Pressure, ...]


def answer(reader: BatchReader, slot: int) -> Answer:
    return Answer(
        reader.outcome(slot), reader.value(slot), reader.keyed(slot), reader.psi(slot), reader.pressure_stat(slot)
    )


def nothing(outcome: Outcome) -> Answer:
    return Answer(outcome, None, (), (None, None), ())


@pytest.fixture(params=BACKENDS)
def native(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pod").mkdir()
    return tmp_path / "pod"


@contextmanager
def opened(folder: Path, fault: Faults | None = None) -> Iterator[Directory]:
    with HostFs(str(folder.parent), fault=fault) as host, host.directory(folder.name) as directory:
        yield directory


@pytest.fixture
def directory(folder: Path) -> Iterator[Directory]:
    with opened(folder) as found:
        yield found


@pytest.fixture
def reader(native: bool) -> Iterator[BatchReader]:
    reader = BatchReader(native=native)
    yield reader
    reader.close()


def open_descriptors(folder: Path) -> list[str]:
    """The files below the folder that this process has open, from the kernel's own list."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            if target.startswith(f"{folder}/"):
                found.append(target.removeprefix(f"{folder}/").removesuffix(" (deleted)"))
    return sorted(found)


def read_text(reader: BatchReader, directory: Directory, folder: Path, spec: FileSpec, data: bytes) -> Answer:
    """What a reader makes of some bytes, read from a descriptor that was open before."""
    (folder / spec.name).write_bytes(b"")
    slot = reader.add(directory, spec.name, spec)
    reader.read()
    (folder / spec.name).write_bytes(data)
    reader.read()
    found = answer(reader, slot)
    reader.remove(slot)
    return found


# --- values ---


def test_every_format(reader, directory, folder):
    """One pass over one file of each format gives each file's own values, on the first pass and on the second."""
    (folder / "memory.current").write_text("4096\n")
    (folder / "memory.events").write_text("low 1\nhigh 2\nmax 3\noom 0\noom_kill 5\n")
    (folder / "cpu.pressure").write_text(psi(7, 3))
    (folder / "pressure.stat").write_text(pressure_stat(swap=731_245))
    slots = [reader.add(directory, spec.name, spec) for spec in (VALUE, KEYED, PSI, STAT)]

    for _ in range(2):
        reader.read()
        value, keyed, pressure, stat = (answer(reader, slot) for slot in slots)

        assert value == Answer(Outcome.OK, 4096, (), (None, None), ())
        assert keyed == Answer(Outcome.OK, None, (2, 3, 0), (None, None), ())
        assert pressure.psi == (PressureLine(125, 50, 25, 7), PressureLine(0, 0, 0, 3))
        assert pressure[:3] == (Outcome.OK, None, ())
        assert tuple(each.cause for each in stat.stat) == PRESSURE_STAT_CAUSES
        assert stat.stat[4] == Pressure(
            "swap", Source.PRESSURE_STAT, PressureLine(125, 40, 9, 731_245), PressureLine(75, 21, 5, 402_118)
        )
        assert stat.stat[6].some is None


def test_a_pass_sees_what_changed(reader, directory, folder):
    """The held descriptor gives the present content, longer or shorter than before."""
    slot = reader.add(directory, "memory.current", VALUE)
    for text, value in (("1\n", 1), ("123456\n", 123_456), ("7\n", 7), ("max\n", UNLIMITED), ("0\n", 0)):
        (folder / "memory.current").write_text(text)
        reader.read()
        assert reader.value(slot) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"5", 5),
        (b" 5 \n", 5),
        (b"\t5\r\n", 5),
        (b"max", UNLIMITED),
        (b"\nmax\x0b", UNLIMITED),
        (b"007\n", 7),
        (b"9223372036854771712\n", 9_223_372_036_854_771_712),
        (b"9223372036854775807\n", UNLIMITED),
        (b"9223372036854775808\n", UNLIMITED),
        (b"99999999999999999999\n", UNLIMITED),
        (b"000000000000000000005\n", None),
        (b"999999999999999999999\n", None),
        (b"", None),
        (b"\n", None),
        (b"-1\n", None),
        (b"+1\n", None),
        (b"1_0\n", None),
        (b"1\n2\n", None),
        (b"1\0\n", None),
        (b"maxi\n", None),
        (b"0x10\n", None),
        ("\u0665\n".encode(), None),
    ],
)
def test_value(reader, directory, folder, text, value):
    """Spellings of one integer; ``max`` and what is beyond 63 bits are without bound; anything else is malformed."""
    found = read_text(reader, directory, folder, VALUE, text)

    assert found == (nothing(Outcome.MALFORMED) if value is None else nothing(Outcome.OK)._replace(value=value))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"high 1\nmax 2\noom 3\n", (1, 2, 3)),
        (b"oom 3\nhigh 1\n", (1, None, 3)),
        (b"low 0\n", (None, None, None)),
        (b"highest 9\nhi 8\nhigh 1\n", (1, None, None)),
        (b"high 1\nhigh 2\n", (2, None, None)),
        (b"high  1  \n", (1, None, None)),
        (b"low x\nhigh 1\n", (1, None, None)),
        (b"low 1\rhigh 2\n", (2, None, None)),
        (b"high 1\r\nmax 2\r\n", (1, 2, None)),
        (b"\n\nhigh 1\n\n", (1, None, None)),
        (b"\xff\xfe 1\nhigh 1\n", (1, None, None)),
        (b"high 0\n", (0, None, None)),
        (b"high 99999999999999999999\n", (UNLIMITED, None, None)),
        (b"low 1 high 7\n", (None, None, None)),
        (b"high 1", None),
        (b"", None),
        (b"high\n", None),
        (b"high \n", None),
        (b"high x\n", None),
        (b"high -1\n", None),
        (b"high 1 2\n", None),
        (b"high\t1\n", (None, None, None)),
        (b"high 1\0\n", None),
        (b"high 999999999999999999999\n", None),
    ],
)
def test_keyed(reader, directory, folder, text, values):
    """A key that is not printed is None, never 0; a wanted one with something else than an integer is malformed."""
    found = read_text(reader, directory, folder, KEYED, text)

    assert found == (nothing(Outcome.MALFORMED) if values is None else nothing(Outcome.OK)._replace(keyed=values))


def test_keyed_with_no_or_strange_keys(reader, directory, folder):
    """No keys wanted, one no line can have, an empty one, a very long one, and more of them than C takes."""
    long = "k" * 300
    many = tuple(f"key{number}" for number in range(100))
    (folder / "stat").write_text(f"a b 1\n 5\n{long} 6\n" + "".join(f"{key} {key[3:]}\n" for key in many))
    asked = ((), ("a b", "a\nb"), ("",), (long,), many)
    slots = [reader.add(directory, "stat", FileSpec("stat", Format.KEYED, keys)) for keys in asked[2:]]
    reader.read()

    assert [reader.keyed(slot) for slot in slots] == [(5,), (6,), tuple(range(100))]

    (folder / "stat").write_text("b 1\n")
    slots = [reader.add(directory, "stat", FileSpec("stat", Format.KEYED, keys)) for keys in asked[:2]]
    reader.read()

    assert [reader.keyed(slot) for slot in slots] == [(), (None, None)]


@pytest.mark.parametrize("keys", [("high", "high"), ("h\u00f6he",)])
def test_keys_that_cannot_be_told_apart_are_refused(keys):
    """A programmer's error is told at once, not by a value in the wrong place."""
    with pytest.raises(ValueError, match="twice"):
        FileSpec("memory.events", Format.KEYED, keys)


@pytest.mark.parametrize("lines", [(1, None), (None, 2), (1, 2)])
def test_psi_with_one_line_or_both(reader, directory, folder, lines):
    """cpu.pressure of old kernels has no ``full``, irq.pressure no ``some``; the missing one is None."""
    both = psi(1, 2).splitlines(keepends=True)
    text = "".join(line for line, total in zip(both, lines, strict=True) if total is not None)

    found = read_text(reader, directory, folder, PSI, text.encode())

    assert found.outcome is Outcome.OK
    assert tuple(None if line is None else line.total_us for line in found.psi) == lines


def test_pressure_stat_with_another_section_or_order(reader, directory, folder):
    """Names of a later kernel are passed on as they are, in the kernel's order; sections may be left out."""
    line = "full avg10=1.25 avg60=0.40 avg300=0.09 total=5\n"
    text = f"swap\n{line}new_cause\n{line}compact\n{line}"

    found = read_text(reader, directory, folder, STAT, text.encode())

    figures = PressureLine(125, 40, 9, 5)
    assert found.stat == tuple(
        Pressure(cause, Source.PRESSURE_STAT, None, figures) for cause in ("swap", "new_cause", "compact")
    )


@pytest.mark.parametrize("size", [4095, 4096, 4097, 8192, 65_535, 65_536, 65_537, 300_000])
def test_long_files_are_read_to_the_end(reader, directory, folder, size):
    """The last line counts, wherever pages and buffers end."""
    end = b"high 42\n"
    text = (b"x 1\n" * size)[: size - len(end) - 1] + b"\n" + end

    assert len(text) == size
    assert read_text(reader, directory, folder, KEYED, text).keyed == (42, None, None)


def test_a_file_beyond_the_limit_is_refused(reader, directory, folder):
    """No kernel file is that long; it is a failure and not half its content."""
    text = b"x 1\n" * (READ_LIMIT // 4 + 1024) + b"high 1\n"

    assert read_text(reader, directory, folder, KEYED, text) == nothing(Outcome.FAILED)


# --- both say the same about any text ---

LINE = psi(3, 4).splitlines(keepends=True)[0].encode()
FRAGMENTS = st.sampled_from([
    *(line.encode() for line in pressure_stat(swap=12).splitlines(keepends=True)),
    *(name.encode() for name in ("some", "full", "high", "max", "oom", "swap", "compact", "cpu_qos", "new_cause")),
    b" ", b"\n", b"\r", b"\0", b"\t", b"0", b"1", b"18446744073709551616", b"9223372036854775807", b".", b"-", b"_",
    b" avg10=", b" total=", b"\xc2\xb9", LINE, LINE[:-1], psi(1, 2).encode(), pressure_stat().encode(),
])  # fmt: skip
NUMBERS = st.integers(0, 10**21).map(lambda number: b"%d" % number)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good file with a few bytes cut, changed, doubled or put in."""
    seed = draw(st.sampled_from([
        psi(731_245, 402_118).encode(), pressure_stat(swap=9).encode(), b"low 0\nhigh 2\nmax 3\noom 4\n", b"4096\n",
        b"max\n",
    ]))  # fmt: skip
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        data[at : at + length] = draw(FRAGMENTS | NUMBERS | st.binary(max_size=4))
    return bytes(data)


TEXTS = mutated() | st.binary(max_size=64) | st.lists(FRAGMENTS | NUMBERS, max_size=12).map(b"".join)


@needs_native
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=400)
@given(data=TEXTS)
def test_both_readers_agree_on_any_text(directory, folder, data):
    """The same outcome and the same values, whatever the bytes are, in every format."""
    readers = [BatchReader(native=native) for native in (True, False)]
    specs = (VALUE, PSI, STAT, KEYED, FileSpec("memory.stat", Format.KEYED, ("swap", "", "some")))
    try:
        for spec in specs:
            ours, theirs = (read_text(reader, directory, folder, spec, data) for reader in readers)
            assert ours == theirs, spec
    finally:
        for reader in readers:
            reader.close()


@needs_native
@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (VALUE, "4096\n"),
        (VALUE, "max\n"),
        (VALUE, "9223372036854771712\n"),
        (PSI, psi(7, 3)),
        (PSI, "some avg10=100.00 avg60=99.99 avg300=0.01 total=9223372036854775807\n"),
        (STAT, pressure_stat(swap=1)),
        (STAT, pressure_stat().partition("cpu_qos")[0]),
        (KEYED, "low 0\nhigh 2\nmax 3\noom 0\n"),
    ],
)
def test_the_usual_text_needs_no_python(directory, folder, spec, text):
    """What kernels print is finished in C: nothing is handed back, so a tick costs no Python per file."""
    (folder / spec.name).write_text(text)
    table = Table()
    row = table.join(spec)
    assert row is not None
    descriptor = directory.open(spec.name)
    try:
        table.hold(row, descriptor)

        assert table.read(None) == []
        assert table.status[row] == 0
    finally:
        os.close(descriptor)


# --- outcomes, descriptors, generations ---


def test_before_the_first_pass_nothing_is_known(reader, directory, folder):
    """Not even whether the file is there."""
    (folder / "memory.current").write_text("1\n")
    slot = reader.add(directory, "memory.current", VALUE)

    assert answer(reader, slot) == nothing(Outcome.MISSING)
    assert (len(reader), reader.held, reader.generation(slot)) == (1, 0, 0)


def test_a_missing_file_appears_and_vanishes(reader, directory, folder):
    """MISSING, then its values, then MISSING values again: nothing of the last reading is left."""
    slot = reader.add(directory, "memory.current", VALUE)
    reader.read()
    assert answer(reader, slot) == nothing(Outcome.MISSING)

    (folder / "memory.current").write_text("1\n")
    reader.read()
    assert reader.value(slot) == 1

    (folder / "memory.current").write_text("no number\n")
    reader.read()
    assert answer(reader, slot) == nothing(Outcome.MALFORMED)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../memory.current", "link"])
def test_a_path_that_leaves_the_folder_is_refused(reader, directory, folder, path):
    """Paths are resolved strictly beneath the directory."""
    (folder.parent / "outside").write_text("1\n")
    (folder / "a").mkdir()
    (folder / "memory.current").write_text("1\n")
    (folder / "link").symlink_to("memory.current")
    slot = reader.add(directory, path, VALUE)
    reader.read()

    assert answer(reader, slot) == nothing(Outcome.ESCAPED)


def test_a_directory_or_a_fifo_in_its_place(reader, directory, folder):
    """Neither blocks, and neither can be read at an offset."""
    (folder / "directory").mkdir()
    os.mkfifo(folder / "fifo")
    slots = [reader.add(directory, name, VALUE) for name in ("directory", "fifo")]
    for _ in range(2):
        reader.read()

        assert [reader.outcome(slot) for slot in slots] == [Outcome.FAILED, Outcome.FAILED]


def test_some_files_only(reader, directory, folder):
    """The others keep what they had."""
    for name in ("a", "b"):
        (folder / name).write_text("1\n")
    a, b = (reader.add(directory, name, VALUE) for name in ("a", "b"))
    reader.read([a])
    assert (reader.value(a), reader.outcome(b)) == (1, Outcome.MISSING)
    reader.read([])
    reader.read([b, b])
    (folder / "a").write_text("2\n")
    (folder / "b").write_text("2\n")
    reader.read([b])

    assert (reader.value(a), reader.value(b)) == (1, 2)


def test_unknown_slots_are_an_error(reader, directory):
    """A slot that was removed, or never was, is a mistake of the caller and reads nothing."""
    slot = reader.add(directory, "memory.current", VALUE)
    reader.remove(slot)

    for call in (reader.remove, reader.outcome, reader.value, reader.keyed, reader.psi, reader.generation):
        with pytest.raises(KeyError):
            call(slot)
    with pytest.raises(KeyError):
        reader.read([slot])
    reader.read()


def test_descriptors_are_held_and_let_go(reader, directory, folder):
    """One descriptor per file while it is registered, none after."""
    names = [f"file{number}" for number in range(5)]
    for name in names:
        (folder / name).write_text("1\n")
    slots = [reader.add(directory, name, VALUE) for name in names]
    for _ in range(3):
        reader.read()
        assert open_descriptors(folder) == names
        assert reader.held == 5

    reader.remove(slots[0])
    assert open_descriptors(folder) == names[1:]

    reader.close()
    assert (open_descriptors(folder), reader.held, len(reader)) == ([], 0, 0)


def test_a_reader_that_is_dropped_leaves_no_descriptor(native, directory, folder):
    """Its owner may forget to close it."""
    (folder / "a").write_text("1\n")
    reader = BatchReader(native=native)
    reader.add(directory, "a", VALUE)
    reader.read()
    assert open_descriptors(folder) == ["a"]

    del reader

    assert open_descriptors(folder) == []


def test_a_reader_can_be_filled_again(reader, directory, folder):
    """Rows and numbers of files that left do not show through."""
    for name in ("a", "b", "c"):
        (folder / name).write_text("max\n")
    old = [reader.add(directory, name, VALUE) for name in ("a", "b", "c")]
    reader.read()
    for slot in old[::2]:
        reader.remove(slot)
    (folder / "cpu.pressure").write_text(psi(1))
    new = [reader.add(directory, "a", VALUE), reader.add(directory, "cpu.pressure", PSI)]
    assert [answer(reader, slot) for slot in new] == [nothing(Outcome.MISSING)] * 2
    (folder / "a").write_text("3\n")
    reader.read()

    assert set(new).isdisjoint(old)
    assert (reader.value(old[1]), reader.value(new[0])) == (UNLIMITED, 3)
    assert reader.psi(new[1])[0] == PressureLine(125, 50, 25, 1)


def test_more_files_than_descriptors(native, directory, folder):
    """Never more than allowed are open, every file is read, and those that are held stay held."""
    names = [f"file{number}" for number in range(7)]
    for number, name in enumerate(names):
        (folder / name).write_text(f"{number}\n")
    reader = BatchReader(max_open=3, native=native)
    slots = [reader.add(directory, name, VALUE) for name in names]
    for _ in range(2):
        reader.read()
        assert [reader.value(slot) for slot in slots] == list(range(7))
        assert open_descriptors(folder) == names[:3]
        assert [reader.generation(slot) for slot in slots] == [1] * 7
    reader.remove(slots[1])
    reader.read()

    assert open_descriptors(folder) == [names[0], names[2], names[3]]
    reader.close()


def test_the_least_recently_used_is_closed_first(native, directory, folder):
    """A file of this pass takes the place of the one whose reading is longest ago."""
    names = ["a", "b", "c", "d"]
    for name in names:
        (folder / name).write_text("1\n")
    reader = BatchReader(max_open=2, native=native)
    a, b, c, d = (reader.add(directory, name, VALUE) for name in names)
    reader.read([a])
    reader.read([b])
    reader.read([a])
    reader.read([c])
    assert open_descriptors(folder) == ["a", "c"]
    reader.read([d, a])

    assert open_descriptors(folder) == ["a", "d"]
    assert [reader.outcome(slot) for slot in (a, b, c, d)] == [Outcome.OK] * 4
    reader.close()


@pytest.mark.parametrize("bound", [0, -1])
def test_a_bound_below_one_is_refused(native, bound):
    """A reader that may open nothing cannot read."""
    with pytest.raises(ValueError, match="descriptor"):
        BatchReader(max_open=bound, native=native)


def test_the_limit_of_the_process_is_kept(native, directory, folder):
    """With a low RLIMIT_NOFILE the reader leaves descriptors for the rest of the program, and reads everything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = max(int(name) for name in os.listdir("/proc/self/fd")) + 150
    bound = low - 128
    names = [f"file{number}" for number in range(bound + 10)]
    for name in names:
        (folder / name).write_text("1\n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        reader = BatchReader(native=native)
        slots = [reader.add(directory, name, VALUE) for name in names]
        reader.read()
        assert {reader.value(slot) for slot in slots} == {1}
        assert reader.held == bound
        reader.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- faults ---


def test_a_scripted_fault_is_each_reader_s_outcome(native, folder):
    """With a fault hook every step is asked for, whichever reader was chosen."""
    for name in ("a", "b", "c"):
        (folder / name).write_text("1\n")
    faults = Faults({
        ("open", "/a"): errno.EACCES, ("read", "/b"): errno.EOPNOTSUPP, ("read", "/c"): errno.EIO,
    })  # fmt: skip
    with opened(folder, faults) as directory:
        reader = BatchReader(native=native)
        slots = [reader.add(directory, name, VALUE) for name in ("a", "b", "c")]
        reader.read()

        assert [answer(reader, slot) for slot in slots] == [
            nothing(Outcome.DENIED), nothing(Outcome.UNSUPPORTED), nothing(Outcome.FAILED),
        ]  # fmt: skip

        faults.script.clear()
        reader.read()
        assert [reader.value(slot) for slot in slots] == [1, 1, 1]
        reader.close()


@pytest.mark.parametrize("again", [True, False])
def test_enodev_opens_once_more(native, folder, again):
    """A cgroup made again under the same name is a new generation; without one it is GONE, and MISSING from then on."""
    (folder / "memory.current").write_text("1\n")
    faults = Faults()
    with opened(folder, faults) as directory:
        reader = BatchReader(native=native)
        slot = reader.add(directory, "memory.current", VALUE)
        reader.read()
        assert (reader.value(slot), reader.generation(slot)) == (1, 1)

        codes = iter((errno.ENODEV,))
        faults.script["read", "/memory.current"] = lambda: next(codes, 0)
        (folder / "memory.current").rename(folder / "kept")
        if again:
            (folder / "memory.current").write_text("2\n")
        reader.read()

        if again:
            assert (reader.value(slot), reader.generation(slot)) == (2, 2)
        else:
            assert answer(reader, slot) == nothing(Outcome.GONE)
            reader.read()
            assert reader.outcome(slot) is Outcome.MISSING
        assert reader.held == int(again)
        reader.close()


CGROUPS = next(
    (
        path
        for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        if Path(path, "cgroup.controllers").is_file() and os.access(path, os.W_OK) and Path(path, "cpu.stat").is_file()
    ),
    None,
)


@pytest.mark.skipif(CGROUPS is None, reason="no cgroup v2 hierarchy that can be written")
def test_a_real_cgroup_is_removed_and_made_again(native):
    """The kernel's own ENODEV: new generation when the name is taken again, GONE when it is not."""
    name = f"plimsoll-test-{os.getpid()}-{native}"
    path = Path(CGROUPS, name)
    spec = FileSpec("cpu.stat", Format.KEYED, ("usage_usec", "nr_unheard_of"))
    path.mkdir()
    try:
        with HostFs(CGROUPS) as host, host.directory(".") as directory:
            reader = BatchReader(native=native)
            slot = reader.add(directory, f"{name}/cpu.stat", spec)
            for generation in (1, 2):
                reader.read()
                assert reader.keyed(slot) == (0, None)
                assert reader.generation(slot) == generation
                path.rmdir()
                path.mkdir()
            path.rmdir()
            reader.read()
            assert (reader.outcome(slot), reader.keyed(slot)) == (Outcome.GONE, ())
            reader.read()
            assert reader.outcome(slot) is Outcome.MISSING
            reader.close()
    finally:
        with suppress(FileNotFoundError):
            path.rmdir()


def refused_by_the_kernel() -> Path | None:
    """A file of this machine whose read answers EOPNOTSUPP: network devices without a port name have one."""
    for path in sorted(Path("/sys/class/net").glob("*/phys_*")):
        try:
            path.read_bytes()
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return path.resolve()
    return None


def test_a_feature_that_is_off(reader):
    """The kernel's own EOPNOTSUPP is UNSUPPORTED on every pass, and the file is not opened again for it."""
    path = refused_by_the_kernel()
    if path is None:
        pytest.skip("no file here answers EOPNOTSUPP")
    with HostFs("/") as host, host.directory(str(path.parent)) as directory:
        slots = [reader.add(directory, path.name, spec) for spec in (VALUE, KEYED, PSI, STAT)]
        for _ in range(3):
            reader.read()
            assert [answer(reader, slot) for slot in slots] == [nothing(Outcome.UNSUPPORTED)] * 4
            assert (reader.held, [reader.generation(slot) for slot in slots]) == (4, [1] * 4)


# --- a pass that hangs ---


class Hung:
    """A fault hook whose next read waits until it is let go: a read that hangs in the kernel."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, operation: str, path: str) -> int:
        if operation == "read" and path.endswith("/hangs"):
            self.reached.set()
            self.let_go.wait(60)
        return 0


def test_nobody_waits_for_a_hung_pass(native, folder):
    """close, remove and add return at once; the descriptors go when the read comes back; a second pass is refused."""
    for name in ("hangs", "a", "b"):
        (folder / name).write_text("1\n")
    hung = Hung()
    with HostFs(str(folder.parent)) as host, host.directory(folder.name) as plain, opened(folder, hung) as hanging:
        reader = BatchReader(native=native)
        a = reader.add(plain, "a", VALUE)
        reader.add(hanging, "hangs", VALUE)
        thread = threading.Thread(target=reader.read)
        thread.start()
        assert hung.reached.wait(60)

        b = reader.add(plain, "b", VALUE)
        assert reader.outcome(b) is Outcome.MISSING
        with pytest.raises(RuntimeError, match="under way"):
            reader.read()
        reader.remove(a)
        reader.close()
        late = reader.add(plain, "b", VALUE)
        assert len(reader) == 1
        assert "hangs" in open_descriptors(folder)

        hung.let_go.set()
        thread.join(60)
        assert not thread.is_alive()
        assert open_descriptors(folder) == []
        reader.read()
        assert (reader.value(late), open_descriptors(folder)) == (1, ["b"])
        reader.close()


def inside_read(thread: threading.Thread, descriptor: int) -> bool:
    """Whether a thread sleeps in a system call whose first argument is this descriptor."""
    call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()
    return call[0] != "running" and int(call[1], 16) == descriptor


@needs_native
@pytest.mark.skipif(not os.access("/dev/kmsg", os.R_OK | os.W_OK), reason="needs the kernel's log, whose end blocks")
def test_nobody_waits_for_a_read_that_hangs_in_the_kernel():
    """The C reader inside pread(2) holds neither the interpreter nor the callers; its descriptor goes afterwards."""
    before = set(os.listdir("/proc/self/fd"))
    with HostFs("/") as host, host.directory("dev") as devices:
        reader = BatchReader(native=True)
        slot = reader.add(devices, "kmsg", VALUE)
        reader.read()
        assert (reader.outcome(slot), reader.held) == (Outcome.MALFORMED, 1)
        (descriptor,) = (
            int(name)
            for name in os.listdir("/proc/self/fd")
            if name not in before
            and os.path.exists(f"/proc/self/fd/{name}")
            and os.path.samefile(f"/proc/self/fd/{name}", "/dev/kmsg")
        )
        os.set_blocking(descriptor, True)
        os.lseek(descriptor, 0, os.SEEK_END)
        thread = threading.Thread(target=reader.read, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not inside_read(thread, descriptor):
            assert time.monotonic() < deadline
            time.sleep(0.001)

        with pytest.raises(RuntimeError, match="under way"):
            reader.read()
        reader.remove(slot)
        reader.add(devices, "null", VALUE)
        reader.close()
        assert (len(reader), reader.held) == (0, 1)

        Path("/dev/kmsg").write_bytes(b"<7>a test of plimsoll wakes its reader\n")
        thread.join(60)
        assert not thread.is_alive()
        assert reader.held == 0
        with pytest.raises(OSError) as closed:
            os.fstat(descriptor)
        assert closed.value.errno == errno.EBADF


def test_files_come_and_go_while_others_are_read(native, folder, directory):
    """Any thread may add and remove during passes; afterwards exactly those that stayed are read and open."""
    (folder / "long").write_bytes(b"x 1\n" * 2000)
    reader = BatchReader(native=native)
    slots = [reader.add(directory, "long", KEYED) for _ in range(50)]
    stop = threading.Event()
    failures: list[BaseException] = []

    def passes() -> None:
        try:
            while not stop.is_set():
                reader.read()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=passes)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        for _ in range(300):
            reader.remove(slots.pop(0))
            slots.append(reader.add(directory, "long", KEYED))
    finally:
        stop.set()
        thread.join(60)
        sys.setswitchinterval(switch)
    assert not thread.is_alive()
    assert failures == []
    reader.read()

    assert [answer(reader, slot) for slot in slots] == [nothing(Outcome.OK)._replace(keyed=(None,) * 3)] * 50
    assert reader.held == len(open_descriptors(folder)) == 50
    reader.close()
    assert open_descriptors(folder) == []


# --- which reader ---


def test_the_native_reader_can_be_turned_off(monkeypatch):
    """By argument, and by the environment for a whole process, with the reason given."""
    assert not BatchReader(native=False).native
    monkeypatch.setenv("PLIMSOLL_NATIVE", "0")
    available, reason = native_available()

    assert not available
    assert reason
    assert not BatchReader().native
    with pytest.raises(ValueError, match="not available"):
        BatchReader(native=True)


def test_the_extension_was_built():
    """Otherwise half of this file would be skipped unseen; only who turns it off on purpose may go without."""
    assert NATIVE or os.environ.get("PLIMSOLL_NATIVE") == "0", WHY_NOT


@needs_native
def test_c_and_python_mean_the_same_numbers():
    """The formats and the sizes both sides count with."""
    from plimsoll import _native

    assert {each.name: each.value for each in Format} == {each.name: getattr(_native, each.name) for each in Format}
    assert len(PressureLine._fields) == _native.LINE_WORDS
    assert len(PRESSURE_STAT_CAUSES) <= _native.KEYS_MAX
    assert min(_native.CLOSED, _native.ODD) < 0


@needs_native
def test_the_native_reader_is_the_default():
    """It is used wherever it was built."""
    assert BatchReader().native


def test_only_one_module_imports_the_extension():
    """The C code has one door. import-linter sees no compiled modules, so the imports are looked up here."""
    package = Path(plimsoll.__file__).parent
    users = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            if any(name.startswith("plimsoll._native") for name in names):
                users.add(str(path.relative_to(package)))

    assert users == {"kernel/batch_native.py"}
