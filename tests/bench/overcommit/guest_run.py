"""One run of the benchmark in a guest of its own: a pod, somebody who reclaims from it, and a watch on both."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
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
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"
OURS = ("plain", "mglru", "damon")
CONTROLLERS = ("none", *LAWS, *OURS)
ONLINE_MIB, ONLINE_RATE = 16, 50
POLL_SECONDS = 5.0


class Load(NamedTuple):
    """MiB of each part, the mean seconds between two uses of a warm page, operations per second, MiB that change."""

    hot: int = 64
    warm: int = 32
    cold: int = 160
    warm_seconds: float = 41.0
    rate: float = 400.0
    flip: int = 40

    @property
    def ideal(self) -> int:
        """MiB that are in use."""
        return self.hot + self.warm


class Terms(NamedTuple):
    """What all controllers of one comparison share. ``marks`` and ``after`` in minutes."""

    load: Load
    marks: tuple[float, ...]
    after: float
    kernel: str = "6.12"
    ratio: float = 2.6
    classic: bool = False
    readahead: bool = False
    qemu: tuple[str, ...] = ()


def build(folder: Path) -> Path:
    """The workload as a static program. Raises CalledProcessError with the compiler's words."""
    program = folder / "workload"
    command = ["cc", "-O2", "-static", "-Wall", "-Werror", "-o", str(program), str(HERE / "workload.c"), "-lm"]
    subprocess.run(command, check=True)
    return program


def run(image: Image, program: Path, controller: str, seed: int, terms: Terms) -> tuple[Run, list[Line]]:
    """The figures, and the lines they are from."""
    with Machine(image, kernel=terms.kernel, qemu=terms.qemu) as guest:
        agent = Agent(guest, interval="2s")
        guest.push_tree(HOME, HERE / "guest")
        guest.push(f"{HOME}/workload", program.read_bytes(), 0o755)
        _prepare(guest, terms)
        batch, service = Pod(guest, 1, "batch", priority="low"), Pod(guest, 2, "service", priority="high")
        for pod in (batch, service):
            pod.start()
            pod.wait()
        load = terms.load
        _start(guest, batch, load, seed)
        _start(guest, service, Load(ONLINE_MIB, 0, 0, 1.0, ONLINE_RATE, 0), seed + 1)
        disk = guest.sh(f"basename $(readlink -f {SWAP})").strip()
        cgroup = f"/sys/fs/cgroup/{batch.slice_path}"
        unit = "plimsoll.service" if controller in OURS else "controller.service"
        _unit(guest, "watch", "watch.py", cgroup, disk, f"/sys/fs/cgroup/system.slice/{unit}", LINES)
        guest.sh(f"until [ -s {LINES} ]; do sleep 0.2; done")
        if controller in LAWS:
            _unit(guest, "controller", "control.py", controller, cgroup)
        elif controller in OURS:
            guest.push(CONFIG, _config(controller, terms.ratio))
            agent.start()
        _wait(guest, 60 * max(terms.marks))
        guest.sh("touch /run/flip")
        change = _lines(guest)[-1]["at"]
        _wait(guest, 60 * (max(terms.marks) + terms.after))
        lines = _lines(guest)
        latencies = _stop(guest, batch)
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


def _prepare(guest: Machine, terms: Terms) -> None:
    guest.sh("for each in init.scope system.slice; do echo 0 > /sys/fs/cgroup/$each/memory.swap.max; done")
    guest.sh(f"until [ -e {SWAP} ]; do sleep 0.2; done; mkswap {SWAP} && swapon {SWAP}")
    if not terms.readahead:
        guest.sh("echo 0 > /proc/sys/vm/page-cluster")
    if terms.classic:
        guest.sh("echo n > /sys/kernel/mm/lru_gen/enabled")


def _start(guest: Machine, pod: Pod, load: Load, seed: int) -> None:
    """Start the workload in the pod, and wait until all its memory is there."""
    ready = f"/run/{pod.name}.ready"
    arguments = (*load[:5], seed, load.flip, ready, "/run/flip", f"/run/{pod.name}.json")
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
    guest.sh(f"systemd-run --quiet --unit={name} python3 {HOME}/{program} {shlex.join(arguments)}")


def _config(selector: str, ratio: float) -> str:
    # Drives that wear are no business of a comparison of laws: none of the others has a budget.
    return (
        f"pressure: {{interval: 2s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n"
        f"overcommit: {{mode: enforce, ratio: {ratio}, swapDevice: {SWAP}, selector: {selector}, writeBudget: 64Mi}}\n"
    )


def _lines(guest: Machine) -> list[Line]:
    # The last one may still be on its way.
    text = guest.pull(LINES).decode()
    return [json.loads(each) for each in text[: text.rfind("\n") + 1].splitlines()]


def _wait(guest: Machine, seconds: float) -> None:
    """Until so many seconds of the guest's own clock have gone by since its first line."""
    while True:
        seen = _lines(guest)
        left = seconds - (seen[-1]["at"] - seen[0]["at"]) if seen else seconds
        if left <= 0:
            return
        time.sleep(min(left, POLL_SECONDS))


def check(controllers: Sequence[str]) -> None:
    """Raises ValueError for a name that is no controller."""
    for each in controllers:
        if each not in CONTROLLERS:
            raise ValueError(f"{each} is none of: {', '.join(CONTROLLERS)}")
