"""A small node in a folder: cgroup v2 or openEuler-like v1, one pod per call."""

from __future__ import annotations

from pathlib import Path

from plimsoll.model.pod import Pod

UID = "11111111-2222-3333-4444-{:012d}"
CONTAINER = "{:064x}"
PSI = "some avg10={0}.{1:02d} avg60=0.50 avg300=0.25 total={2}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={3}\n"
STAT = "".join(
    f"{name}\nsome avg10=1.25 avg60=0.40 avg300=0.09 total={{{name}}}\n"
    "full avg10=0.75 avg60=0.21 avg300=0.05 total=402118\n"
    for name in (
        "cgroup_memory_reclaim",
        "global_memory_reclaim",
        "compact",
        "cgroup_async_memory_reclaim",
        "swap",
    )
) + "".join(
    f"{name}\nfull avg10=12.10 avg60=9.87 avg300=4.02 total={{{name}}}\n" for name in ("cpu_cfs_bandwidth", "cpu_qos")
)


def psi(some: int = 0, full: int = 0) -> str:
    return PSI.format(1, 25, some, full)


def pressure_stat(**totals: int) -> str:
    names = ("cgroup_memory_reclaim", "global_memory_reclaim", "compact", "cgroup_async_memory_reclaim", "swap")
    values = dict.fromkeys((*names, "cpu_cfs_bandwidth", "cpu_qos"), 0)
    return STAT.format(**{**values, **totals})


def write(path: Path, files: dict[str, str]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name).write_text(text)


def proc(root: Path) -> None:
    (root / "run").mkdir(parents=True)
    write(root / "proc/pressure", {"cpu": psi(5_000_001), "memory": psi(7, 3), "io": psi(11, 2)})
    write(root / "proc", {"meminfo": "MemTotal: 1000 kB\nMemAvailable: 400 kB\n", "stat": "cpu 1\ncpu0 1\ncpu1 1\n"})


def v2_node(root: Path) -> Path:
    """A stock cgroup v2 root without pods; returns the kubepods slice."""
    proc(root)
    write(root / "sys/fs/cgroup", {"cgroup.controllers": "cpu io memory\n", "cpu.pressure": psi()})
    kubepods = root / "sys/fs/cgroup/kubepods.slice"
    # A real kernel has pressure files in every cgroup, so the slices above the pods have them too.
    for path in (kubepods, *(kubepods / f"kubepods-{qos}.slice" for qos in ("besteffort", "burstable"))):
        write(path, {f"{name}.pressure": psi() for name in ("cpu", "memory", "io")})
    return kubepods


def v2_pod(kubepods: Path, number: int, *, qos: str = "besteffort", throttled: tuple[int, int] = (0, 0)) -> Path:
    """One pod with one container; ``throttled``: microseconds of pod and container."""
    uid = UID.format(number).replace("-", "_")
    pod = kubepods / f"kubepods-{qos}.slice/kubepods-{qos}-pod{uid}.slice"
    files = {f"{name}.pressure": psi(1_500_000, 250_000) for name in ("cpu", "memory", "io")}
    files["irq.pressure"] = "full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n"
    stat = "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec {}\n"
    write(pod, {
        **files,
        "cpu.stat": stat.format(throttled[0]),
        "memory.current": "4096\n",
        "memory.max": "max\n",
        "memory.stat": "anon 1\nworkingset_refault_anon 6\n",
        "memory.events": "low 0\nhigh 2\nmax 3\noom 0\n",
    })  # fmt: skip
    write(pod / f"cri-containerd-{CONTAINER.format(number)}.scope", {**files, "cpu.stat": stat.format(throttled[1])})
    return pod


def v1_node(root: Path) -> Path:
    """An openEuler-like v1 root without pods; returns the folder of the hierarchies."""
    proc(root)
    base = root / "sys/fs/cgroup"
    write(base / "cpu,cpuacct", {"cpu.shares": "1024\n", "cpuacct.usage": "1\n", "pressure.stat": pressure_stat()})
    write(base / "memory", {"memory.usage_in_bytes": "1\n"})
    (base / "cpu").symlink_to("cpu,cpuacct")
    (base / "cpuacct").symlink_to("cpu,cpuacct")
    for name in ("cpu,cpuacct", "memory"):
        (base / name / "kubepods/besteffort").mkdir(parents=True)
    return base


def v1_pod(base: Path, number: int, **totals: int) -> Path:
    """One pod of the cgroupfs driver; ``totals``: microseconds by section of pressure.stat."""
    below = f"kubepods/besteffort/pod{UID.format(number)}"
    cpuacct = base / "cpu,cpuacct" / below
    write(cpuacct, {
        "pressure.stat": pressure_stat(**totals),
        "memory.pressure": psi(3),
        "cpu.stat": "nr_periods 1\nnr_throttled 2\nthrottled_time 5000\n",
    })  # fmt: skip
    write(base / "memory" / below, {
        "memory.usage_in_bytes": "8192\n",
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.stat": "cache 1\ntotal_rss 2\n",
    })  # fmt: skip
    return cpuacct


def manifest(number: int, name: str, **annotations: str) -> str:
    lines = "".join(
        f'    {key.replace("__", "/").replace("_", "-")}: "{value}"\n' for key, value in annotations.items()
    )
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  uid: {UID.format(number)}\n"
        + (f"  annotations:\n{lines}" if lines else "")
        + "status:\n  phase: Running\n  qosClass: BestEffort\n  containerStatuses:\n"
        f"  - name: main\n    containerID: containerd://{CONTAINER.format(number)}\n"
    )


def pod_json(pod: Pod, node: str) -> dict[str, object]:
    """The pod as an API server has it."""
    each = pod.object
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"uid": each.uid, "namespace": each.namespace, "name": each.name},
        "spec": {"nodeName": node, "containers": [{"name": container.name} for container in each.containers]},
        "status": {
            "phase": "Running",
            "qosClass": each.qos_class,
            "containerStatuses": [
                {"name": container.name, "containerID": f"{container.runtime}://{container.id}"}
                for container in each.containers
            ],
        },
    }


def is_kept(client):
    """Whether the server has not ended this connection; it has said nothing on it."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    return False
