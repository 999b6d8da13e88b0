"""The knobs: where each one is on every kind of host, how it is written, and what a vanished cgroup answers."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.kernel.knob_file import WRITE_LIMIT
from plimsoll.kernel.knob_spec import CPUFREQ, INHERIT, KNOBS, byte_count, cpu_list, integer
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import NODE, Knob, Target, TargetKind, cgroup, disk
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

POD = "kubepods.slice/pod.slice"


@contextmanager
def knobs(root: Path, fault: Faults | None = None, *, openat2: bool | None = None) -> Iterator[Knobs]:
    with HostFs(str(root), fault=fault, openat2=openat2) as host, Hierarchies.detect(host) as hierarchies:
        yield Knobs(host, hierarchies)


def read(found: Knobs, target: Target, knob: Knob) -> str | Outcome | None:
    file = found.open(target, knob)
    if isinstance(file, Outcome):
        return file
    with file:
        return file.read().text()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    tree = {f"{trees.CGROUP}/cgroup.controllers": "cpu memory\n", "proc/sys/vm/memcg_qos_enable": "0\n"}
    files = {"cpu.weight": "100\n", "memory.low": "0\n"}
    return trees.write(tmp_path, tree | trees.below(f"{trees.CGROUP}/{POD}", files))


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    base = {f"{trees.CGROUP}/cpu,cpuacct/cpu.shares": "1024\n", f"{trees.CGROUP}/memory/memory.usage_in_bytes": "1\n"}
    cpu = {"cpu.shares": "2\n", "cpu.qos_level": "0\n"}
    memory = {"memory.qos_level": "-1\n", "memory.low": "1\n"}
    return trees.write(
        tmp_path,
        base
        | trees.below(f"{trees.CGROUP}/cpu,cpuacct/{POD}", cpu)
        | trees.below(f"{trees.CGROUP}/memory/{POD}", memory),
    )


def test_every_knob_of_the_model_has_a_row() -> None:
    """A knob a policy may name is one this layer can find, and lies somewhere."""
    assert set(KNOBS) == set(Knob)
    # The kdamonds are a tree, not a file.
    files = (spec for spec in KNOBS.values() if spec.knob is not Knob.DAMON_KDAMONDS)
    assert all(spec.v1 or spec.v2 or spec.node or spec.cpufreq or spec.register or spec.swap for spec in files)


def test_a_cpuset_with_tasks_gets_all_cpus_for_none(tmp_path: Path) -> None:
    """Linux answers ENOSPC to the empty value: then all CPUs there may ever be are named, and anything else is told."""
    files = {"cpuset.cpus": "0-1\n"}
    tree = {f"{trees.CGROUP}/cgroup.controllers": "cpuset\n"} | trees.below(f"{trees.CGROUP}/{POD}", files)
    trees.write(tmp_path, tree)
    codes = iter([errno.ENOSPC, 0, errno.ENOSPC, errno.EIO])
    with knobs(tmp_path, Faults({("write", "cpuset.cpus"): lambda: next(codes)})) as found:
        opened = found.open(cgroup(POD), Knob.CPUSET_CPUS)
        assert not isinstance(opened, Outcome)
        with opened:
            trees.write(tmp_path, {"sys/devices/system/cpu/possible": "0-7\n"})
            assert opened.write(INHERIT) == (Outcome.OK, 0)
            assert opened.read().text() == "0-7\n"
            (tmp_path / "sys/devices/system/cpu/possible").unlink()
            assert opened.write(INHERIT) == (Outcome.NOSPACE, errno.ENOSPC)
            assert opened.write(INHERIT) == (Outcome.FAILED, errno.EIO)


DISK_FILE = "8:0 rbps=max wbps=1048576 riops=max wiops=max\n253:16 rbps=5 wbps=max riops=max wiops=max\n"


def test_a_knob_of_a_disk_is_its_line(tmp_path: Path) -> None:
    """The line of the one disk without its number; where there is none, what the kernel means by that."""
    trees.write(
        tmp_path,
        {f"{trees.CGROUP}/cgroup.controllers": "io\n"} | trees.below(f"{trees.CGROUP}/{POD}", {"io.max": DISK_FILE}),
    )
    with knobs(tmp_path) as found:
        assert read(found, disk(POD, "8:0"), Knob.IO_MAX) == "rbps=max wbps=1048576 riops=max wiops=max"
        assert read(found, disk(POD, "253:16"), Knob.IO_MAX) == "rbps=5 wbps=max riops=max wiops=max"
        # Not the line of a disk whose number only begins alike.
        assert read(found, disk(POD, "253:1"), Knob.IO_MAX) == "rbps=max wbps=max riops=max wiops=max"
        assert read(found, disk(f"{POD}/gone", "8:0"), Knob.IO_MAX) is Outcome.GONE
        assert read(found, cgroup(POD), Knob.IO_MAX) is Outcome.MISSING
        assert read(found, disk(POD, "8:0"), Knob.CPU_WEIGHT) is Outcome.MISSING


def test_a_disks_line_is_written_with_its_number(tmp_path: Path) -> None:
    """One line in one write, on v1 too; a line that was not there reads back as no limit on v1."""
    file = "blkio.throttle.read_bps_device"
    trees.write(
        tmp_path,
        {f"{trees.CGROUP}/blkio/blkio.reset_stats": "", f"{trees.CGROUP}/memory/memory.usage_in_bytes": "1\n"}
        | trees.below(f"{trees.CGROUP}/blkio/{POD}", {file: ""}),
    )
    with knobs(tmp_path) as found:
        opened = found.open(disk(POD, "8:0"), Knob.BLKIO_READ_BPS)
        assert not isinstance(opened, Outcome)
        with opened:
            assert opened.read().text() == "0"
            assert opened.write("4096") == (Outcome.OK, 0)
            assert opened.read().text() == "4096"
            assert opened.write("1\n8:16 2") == (Outcome.REJECTED, errno.EINVAL)
    assert (tmp_path / trees.CGROUP / "blkio" / POD / file).read_text() == "8:0 4096\n"


def test_v2_and_node_knobs_are_found(node: Path) -> None:
    """On cgroup v2 a knob is a file of the cgroup; a node's is below /proc/sys. What v2 lacks is MISSING."""
    with knobs(node) as found:
        assert read(found, cgroup(POD), Knob.CPU_WEIGHT) == "100\n"
        assert read(found, NODE, Knob.MEMCG_QOS_ENABLE) == "0\n"
        assert read(found, cgroup(POD), Knob.CPU_SHARES) is Outcome.MISSING
        assert read(found, cgroup(POD), Knob.CPU_IDLE) is Outcome.MISSING
        assert read(found, NODE, Knob.CPU_WEIGHT) is Outcome.MISSING


