"""The simulated node as the agent meets it: every pod found, every figure there, moving like a kernel's."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from plimsoll.config.pod_object import decode
from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies, Mode
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.pressure import parse_pressure_stat, parse_psi
from plimsoll.kernel.probe import Name
from plimsoll.kernel.proc import parse_swaps, read_boot_id, read_cpu_count, read_meminfo, read_pressure
from plimsoll.model.pod import Pod, PodIntent, Priority, QosClass
from plimsoll.model.pressure import PRESSURE_STAT_CAUSES, Source
from plimsoll.model.snapshot import CgroupState
from plimsoll.simulator import cast
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.spelling import number
from plimsoll.simulator.tree import Tree
from plimsoll.simulator.workload import PodSpec, Shape, Workload
from plimsoll.sources.cgroups import PodCgroups, Scope
from plimsoll.sources.node import NodeFiles
from tests.fixtures.hosts.capabilities import CPUSETS, DISKS, FREQUENCIES, SWAP
from tests.running import Running, command, until

CAUSES = {
    Kind.OPENEULER_V1: {"cpu", "memory", "io", *PRESSURE_STAT_CAUSES},
    # Throttling is not timed by a stock kernel as pressure; the agent derives it.
    Kind.STOCK_V2: {"cpu", "memory", "io", "irq", "cpu_cfs_bandwidth"},
}


def simulate(folder: Path, kind: Kind, specs=cast.PODS, seed: int = 0) -> SimulatedNode:
    folder.mkdir(exist_ok=True)
    return SimulatedNode(str(folder), kind, Workload(specs, seed=seed), cast.NODE, name="node", seed=seed)


def pods(node: SimulatedNode) -> list[Pod]:
    return [Pod(decode(each), PodIntent(Priority.NORMAL, "default")) for each in node.objects().values()]


def files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=list(Kind))
def node(request, tmp_path):
    return simulate(tmp_path / "node", request.param)


@pytest.fixture
def observer(node):
    with HostFs(node.root) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader(), Scope(containers=True), clock=lambda: node.seconds)
        yield cgroups
        cgroups.close()


def test_the_agent_finds_every_pod_and_every_cause(node, observer):
    """Whatever the QoS class, and with nothing left unread: memory, limits, events and each container."""
    node.advance(5.0)
    first = observer.observe(pods(node), 100.0)
    node.advance(6.0)
    samples = observer.observe(pods(node), 101.0)

    assert len(first) == len(samples) == sum(not pod.finished for pod in node.instances()) > 0
    assert {sample.pod.object.qos_class for sample in samples} == set(QosClass)
    for sample in samples:
        assert sample.state is CgroupState.FOUND
        assert sample.errors == {}
        assert {each.cause for each in sample.pressures} == CAUSES[node.kind]
        assert {each.cause for each in sample.containers[0].pressures} == CAUSES[node.kind] - (
            {"cpu_cfs_bandwidth"} if node.kind is Kind.STOCK_V2 else set()
        )
        spec = next(pod.spec for pod in node.instances() if pod.uid == sample.pod.uid)
        assert sample.memory_limit_bytes == spec.memory_limit
        assert 0 < sample.memory_bytes <= spec.memory
        assert {each.event for each in sample.events} >= {"workingset_refault_anon"}
    rates = [
        rate
        for sample in samples
        for each in sample.pressures
        for rate in sample.stall_rates[each.cause]
        if rate is not None and each.source is not Source.DERIVED
    ]
    assert 0 < max(rates) <= 1.000_001
    assert min(rates) >= 0


def test_the_node_itself_is_whole(node):
    """Memory, CPUs, swap, boot and the node's own pressure, in the kernel's own shapes."""
    node.advance(20.0)
    with HostFs(node.root) as host:
        memory, pressure = read_meminfo(host), read_pressure(host)
        assert memory.total == cast.NODE.memory
        assert 0 < memory.available < memory.total
        assert memory.swap_total == cast.NODE.swap
        assert 0 <= memory.swap_free <= memory.swap_total
        assert read_cpu_count(host) == cast.NODE.cpus
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", read_boot_id(host))
        found = {each.cause for each in pressure.pressures}
        assert found == CAUSES[node.kind] - ({"cpu_cfs_bandwidth"} if node.kind is Kind.STOCK_V2 else set())
        assert next(each for each in pressure.pressures if each.cause == "cpu").full is None
        assert len(parse_swaps(host.read("proc/swaps").text())) == 1
        assert NodeFiles(host).sample().cpus == cast.NODE.cpus
        with Hierarchies.detect(host) as hierarchies:
            assert hierarchies.mode is (Mode.V1 if node.kind is Kind.OPENEULER_V1 else Mode.V2)


# The simulated nodes have no frequencies, no memory that could be moved, and no disks.
SIMULATED_NOT = {*FREQUENCIES, *CPUSETS, *DISKS, *SWAP} - {Name.ZSWAP_OFF, Name.OOMD_OFF}


def test_doctor_accepts_the_node(node):
    """The only things missing are those that such a kernel really lacks."""
    found = json.loads(command("doctor", "--root", node.root, "--format", "json").stdout)
    missing = {each["name"]: each["reason"] for each in found if not each["available"]}
    missing.pop("native-reader", None)  # depends on how this program was built
    for name in SIMULATED_NOT:
        missing.pop(name, None)

    if node.kind is Kind.OPENEULER_V1:
        assert missing == {"psi-irq": "not-built", "cpu-weight": "cgroup-v1", "memory-low": "cgroup-v1"}
    else:
        openeuler = ("pressure-stat", "cpu-qos-level", "memory-qos-level", "memcg-qos-enable")
        assert missing == {"cpu-shares": "cgroup-v2", **dict.fromkeys(openeuler, "not-built")}


def test_the_real_agent_follows_the_node(node, tmp_path):
    """The program itself, on a folder of manifests: its counters move with the node's."""
    folder = tmp_path / "pods"
    folder.mkdir()
    for (namespace, name), each in node.objects().items():
        (folder / f"{namespace}-{name}.yaml").write_text(json.dumps(each))  # JSON is YAML
    config = tmp_path / "plimsoll.yaml"
    config.write_text(cast.CONFIG)
    arguments = ("--config", config, "--root", node.root, "--pods", folder, "--node-name", "node")
    with Running(tmp_path, *arguments) as agent:
        waiting = 'plimsoll_pod_pressure_waiting_seconds_total{namespace="data",pod="postgres-0",.*cause="io",.*'
        before = float(until(lambda: agent.metric(waiting), "the first figure"))
        node.advance(10.0)
        until(lambda: float(agent.metric(waiting)) > before, "another figure")
        assert agent.metric('plimsoll_capability{capability="state-directory",.*') == "1"
        assert agent.stop() == 0


