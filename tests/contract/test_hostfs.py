"""One contract for the host boundary, held by both ways of resolving a path: openat2 and one component at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.resolve import has_openat2
from plimsoll.model.outcome import Outcome
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

RESOLVERS = pytest.mark.parametrize(
    "openat2",
    [
        pytest.param(
            True,
            id="openat2",
            marks=pytest.mark.skipif(not has_openat2(), reason="this kernel has no openat2"),
        ),
        pytest.param(False, id="walk"),
    ],
)
NOBODY = 65534


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with an inside, an outside, and links between them."""
    (tmp_path / "root/dir/sub").mkdir(parents=True)
    (tmp_path / "root/dir/file").write_text("inside\n")
    (tmp_path / "root/dir/sub/deep").write_text("deep\n")
    (tmp_path / "root/top").write_text("top\n")
    (tmp_path / "outside").write_text("outside\n")
    (tmp_path / "root/dir/link-file").symlink_to("file")
    (tmp_path / "root/dir/link-up").symlink_to("../top")
    (tmp_path / "root/dir/link-absolute").symlink_to("/top")
    (tmp_path / "root/dir/link-directory").symlink_to("sub")
    (tmp_path / "root/dir/link-out").symlink_to("../../outside")
    (tmp_path / "root/dir/loop").symlink_to("loop")
    return tmp_path / "root"


@contextmanager
def opened(root: Path, path: str = "dir", *, openat2: bool, fault: Faults | None = None) -> Iterator[Directory]:
    with HostFs(str(root), openat2=openat2, fault=fault) as host, host.directory(path) as directory:
        yield directory


@RESOLVERS
@pytest.mark.parametrize("path", ["file", "sub/deep", "./sub/./deep", "sub//deep"])
def test_what_is_beneath_is_read(tree: Path, openat2: bool, path: str) -> None:
    """Ordinary relative paths are read in full, however they are spelled."""
    with opened(tree, openat2=openat2) as directory:
        reading = directory.read(path)
    assert (reading.outcome, reading.errno) == (Outcome.OK, 0)
    assert reading.text() in ("inside\n", "deep\n")


@RESOLVERS
@pytest.mark.parametrize(
    ("path", "code", "outcome"),
    [
        ("..", errno.EXDEV, Outcome.ESCAPED),
        ("../top", errno.EXDEV, Outcome.ESCAPED),
        ("sub/../../top", errno.EXDEV, Outcome.ESCAPED),
        ("sub/../file", errno.EXDEV, Outcome.ESCAPED),
        ("/top", errno.EXDEV, Outcome.ESCAPED),
        ("/", errno.EXDEV, Outcome.ESCAPED),
        ("link-file", errno.ELOOP, Outcome.ESCAPED),
        ("link-up", errno.ELOOP, Outcome.ESCAPED),
        ("link-absolute", errno.ELOOP, Outcome.ESCAPED),
        ("link-directory/deep", errno.ELOOP, Outcome.ESCAPED),
        ("link-out", errno.ELOOP, Outcome.ESCAPED),
        ("loop", errno.ELOOP, Outcome.ESCAPED),
        ("", errno.ENOENT, Outcome.MISSING),
        ("nothing", errno.ENOENT, Outcome.MISSING),
        ("nothing/file", errno.ENOENT, Outcome.MISSING),
        ("file/below", errno.ENOTDIR, Outcome.MISSING),
        ("file/", errno.ENOTDIR, Outcome.MISSING),
        ("sub", errno.EISDIR, Outcome.FAILED),
        ("x" * 256, errno.ENAMETOOLONG, Outcome.FAILED),
        ("x" * 10_000, errno.ENAMETOOLONG, Outcome.FAILED),
        ("sub/" * 2000 + "deep", errno.ENAMETOOLONG, Outcome.FAILED),
        ("fi\0le", errno.EINVAL, Outcome.REJECTED),
        ("file\0", errno.EINVAL, Outcome.REJECTED),
        ("file\0/../../outside", errno.EINVAL, Outcome.REJECTED),
        ("\ud800", errno.EINVAL, Outcome.REJECTED),
        ("\udc80\u202efile", errno.ENOENT, Outcome.MISSING),
    ],
)
def test_what_is_not_beneath_is_refused(tree: Path, openat2: bool, path: str, code: int, outcome: Outcome) -> None:
    """Every way out, and every malformed name, is the same typed answer with both resolvers; nothing is raised."""
    with opened(tree, openat2=openat2) as directory:
        reading = directory.read(path)
        assert (reading.data, reading.outcome, reading.errno) == (None, outcome, code)
        if path != "sub":
            assert directory.names(path).outcome is outcome
            assert directory.directories(path).errno == code
            assert not directory.exists(path)