def test_v1_knobs_are_in_their_controllers_hierarchy(v1: Path) -> None:
    """On cgroup v1 each knob is in its own hierarchy, and v2's are MISSING, even where a file has their name."""
    with knobs(v1) as found:
        assert read(found, cgroup(POD), Knob.CPU_SHARES) == "2\n"
        assert read(found, cgroup(POD), Knob.CPU_QOS_LEVEL) == "0\n"
        assert read(found, cgroup(POD), Knob.MEMORY_QOS_LEVEL) == "-1\n"
        assert read(found, cgroup(POD), Knob.MEMORY_LOW) is Outcome.MISSING
        assert read(found, cgroup(POD), Knob.CPU_WEIGHT) is Outcome.MISSING
        assert read(found, NODE, Knob.MEMCG_QOS_ENABLE) is Outcome.MISSING


def test_on_a_hybrid_host_only_controllers_left_to_v2_are_there(tmp_path: Path) -> None:
    """A file below `unified` counts only when the kernel left its controller to that hierarchy."""
    tree = {
        f"{trees.CGROUP}/cpu/cpu.shares": "1024\n",
        f"{trees.CGROUP}/unified/cgroup.controllers": "memory\n",
        f"{trees.CGROUP}/unified/{POD}/memory.low": "0\n",
        f"{trees.CGROUP}/unified/{POD}/cpu.weight": "100\n",
    }
    with knobs(trees.write(tmp_path, tree)) as found:
        assert read(found, cgroup(POD), Knob.MEMORY_LOW) == "0\n"
        assert read(found, cgroup(POD), Knob.CPU_WEIGHT) is Outcome.MISSING


