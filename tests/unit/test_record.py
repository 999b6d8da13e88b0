"""The file of a recording: whole however it ended, bounded, private, and refused with its line where it is broken."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import resource
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from plimsoll import __version__
from plimsoll.config.loader import parse_config
from plimsoll.config.schema import Config
from plimsoll.log import configure
from plimsoll.model.snapshot import NodeSample, Snapshot
from plimsoll.options import Options
from plimsoll.recording import BadRecording, Configured, Recorder, Recording, recorder, recorder_of
from tests.fixtures.snapshots import busy, snapshot
from tests.running import Running, command, until
from tests.support import manifest, v2_node, v2_pod

NAMES = ["day.jsonl", "day.jsonl.gz"]
LARGE = 1 << 30
CONFIG = Config()
ENFORCE = parse_config("preemption: {mode: enforce, memoryProtectionShare: 0.25}\nhttp: {listen: ':1'}\n", "x")


def write(path: Path, *snapshots: Snapshot) -> None:
    with Recorder(str(path), "worker-1", LARGE) as writer:
        for each in snapshots:
            writer.record(each, CONFIG)
        assert not writer.stopped


def read(path: Path) -> tuple[list[Snapshot], bool]:
    """The snapshots of a recording, and whether it breaks off."""
    with Recording(str(path)) as recording:
        return [each for each in recording if isinstance(each, Snapshot)], recording.torn


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


@pytest.fixture(params=NAMES)
def path(request, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.fixture
def told():
    """What was logged so far."""
    stream = io.StringIO()
    configure(stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_was_recorded_is_read(path):
    """Snapshots and configurations in their order, a configuration only when it is another one."""
    days = [busy(9, tick) for tick in range(1, 5)]
    with Recorder(str(path), "worker-1", LARGE) as writer:
        for each, config in zip(days, (CONFIG, CONFIG, ENFORCE, ENFORCE), strict=True):
            writer.record(each, config)

    with Recording(str(path)) as recording:
        first, *rest = recording
        assert recording.header == ("plimsoll-recording", 1, __version__, "worker-1")
    assert isinstance(first, Configured)
    assert first.config() == CONFIG
    assert rest[:2] + rest[3:] == days
    # How the agent is reached is nobody's business.
    assert rest[2].config() == ENFORCE.model_copy(update={"http": CONFIG.http})
    assert not recording.torn


def test_a_recording_is_json_lines(path):
    """One object a line, its one key telling what it is: for jq and for people."""
    write(path, busy(5), busy(5, 2))
    lines = [json.loads(line) for line in unpacked(path).splitlines()]
    assert [list(each) for each in lines[1:]] == [["configuration"], ["snapshot"], ["snapshot"]]
    assert [each["snapshot"]["sequence"] for each in lines[2:]] == [1, 2]
    assert "http" not in lines[1]["configuration"]


def test_a_snapshot_is_in_the_file_at_once(path):
    """Before the next one comes, and without an end of the file: its writer may be killed at any time."""
    writer = Recorder(str(path), "worker-1", LARGE)
    for tick in range(1, 4):
        writer.record(busy(5, tick), CONFIG)
        found, torn = read(path)
        assert [each.sequence for each in found] == list(range(1, tick + 1))
        assert torn == (path.suffix == ".gz")
    writer.close()
    assert read(path) == (found, False)


def test_wherever_it_was_torn_what_is_whole_is_read(path):
    """Cut here and there: a part of the snapshots from the first, more the later it was cut, and a notice."""
    small = [replace(snapshot((), tick=tick), node=NodeSample(), capabilities=()) for tick in range(1, 4)]
    write(path, *small)
    data = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == 0x0A]
    counts = []
    for cut in sorted({*range(0, len(data), 13), *(end + step for end in ends for step in (-2, -1, 0, 1))}):
        path.write_bytes(data[:cut])
        try:
            found, torn = read(path)
        except BadRecording:
            # Without its first line it is no recording.
            counts.append(-1)
            continue
        assert found == small[: len(found)], cut
        assert torn == (cut < len(data) and (path.suffix == ".gz" or cut not in ends)), cut
        counts.append(len(found))
    assert counts == sorted(counts)
    assert set(counts) >= {-1, 0, 1, 2}


@pytest.mark.parametrize("size", [0, 1, 5, 20])
def test_a_file_without_a_first_line_is_no_recording(path, size):
    """Nothing was recorded: that is told, and not that all is well."""
    write(path, busy(5))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadRecording, match=str(path)):
        read(path)


def number(line: bytes, text: str) -> bytes:
    """The line with another moment."""
    return re.sub(rb'(?<="monotonic":)[^,]+', text.encode(), line)


BROKEN = [
    (1, lambda line: b"{}", "is not the first line of a recording (format: plimsoll-recording)"),
    (1, lambda line: b"[]", "is not the first line of a recording (format: plimsoll-recording)"),
    (1, lambda line: b"kind: Pod", "is no JSON: "),
    (1, lambda line: line.replace(b'"version":1', b'"version":2'), "version: is not 1, the only one"),
    (1, lambda line: line.replace(b'"version":1', b'"version":true'), "version: is True, not a whole number"),
    (1, lambda line: line.replace(b'"worker-1"', b"null"), "node: is None, not text"),
    (1, lambda line: line[:-1] + b',"more":1}', "more: is no field of Header"),
    (3, lambda line: line[:-1], "is no JSON: "),
    (3, lambda line: b"", "is no JSON: "),
    (3, lambda line: b"null", "is neither a snapshot nor a configuration"),
    (3, lambda line: b'{"snapshots":{}}', "is neither a snapshot nor a configuration"),
    (3, lambda line: b'{"configuration":[]}', "is neither a snapshot nor a configuration"),
    (3, lambda line: b'{"configuration":{},' + line[1:], "is neither a snapshot nor a configuration"),
    (3, lambda line: line.replace(b"shop", b"sh\xffp"), "is no JSON: "),
    (3, lambda line: b"[" * 100_000, "is no JSON: nested too deeply"),
    (3, lambda line: number(line, "NaN"), "is no JSON: NaN is no number"),
    (3, lambda line: number(line, "1e999"), "snapshot.monotonic: is inf"),
    (3, lambda line: number(line, "9" * 9999), "is no JSON: "),
    (3, lambda line: line.replace(b'"found"', b'"lost"', 1), "snapshot.pods[0].state: is 'lost', not one of found"),
]


@pytest.mark.parametrize(("at", "breaks", "problem"), BROKEN)
def test_what_is_broken_is_refused_with_its_place(path, at, breaks, problem):
    """File, line and, in a snapshot, the field."""
    write(path, busy(5), busy(5, 2))
    lines = unpacked(path).splitlines()
    broken = breaks(lines[at - 1])
    assert broken != lines[at - 1]
    lines[at - 1] = broken
    text = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)

    with pytest.raises(BadRecording) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}:{at}: {problem}")
    assert len(str(refused.value)) < len(str(path)) + 200


def test_broken_compression_is_refused(tmp_path):
    """A byte that turned over is no torn end."""
    path = tmp_path / "day.jsonl.gz"
    write(path, *(busy(5, tick) for tick in range(1, 4)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(BadRecording, match=rf"{path}:\d+: is (not compressed as it should be|no JSON)"):
        read(path)

    path.write_text("no gzip at all\n")
    with pytest.raises(BadRecording, match=rf"{path}:1: is not compressed as it should be"):
        read(path)


def test_a_configuration_of_another_version_is_refused_when_it_is_asked_for(path):
    """Who names another one need not care."""
    write(path, busy(5))
    text = unpacked(path).replace(b'"preemption":', b'"pre-emption":', 1)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    with Recording(str(path)) as recording:
        first, second = recording
    assert second == busy(5)
    with pytest.raises(BadRecording, match=rf"^{path}:2: configuration: .*--config.*pre-emption"):
        first.config()


def test_the_file_is_private_whatever_the_umask(path):
    """It tells names of pods and images of the node."""
    previous = os.umask(0)
    try:
        write(path, busy(5))
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_taken_and_made_private(path):
    """As mktemp makes it, or a recording that never began."""
    path.touch()
    path.chmod(0o666)
    write(path, busy(5))
    assert path.stat().st_mode & 0o777 == 0o600
    assert read(path) == ([busy(5)], False)


def test_nothing_that_is_there_is_overwritten(path):
    """Not another recording, and nothing else."""
    path.write_text("x")
    with pytest.raises(FileExistsError, match="has something in it"):
        Recorder(str(path), "worker-1", LARGE)
    assert path.read_text() == "x"


@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "fifo", "device", "directory"])
def test_nothing_planted_in_its_place_is_followed(tmp_path, kind):
    """Whoever owns the directory may have put something there."""
    path, other = tmp_path / "day.jsonl", tmp_path / "other"
    if kind != "dangling":
        other.touch()
    if kind in ("link", "dangling"):
        path.symlink_to(other)
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path.mkdir()
    with pytest.raises(OSError):
        Recorder(str(path), "worker-1", LARGE)
    assert other.exists() == (kind != "dangling")


def test_it_stops_at_its_limit(path, told):
    """Never a byte more; one line in the log; what is in the file is whole."""
    limit = 40_000
    writer = Recorder(str(path), "worker-1", limit)
    ticks = 0
    while not writer.stopped:
        ticks += 1
        writer.record(busy(8, ticks), CONFIG)
        assert path.stat().st_size <= limit
    for more in range(1, 4):
        writer.record(busy(8, ticks + more), CONFIG)
    writer.close()

    assert path.stat().st_size <= limit
    found, torn = read(path)
    assert (found, torn) == ([busy(8, tick) for tick in range(1, ticks)], False)
    assert found
    lines = told()
    assert [(each["level"], each["event"], each["file"]) for each in lines] == [
        ("warning", "recording-stopped", str(path))
    ]
    assert lines[0]["reason"] == "its limit of 40000 bytes is reached"


def test_its_limit_counts_to_the_last_byte(path, tmp_path):
    """Also with the end of the compression, wherever the limit falls."""
    write(path, *(busy(3, tick) for tick in range(1, 4)))
    size = path.stat().st_size
    for step, limit in enumerate(range(size - 90, size + 90, 5)):
        other = tmp_path / f"{step}-{path.name}"
        with Recorder(str(other), "worker-1", limit) as writer:
            for tick in range(1, 5):
                writer.record(busy(3, tick), CONFIG)
        assert other.stat().st_size <= limit
        found, torn = read(other)
        assert len(found) in (2, 3)
        assert not torn


@contextmanager
def full_disk(size: int):
    """No file of this process can grow beyond ``size``: the kernel takes a part of the write and refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def test_it_stops_when_the_disk_takes_no_more(path, told):
    """One line in the log, nothing raised; the half-written snapshot is taken back, those before it stay."""
    writer = Recorder(str(path), "worker-1", LARGE)
    for tick in (1, 2, 3):
        writer.record(busy(8, tick), CONFIG)
    size = path.stat().st_size
    with full_disk(size + 100):
        for tick in (4, 5):
            writer.record(busy(8, tick), CONFIG)
        assert "File too large" in writer.stopped
        writer.close()

    assert [each.sequence for each in read(path)[0]] == [1, 2, 3]
    assert path.stat().st_size < size + 100
    assert [each["event"] for each in told()] == ["recording-stopped"]


