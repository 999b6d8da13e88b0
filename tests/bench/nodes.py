"""Nodes to measure on: a folder that looks like a cgroup v2 host, and real cgroups of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from plimsoll.model.pod import Container, Pod, PodIntent, PodObject, Priority, QosClass
from tests.support import psi, write

CGROUPS = Path("/sys/fs/cgroup")
SLICE = "kubepods.slice/kubepods-burstable.slice"

# The keys of Linux 6.1, in the kernel's order.
MEMORY_STAT = (
    "anon", "file", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "vmalloc", "shmem",
    "zswap", "zswapped", "file_mapped", "file_dirty", "file_writeback", "swapcached", "anon_thp", "file_thp",
    "shmem_thp", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "slab", "workingset_refault_anon", "workingset_refault_file", "workingset_activate_anon",
    "workingset_activate_file", "workingset_restore_anon", "workingset_restore_file", "workingset_nodereclaim",
    "pgscan", "pgsteal", "pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd", "pgsteal_direct", "pgfault",
    "pgmajfault", "pgrefill", "pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "zswpin", "zswpout",
    "thp_fault_alloc", "thp_collapse_alloc",
)  # fmt: skip
CPU_STAT = (
    "usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec", "nr_bursts",
    "burst_usec",
)  # fmt: skip


def pods(count: int, containers: int) -> list[Pod]:
    """That many pods, with that many containers in all, spread evenly."""
    found = []
    for number in range(count):
        own = range(number * containers // count, (number + 1) * containers // count)
        found.append(
            Pod(
                PodObject(
                    uid=f"11111111-2222-4333-8444-{number:012d}",
                    namespace="shop",
                    name=f"pod-{number}",
                    qos_class=QosClass.BURSTABLE,
                    phase="Running",
                    deleting=False,
                    mirror=False,
                    priority_class=None,
                    containers=tuple(Container(f"c{each}", "containerd", f"{each:064x}") for each in own),
                ),
                PodIntent(Priority.NORMAL, "default"),
            )
        )
    return found


def cgroup_paths(found: list[Pod]) -> Iterator[tuple[str, bool]]:
    """The cgroup of every pod and container below a hierarchy's root, and whether it is a pod's."""
    for pod in found:
        path = f"{SLICE}/kubepods-burstable-pod{pod.uid.replace('-', '_')}.slice"
        yield path, True
        for container in pod.object.containers:
            yield f"{path}/cri-containerd-{container.id}.scope", False


def folder(root: Path, found: list[Pod]) -> None:
    """A cgroup v2 host below ``root``, with the files and about the sizes of a busy node."""
    base = root / "sys/fs/cgroup"
    write(base, {"cgroup.controllers": "cpuset cpu io memory pids\n", "cpu.pressure": psi()})
    pressure = {f"{name}.pressure": psi(number * 17, number) for number, name in enumerate(("cpu", "memory", "io"), 9)}
    pressure["irq.pressure"] = "full avg10=0.00 avg60=0.00 avg300=0.00 total=91177\n"
    for path in ("kubepods.slice", SLICE):
        write(base / path, pressure)
    cpu = "".join(f"{key} {number * 7_919_777}\n" for number, key in enumerate(CPU_STAT, 1))
    memory = {
        "memory.current": "734003200\n",
        "memory.max": "1073741824\n",
        "memory.stat": "".join(f"{key} {number * 104_729 * 512}\n" for number, key in enumerate(MEMORY_STAT)),
        "memory.events": "low 0\nhigh 12\nmax 3\noom 0\noom_kill 0\noom_group_kill 0\n",
    }
    for path, is_pod in cgroup_paths(found):
        write(base / path, {**pressure, "cpu.stat": cpu, **(memory if is_pod else {})})


def hierarchies() -> list[Path]:
    """The hierarchies of this machine in which cgroups may be made for a while; empty where a kubelet has its own."""
    mounted = [CGROUPS] if (CGROUPS / "cgroup.controllers").is_file() else sorted(CGROUPS.glob("*"))
    wanted = [
        path
        for path in mounted
        if path.name in ("cgroup", "unified", "cpu", "cpuacct", "memory", "cpu,cpuacct") and not path.is_symlink()
    ]
    usable = [path for path in wanted if os.access(path, os.W_OK) and (path / "cgroup.procs").is_file()]
    if any((path / "kubepods.slice").exists() or (path / "kubepods").exists() for path in usable):
        return []
    return usable


@contextmanager
def real(found: list[Pod]) -> Iterator[bool]:
    """Empty cgroups for the pods in every hierarchy of this machine; false where that is not allowed."""
    usable = hierarchies()
    paths = ["kubepods.slice", SLICE, *(path for path, _ in cgroup_paths(found))]
    try:
        try:
            for base in usable:
                for path in paths:
                    (base / path).mkdir(exist_ok=True)
        except OSError:
            yield False
        else:
            yield bool(usable)
    finally:
        for base in usable:
            for path in reversed(paths):
                with suppress(OSError):
                    (base / path).rmdir()