GROWING = re.compile(
    r"(total=|^(?:nr_\w+|throttled_\w+|usage_usec|max|limit_in_bytes|(?:total_)?workingset_refault_anon) |^)(\d{10,})$",
    re.MULTILINE,
)


def test_counters_only_grow_and_files_keep_their_identity(node):
    """As in the kernel: totals and event counts are monotonic, and a file is the same file with another text."""
    node.advance(1.0)
    last: dict[str, list[int]] = {}
    born: dict[str, tuple[int, int]] = {}
    grown = 0
    for step in range(2, 60, 3):
        node.advance(float(step))
        for name, path in files(Path(node.root)).items():
            status = path.stat()
            assert born.setdefault(name, (status.st_ino, status.st_size)) == (status.st_ino, status.st_size), name
            if re.search(r"pressure|cpu\.stat|cpuacct\.usage|memory\.(events|stat|failcnt)", name):
                now = [int(value) for _, value in GROWING.findall(path.read_text())]
                before = last.setdefault(name, now)
                assert all(new >= old for new, old in zip(now, before, strict=True)), name
                grown += now != before
                last[name] = now
    assert grown > 500


def test_full_never_exceeds_some_and_nobody_stalls_longer_than_it_lives(node):
    """In every pressure file of the node, at any time, and averages are percentages."""
    for seconds in (3.0, 17.0, 61.0):
        node.advance(seconds)
        seen = 0
        for name, path in files(Path(node.root)).items():
            if name.endswith(".pressure") and not name.endswith("cgroup.pressure"):
                pairs = [parse_psi(path.read_text())]
            elif name.endswith("pressure.stat"):
                pairs = [(each.some, each.full) for each in parse_pressure_stat(path.read_text())]
            else:
                continue
            for some, full in pairs:
                lines = [line for line in (some, full) if line is not None]
                assert all(line.total_us <= seconds * 1e6 for line in lines), name
                assert all(0 <= average <= 10_000 for line in lines for average in line[:3]), name
                if some is not None and full is not None:
                    assert full.total_us <= some.total_us, name
                    assert full.avg10 <= some.avg10, name
                seen += 1
        assert seen > 40