def test_a_cpufreq_policy_has_knobs(tmp_path: Path) -> None:
    """A unit's knobs are files of its cpufreq policy; no other name leads to a file, and no other target has them."""
    root = trees.write(tmp_path, {f"{CPUFREQ}/policy3/scaling_max_freq": "3000000\n", f"{CPUFREQ}/boost": "1\n"})
    with knobs(root) as found:
        assert read(found, Target(TargetKind.UNIT, "policy3"), Knob.SCALING_MAX_FREQ) == "3000000\n"
        assert read(found, Target(TargetKind.UNIT, "policy4"), Knob.SCALING_MAX_FREQ) is Outcome.MISSING
        assert read(found, Target(TargetKind.UNIT, "../cpufreq/policy3"), Knob.SCALING_MAX_FREQ) is Outcome.MISSING
        assert read(found, Target(TargetKind.PACKAGE, "policy3"), Knob.SCALING_MAX_FREQ) is Outcome.MISSING
        assert read(found, Target(TargetKind.UNIT, "policy3"), Knob.CPU_IDLE) is Outcome.MISSING


def test_an_empty_value_has_a_word(tmp_path: Path) -> None:
    """An empty cpuset.cpus reads as `inherit`, and writing that empties it again."""
    path = trees.below(f"{trees.CGROUP}/{POD}", {"cpuset.cpus": "\n"})
    root = trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "cpuset\n", **path})
    held = root / trees.CGROUP / POD / "cpuset.cpus"
    with knobs(root) as found:
        assert read(found, cgroup(POD), Knob.CPUSET_CPUS) == INHERIT
        file = found.open(cgroup(POD), Knob.CPUSET_CPUS)
        assert not isinstance(file, Outcome)
        with file:
            assert file.write("0-3,8") == (Outcome.OK, 0)
            assert held.read_text(encoding="ascii") == "0-3,8\n"
            assert file.write(INHERIT) == (Outcome.OK, 0)
    assert held.read_text(encoding="ascii") == "\n"


@pytest.mark.parametrize(
    ("text", "value"), [("0,1,2,3\n", "0-3"), ("8,0-3\n", "0-3,8"), ("\n", ""), ("3-1\n", "3-1"), ("all\n", "all")]
)
def test_one_spelling_for_cpus(text: str, value: str) -> None:
    """Two spellings of a list of CPUs are the same value; what is no list stays as it is."""
    assert cpu_list(text) == value


def test_a_host_without_cgroups_has_no_knobs(tmp_path: Path) -> None:
    """Nothing mounted is an answer."""
    with knobs(trees.write(tmp_path, {"proc/": ""})) as found:
        assert read(found, cgroup(POD), Knob.CPU_IDLE) is Outcome.MISSING


@pytest.mark.parametrize("openat2", [None, False])
def test_a_path_never_leaves_the_hierarchy(node: Path, openat2: bool | None) -> None:
    """A target with .. or a link in it is refused, by both ways of resolving a path."""
    (node / trees.CGROUP / "link").symlink_to(node / trees.CGROUP / POD)
    (node / trees.CGROUP / POD / "cpu.idle").symlink_to("cpu.weight")
    with knobs(node, openat2=openat2) as found:
        for path in (f"../cgroup/{POD}", "link", f"{POD}/../pod.slice"):
            assert read(found, cgroup(path), Knob.CPU_WEIGHT) is Outcome.ESCAPED
        file = found.open(cgroup(POD), Knob.CPU_IDLE)
        assert isinstance(file, Outcome) or file.write("1")[0] is Outcome.ESCAPED
    assert (node / trees.CGROUP / POD / "cpu.weight").read_text() == "100\n"


