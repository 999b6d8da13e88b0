"""The journal: what it remembers, in how many writes, and what it makes of every kind of damage."""

from __future__ import annotations

import errno
import json
import os
import random
import stat
import zlib
from pathlib import Path
from typing import Any

import pytest

from plimsoll.actuators.journal import Journal, State
from plimsoll.actuators.journal_file import READ_LIMIT
from plimsoll.actuators.record import Entry, Flaw, Key, Line, Record, delete_line, original_line, parse, set_line
from plimsoll.actuators.replay import replay
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Knob, OnExit, cgroup
from tests.fixtures.hosts.faults import Faults

BOOT = "7e3c1f02-9a4b-4c1d-8e5f-1234567890ab"


def entry(number: int = 0, last: tuple[str, ...] = ("1",), original: str = "0", **fields: Any) -> Entry:
    key = Key(cgroup(f"kubepods/pod{number}"), Knob.CPU_IDLE, 100 + number)
    return Entry(key, Record(original, last, OnExit.RESTORE, "preemption")._replace(**fields))


def checked(body: dict[str, Any]) -> bytes:
    """A line as another version of this program might write it."""
    text = json.dumps(body, separators=(",", ":")).encode()
    return b'{"crc":"%08x",' % zlib.crc32(text) + text[1:] + b"\n"


def file(folder: Path) -> Path:
    return folder / "journal"


class Appends:
    """Counts the writes."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.count += 1
        return os.write(descriptor, data)


@pytest.mark.parametrize(
    "record",
    [
        Record("0", ("1",), OnExit.RESTORE, "preemption", 2),
        Record("9223372036854771712", ("max", "4096"), OnExit.KEEP, 'odd "policy"\n\u00e9', -1),
    ],
)
@pytest.mark.parametrize("target", [NODE, cgroup('kubepods.slice/odd "name"/\udc80/é')])
def test_a_line_reads_back_as_it_was_written(record: Record, target: Any) -> None:
    """Whatever is in them, records survive the way to text and back; each is one line of ASCII."""
    key = Key(target, Knob.MEMORY_LOW, 1 << 63)
    line = original_line(BOOT, key, record)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert json.loads(line)["value"] == record.original
    assert parse(line[:-1]) == Line("orig", BOOT, key, record)
    assert parse(set_line(BOOT, key, record)[:-1]) == Line("set", BOOT, key, record._replace(original=""))
    assert parse(delete_line(BOOT, key)[:-1]) == Line("del", BOOT, key, None)


def test_any_changed_byte_of_a_line_is_noticed() -> None:
    """No single damaged byte, and no cut, makes another record of a line."""
    line = original_line(BOOT, *entry())[:-1]
    for place in range(len(line)):
        assert parse(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]) is Flaw.CORRUPT
        assert parse(line[:place]) is Flaw.CORRUPT


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"knob": "cpu.later"},
        {"kind": "planet"},
        {"op": "merge"},
        {"exit": "ask"},
        {"last": 7},
        {"path": None},
        {"last": []},
        {"last": [1]},
        {"id": "x"},
    ],
)
def test_a_whole_line_with_unknown_words_is_a_later_versions(change: dict[str, Any]) -> None:
    """A line whose checksum holds was written on purpose: unknown words are a later version's, not damage."""
    body = {key: value for key, value in json.loads(original_line(BOOT, *entry())).items() if key != "crc"}
    assert isinstance(parse(checked(body)[:-1]), Line)
    assert parse(checked({**body, **change})[:-1]) is Flaw.NEWER


