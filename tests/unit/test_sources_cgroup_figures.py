"""Use of CPUs and figures of memory: what the files of both versions of cgroups come to, and what stays unknown."""

from __future__ import annotations

import os
from dataclasses import replace
from shutil import rmtree
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.memory import PodMemory
from plimsoll.model.pod import QosClass
from plimsoll.sources.cgroups import RESCAN_SECONDS, PodCgroups, Scope
from plimsoll.sources.cgroups.cpus import CpuUse
from plimsoll.sources.cgroups.lookup import Tracked
from plimsoll.sources.cgroups.source import pinned
from tests.support import CONTAINER, v1_node, v1_pod, v2_node, v2_pod, write
from tests.unit.test_sources_cgroup_knobs import pod

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from plimsoll.model.snapshot import PodSample

PAGE = os.sysconf("SC_PAGE_SIZE")
STAT = """anon 1000
file 500
shmem 30
inactive_anon 700
active_anon 350
inactive_file 400
unevictable 7
swapcached 20
zswapped 3
workingset_refault_anon 11
pgscan 35
pgsteal 12
pgrefill 2
pgactivate 0
pgdeactivate 0
"""


def sample(root: Path, *, scope: Scope) -> PodSample:
    with HostFs(str(root)) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader(), scope)
        (found,) = cgroups.observe([pod()], 0.0)
        cgroups.close()
        return found


def test_memory_on_v2(tmp_path: Path) -> None:
    """Every figure is where the kernel prints it; refaults are pages, and `max` is no limit."""
    files = {
        "memory.current": "1600\n",
        "memory.stat": STAT,
        "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n",
        "memory.min": "100\n",
        "memory.low": "200\n",
        "memory.swap.current": "90\n",
        "memory.swap.max": "max\n",
    }
    write(v2_pod(v2_node(tmp_path), 1), files)
    assert sample(tmp_path, scope=Scope(memory=True)).memory == PodMemory(
        current=1600,
        anon=1000,
        file=500,
        shmem=30,
        listed=1050,
        unevictable=7,
        swapped=90,
        swap_cached=20,
        swap_limit=None,
        swap_limited=True,
        zswapped=3,
        protected=200,
        refaulted=11 * PAGE,
        passed_by=13 * PAGE,
        oom_kills=4,
        limit_hits=2,
    )


@pytest.mark.parametrize(
    ("figures", "pages"),
    [
        # Two lists: the kernel counts it itself.
        ({"pgactivate": 9, "pgdeactivate": 70}, 9),
        ({"pgdeactivate": 70}, 0),
        # A device in memory: what was taken was looked at once.
        ({"pgscan": 14}, 0),
    ],
)
def test_what_reclaim_found_in_use(tmp_path: Path, figures: Mapping[str, int], pages: int) -> None:
    """By what kind of lists the kernel has, and never less than nothing; unknown to a kernel that counts less."""
    known = dict(line.split() for line in STAT.splitlines()) | {key: str(value) for key, value in figures.items()}
    folder = v2_pod(v2_node(tmp_path), 1)
    write(folder, {"memory.stat": "".join(f"{key} {value}\n" for key, value in known.items())})
    found = sample(tmp_path, scope=Scope(memory=True)).memory
    assert found is not None
    assert found.passed_by == pages * PAGE
    del known["pgrefill"]
    write(folder, {"memory.stat": "".join(f"{key} {value}\n" for key, value in known.items())})
    found = sample(tmp_path, scope=Scope(memory=True)).memory
    assert found is not None
    assert found.passed_by is None


def test_memory_on_v1(tmp_path: Path) -> None:
    """v1 prints the containers' pages in `total_` keys, and swap in the same file; it protects nothing."""
    stat = "cache 1\nrss 1\nswap 1\ntotal_cache 500\ntotal_rss 1000\ntotal_swap 90\ntotal_inactive_anon 700\n"
    stat += "total_active_anon 350\nactive_anon 1\ninactive_anon 1\n"
    v1_pod(v1_node(tmp_path), 1)
    (folder,) = [each for each in tmp_path.glob("sys/fs/cgroup/memory/**/pod*") if each.is_dir()][:1]
    write(folder, {"memory.usage_in_bytes": "1600\n", "memory.stat": stat})
    found = sample(tmp_path, scope=Scope(memory=True)).memory
    assert found is not None
    assert (found.current, found.anon, found.file, found.swapped, found.listed) == (1600, 1000, 500, 90, 1050)
    assert (found.swap_limited, found.protected, found.swap_cached, found.refaulted) == (False, 0, None, None)


@pytest.mark.parametrize(("text", "protected"), [("max\n", (1 << 63) - 1), ("odd\n", (1 << 63) - 1), ("0\n", 0)])
def test_what_may_be_protected_is(tmp_path: Path, text: str, protected: int) -> None:
    """A protection that cannot be read counts as one of everything: nothing is taken on a guess."""
    write(v2_pod(v2_node(tmp_path), 1), {"memory.min": text, "memory.stat": STAT})
    found = sample(tmp_path, scope=Scope(memory=True)).memory
    assert found is not None
    assert found.protected == protected


