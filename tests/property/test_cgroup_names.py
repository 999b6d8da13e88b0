"""For any UID and any text: which names are built, that they stay below the kubelet's root, and how they read back."""

from __future__ import annotations

import itertools
import re
import string
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st

from plimsoll.kernel.cgroup import limit_bytes
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.kubepods import Driver, Kubepods, KubepodsRoot, PodCgroup, legal_uid
from plimsoll.kernel.proc import parse_cpu_count, parse_meminfo, parse_swaps
from plimsoll.kernel.resolve import has_openat2
from plimsoll.model.pod import QosClass
from plimsoll.model.snapshot import CgroupState

UIDS = st.uuids().map(str)
ANY_TEXT = st.text(alphabet=st.characters(codec=None), max_size=80)
# Text that is nearly a UID: where a filter that is a little too weak would give way.
NEARLY = st.lists(
    st.sampled_from([*"0123456789abcdefABCDEF-_/.\0\n ", "..", "../", "٣", "é"]), min_size=1, max_size=45
).map("".join)
PREFIX = st.text(alphabet=string.ascii_lowercase + string.digits + "_", min_size=1, max_size=8)


@st.composite
def roots(draw: st.DrawFn) -> KubepodsRoot:
    """A kubelet's root below any ``--cgroup-root``, as each driver spells it."""
    parts = draw(st.lists(PREFIX, max_size=2))
    if draw(st.booleans()):
        return KubepodsRoot(Driver.CGROUPFS, "/".join([*parts, "kubepods"]))
    names = [f"{'-'.join(parts[: length + 1])}.slice" for length in range(len(parts))]
    return KubepodsRoot(Driver.SYSTEMD, "/".join([*names, f"{'-'.join([*parts, 'kubepods'])}.slice"]))