@RESOLVERS
def test_a_link_is_refused_as_a_directory_too(tree: Path, openat2: bool) -> None:
    """O_DIRECTORY does not turn the refusal of a link into "not there", and does not follow it."""
    with opened(tree, openat2=openat2) as directory:
        for path in ("link-directory", "link-file", "link-directory/"):
            with pytest.raises(OSError, match="link-") as caught:
                directory.directory(path)
            assert caught.value.errno == errno.ELOOP, path
        assert directory.names("link-directory").outcome is Outcome.ESCAPED


@RESOLVERS
def test_listing(tree: Path, openat2: bool) -> None:
    """Names are sorted; ``directories`` leaves out files and links, also links to directories."""
    with opened(tree, openat2=openat2) as directory:
        assert directory.names().names == (
            "file",
            "link-absolute",
            "link-directory",
            "link-file",
            "link-out",
            "link-up",
            "loop",
            "sub",
        )
        assert directory.directories().names == ("sub",)
        assert directory.directories("file") == ((), Outcome.MISSING, errno.ENOTDIR)


@RESOLVERS
def test_a_mount_is_not_crossed_beneath_a_directory(openat2: bool) -> None:
    """A mount below an opened directory is another tree: /proc is refused from /, /proc itself is readable."""
    with HostFs("/", openat2=openat2) as host, host.directory(".") as directory:
        reading = directory.read("proc/stat")
        assert (reading.outcome, reading.errno) == (Outcome.ESCAPED, errno.EXDEV)
        assert not directory.exists("proc")
        assert host.read("proc/stat").outcome is Outcome.OK