@pytest.mark.parametrize("openat2", [None, False])
@pytest.mark.parametrize("value", ["1", "100", "10000", "max"])
def test_a_file_holds_exactly_the_value(node: Path, value: str, openat2: bool | None) -> None:
    """Shorter, as long, or longer than before: afterwards the value and the end of a line stand there, no more."""
    with knobs(node, openat2=openat2) as found:
        file = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(file, Outcome)
        with file:
            assert file.write(value) == (Outcome.OK, 0)
            assert file.read().text() == f"{value}\n"
    assert (node / trees.CGROUP / POD / "cpu.weight").read_bytes() == f"{value}\n".encode()


@pytest.mark.parametrize(
    ("text", "code"),
    [("", errno.EINVAL), ("1\n2", errno.EINVAL), ("é", errno.EINVAL), ("\0", errno.EINVAL), ("1" * 5000, errno.E2BIG)],
)
def test_what_is_no_single_line_is_refused(node: Path, text: str, code: int) -> None:
    """The kernel takes one line of at most a page, so nothing else is tried."""
    faults = Faults()
    with knobs(node, faults) as found:
        file = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(file, Outcome)
        with file:
            faults.asked.clear()
            assert file.write(text) == (Outcome.REJECTED, code)
            assert faults.asked == []
            assert file.write("1" * (WRITE_LIMIT - 1))[0] is Outcome.OK


def test_every_call_can_be_made_to_fail(node: Path) -> None:
    """Opening, reading and writing pass the fault hook, and the errno comes back with its outcome."""
    faults = Faults()
    path = f"{POD}/cpu.weight"
    with knobs(node, faults) as found:
        file = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(file, Outcome)
        with file:
            faults.script = {("write", path): errno.EBUSY, ("read", path): errno.EIO}
            assert file.write("1") == (Outcome.BUSY, errno.EBUSY)
            assert (file.read().outcome, file.read().errno) == (Outcome.FAILED, errno.EIO)
            faults.script = {("open", path): errno.EACCES}
            assert file.write("1") == (Outcome.DENIED, errno.EACCES)
        faults.script = {("open", POD): errno.EACCES}
        assert found.open(cgroup(POD), Knob.CPU_WEIGHT) is Outcome.DENIED
    assert (node / trees.CGROUP / path).read_text() == "100\n"


def test_a_vanished_cgroup_is_gone_and_a_missing_file_missing(node: Path) -> None:
    """ENOENT says two things: the cgroup is no more, or it never had the file. Nothing is made in its place."""
    where = node / trees.CGROUP / POD
    with knobs(node) as found:
        assert found.open(cgroup("kubepods.slice/other"), Knob.CPU_WEIGHT) is Outcome.GONE
        held = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(held, Outcome)
        with held:
            (where / "cpu.weight").unlink()
            assert held.read().outcome is Outcome.MISSING
            assert held.write("1") == (Outcome.MISSING, errno.ENOENT)
            (where / "memory.low").unlink()
            where.rmdir()
            assert held.read().outcome is Outcome.GONE
            assert held.write("1")[0] is Outcome.GONE
            assert not where.exists()


def test_a_cgroup_made_anew_is_another_one(node: Path) -> None:
    """A held knob never reaches the cgroup that has its name now; the identity tells them apart."""
    where = node / trees.CGROUP / POD
    with knobs(node) as found, ExitStack() as files:
        held = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(held, Outcome)
        files.enter_context(held)
        where.rename(node / "elsewhere")
        trees.write(node, trees.below(f"{trees.CGROUP}/{POD}", {"cpu.weight": "7\n"}))
        again = found.open(cgroup(POD), Knob.CPU_WEIGHT)
        assert not isinstance(again, Outcome)
        files.enter_context(again)
        assert held.identity == os.stat(node / "elsewhere").st_ino
        assert again.identity == os.stat(where).st_ino != held.identity
        held.write("55")
    assert (where / "cpu.weight").read_text() == "7\n"