def test_a_new_directory_gets_an_empty_journal(tmp_path: Path) -> None:
    """Nothing there: an empty file only its owner reads, and all is well."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert (journal.state, journal.reason, journal.writable) == (State.FRESH, "", Outcome.OK)
        assert journal.originals == {}
    assert stat.S_IMODE(file(tmp_path).stat().st_mode) == 0o600
    assert file(tmp_path).read_bytes() == b""


def test_a_tick_is_one_write(tmp_path: Path) -> None:
    """However many knobs: one append. What is known already costs no more than its new value."""
    appends = Appends()
    with Journal.open(str(tmp_path), BOOT, write=appends) as journal:
        before = appends.count
        assert journal.remember([entry(number) for number in range(300)]) is Outcome.OK
        assert appends.count == before + 1
        assert journal.remember([]) is Outcome.OK
        assert journal.forget([]) is Outcome.OK
        assert appends.count == before + 1
        journal.forget([entry(number).key for number in range(100)])
        assert appends.count == before + 2


def test_the_original_is_never_replaced(tmp_path: Path) -> None:
    """A second first touch changes all but the original, in memory and after a restart; a new life is a new knob."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(original="100", last=("1",))])
        journal.remember([entry(original="1", last=("1", "2"), on_exit=OnExit.KEEP, policy="other", phase=3)])
        other = entry()
        other = Entry(other.key._replace(identity=999), other.record)
        journal.remember([other])
        known = dict(journal.originals)
    assert known[entry().key] == Record("100", ("1", "2"), OnExit.KEEP, "other", 3)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.REPLAYED
        assert journal.originals == known
        assert list(journal.originals) == [entry().key, other.key]
        journal.forget([entry().key])
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert list(journal.originals) == [other.key]


@pytest.mark.parametrize("cut", [1, 2, 9, 40, -1])
def test_a_torn_end_costs_only_itself(tmp_path: Path, cut: int) -> None:
    """A writer killed in the middle of a line: the lines before count, the file is made whole, no alarm."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(0)])
        whole = journal.size
        journal.remember([entry(1)])
    text = file(tmp_path).read_bytes()
    torn = text[: whole + cut] if cut > 0 else text[:cut]
    file(tmp_path).write_bytes(torn)
    for _ in range(2):
        with Journal.open(str(tmp_path), BOOT) as journal:
            assert journal.state is State.REPLAYED
            # A line that lacks no more than its end is whole.
            assert len(journal.originals) == (2 if cut == -1 else 1)
    assert file(tmp_path).read_bytes().endswith(b"}\n")
    assert os.listdir(tmp_path) == ["journal"]


def test_damage_in_the_middle_costs_only_its_line(tmp_path: Path) -> None:
    """The lines before and after a bad one count; the file is put aside and a whole one takes its place."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(number) for number in range(3)])
    lines = file(tmp_path).read_bytes().splitlines(keepends=True)
    damaged = lines[0] + b"#" + lines[1] + lines[2]
    file(tmp_path).write_bytes(damaged)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert (journal.state, journal.reason) == (State.QUARANTINED, "1 damaged of 3 lines")
        assert list(journal.originals) == [entry(0).key, entry(2).key]
        assert journal.writable is Outcome.OK
    assert (tmp_path / "journal.corrupt-1").read_bytes() == damaged
    assert file(tmp_path).read_bytes() == lines[0] + lines[2]
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.REPLAYED


@pytest.mark.parametrize(
    "text", [b"\0" * 4096, b"hello", b"hello\n", random.Random(3).randbytes(3000) + b"\n", b"{}\n", b"[" * 9999 + b"\n"]
)
def test_what_is_no_journal_is_put_aside(tmp_path: Path, text: bytes) -> None:
    """Anything may stand there: it is kept for a person, and the agent starts."""
    file(tmp_path).write_bytes(text)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.QUARANTINED
        assert journal.remember([entry()]) is Outcome.OK
    assert (tmp_path / "journal.corrupt-1").read_bytes() == text


