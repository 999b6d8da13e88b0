"""One run of the benchmark in a guest of its own: a pod, somebody who reclaims from it, and a watch on both."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.overcommit.figures import Line, Run, recovery, window
from tests.bench.overcommit.guest.laws import LAWS
from tests.vm.agent import CONFIG, PORT, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

HERE = Path(__file__).resolve().parent
HOME = "/opt/bench"
LINES = "/run/watch.jsonl"
SERIAL = "plimsoll-swap"
SWAP = f"/dev/disk/by-id/virtio-{SERIAL}"
OURS = ("plain", "mglru", "damon")
CONTROLLERS = ("none", *LAWS, *OURS)
ONLINE_MIB, ONLINE_RATE = 16, 50
SLICE, WATCH = "bench.slice", "watch"
# What the chart's request of 50m is as cpu.weight: on a node, whoever reclaims gives way to the pods.
WEIGHT = 2
PAGE = 4096


class Load(NamedTuple):
    """
    One pod: MiB of each part, the mean seconds between two uses of a warm page, operations per second, MiB that change.

    ``file``: MiB of page cache, a quarter of it in use; ``huge``: memory is in huge pages.
    """

    hot: int = 64
    warm: int = 32
    cold: int = 160
    warm_seconds: float = 41.0
    rate: float = 400.0
    flip: int = 40
    file: int = 0
    huge: bool = False


class Terms(NamedTuple):
    """
    What all controllers of one comparison share. ``marks`` and ``after`` in minutes.

    ``pods`` of the same load; ``zram`` in place of a disk, or a disk of so many ``operations`` a second, or the
    kernel's own null_blk that answers after so many microseconds of ``latency``; ``basis`` as the agent has it.
    ``counted``: the guest's clock counts instructions and jumps while it is idle, so that nobody else's work is
    measured. A disk of the host's would answer after the jump, whenever that was: it goes with zram or ``latency``.
    """

    load: Load
    marks: tuple[float, ...]
    after: float
    kernel: str = "6.12"
    ratio: float = 2.6
    classic: bool = False
    readahead: bool = False
    pods: int = 1
    zram: bool = False
    operations: int = 0
    latency: int = 0
    basis: str = "anon"
    counted: bool = False

    @property
    def ideal(self) -> float:
        """MiB of all pods that are in use."""
        return self.pods * (self.load.hot + self.load.warm + self.load.file / 4)


def build(folder: Path) -> Path:
    """The workload as a static program. Raises CalledProcessError with the compiler's words."""
    program = folder / "workload"
    command = ["cc", "-O2", "-static", "-Wall", "-Werror", "-o", str(program), str(HERE / "workload.c"), "-lm"]
    subprocess.run(command, check=True)
    return program


def run(image: Image, program: Path, controller: str, seed: int, terms: Terms) -> tuple[Run, list[Line]]:
    """The figures, and the lines they are from."""
    # Where instructions are the clock, processors take turns: with two, whoever reclaims would take the load's time.
    cpus = 1 if terms.counted else 2
    memory = 1024 + 512 * terms.pods
    with Machine(image, kernel=terms.kernel, counted=terms.counted, memory_mb=memory, cpus=cpus) as guest:
        agent = Agent(guest, interval="2s")
        guest.push_tree(HOME, HERE / "guest")
        guest.push(f"{HOME}/workload", program.read_bytes(), 0o755)
        device = _prepare(guest, terms)
        # No node is without pods when an agent starts; it looks for their cgroup once a minute until there is one.
        service = Pod(guest, terms.pods + 1, "service", priority="high")
        service.start()
        service.wait()
        if controller in OURS:
            # It is there before the pods, as on a node. Starting it takes seconds of an emulated processor.
            guest.push(CONFIG, _config(controller, device, terms))
            agent.start(f"Slice={SLICE}")
            ask = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{PORT}/readyz')"
            guest.sh(f'until python3 -c "{ask}" 2>/dev/null; do sleep 0.5; done', timeout=300)
        batch = [Pod(guest, number, f"batch-{number}", priority="low") for number in range(1, terms.pods + 1)]
        for pod in batch:
            pod.start()
            pod.wait()
        for number, pod in enumerate(batch):
            _start(guest, pod, terms, terms.load, 100 * seed + number)
        _start(guest, service, terms, Load(ONLINE_MIB, 0, 0, 1.0, ONLINE_RATE, 0), 100 * seed - 1)
        if terms.operations:
            guest.throttle(SERIAL, terms.operations)
        cgroups = [f"/sys/fs/cgroup/{pod.slice_path}" for pod in batch]
        _unit(guest, WATCH, "watch.py", device.rpartition("/")[2], f"/sys/fs/cgroup/{SLICE}", LINES, *cgroups)
        guest.sh(f"until [ -s {LINES} ]; do sleep 0.2; done")
        if controller in LAWS:
            for pod, cgroup in zip(batch, cgroups, strict=True):
                _unit(guest, f"controller-{pod.name}", "control.py", controller, cgroup)
        _wait(guest, 60 * max(terms.marks))
        guest.sh("touch /run/flip")
        change = _lines(guest)[-1]["at"]
        _wait(guest, 60 * (max(terms.marks) + terms.after))
        lines = _lines(guest)
        latencies = _worst([_stop(guest, pod) for pod in batch])
        online = _stop(guest, service)
    begin, start = lines[0]["at"], lines[0]["current"]
    found = Run(
        controller,
        seed,
        {each: window(lines, begin, begin + 60 * each, start) for each in terms.marks},
        window(lines, change, lines[-1]["at"], start),
        recovery(lines, change),
        latencies[0],
        latencies[1],
        online[0],
    )
    return found, lines


