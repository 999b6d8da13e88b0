"""The audit log: a line for each change, safe to read, of bounded size, and never in the way."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plimsoll.exporter.audit import NAME, AuditLog
from plimsoll.model.acting import Acting, Mode, Report, Status
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob, Result
from tests.fixtures.snapshots import IDLED, evicting, write

UNIX = 1_795_507_200.25
NAMES = {"kubepods/pod1": ("shop", "web")}


def audit(folder: Path, **limits: int) -> AuditLog:
    return AuditLog(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), **limits)


def wrote(*numbers: int, value: str = "1", reason: str = "low priority") -> Acting:
    return Acting(
        results=tuple(
            Result(write(f"kubepods/pod{each}", Knob.CPU_IDLE, value, reason=reason), Outcome.OK, "0", value)
            for each in numbers
        )
    )


def told(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def targets(path: Path) -> list[int]:
    return [int(str(each["target"]).removeprefix("kubepods/pod")) for each in told(path)]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file grows beyond ``size``: the kernel writes what fits, and then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_tells_everything(tmp_path):
    """One for each result but what stood already, and one for what would be; the file is for its owner only."""
    refused = Result(write("", Knob.MEMCG_QOS_ENABLE, "1"), Outcome.DENIED, "0", "0", errno.EACCES)
    acting = Acting(
        reports=(Report("preemption", Mode.OBSERVE, Status.OK, writes=1),),
        results=(*wrote(1).results, refused, Result(write("a", Knob.CPU_IDLE, "1"), Outcome.UNCHANGED, "1", "1")),
        observed=(Result(write("kubepods/pod1/c", Knob.CPU_WEIGHT, "1"), Outcome.OK, "100"),),
    )
    with audit(tmp_path) as log:
        log.record(7, UNIX, acting, NAMES)
        log.record(8, UNIX, Acting(reports=acting.reports, observed=acting.observed), NAMES)

    first, second, third = told(tmp_path / NAME)
    assert first == {
        "time": "2026-11-24T08:00:00.250Z",
        "sequence": 7,
        "action": "write",
        "target": "kubepods/pod1",
        "namespace": "shop",
        "pod": "web",
        **IDLED,
        "reason": "low priority",
        "observed": False,
    }
    assert (second["target"], second["pod"], second["outcome"], second["errno"]) == ("", None, "denied", "EACCES")
    assert (third["observed"], third["pod"], third["before"], third["after"]) == (True, "web", "100", None)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    assert log.lost == 0


def test_hostile_text_stays_in_its_line(tmp_path):
    """Line ends, escapes, marks that turn text around, half a surrogate pair, and a value without end."""
    evil = '"}\n{"time": "\x1b]0;x\x07\x7f\u202e\u2028\ud800\0' + "x" * 100_000
    with audit(tmp_path) as log:
        log.record(1, UNIX, wrote(1, value=evil, reason=evil), {"kubepods/pod1": ("a\nb", "\u202e")})

    raw = (tmp_path / NAME).read_bytes()
    assert raw.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in raw[:-1])
    assert len(raw) < 4096
    assert told(tmp_path / NAME)[0]["value"].startswith(evil[:20])


def test_old_lines_give_way(tmp_path):
    """Files of bounded size, a bounded number of them, whole lines, the newest in the first; no line is lost."""
    with audit(tmp_path, max_bytes=1000, keep=3) as log:
        for tick in range(1, 31):
            log.record(tick, UNIX, wrote(tick), NAMES)

    files = [tmp_path / NAME, tmp_path / f"{NAME}.1", tmp_path / f"{NAME}.2"]
    assert sorted(tmp_path.iterdir()) == files
    assert all(path.stat().st_size <= 1000 for path in files)
    seen = [number for path in reversed(files) for number in targets(path)]
    assert seen == list(range(seen[0], 31))
    assert len(seen) >= 7
    assert log.lost == 0


def test_one_tick_may_fill_several_files(tmp_path):
    """Two thousand writes at once are cut at whole lines, in order."""
    with audit(tmp_path, max_bytes=50_000, keep=20) as log:
        log.record(1, UNIX, wrote(*range(2000)), NAMES)

    count = len(list(tmp_path.iterdir()))
    assert count > 2
    files = [tmp_path / f"{NAME}.{number}" for number in range(count - 1, 0, -1)] + [tmp_path / NAME]
    assert all(path.stat().st_size <= 50_000 for path in files)
    assert [number for path in files for number in targets(path)] == list(range(2000))


def test_one_file_is_enough(tmp_path):
    """With nothing to be kept the file begins anew; a line that fits no file is lost and counted."""
    with audit(tmp_path, max_bytes=400, keep=1) as log:
        for tick in range(5):
            log.record(tick, UNIX, wrote(tick), NAMES)
        log.record(5, UNIX, wrote(5, reason="x" * 256), NAMES)

    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert targets(tmp_path / NAME) == [4]
    assert log.lost == 1


def test_a_full_disk_loses_whole_lines_and_counts_them(tmp_path):
    """What fitted stays, half a line is taken back, nothing is raised; with room again, it goes on."""
    with audit(tmp_path) as log:
        with disk_of(1000):
            log.record(1, UNIX, wrote(*range(10)), NAMES)
            log.record(2, UNIX, wrote(10), NAMES)
        kept = targets(tmp_path / NAME)
        log.record(3, UNIX, wrote(11), NAMES)

    assert kept == list(range(len(kept)))
    assert 0 < len(kept) < 10
    assert log.lost == 11 - len(kept)
    assert targets(tmp_path / NAME) == [*kept, 11]


def test_a_directory_that_is_gone_costs_lines_only(tmp_path):
    """Nothing can be opened in it; one closed before any tick is closed."""
    folder = tmp_path / "state"
    folder.mkdir()
    with audit(folder) as log:
        folder.rmdir()
        log.record(1, UNIX, wrote(1, 2), NAMES)
        log.record(2, UNIX, wrote(3), NAMES)
        assert log.lost == 3
    log.close()
    log.record(3, UNIX, wrote(4), NAMES)
    assert log.lost == 4


def test_a_file_somebody_removed_is_made_again(tmp_path):
    """A person may clear the directory while the agent runs."""
    with audit(tmp_path) as log:
        log.record(1, UNIX, wrote(1), NAMES)
        (tmp_path / NAME).unlink()
        log.record(2, UNIX, wrote(2), NAMES)

    assert targets(tmp_path / NAME) == [2]


def test_half_a_line_of_a_killed_agent_costs_no_other(tmp_path):
    """The next line begins on a line of its own, behind what was there."""
    (tmp_path / NAME).write_bytes(b'{"time": "2026')
    with audit(tmp_path) as log:
        log.record(1, UNIX, wrote(1), NAMES)

    torn, whole = (tmp_path / NAME).read_bytes().splitlines()
    assert torn == b'{"time": "2026'
    assert json.loads(whole)["target"] == "kubepods/pod1"


def test_nothing_planted_in_its_place_is_followed(tmp_path):
    """A link, a second name of another file, a FIFO without a reader, a directory: lines are lost, and nothing else."""
    other = tmp_path / "other"
    other.write_text("precious")
    for number, plant in enumerate(
        (
            lambda place: place.symlink_to(other),
            lambda place: place.hardlink_to(other),
            os.mkfifo,
            Path.mkdir,
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        plant(folder / NAME)
        with audit(folder) as log:
            log.record(1, UNIX, wrote(1), NAMES)
        assert log.lost == 1
    assert other.read_text() == "precious"


def test_no_descriptor_is_left_open(tmp_path):
    """Its own directory and file are closed with it, whatever happened between."""
    before = sorted(os.listdir("/proc/self/fd"))
    with audit(tmp_path, max_bytes=400) as log:
        for tick in range(10):
            log.record(tick, UNIX, wrote(tick), NAMES)
        (tmp_path / NAME).unlink()
        (tmp_path / NAME).mkdir()
        log.record(10, UNIX, wrote(10), NAMES)

    assert log.lost == 1
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_evictions(tmp_path):
    """What became of each, with the API server's words; and those that would have been."""
    with audit(tmp_path) as log:
        log.record(3, UNIX, evicting(Acting()), NAMES)
        log.record(4, UNIX, Acting(), NAMES)

    lines = told(tmp_path / NAME)
    assert [(each["action"], each["outcome"], each["pod"], each["observed"]) for each in lines] == [
        ("evict", "ok", "etl", False),
        ("evict", "budget", "etl", False),
        ("evict", "ok", "would", True),
    ]
    assert lines[1]["reason"] == "It held most. Done for shop/web. evict: 429"