def test_the_causes_of_memory_stall_are_parts_of_it(tmp_path):
    """openEuler: no cause is longer than the memory pressure it belongs to, nor are all together shorter than it."""
    node = simulate(tmp_path / "node", Kind.OPENEULER_V1)
    node.advance(40.0)
    checked = 0
    for path in Path(node.root).rglob("pressure.stat"):
        whole = parse_psi((path.parent / "memory.pressure").read_text())[0].total_us
        parts = [each.some.total_us for each in parse_pressure_stat(path.read_text()) if each.some is not None]
        assert max(parts) <= whole + len(parts)
        assert sum(parts) >= whole - len(parts)
        checked += whole > 0
    assert checked > 5


def test_pressure_follows_what_happens(tmp_path):
    """A pod beyond its quota is throttled, one beyond its memory limit reclaims; a modest one does neither."""
    gib = 1 << 30
    specs = [
        PodSpec("ns", "throttled", Shape.STEADY, cpu=2.0, memory=gib, cpu_request=1.0, cpu_limit=1.0),
        PodSpec("ns", "squeezed", Shape.STEADY, cpu=0.1, memory=2 * gib, cpu_request=0.1, memory_limit=gib),
        PodSpec("ns", "modest", Shape.STEADY, cpu=0.5, memory=gib, cpu_request=1.0),
    ]
    node = simulate(tmp_path / "node", Kind.OPENEULER_V1, specs)
    node.advance(30.0)
    found = {}
    for pod in node.instances():
        path = next(Path(node.root).glob(f"sys/fs/cgroup/cpu,cpuacct/kubepods/burstable/pod{pod.uid}/pressure.stat"))
        found[pod.name] = {each.cause: each.full.total_us for each in parse_pressure_stat(path.read_text())}

    assert found["throttled"]["cpu_cfs_bandwidth"] == pytest.approx(15e6, rel=0.15)
    assert found["squeezed"]["cgroup_memory_reclaim"] > 5e6
    assert found["squeezed"]["cpu_cfs_bandwidth"] == found["throttled"]["cgroup_memory_reclaim"] == 0
    assert set(found["modest"].values()) == {0}


def test_jobs_come_and_go_like_pods(node, observer):
    """The agent sees the finished pod's cgroup vanish and the next one's appear; the others are never disturbed."""
    steady = {pod.uid for pod in node.instances() if pod.spec.lifetime is None}
    seen: set[str] = set()
    born: dict[str, int] = {}
    for second in range(1, 80):
        node.advance(float(second))
        alive = pods(node)
        samples = observer.observe(alive, 1000.0 + second)
        assert {sample.state for sample in samples} == {CgroupState.FOUND}
        assert {sample.pod.uid for sample in samples} == {pod.uid for pod in alive if not pod.object.finished}
        for sample in samples:
            seen.add(sample.pod.uid)
            folders = list(Path(node.root).rglob(Path(sample.cgroup).name))
            assert folders
            for path in folders:
                assert born.setdefault(str(path), path.stat().st_ino) == path.stat().st_ino
        folders = [path.name for path in Path(node.root).rglob("*pod*") if re.search(r"pod[0-9a-f]{8}[-_]", path.name)]
        assert {re.sub(r".*pod|\.slice", "", name).replace("_", "-") for name in folders} == {
            sample.pod.uid for sample in samples
        }
    assert steady < seen
    assert len(seen) >= len(steady) + 6