def _prepare(guest: Machine, terms: Terms) -> str:
    """The swap device, in use; and the share of those who reclaim."""
    guest.sh(f"systemctl set-property --runtime {SLICE} CPUWeight={WEIGHT} && systemctl start {SLICE}")
    guest.sh("for each in init.scope system.slice; do echo 0 > /sys/fs/cgroup/$each/memory.swap.max; done")
    if terms.zram:
        device = "/dev/zram0"
        guest.sh("modprobe zram; echo 512M > /sys/block/zram0/disksize")
    elif terms.latency:
        device = "/dev/nullb0"
        # irqmode 2: answers by a timer. What is written stays in the guest's memory, in nobody's cgroup.
        timed = f"irqmode=2 completion_nsec={1000 * terms.latency}"
        guest.sh(f"modprobe null_blk nr_devices=1 gb=1 bs=4096 memory_backed=1 {timed}")
    else:
        device = guest.sh(f"until [ -e {SWAP} ]; do sleep 0.2; done; readlink -f {SWAP}").strip()
    guest.sh(f"mkswap {device} && swapon {device}")
    if not terms.readahead:
        guest.sh("echo 0 > /proc/sys/vm/page-cluster")
    if terms.classic:
        guest.sh("echo n > /sys/kernel/mm/lru_gen/enabled")
    return device


def _start(guest: Machine, pod: Pod, terms: Terms, load: Load, seed: int) -> None:
    """Start the workload in the pod, and wait until all its memory is there."""
    ready = f"/run/{pod.name}.ready"
    # What cannot be compressed saves nothing on a device in memory.
    filled = PAGE // 2 if terms.zram else PAGE
    file = (load.file, f"/var/tmp/{pod.name}")
    arguments = (*load[:5], seed, load.flip, ready, "/run/flip", f"/run/{pod.name}.json", *file, int(load.huge), filled)
    join = f"echo $$ > /sys/fs/cgroup/{pod.slice_path}/{pod.scope}/cgroup.procs"
    script = f"{join} && exec {HOME}/workload {shlex.join(str(each) for each in arguments)}"
    guest.sh(
        f"setsid /bin/sh -c {shlex.quote(script)} </dev/null >/dev/null 2>/run/{pod.name}.err & "
        f"echo $! > /run/{pod.name}.pid"
    )
    guest.sh(f"until [ -e {ready} ]; do sleep 0.2; done", timeout=300)


def _stop(guest: Machine, pod: Pod) -> list[dict[str, Any]]:
    out = f"/run/{pod.name}.json"
    guest.sh(f"kill -TERM $(cat /run/{pod.name}.pid); until [ -s {out} ]; do sleep 0.2; done", timeout=120)
    found: list[dict[str, Any]] = json.loads(guest.pull(out))
    return found


def _unit(guest: Machine, name: str, program: str, *arguments: str) -> None:
    # Those who reclaim are in one cgroup, the watch is not.
    above = "system.slice" if name == WATCH else SLICE
    guest.sh(f"systemd-run --quiet --slice={above} --unit={name} python3 {HOME}/{program} {shlex.join(arguments)}")


def _worst(pods: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of several pods' latencies, by phase."""
    return [max(phase, key=lambda each: each["mean"]) for phase in zip(*pods, strict=True)]


def _config(selector: str, device: str, terms: Terms) -> str:
    # Drives that wear are no business of a comparison of laws: none of the others has a budget.
    return (
        f"pressure: {{interval: 2s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n"
        f"overcommit: {{mode: enforce, ratio: {terms.ratio}, swapDevice: {device}, selector: {selector}, "
        f"basis: {terms.basis}, writeBudget: 64Mi}}\n"
    )


def _lines(guest: Machine) -> list[Line]:
    # The last one may still be on its way.
    text = guest.pull(LINES).decode()
    return [json.loads(each) for each in text[: text.rfind("\n") + 1].splitlines()]


def _wait(guest: Machine, seconds: float) -> None:
    """Until so many seconds of the guest's own clock have gone by since its first line."""
    until = _lines(guest)[0]["at"] + seconds
    guest.sh(
        f"sleep $(awk '{{ left = {until} - $1; print (left > 0 ? left : 0) }}' /proc/uptime)", timeout=seconds + 60
    )


def check(controllers: Sequence[str]) -> None:
    """Raises ValueError for a name that is no controller."""
    for each in controllers:
        if each not in CONTROLLERS:
            raise ValueError(f"{each} is none of: {', '.join(CONTROLLERS)}")