def test_what_is_put_aside_does_not_pile_up(tmp_path: Path) -> None:
    """A file that is damaged again and again leaves a bounded number of copies, the last one always."""
    for number in range(12):
        file(tmp_path).write_bytes(b"damage %d\n" % number)
        Journal.open(str(tmp_path), BOOT).close()
    kept = sorted(tmp_path.glob("journal.corrupt-*"))
    assert len(kept) == 8
    assert b"damage 11\n" in [each.read_bytes() for each in kept]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_file_is_put_aside(tmp_path: Path, make: Any) -> None:
    """A directory, a FIFO or a link in its place is neither followed nor waited for."""
    make(file(tmp_path))
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.QUARANTINED
        assert journal.reason.startswith("unreadable: ")
        assert journal.remember([entry()]) is Outcome.OK
    assert file(tmp_path).is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_beyond_all_bounds_is_not_read_whole(tmp_path: Path) -> None:
    """A huge file is put aside; what its beginning says still counts."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry()])
    os.truncate(file(tmp_path), READ_LIMIT + 10)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.QUARANTINED
        assert list(journal.originals) == [entry().key]
        assert journal.size < 1000


def test_a_later_versions_journal_is_kept_aside(tmp_path: Path) -> None:
    """After a downgrade: the file is kept for the later version, and what this one can read still counts."""
    later = checked({"v": 2, "boot": BOOT, "everything": "else"})
    text = original_line(BOOT, *entry(0)) + later
    file(tmp_path).write_bytes(text)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert (journal.state, journal.reason) == (State.NEWER, "1 lines of a later version")
        assert list(journal.originals) == [entry(0).key]
    assert (tmp_path / "journal.newer-1").read_bytes() == text
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.REPLAYED


def test_another_boots_lines_say_nothing(tmp_path: Path) -> None:
    """Lines of another boot are dropped, alone or beside those of this one."""
    file(tmp_path).write_bytes(original_line("other", *entry(0)))
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert (journal.state, journal.originals) == (State.FOREIGN_BOOT, {})
    assert file(tmp_path).read_bytes() == b""
    file(tmp_path).write_bytes(original_line("other", *entry(0)) + original_line(BOOT, *entry(1)))
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert (journal.state, list(journal.originals)) == (State.REPLAYED, [entry(1).key])


def test_a_value_without_its_original_is_not_ours_to_put_back() -> None:
    """A `set` whose first line is lost says nothing that could be put back."""
    assert replay(set_line(BOOT, *entry()), BOOT).originals == {}


def test_it_is_compacted_beyond_its_limit_and_not_at_every_tick(tmp_path: Path) -> None:
    """Beyond the limit the file holds one line for each knob; what is live may itself be more than the limit."""
    with Journal.open(str(tmp_path), BOOT, compact_bytes=2000) as journal:
        journal.remember([entry(0)])
        line = journal.size
        rewrites = 0
        for value in range(200):
            before = journal.size
            journal.remember([entry(0, last=(str(value),))])
            assert journal.tidy() is Outcome.OK
            rewrites += journal.size < before
        assert journal.size <= 2000 + 2 * line
        assert 10 < rewrites < 50
        journal.remember([entry(number) for number in range(100)])
        journal.tidy()
        big = journal.size
        assert big > 2000
        inode = file(tmp_path).stat().st_ino
        for value in range(20):
            journal.remember([entry(0, last=(str(value),))])
            journal.tidy()
        assert file(tmp_path).stat().st_ino == inode
        known = dict(journal.originals)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.originals == known
    assert os.listdir(tmp_path) == ["journal"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_what_could_not_be_written_is_not_known(tmp_path: Path, code: int) -> None:
    """A full disk: first touches are not remembered, values of known knobs are; later the file is told both."""
    faults = Faults()
    with Journal.open(str(tmp_path), BOOT, fault=faults) as journal:
        journal.remember([entry(0), entry(1)])
        faults.script = {("write", "journal"): code}
        assert journal.remember([entry(0, last=("7",)), entry(2)]) is not Outcome.OK
        assert journal.forget([entry(1).key]) is not Outcome.OK
        assert journal.writable is not Outcome.OK
        assert list(journal.originals) == [entry(0).key]
        assert journal.originals[entry(0).key].last == ("7",)
        faults.script.clear()
        assert journal.remember([entry(3)]) is Outcome.OK
        assert journal.writable is Outcome.OK
        known = dict(journal.originals)
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.originals == known
        assert list(known) == [entry(0).key, entry(3).key]


@pytest.mark.parametrize("truncates", [True, False])
def test_a_write_that_stops_half_way_is_taken_back(tmp_path: Path, truncates: bool) -> None:
    """A disk that fills up within a line: the half is cut off, or else a new file is begun; nothing looks damaged."""
    faults = Faults()
    room = [10_000]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with Journal.open(str(tmp_path), BOOT, fault=faults, write=write) as journal:
        journal.remember([entry(0)])
        room[0] = 100
        if not truncates:
            faults.script = {("truncate", "journal"): errno.EIO}
        assert journal.remember([entry(1)]) is Outcome.NOSPACE
        assert list(journal.originals) == [entry(0).key]
        room[0] = 10_000
        assert journal.remember([entry(2)]) is Outcome.OK
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert journal.state is State.REPLAYED
        assert list(journal.originals) == [entry(0).key, entry(2).key]


def test_an_emptied_directory_gets_a_new_journal(tmp_path: Path) -> None:
    """Somebody removed the file we hold open: the next line goes to a new one that knows everything."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(0)])
        file(tmp_path).unlink()
        assert journal.remember([entry(1)]) is Outcome.OK
    with Journal.open(str(tmp_path), BOOT) as journal:
        assert list(journal.originals) == [entry(0).key, entry(1).key]


