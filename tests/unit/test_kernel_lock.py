"""One agent per node: the lock across processes, its survival of a crash, and everything that makes it unusable."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.lock import Held, InstanceLock, Taken, Unusable
from plimsoll.model.outcome import Outcome
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATE = "/run/plimsoll"
HOLDER = """
import sys
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.lock import InstanceLock

result = InstanceLock(HostFs(sys.argv[1]), sys.argv[2]).acquire()
print(type(result).__name__, getattr(result, "holder_pid", None), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def acquire(root: Path, path: str = STATE, fault: Faults | None = None) -> Held | Taken | Unusable:
    with HostFs(str(root), fault=fault) as host:
        return InstanceLock(host, path).acquire()


@contextmanager
def another_process(root: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Another process that tries to take the lock and keeps what it has until its input ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), STATE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def test_held(root: Path) -> None:
    """The state directory is made for us alone, the lock file has our PID, and release leaves it there."""
    held = acquire(root)
    assert isinstance(held, Held)
    assert held.recorded is Outcome.OK
    directory, lock = root / "run/plimsoll", root / "run/plimsoll/lock"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert lock.read_text() == f"{os.getpid()}\n"
    inode = lock.stat().st_ino
    held.release()
    held.release()
    assert lock.stat().st_ino == inode
    again = acquire(root)
    assert isinstance(again, Held)
    again.release()


def test_a_second_one_in_this_process(root: Path) -> None:
    """The lock belongs to the one who took it, not to the process: a second one is told who has it."""
    with acquire(root) as held:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        assert acquire(root) == Taken(os.getpid())
    assert isinstance(acquire(root), Held)


def test_a_second_process(root: Path) -> None:
    """F20: another process is refused with our PID and does us no harm; once we let go it can have the lock."""
    held = acquire(root)
    assert isinstance(held, Held)
    with another_process(root) as (_, answer):
        assert answer == ["Taken", str(os.getpid())]
    assert (root / "run/plimsoll/lock").read_text() == f"{os.getpid()}\n"
    assert acquire(root) == Taken(os.getpid())
    held.release()
    with another_process(root) as (process, answer):
        assert answer[0] == "Held"
        assert acquire(root) == Taken(process.pid)


def test_the_holder_crashes(root: Path) -> None:
    """F15, F20: after kill -9 of the holder the lock is free at once, on the same file."""
    with another_process(root) as (process, answer):
        assert answer[0] == "Held"
        inode = (root / "run/plimsoll/lock").stat().st_ino
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        held = acquire(root)
    assert isinstance(held, Held)
    assert (root / "run/plimsoll/lock").stat().st_ino == inode
    assert (root / "run/plimsoll/lock").read_text() == f"{os.getpid()}\n"
    held.release()


def test_its_holder_may_unlink_it(root: Path) -> None:
    """Who had opened the file before meets who comes after: the lock is on the file that has the name."""
    lock = root / "run/plimsoll/lock"
    first = acquire(root)
    assert isinstance(first, Held)

    def unlink() -> None:
        lock.unlink()
        first.release()

    # The one who waits opens the file, and finds it locked; by the next time it is another one.
    pauses = Pauses(at=1.0, then=unlink)
    second = wait(root, 30.0, pauses)
    assert isinstance(second, Held)
    assert acquire(root) == Taken(os.getpid())
    second.release()


def test_a_file_unlinked_between_opening_and_locking_is_not_taken(root: Path) -> None:
    """The gap that no waiting has: the file is opened, unlinked by its last holder, and only then locked."""
    acquire(root).release()  # type: ignore[union-attr]
    lock = root / "run/plimsoll/lock"
    inode, real = lock.stat().st_ino, fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if lock.exists() and lock.stat().st_ino == inode:
            lock.unlink()
        real(descriptor, operation)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fcntl, "flock", late)
        held = acquire(root)
    assert isinstance(held, Held)
    assert acquire(root) == Taken(os.getpid())
    held.release()