def test_it_stops_when_its_file_is_removed(path):
    """It would go on taking room where nobody sees it."""
    writer = Recorder(str(path), "worker-1", LARGE)
    writer.record(busy(8), CONFIG)
    path.unlink()
    writer.record(busy(8, 2), CONFIG)
    assert "the file was removed" in writer.stopped
    writer.close()
    assert not path.exists()


def test_it_stops_at_what_cannot_be_written_down(path):
    """A figure that is no number would make a file nobody can read."""
    writer = Recorder(str(path), "worker-1", LARGE)
    writer.record(busy(8), CONFIG)
    writer.record(replace(busy(8, 2), unix=float("nan")), CONFIG)
    assert writer.stopped.startswith("snapshot 2 cannot be written down")
    assert read(path) == ([busy(8)], False)


def test_a_write_that_hangs_stops_it(path, monkeypatch):
    """The tick goes on; the descriptor is not closed below the thread that is in it."""
    release, write_ = threading.Event(), os.write
    monkeypatch.setattr(recorder, "WRITE_DEADLINE", 0.01)
    writer = Recorder(str(path), "worker-1", LARGE)
    monkeypatch.setattr(os, "write", lambda *arguments: (release.wait(60), write_(*arguments))[1])
    try:
        writer.record(busy(8), CONFIG)
        assert writer.stopped.startswith("a write has not come back")
        writer.record(busy(8, 2), CONFIG)
        writer.close()
    finally:
        release.set()
    until(lambda: path.stat().st_size, "the write to come back")