def test_without_a_directory_nothing_is_remembered(tmp_path: Path) -> None:
    """No state directory: an outcome, no exception, and no knob may be touched."""
    with Journal.open(str(tmp_path / "missing"), BOOT) as journal:
        assert journal.writable is Outcome.MISSING
        assert journal.remember([entry()]) is Outcome.MISSING
        assert journal.originals == {}
        assert journal.compact() is Outcome.MISSING


def test_a_descriptor_stays_the_callers(tmp_path: Path) -> None:
    """A directory given as a descriptor is used, and not closed."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Journal.open(descriptor, BOOT) as journal:
            assert journal.remember([entry()]) is Outcome.OK
        os.fstat(descriptor)
        with Journal.open(descriptor, BOOT) as journal:
            assert list(journal.originals) == [entry().key]
            journal.close()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("damage", [b"", b"damage\n", b'{"crc":"'])
def test_a_look_changes_nothing(tmp_path: Path, damage: bytes) -> None:
    """Read only, for `plimsoll plan`: a running agent's journal stays as it is, damaged or not, or missing."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(0)])
    with file(tmp_path).open("ab") as appending:
        appending.write(damage)
    before = file(tmp_path).read_bytes()
    with Journal.open(str(tmp_path), BOOT, read_only=True) as journal:
        assert list(journal.originals) == [entry(0).key]
        assert journal.forget([entry(0).key]) is Outcome.OK
        assert journal.remember([entry(1)]) is Outcome.OK
        assert list(journal.originals) == [entry(1).key]
    assert file(tmp_path).read_bytes() == before
    assert os.listdir(tmp_path) == ["journal"]
    file(tmp_path).unlink()
    with Journal.open(str(tmp_path), BOOT, read_only=True) as journal:
        assert journal.state is State.FRESH
    assert os.listdir(tmp_path) == []


def test_a_planted_file_in_the_way_of_compaction_is_replaced(tmp_path: Path) -> None:
    """A link or left-over where the new file is made is removed, not written through."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "journal.new").symlink_to(victim)
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry()])
        (tmp_path / "journal.new").symlink_to(victim)
        assert journal.compact() is Outcome.OK
    assert victim.read_text() == "precious"


def test_a_journal_that_cannot_be_put_aside_does_not_stop_the_agent(tmp_path: Path) -> None:
    """Damaged and on a full disk: what could be read counts, nothing new is touched until there is room."""
    with Journal.open(str(tmp_path), BOOT) as journal:
        journal.remember([entry(0), entry(1)])
    text = file(tmp_path).read_bytes()
    file(tmp_path).write_bytes(b"#" + text)
    faults = Faults({("link", "journal.corrupt-1"): errno.EROFS, ("open", "journal.new"): errno.EROFS})
    with Journal.open(str(tmp_path), BOOT, fault=faults) as journal:
        assert (journal.state, journal.writable) == (State.QUARANTINED, Outcome.DENIED)
        assert journal.remember([entry(2)]) is Outcome.DENIED
        assert file(tmp_path).read_bytes() == b"#" + text
        faults.script.clear()
        assert journal.remember([entry(2)]) is Outcome.OK
        assert list(journal.originals) == [entry(1).key, entry(2).key]