@given(UIDS, st.sampled_from(QosClass), roots())
def test_paths_stay_below_the_root(uid: str, qos: QosClass, root: KubepodsRoot) -> None:
    """Three different candidates, each a strict descendant of the root, with the UID in it and nothing to escape by."""
    paths = root.pod_path(uid, qos)
    assert len(set(paths)) == 3
    for path in paths:
        assert path.startswith(f"{root.path}/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert path.replace("_", "-").removesuffix(".slice").endswith(f"pod{uid}")
    # The order depends on the declared class, the set does not.
    assert all(set(root.pod_path(uid, other)) == set(paths) for other in QosClass)
    assert len({root.pod_path(uid, other)[0] for other in QosClass}) == 3


@given(UIDS, st.sampled_from(QosClass), roots())
def test_systemd_nests_by_name(uid: str, qos: QosClass, root: KubepodsRoot) -> None:
    """What systemd itself demands: each slice's name is its parent's and one more word, so the path follows from it."""
    if root.driver is not Driver.SYSTEMD:
        return
    for path in root.pod_path(uid, qos):
        parts = path.split("/")
        for parent, child in itertools.pairwise(parts):
            assert re.fullmatch(re.escape(parent.removesuffix(".slice")) + r"-[^-]+\.slice", child)


@given(st.one_of(ANY_TEXT, NEARLY, UIDS.map(str.upper), UIDS.map(lambda uid: f"{uid}\n")))
@example("")
@example("0123456789abcdef0123456789abcdef")
def test_only_a_uuid_is_legal(text: str) -> None:
    """A text is legal exactly when it is a UUID in the one spelling Kubernetes uses; no other gives a path."""
    try:
        expected = str(uuid.UUID(text)) == text
    except ValueError:
        expected = False
    assert legal_uid(text) is expected
    for driver in Driver:
        assert bool(KubepodsRoot(driver, "kubepods").pod_path(text, QosClass.BURSTABLE)) is expected


@given(UIDS, st.sampled_from(QosClass), st.sampled_from(QosClass), roots())
def test_a_pod_that_is_there_is_found(uid: str, real: QosClass, declared: QosClass, root: KubepodsRoot) -> None:
    """Search and look-up agree: a pod's directory made where the kubelet would make it is found, and no other."""
    with TemporaryDirectory() as folder, HostFs(folder) as host, host.directory(".") as directory:
        path = root.pod_path(uid, real)[0]
        Path(folder, path).mkdir(parents=True)
        kubepods = Kubepods._search(directory, 1000)
        assert kubepods.roots == (root,)
        found = kubepods.find_pod(uid, declared)
        assert isinstance(found, PodCgroup)
        assert found == (path, Path(folder, path).stat().st_ino)
        assert kubepods.find_pod(str(uuid.UUID(int=uuid.UUID(uid).int ^ 1)), declared) is CgroupState.PENDING


IDS = st.binary(min_size=32, max_size=32).map(bytes.hex)
SPELLINGS = ("cri-containerd-{}.scope", "crio-{}.scope", "docker-{}.scope", "isulad-{}.scope", "crio-{}", "{}")
CONTAINER_NAMES = st.builds(str.format, st.sampled_from(SPELLINGS), IDS)
OTHER_NAMES = st.one_of(
    st.text(alphabet=string.ascii_letters + string.digits + "-._:@", min_size=1, max_size=90),
    CONTAINER_NAMES.map(lambda name: f"{name}.d"),
    CONTAINER_NAMES.map(lambda name: f"x{name}"),
    CONTAINER_NAMES.map(lambda name: name.replace("-", "-conmon-", 1) if "-" in name else f"{name}0"),
).filter(lambda name: name not in {".", ".."})


@given(st.sets(CONTAINER_NAMES, max_size=4), st.sets(OTHER_NAMES, max_size=4))
def test_containers_are_told_by_name(containers: set[str], others: set[str]) -> None:
    """Every container directory is listed with its own path and 64 hex digits; nothing else is."""
    with TemporaryDirectory() as folder, HostFs(folder) as host, host.directory(".") as directory:
        for name in containers | others:
            Path(folder, "pod", name).mkdir(parents=True, exist_ok=True)
        listed = Kubepods(directory, ()).containers("pod")
        assert {each.path for each in listed} == {f"pod/{name}" for name in containers}
        for each in listed:
            assert re.fullmatch(r"[0-9a-f]{64}", each.id)
            assert each.id in each.path


@given(ANY_TEXT)
def test_path_text_is_an_answer(text: str) -> None:
    """Any text as a path is a typed outcome, the same with both resolvers, and never another file's content."""
    with TemporaryDirectory() as folder:
        Path(folder, "inside").mkdir()
        Path(folder, "outside").write_text("outside")
        answers = []
        for openat2 in (has_openat2(), False):
            with HostFs(folder, openat2=openat2) as host, host.directory("inside") as directory:
                reading = directory.read(text)
                assert reading.data is None
                answers.append((reading.outcome, reading.errno, directory.names(text).outcome, directory.exists(text)))
        assert answers[0] == answers[1]


@given(ANY_TEXT)
def test_proc_text_is_never_an_error(text: str) -> None:
    """The parsers of /proc take any text; what they give is a positive count, sizes, or nothing."""
    assert all(value is None or value >= 0 for value in parse_meminfo(text))
    assert (parse_cpu_count(text) or 1) > 0
    assert isinstance(parse_swaps(f"heading\n{text}"), tuple)


SWAP_PATHS = st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=126), min_size=1, max_size=30)


@given(st.lists(st.tuples(SWAP_PATHS, st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(-100, 32767))))
def test_swaps_read_back(devices: list[tuple[str, int, int, int]]) -> None:
    """Whatever a swap file is called, the kernel's escaped spelling of it reads back to the same path and sizes."""

    def mangle(path: str) -> str:
        return "".join(f"\\{ord(each):03o}" if each in " \t\n\\" else each for each in path)

    lines = [f"{mangle(path)}\tfile\t\t{size}\t\t{used}\t\t{priority}\n" for path, size, used, priority in devices]
    found = parse_swaps("Filename\tType\tSize\tUsed\tPriority\n" + "".join(lines))
    assert found == tuple((path, "file", size * 1024, used * 1024, priority) for path, size, used, priority in devices)


@given(st.integers(0, (1 << 63) - 1))
def test_limits(value: int) -> None:
    """A limit is itself, or none: never another number."""
    assert limit_bytes(value) in (value, None)
    assert value > 1 << 62 or limit_bytes(value) == value