class Node:
    """One low-priority pod on a cgroup v2 node in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root, pods = folder / "host", folder / "pods"
        v2_pod(v2_node(root), 1)
        pods.mkdir()
        (pods / "web.yaml").write_text(manifest(1, "web"))
        (folder / "plimsoll.yaml").write_text("pressure: {interval: 1s}\n")
        self.arguments = ("--root", root, "--pods", pods, "--config", folder / "plimsoll.yaml")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_running_agent_records(node, path):
    """What it sees in each tick, up to SIGKILL; another agent does not take the file."""
    with Running(node.folder, *node.arguments, "--record", path) as agent:
        until(lambda: (agent.metric("plimsoll_ticks_total") or "0") >= "2", "two ticks")
        assert agent.stop(signal.SIGKILL) == -signal.SIGKILL
    found, _ = read(path)
    assert [each.sequence for each in found] == list(range(1, len(found) + 1))
    assert len(found) >= 1
    assert [each.pod.name for each in found[0].pods] == ["web"]

    size = path.stat().st_size
    refused = command("run", *node.arguments, "--record", path, "--listen", "127.0.0.1:0", code=1)
    assert "has something in it" in refused.stderr
    assert str(path) in refused.stderr
    assert path.stat().st_size == size


def test_a_running_agent_outlives_its_recording(node, path):
    """The limit is reached in the first tick: told once, and the agent goes on."""
    with Running(node.folder, *node.arguments, "--record", path, "--record-max", "64") as agent:
        until(lambda: (agent.metric("plimsoll_ticks_total") or "0") >= "3", "three ticks")
        assert agent.stop() == 0
    assert [each["file"] for each in agent.events() if each["event"] == "recording-stopped"] == [str(path)]
    assert path.stat().st_size <= 64


def test_one_snapshot(node, path):
    """`plan --record`: the plan is printed as ever, and the file can be decided on without the node."""
    shown = command("plan", *node.arguments, "--record", path).stdout
    assert "nothing was written" in shown
    [only], torn = read(path)
    assert ([each.pod.name for each in only.pods], torn) == (["web"], False)
    refused = command("plan", *node.arguments, "--record", path, code=1)
    assert "has something in it" in refused.stderr


def test_an_agent_without_a_file_records_nothing(node):
    """The default."""
    assert recorder_of(Options(root=str(node.folder))) is None


@pytest.mark.parametrize("size", ["-1", "lots", "", "1 GiB"])
def test_a_size_is_a_quantity(size):
    """As everywhere in Kubernetes; anything else is wrong usage."""
    assert "--record-max" in command("run", f"--record-max={size}", code=2).stderr