@pytest.mark.parametrize(
    ("pod_files", "containers", "protected"),
    [
        # As the kubelet's MemoryQoS sets both, and as somebody does who sets the containers' only.
        ({"memory.min": "900\n"}, [{"memory.min": "300\n"}, {"memory.min": "400\n", "memory.low": "500\n"}], 900),
        ({"memory.min": "0\n", "memory.low": "0\n"}, [{"memory.min": "300\n"}, {"memory.low": "500\n"}], 800),
        ({}, [{"memory.min": "300\n"}, {}], 300),
        ({}, [{"memory.min": "max\n"}, {"memory.min": "max\n"}], (1 << 63) - 1),
        ({}, [{"memory.min": "odd\n"}], (1 << 63) - 1),
    ],
)
def test_what_containers_ask_to_be_kept(
    tmp_path: Path, pod_files: dict[str, str], containers: list[dict[str, str]], protected: int
) -> None:
    """Together, if that is more than the pod's own: each by the larger of its two."""
    folder = v2_pod(v2_node(tmp_path), 1)
    write(folder, pod_files | {"memory.stat": STAT})
    for number, files in enumerate(containers, start=1):
        write(folder / f"cri-containerd-{CONTAINER.format(number)}.scope", files)
    found = sample(tmp_path, scope=Scope(memory=True)).memory
    assert found is not None
    assert found.protected == protected


def test_when_a_container_is_resized(tmp_path: Path) -> None:
    """What it asks to be kept is known after the next look at the pod, and forgotten with its cgroup."""
    folder = v2_pod(v2_node(tmp_path), 1)
    container = folder / f"cri-containerd-{CONTAINER.format(1)}.scope"
    write(container, {"memory.min": "300\n"})
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader(), Scope(memory=True))

        def protected(now: float) -> int:
            (found,) = cgroups.observe([same], now)
            assert found.memory is not None
            return found.memory.protected

        same = pod()
        kept = [protected(0.0)]
        write(container, {"memory.min": "400\n"})
        kept += [protected(1.0), protected(RESCAN_SECONDS)]
        rmtree(container)
        kept.append(protected(2 * RESCAN_SECONDS))
        cgroups.close()
    assert kept == [300, 300, 400, 0]


def test_nobody_pays_for_what_nobody_needs(tmp_path: Path) -> None:
    """Without a policy that needs them the figures are not read."""
    write(v2_pod(v2_node(tmp_path), 1), {"memory.stat": STAT, "cpu.stat": "usage_usec 5\n"})
    found = sample(tmp_path, scope=Scope())
    assert (found.memory, found.cpu_usage, found.cpus, found.pinned) == (None, None, None, frozenset())


def test_use_of_cpus() -> None:
    """Time used over time passed; unknown on the first tick, after a reset, and without an interval."""
    use = CpuUse()
    found = [use.advance(*each) for each in ((1_000_000, None), (3_000_000, 1.0), (2_000_000, 1.0), (2_500_000, 0.5))]
    assert found == [None, 2.0, None, 1.0]
    assert use.advance(None, 1.0) is None
    assert use.advance(9_000_000, 1.0) is None
    use.forget()
    assert use.advance(9_500_000, 1.0) is None


def test_cpus_on_v2(tmp_path: Path) -> None:
    """What is in force is the pod's; what the kubelet's CPU manager wrote down is its containers'."""
    node = v2_node(tmp_path)
    mine, other = v2_pod(node, 1), v2_pod(node, 2)
    write(mine, {"cpuset.cpus.effective": "0-7\n", "cpu.stat": "usage_usec 1000\n", "memory.current": "1\n"})
    write(mine / f"cri-containerd-{CONTAINER.format(1)}.scope", {"cpuset.cpus": "2-3\n"})
    write(other / f"cri-containerd-{CONTAINER.format(2)}.scope", {"cpuset.cpus": "0-1,4-7\n"})
    write(other, {"cpuset.cpus.effective": "0-1,4-7\n"})
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader(), Scope(cpus=True))
        first, second = cgroups.observe([pod(1), pod(2)], 0.0)
        assert first.cpus == frozenset(range(8))
        # No Guaranteed pods: the kubelet gives nobody a CPU alone.
        assert first.pinned == second.pinned == frozenset()
        write(mine, {"cpu.stat": "usage_usec 9000000\n", "cpuset.cpus.effective": "4\n"})
        again, _ = cgroups.observe([pod(1), pod(2)], 1.0)
        assert again.cpus == {4}
        assert again.cpu_usage is not None
        assert again.cpu_usage > 0
        cgroups.close()


BOTH = frozenset({0, 1})


@pytest.mark.parametrize(
    ("written", "alone"),
    [
        # The CPU manager is off: nothing is written, or everybody has everything.
        ([(True, [frozenset()]), (True, [frozenset()])], {}),
        ([(True, [BOTH]), (True, [BOTH])], {}),
        # The only pod with anything written down, as on a node without other pods.
        ([(True, [BOTH]), (True, [])], {}),
        # Two containers of one pod, of which one has a CPU of its own.
        ([(True, [frozenset({2}), BOTH]), (True, [BOTH])], {0: frozenset({2})}),
        # What is left for the others is nobody's alone, be it only one pod that has it.
        ([(True, [frozenset({2})]), (False, [BOTH])], {0: frozenset({2})}),
    ],
)
def test_pinned(written: list[tuple[bool, list[frozenset[int]]]], alone: dict[int, frozenset[int]]) -> None:
    """Only a CPU that one Guaranteed pod has and no other pod may use is that pod's alone."""
    tracked = []
    for number, (guaranteed, sets) in enumerate(written):
        who = pod(number)
        qos = QosClass.GUARANTEED if guaranteed else QosClass.BURSTABLE
        tracked.append(Tracked(replace(who, object=replace(who.object, qos_class=qos)), container_cpus=tuple(sets)))
    assert pinned(tracked) == {pod(number).uid: cpus for number, cpus in alone.items()}
