"""cgroupspy's typed controllers over one directory: values, absent limits, and every failure as an outcome."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cgroupspy.controllers import MemoryController

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.cgroup_v1 import Value, _controller, read_cpu, read_cpuset, read_memory
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.model.outcome import Outcome
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, MISSING, GONE, DENIED, MALFORMED = (
    Outcome.OK,
    Outcome.MISSING,
    Outcome.GONE,
    Outcome.DENIED,
    Outcome.MALFORMED,
)


@contextmanager
def cgroup(root: Path, files: dict[str, str], fault: Faults | None = None) -> Iterator[Directory]:
    trees.write(root / "cgroup", files)
    with HostFs(str(root), fault=fault) as host, host.directory("cgroup") as directory:
        yield directory


def test_memory(tmp_path: Path) -> None:
    """Bytes as integers, statistics by the kernel's keys, and v1's enormous default as no limit."""
    with cgroup(tmp_path, trees.v1_files("memory")) as directory:
        values = read_memory(directory)
    assert values.usage_bytes == Value(73400320, OK)
    assert values.limit_bytes == Value(None, OK)
    assert values.stat == Value({"cache": 10, "rss": 20, "hierarchical_memory_limit": 100, "total_rss": 20}, OK)


def test_a_memory_limit(tmp_path: Path) -> None:
    """A real limit is kept."""
    with cgroup(tmp_path, {"memory.limit_in_bytes": "536870912\n"}) as directory:
        assert read_memory(directory).limit_bytes == Value(536870912, OK)


def test_cpu(tmp_path: Path) -> None:
    """A quota of -1 is none; period and shares are integers."""
    with cgroup(tmp_path / "a", trees.v1_files("cpu")) as directory:
        assert read_cpu(directory) == ((None, OK), (100000, OK), (2, OK))
    with cgroup(tmp_path / "b", {"cpu.cfs_quota_us": "25000\n"}) as directory:
        assert read_cpu(directory) == ((25000, OK), (None, MISSING), (None, MISSING))


def test_cpuset(tmp_path: Path) -> None:
    """Ranges and single CPUs; an empty set is a value, not an error."""
    with cgroup(tmp_path, trees.v1_files("cpuset") | {"cpuset.mems": "\n"}) as directory:
        assert read_cpuset(directory) == ((frozenset({0, 1, 2, 3, 8}), OK), (frozenset(), OK))


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(errno.ENOENT, MISSING), (errno.ENODEV, GONE), (errno.EACCES, DENIED), (errno.EIO, Outcome.FAILED)],
)
@pytest.mark.parametrize("operation", ["open", "read"])
def test_errors_are_outcomes(tmp_path: Path, operation: str, code: int, outcome: Outcome) -> None:
    """Whatever the kernel answers for one file is that file's outcome; the others are read."""
    faults = Faults({(operation, "memory.limit_in_bytes"): code})
    with cgroup(tmp_path, trees.v1_files("memory"), faults) as directory:
        values = read_memory(directory)
    assert values.limit_bytes == Value(None, outcome)
    assert (values.usage_bytes.outcome, values.stat.outcome) == (OK, OK)


@pytest.mark.parametrize("text", ["", "max\n", "12 34\n", "0x10\n", "\n\n", "ten\n"])
def test_malformed_numbers(tmp_path: Path, text: str) -> None:
    """A text that is not the number expected is MALFORMED, not an exception and not 0."""
    with cgroup(tmp_path, {"memory.usage_in_bytes": text, "cpu.shares": text}) as directory:
        assert read_memory(directory).usage_bytes == Value(None, MALFORMED)
        assert read_cpu(directory).shares == Value(None, MALFORMED)


@pytest.mark.parametrize("text", ["", "cache\n", "cache 1 2\n", "cache ten\n"])
def test_malformed_statistics(tmp_path: Path, text: str) -> None:
    """One line of another shape makes the whole statistics unknown."""
    with cgroup(tmp_path, {"memory.stat": text}) as directory:
        assert read_memory(directory).stat == Value(None, MALFORMED)


@pytest.mark.parametrize("text", ["a\n", "1-2-3\n", "1-\n", "-\n"])
def test_malformed_sets(tmp_path: Path, text: str) -> None:
    """A list of CPUs of another shape is MALFORMED."""
    with cgroup(tmp_path, {"cpuset.cpus": text}) as directory:
        assert read_cpuset(directory).cpus == Value(None, MALFORMED)


def test_links_and_fifos(tmp_path: Path) -> None:
    """What cgroupspy would follow or wait for by itself is refused: a link out of the directory, a FIFO."""
    (tmp_path / "outside").write_text("1\n")
    with cgroup(tmp_path, {"memory.usage_in_bytes": "-> ../outside", "memory.stat": "a 1\n"}) as directory:
        os.mkfifo(tmp_path / "cgroup/memory.limit_in_bytes")
        values = read_memory(directory)
    assert values.usage_bytes == Value(None, Outcome.ESCAPED)
    assert values.limit_bytes == Value(None, MALFORMED)
    assert values.stat.value == {"a": 1}


def test_a_held_directory_that_was_removed(tmp_path: Path) -> None:
    """Values are of the directory held, not of whatever has its name now."""
    with cgroup(tmp_path, {"memory.usage_in_bytes": "1\n"}) as directory:
        (tmp_path / "cgroup").rename(tmp_path / "moved")
        trees.write(tmp_path / "cgroup", {"memory.usage_in_bytes": "2\n"})
        assert read_memory(directory).usage_bytes == Value(1, OK)


def test_nothing_is_written(tmp_path: Path) -> None:
    """cgroupspy's typed attributes can be set; here that fails and the file stays."""
    with cgroup(tmp_path, {"memory.limit_in_bytes": "1\n"}) as directory:
        controller = _controller(MemoryController, directory)
        with pytest.raises(OSError, match="elsewhere"):
            controller.limit_in_bytes = 2
    assert (tmp_path / "cgroup/memory.limit_in_bytes").read_text() == "1\n"


def test_this_host() -> None:
    """On a machine with v1 hierarchies, the root cgroups are read through the real kernel."""
    with HostFs("/") as host, Hierarchies.detect(host) as hierarchies:
        if "memory" not in hierarchies.v1 and "cpuset" not in hierarchies.v1:
            pytest.skip("this machine has no cgroup v1 hierarchy; the folders above stand for one")
        if "memory" in hierarchies.v1:
            values = read_memory(hierarchies.v1["memory"])
            assert values.usage_bytes.outcome is OK
            assert values.usage_bytes.value is not None
            assert values.usage_bytes.value > 0
            assert values.limit_bytes == Value(None, OK)
            assert values.stat.value is not None
            assert values.stat.value["hierarchical_memory_limit"] > 0
        if "cpuset" in hierarchies.v1:
            cpus = read_cpuset(hierarchies.v1["cpuset"]).cpus
            assert cpus.value is not None
            assert os.sched_getaffinity(0) <= cpus.value