def test_the_same_seed_is_the_same_node(tmp_path):
    """Byte for byte, however time is cut into steps of the simulation; another seed is another node."""
    one = simulate(tmp_path / "one", Kind.STOCK_V2, seed=5)
    two = simulate(tmp_path / "two", Kind.STOCK_V2, seed=5)
    other = simulate(tmp_path / "other", Kind.STOCK_V2, seed=6)
    one.advance(30.0)
    other.advance(30.0)
    for second in range(1, 31):
        two.advance(float(second))

    contents = [{name: path.read_text() for name, path in files(Path(each.root)).items()} for each in (one, two, other)]
    assert contents[0] == contents[1]
    assert contents[0].keys() != contents[2].keys()


def test_time_does_not_run_backwards(node):
    """An earlier time changes nothing."""
    node.advance(10.0)
    before = {name: path.read_bytes() for name, path in files(Path(node.root)).items()}
    node.advance(9.0)
    assert {name: path.read_bytes() for name, path in files(Path(node.root)).items()} == before
    assert node.seconds == 10.0


def test_a_concurrent_reader_meets_no_torn_file(tmp_path):
    """A descriptor held while the node lives on always gives a whole text, and counters that only grow."""
    node = simulate(tmp_path / "node", Kind.OPENEULER_V1)
    postgres = next(pod for pod in node.instances() if pod.spec.name == "postgres-0")
    path = Path(node.root, f"sys/fs/cgroup/cpu,cpuacct/kubepods/pod{postgres.uid}/pressure.stat")
    descriptor = os.open(path, os.O_RDONLY)
    done = threading.Event()

    def live():
        # Steps of about a second cross 9.99 and 10.00 %: lines of other lengths in a real kernel.
        for step in range(1, 150):
            node.advance(step * 0.9)
        done.set()

    writer = threading.Thread(target=live)
    writer.start()
    texts: set[bytes] = set()
    reads, before = 0, {}
    try:
        while not done.is_set():
            text = os.pread(descriptor, 65536, 0)
            now = {each.cause: each.full.total_us for each in parse_pressure_stat(text.decode())}
            assert all(now[cause] >= total for cause, total in before.items())
            texts.add(text)
            before, reads = now, reads + 1
            # The pace of an eager agent: a reader that does nothing else could meet the copying inside pwrite(2).
            time.sleep(0.001)
    finally:
        writer.join()
        os.close(descriptor)
    assert len({len(text) for text in texts}) == 1
    assert len(texts) > 20
    assert reads > len(texts)


def test_a_changing_file_never_changes_its_size(tmp_path):
    """What would tear under a reader is refused, whatever the number."""
    tree = Tree(str(tmp_path))
    for value in (0, 9, 10, 10**15):
        tree.put("a/b", number(value))
        assert (tmp_path / "a/b").read_text() == f"{value:016d}\n"
    with pytest.raises(ValueError, match="cannot replace"):
        tree.put("a/b", number(10**16))
    assert (tmp_path / "a/b").read_text() == f"{10**15}\n"


def test_boot_files_are_made_once(tmp_path):
    """A file that never changes must not be written twice: two pods would share it."""
    tree = Tree(str(tmp_path))
    tree.fixed("a/b", "1\n")
    with pytest.raises(FileExistsError):
        tree.fixed("a/b", "1\n")