@RESOLVERS
def test_a_mount_is_crossed_by_the_host(openat2: bool) -> None:
    """A path this program knows crosses mounts below a foreign root too: /host/sys/fs/cgroup is one."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [mount for mount in mounts if mount.startswith(("/sys/", "/dev/")) and "\\" not in mount]
    usable = [mount for mount in below if os.access(mount, os.R_OK) and Path(mount).is_dir()]
    assert usable, "every Linux has a mount below /dev or /sys"
    for mount in usable:
        _, top, rest = mount.split("/", 2)
        with HostFs(f"/{top}", openat2=openat2) as host, host.directory(rest) as directory:
            assert directory.inode() == os.stat(mount).st_ino
            assert os.fstat(directory.descriptor).st_dev == os.stat(mount).st_dev


@RESOLVERS
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_tmpfs_below_a_directory_is_refused(tmp_path: Path, openat2: bool) -> None:
    """The same with a mount of our own, in a mount namespace that ends with the test."""
    (tmp_path / "dir/mounted").mkdir(parents=True)
    script = (
        "import sys\n"
        "from plimsoll.kernel.hostfs import HostFs\n"
        "root, openat2 = sys.argv[1], sys.argv[2] == 'True'\n"
        "with HostFs(root, openat2=openat2) as host, host.directory('dir') as directory:\n"
        "    print(directory.read('mounted/file').outcome.value, host.read('dir/mounted/file').outcome.value)\n"
    )
    shell = 'mount -t tmpfs tmpfs "$1/dir/mounted" && echo x >"$1/dir/mounted/file"'
    assert mounted(shell, script, tmp_path, openat2) == ["escaped", "ok"]


@RESOLVERS
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_for_reading_only_is_known(tmp_path: Path, openat2: bool) -> None:
    """As the runtime makes it of a container's /proc/sys; what is not there, or cannot be asked, is not called so."""
    for name in ("fixed", "free"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x\n")
    script = (
        "import sys\n"
        "from plimsoll.kernel.hostfs import HostFs\n"
        "with HostFs(sys.argv[1], openat2=sys.argv[2] == 'True') as host:\n"
        "    print(*(host.read_only(path) for path in ('fixed/file', 'free/file', 'fixed/none')))\n"
    )
    shell = 'mount --bind "$1/fixed" "$1/fixed" && mount -o remount,ro,bind "$1/fixed"'
    assert mounted(shell, script, tmp_path, openat2) == ["True", "False", "False"]


def mounted(shell: str, script: str, root: Path, openat2: bool) -> list[str]:
    """The words a program prints in a mount namespace of its own, after a shell has mounted what it should."""
    shell += ' && exec "$2" -c "$3" "$1" "$4"'
    program = ["unshare", "--mount", "sh", "-c", shell, "sh", str(root), sys.executable, script, str(openat2)]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("this container may not make a mount namespace")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(program, check=True, capture_output=True, text=True, env=environment).stdout.split()


# A seccomp filter as old container runtimes have it: openat2 (437) is answered with the errno given, all else allowed.
SECCOMP = """
import ctypes, struct, sys
code = int(sys.argv[2])
program = b"".join(
    struct.pack("HBBI", *each)
    for each in ((0x20, 0, 0, 0), (0x15, 0, 1, 437), (0x06, 0, 0, 0x00050000 | code), (0x06, 0, 0, 0x7FFF0000))
)
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Filter(4, ctypes.addressof(buffer))), 0, 0):
    print("unavailable")
    sys.exit()
from plimsoll.kernel.hostfs import HostFs
with HostFs(sys.argv[1]) as host, host.directory("dir") as directory:
    print(host._openat2, directory.read("file").data, directory.read("link-out").outcome.value)
"""


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_a_kernel_or_filter_without_openat2(tree: Path, code: int) -> None:
    """Where openat2 is not there or refused, that is noticed at the start and everything works without it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    answer = subprocess.run(
        [sys.executable, "-c", SECCOMP, str(tree), str(code)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout.split()
    if answer == ["unavailable"]:
        pytest.skip("this kernel or container allows no seccomp filter")
    assert answer == ["False", "b'inside\\n'", "escaped"]


@RESOLVERS
def test_permission_denied(tree: Path, openat2: bool) -> None:
    """A file or directory that may not be read is DENIED, whoever runs the tests."""
    (tree / "dir/secret").write_text("x")
    (tree / "dir/closed").mkdir()
    (tree / "dir/closed/file").write_text("x")
    (tree / "dir/secret").chmod(0)
    (tree / "dir/closed").chmod(0)
    with opened(tree, openat2=openat2) as directory:
        before = os.geteuid()
        # Root may read everything, so stop being root; who has no such privilege is refused as he is.
        with suppress(PermissionError):
            os.seteuid(NOBODY)
        try:
            secret, closed, listing = directory.read("secret"), directory.read("closed/file"), directory.names("closed")
        finally:
            os.seteuid(before)
    (tree / "dir/closed").chmod(0o700)
    assert [each.outcome for each in (secret, closed, listing)] == [Outcome.DENIED] * 3
    assert [each.errno for each in (secret, closed, listing)] == [errno.EACCES] * 3


@RESOLVERS
def test_a_fifo_does_not_hang(tree: Path, openat2: bool) -> None:
    """A FIFO in the place of a kernel file: empty without a writer, BUSY with a silent one, never a wait."""
    os.mkfifo(tree / "dir/fifo")
    with opened(tree, openat2=openat2) as directory:
        assert directory.read("fifo") == (b"", Outcome.OK, 0)
        os.close(directory.open("fifo"))
        with pytest.raises(NotADirectoryError):
            directory.directory("fifo")
        reader = os.open(tree / "dir/fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(tree / "dir/fifo", os.O_WRONLY)
        try:
            assert directory.read("fifo").outcome is Outcome.BUSY
        finally:
            os.close(writer)
            os.close(reader)


@RESOLVERS
def test_a_leased_file_is_busy(tree: Path, openat2: bool) -> None:
    """A file that answers EAGAIN for ever (a lease held on it) is BUSY after a bounded number of tries."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    holder = os.open(tree / "dir/file", os.O_RDWR)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with opened(tree, openat2=openat2) as directory:
            assert directory.read("file").outcome is Outcome.BUSY
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


@RESOLVERS
def test_a_file_larger_than_the_limit(tree: Path, openat2: bool) -> None:
    """Exactly the limit is read; one byte more is an error, not a cut-off text."""
    (tree / "dir/large").write_bytes(b"x" * 100_001)
    with opened(tree, openat2=openat2) as directory:
        assert directory.read("large", limit=100_001).data == b"x" * 100_001
        assert directory.read("large", limit=100_000) == (None, Outcome.FAILED, errno.EFBIG)
        assert directory.read("large").outcome is Outcome.OK


@RESOLVERS
def test_nothing_is_created(tree: Path, openat2: bool) -> None:
    """Flags that would create or truncate are a programming error, and nothing appears."""
    with opened(tree, openat2=openat2) as directory, HostFs(str(tree), openat2=openat2) as host:
        for place in (directory, host):
            for flags in (os.O_CREAT | os.O_RDWR, os.O_TRUNC | os.O_RDWR):
                with pytest.raises(ValueError, match="created"):
                    place.open("fresh", flags)
                with pytest.raises(ValueError, match="created"):
                    place.open("file", flags)
    assert not (tree / "dir/fresh").exists()
    assert not (tree / "fresh").exists()
    assert (tree / "dir/file").read_text() == "inside\n"


@RESOLVERS
def test_a_value_is_written_whole(tree: Path, openat2: bool) -> None:
    """One value takes another's place without a tail of it, below a directory and below the host alike."""
    with HostFs(str(tree), openat2=openat2) as host, host.directory("dir") as directory:
        for place, path in ((directory, "file"), (host, "dir/file")):
            assert place.write(path, b"a longer value\n") == (Outcome.OK, 0)
            assert place.write(path, b"1\n") == (Outcome.OK, 0)
            assert (tree / "dir/file").read_bytes() == b"1\n"


@RESOLVERS
@pytest.mark.parametrize(
    ("path", "code", "outcome"),
    [
        ("nothing", errno.ENOENT, Outcome.MISSING),
        ("../top", errno.EXDEV, Outcome.ESCAPED),
        ("link-file", errno.ELOOP, Outcome.ESCAPED),
        ("link-out", errno.ELOOP, Outcome.ESCAPED),
        ("link-directory/deep", errno.ELOOP, Outcome.ESCAPED),
        ("sub", errno.EISDIR, Outcome.FAILED),
        # A FIFO without a reader.
        ("fifo", errno.ENXIO, Outcome.FAILED),
    ],
)
def test_what_cannot_be_written(tree: Path, openat2: bool, path: str, code: int, outcome: Outcome) -> None:
    """No link is followed, nothing is created and nothing waited for; the answer is the errno's outcome."""
    os.mkfifo(tree / "dir/fifo")
    before = {each: each.read_bytes() for each in tree.parent.rglob("*") if each.is_file()}
    with opened(tree, openat2=openat2) as directory:
        assert directory.write(path, b"1\n") == (outcome, code)
    assert {each: each.read_bytes() for each in tree.parent.rglob("*") if each.is_file()} == before


@RESOLVERS
@pytest.mark.parametrize(
    ("operation", "kept"), [("open", "inside\n"), ("write", "inside\n"), ("truncate", "1\nside\n")]
)
def test_scripted_faults_of_a_write(tree: Path, openat2: bool, operation: str, kept: str) -> None:
    """Each system call of a write can be made to fail, and what failed is not done."""
    with opened(tree, openat2=openat2, fault=Faults({(operation, "/dir/file"): errno.EBUSY})) as directory:
        assert directory.write("file", b"1\n") == (Outcome.BUSY, errno.EBUSY)
    assert (tree / "dir/file").read_text() == kept


@RESOLVERS
def test_a_write_that_is_cut_short(tree: Path, openat2: bool) -> None:
    """A value of which only a part was taken is no value that was taken: FAILED, though no system call failed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tree, openat2=openat2) as directory:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3, hard))
        try:
            answer = directory.write("file", b"longer\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer == (Outcome.FAILED, 0)


@RESOLVERS
def test_non_ascii_content(tree: Path, openat2: bool) -> None:
    """A stray byte in a kernel file is replaced in the text and kept in the data."""
    (tree / "dir/stray").write_bytes(b"a\xffb")
    with opened(tree, openat2=openat2) as directory:
        reading = directory.read("stray")
    assert reading.data == b"a\xffb"
    assert reading.text() == "a�b"


def test_links_are_followed_inside_the_root(tree: Path) -> None:
    """With openat2, a path the program knows follows links as if the root were ``/``: they cannot lead outside."""
    if not has_openat2():
        pytest.skip("this kernel has no openat2")
    with HostFs(str(tree)) as host:
        assert host.read("dir/link-absolute").data == b"top\n"
        assert host.read("/dir/link-up").data == b"top\n"
        # ``../../outside`` stops at the root, where there is no such file.
        assert host.read("dir/link-out").outcome is Outcome.MISSING
        assert host.read("dir/../../../top").data == b"top\n"
        assert host.read("dir/loop").outcome is Outcome.ESCAPED


def test_no_link_is_followed_without_openat2(tree: Path) -> None:
    """Without openat2 a foreign root's links are refused, and ``..`` too; on the live root the kernel follows them."""
    with HostFs(str(tree), openat2=False) as host:
        assert host.read("dir/link-absolute").outcome is Outcome.ESCAPED
        assert host.read("dir/link-up").outcome is Outcome.ESCAPED
        assert host.read("dir/../top").outcome is Outcome.ESCAPED
        assert host.read("dir/file").data == b"inside\n"
    with HostFs("/", openat2=False) as host:
        assert host.live
        assert host.read("proc/self/stat").outcome is Outcome.OK


@RESOLVERS
def test_the_root(tree: Path, openat2: bool) -> None:
    """The root itself can be listed; names are checked as everywhere; a root that is not one is an exception."""
    with HostFs(str(tree), openat2=openat2) as host:
        assert host.names().names == ("dir", "top")
        assert host.names("/").names == ("dir", "top")
        assert host.read("to\0p").outcome is Outcome.REJECTED
        assert not host.live
        with host.directory("/dir") as directory:
            assert directory.path == f"{tree}/dir"
    with HostFs("//", openat2=openat2) as host:
        assert host.live
    with pytest.raises(NotADirectoryError):
        HostFs(str(tree / "top"), openat2=openat2)
    with pytest.raises(FileNotFoundError):
        HostFs(str(tree / "nothing"), openat2=openat2)


@RESOLVERS
@pytest.mark.parametrize(
    ("code", "outcome"),
    [(errno.ENOENT, Outcome.MISSING), (errno.ENODEV, Outcome.GONE), (errno.EACCES, Outcome.DENIED)],
)
def test_scripted_faults(tree: Path, openat2: bool, code: int, outcome: Outcome) -> None:
    """A fault at open, read or list is the outcome of its errno; directories opened below inherit the script."""
    faults = Faults({("open", "/file"): code, ("read", "/deep"): code, ("list", "/sub"): code})
    with opened(tree, openat2=openat2, fault=faults) as directory:
        assert directory.read("file") == (None, outcome, code)
        assert directory.read("sub/deep") == (None, outcome, code)
        assert directory.names("sub") == ((), outcome, code)
        assert not directory.exists("file")
        with directory.directory("sub") as below:
            assert below.read("deep") == (None, outcome, code)
    assert ("open", f"{tree}/dir/file") in faults.asked


@RESOLVERS
def test_a_held_directory_is_not_its_name(tree: Path, openat2: bool) -> None:
    """After removal and re-creation under the same name, the held descriptor stays with the old one (F08)."""
    with HostFs(str(tree), openat2=openat2) as host, host.directory("dir/sub") as old:
        inode = old.inode()
        (tree / "dir/sub/deep").unlink()
        (tree / "dir/sub").rmdir()
        assert old.read("deep").outcome is Outcome.MISSING
        (tree / "dir/sub").mkdir()
        (tree / "dir/sub/deep").write_text("another\n")
        assert old.read("deep").outcome is Outcome.MISSING
        with host.directory("dir/sub") as new:
            assert new.inode() != inode
            assert new.read("deep").data == b"another\n"


@RESOLVERS
def test_no_descriptor_is_left_open(tree: Path, openat2: bool) -> None:
    """Successes and failures of every kind leave as many descriptors as there were; closing twice is allowed."""
    before = len(os.listdir("/proc/self/fd"))
    faults = Faults({("read", "/sub/deep"): errno.EIO})
    with opened(tree, openat2=openat2, fault=faults) as directory:
        for path in ("file", "sub/deep", "..", "link-file", "link-directory/deep", "a\0", "file/below", "no"):
            directory.read(path)
            directory.write(path, b"1\n")
            directory.names(path)
            directory.exists(path)
        directory.directories()
        directory.close()
        directory.close()
        assert directory.read("file").errno == errno.EBADF
    assert len(os.listdir("/proc/self/fd")) == before


def test_descriptors_are_not_inherited(tree: Path) -> None:
    """No descriptor reaches a child program."""
    for openat2 in {has_openat2(), False}:
        with opened(tree, openat2=openat2) as directory:
            for flags in (os.O_RDONLY, os.O_PATH, os.O_PATH | os.O_DIRECTORY):
                descriptor = directory.open("sub" if flags & os.O_DIRECTORY else "file", flags)
                assert not os.get_inheritable(descriptor)
                os.close(descriptor)