class Pauses:
    """Stands for the clock and for waiting, which moves it. ``then`` is done after so many seconds."""

    def __init__(self, *, at: float = float("inf"), then: Callable[[], object] | None = None) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self._at = self.now + at
        self._then = then

    def clock(self) -> float:
        return self.now

    def __call__(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        if self._then is not None and self.now >= self._at:
            self._then()
        return False


def wait(root: Path, seconds: float, pauses: Pauses) -> Held | Taken | Unusable:
    with HostFs(str(root)) as host:
        return InstanceLock(host, STATE).wait(seconds, pauses, pauses.clock)


def test_waiting_for_a_predecessor(root: Path) -> None:
    """F20: a lock that is let go within the time is had soon after, and was not asked for without a pause."""
    predecessor = acquire(root)
    assert isinstance(predecessor, Held)
    pauses = Pauses(at=10.0, then=predecessor.release)

    held = wait(root, 30.0, pauses)

    assert isinstance(held, Held)
    held.release()
    assert 10.0 <= sum(pauses.waits) <= 11.0
    assert min(pauses.waits) >= 0.05
    assert len(pauses.waits) < 20


@pytest.mark.parametrize("seconds", [0.0, 0.01, 30.0])
def test_waiting_has_an_end(root: Path, seconds: float) -> None:
    """F20: exactly when the time is over, whatever the pauses are; with 0 at once. The holder's PID is known."""
    with acquire(root) as held:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        pauses = Pauses()
        assert wait(root, seconds, pauses) == Taken(os.getpid())
        assert sum(pauses.waits) == pytest.approx(seconds)
        assert bool(pauses.waits) == bool(seconds)


def test_waiting_can_be_given_up(root: Path) -> None:
    """A pause that says so is the last one."""
    with acquire(root) as held, HostFs(str(root)) as host:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        asked: list[float] = []
        assert InstanceLock(host, STATE).wait(30.0, lambda seconds: not asked.append(seconds)) == Taken(os.getpid())
        assert len(asked) == 1


def test_what_cannot_be_had_is_not_waited_for(root: Path) -> None:
    """A state directory that cannot be used is an answer at once."""
    (root / "run/plimsoll").write_text("")
    pauses = Pauses()
    assert wait(root, 30.0, pauses) == Unusable(Outcome.MISSING, STATE)
    assert pauses.waits == []


def test_a_child_does_not_keep_it(root: Path) -> None:
    """A program we started does not hold the lock after we let go."""
    held = acquire(root)
    assert isinstance(held, Held)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        held.release()
        again = acquire(root)
        child.kill()
    assert isinstance(again, Held)
    again.release()


@pytest.mark.parametrize("text", ["", "not a pid\n", "-1\n", "0\n", "9" * 100, "\0\0\0"])
def test_an_unreadable_holder(root: Path, text: str) -> None:
    """A lock file without a usable PID: taken, by somebody."""
    with acquire(root) as held:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        (root / "run/plimsoll/lock").write_text(text)
        taken = acquire(root)
        assert taken == Taken(None)


def test_a_predecessors_longer_pid(root: Path) -> None:
    """What a predecessor wrote is not left behind our own PID."""
    (root / "run/plimsoll").mkdir()
    (root / "run/plimsoll/lock").write_text("4194304 and more\n")
    with acquire(root) as held:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        assert (root / "run/plimsoll/lock").read_text() == f"{os.getpid()}\n"


def test_full_disk(root: Path) -> None:
    """ENOSPC while writing the PID: the lock holds, and nobody is told a wrong PID."""
    (root / "run/plimsoll").mkdir()
    (root / "run/plimsoll/lock").write_text("4711\n")
    with acquire(root, fault=Faults({("write", "/lock"): errno.ENOSPC})) as held:  # type: ignore[union-attr]
        assert isinstance(held, Held)
        assert held.recorded is Outcome.NOSPACE
        assert acquire(root) == Taken(None)


@pytest.mark.parametrize(
    ("operation", "path", "code", "expected"),
    [
        ("open", "run/plimsoll", errno.EACCES, Unusable(Outcome.DENIED, STATE)),
        ("mkdir", STATE, errno.EROFS, Unusable(Outcome.DENIED, STATE)),
        ("mkdir", STATE, errno.ENOSPC, Unusable(Outcome.NOSPACE, STATE)),
        ("lock", f"{STATE}/lock", errno.EROFS, Unusable(Outcome.DENIED, f"{STATE}/lock")),
        ("lock", f"{STATE}/lock", errno.ENOSPC, Unusable(Outcome.NOSPACE, f"{STATE}/lock")),
    ],
)
def test_refusals(root: Path, operation: str, path: str, code: int, expected: Unusable) -> None:
    """F19: a full or read-only state directory is an answer with the path that was refused."""
    assert acquire(root, fault=Faults({(operation, path): code})) == expected


def test_no_parent(root: Path) -> None:
    """Only the state directory itself is made: a mistyped path makes no tree on the host."""
    assert acquire(root, "/vra/lib/plimsoll") == Unusable(Outcome.MISSING, "/vra/lib/plimsoll")
    assert not (root / "vra").exists()


def test_planted_files(root: Path) -> None:
    """A link, a FIFO or a directory in the place of the lock file is refused and left alone."""
    state = root / "run/plimsoll"
    state.mkdir()
    (root / "precious").write_text("keep\n")
    (state / "lock").symlink_to(root / "precious")
    assert acquire(root) == Unusable(Outcome.ESCAPED, f"{STATE}/lock")
    (state / "lock").unlink()
    os.mkfifo(state / "lock")
    assert acquire(root) == Unusable(Outcome.MALFORMED, f"{STATE}/lock")
    (state / "lock").unlink()
    (state / "lock").mkdir()
    assert isinstance(acquire(root), Unusable)
    assert (root / "precious").read_text() == "keep\n"


def test_a_file_in_the_place_of_the_directory(root: Path) -> None:
    """A state directory that is a file cannot be used."""
    (root / "run/plimsoll").write_text("")
    assert acquire(root) == Unusable(Outcome.MISSING, STATE)


def test_a_malformed_path(root: Path) -> None:
    """A path no file can have is REJECTED."""
    assert acquire(root, "/run/pl\0msoll") == Unusable(Outcome.REJECTED, "/run/pl\0msoll")


def test_the_directory_appears_meanwhile(root: Path) -> None:
    """Two instances that start together: the one that comes second to mkdir goes on to the lock."""

    def appear() -> int:
        (root / "run/plimsoll").mkdir()
        return 0

    held = acquire(root, fault=Faults({("mkdir", STATE): appear}))
    assert isinstance(held, Held)
    held.release()


def test_no_descriptor_is_left_open(root: Path) -> None:
    """Whatever comes of it, nothing stays open but the lock while it is held."""
    before = len(os.listdir("/proc/self/fd"))
    held = acquire(root)
    assert isinstance(held, Held)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    acquire(root)
    acquire(root, "/no/where")
    held.release()
    for fault in (("lock", "/lock"), ("write", "/lock"), ("open", "plimsoll")):
        result = acquire(root, fault=Faults({fault: errno.EIO}))
        if isinstance(result, Held):
            result.release()
    assert len(os.listdir("/proc/self/fd")) == before