def test_no_descriptor_is_kept(node: Path) -> None:
    """Opening, using and closing knobs, and failing to open them, leaves no descriptor behind."""
    with knobs(node) as found:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            read(found, cgroup(POD), Knob.CPU_WEIGHT)
            read(found, NODE, Knob.MEMCG_QOS_ENABLE)
            read(found, cgroup(POD), Knob.CPU_IDLE)
            read(found, cgroup("no/such"), Knob.CPU_WEIGHT)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_fifo_in_the_place_of_a_knob_does_not_hold_us_up(node: Path) -> None:
    """Writing to a FIFO nobody reads is an error at once instead of waiting for ever."""
    where = node / trees.CGROUP / POD / "cpu.idle"
    os.mkfifo(where)
    with knobs(node) as found:
        file = found.open(cgroup(POD), Knob.CPU_IDLE)
        assert not isinstance(file, Outcome)
        with file:
            assert file.write("1") == (Outcome.FAILED, errno.ENXIO)


@pytest.mark.parametrize(
    ("text", "value"),
    [("100\n", "100"), (" 7 ", "7"), ("007", "7"), ("-1\n", "-1"), ("max\n", "max"), ("0-3,8\n", "0-3,8")],
)
def test_one_spelling_for_integers(text: str, value: str) -> None:
    """Space and leading zeros make no difference; what is no integer stays as it is."""
    assert integer(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [(trees.V1_LIMIT, "max"), ("max", "max"), ("9223372036854710272", "max"), ("4096", "4096")]
)
def test_one_spelling_for_bytes(text: str, value: str) -> None:
    """The largest whole page of any page size is v1's word for no limit."""
    assert byte_count(text) == value


@pytest.mark.parametrize("text", ["9" * 5000, "٣", "1_000", "1e3", "", "\0"])
def test_odd_text_is_compared_as_it_is(text: str) -> None:
    """Nothing that only Python takes for a number is one, and no text raises."""
    assert integer(text) == byte_count(text) == text


def test_rounding_knows_whole_pages() -> None:
    """What the kernel makes of a number of bytes is told from what somebody else may have written."""
    page = os.sysconf("SC_PAGE_SIZE")
    low, idle = KNOBS[Knob.MEMORY_LOW], KNOBS[Knob.CPU_IDLE]
    assert low.rounded(str(page), str(page + 1))
    assert low.rounded("0\n", "1")
    assert not low.rounded(str(page), str(2 * page))
    assert not low.rounded(str(page + 1), str(page + 2))
    assert not low.rounded("max", "5")
    assert not idle.rounded("0", "1")


@pytest.fixture
def real() -> Iterator[str]:
    """A cgroup of the running kernel's cpu controller, cgroup v1."""
    name = f"plimsoll-test-{os.getpid()}"
    with HostFs() as host, Hierarchies.detect(host) as hierarchies:
        cpu = hierarchies.v1.get("cpu")
        if cpu is None:
            pytest.skip("no cgroup v1 cpu controller here")
        where = Path(cpu.path) / name
        try:
            where.mkdir()
        except OSError as error:
            pytest.skip(f"no cgroup can be made here: {error.strerror}")
        try:
            yield name
        finally:
            if where.exists():
                where.rmdir()


def test_the_running_kernel_answers_likewise(real: str) -> None:
    """On a real cgroup: a value is kept, one below the least is raised, a wrong one refused, and a removed one gone."""
    with HostFs() as host, Hierarchies.detect(host) as hierarchies:
        file = Knobs(host, hierarchies).open(cgroup(real), Knob.CPU_SHARES)
        assert not isinstance(file, Outcome)
        with file:
            before = file.read().text()
            assert file.write("512") == (Outcome.OK, 0)
            assert file.read().text() == "512\n"
            assert file.write("1") == (Outcome.OK, 0)
            assert file.read().text() == "2\n", "the least the kernel keeps"
            assert file.write("many") == (Outcome.REJECTED, errno.EINVAL)
            assert file.write("9" * 4000)[0] is Outcome.REJECTED
            assert file.write(before or "") == (Outcome.OK, 0)
            assert file.read().text() == before
            (Path(hierarchies.v1["cpu"].path) / real).rmdir()
            assert file.read().outcome is Outcome.GONE
            assert file.write("2")[0] is Outcome.GONE
