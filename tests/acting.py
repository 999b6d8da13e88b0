"""A small node in a folder with knobs to write, the agent's hands on it, and an outsider who writes too."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import COMPACT_BYTES, Journal
from plimsoll.actuators.standing import Settings
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.fault import FaultHook
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.model.plan import NODE, Knob, OnExit, Plan, Target, Write, cgroup, merge
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ROOT = "kubepods.slice"
QOS = f"{ROOT}/kubepods-besteffort.slice"
SWITCH = "proc/sys/vm/memcg_qos_enable"
STATE = "run/plimsoll"
KNOB_FILES = {"cpu.idle": "0\n", "cpu.weight": "100\n", "memory.low": "0\n"}


PAGE = os.sysconf("SC_PAGE_SIZE")


def pod(number: int) -> str:
    """The path of a pod's cgroup."""
    return f"{QOS}/kubepods-besteffort-pod{number:08d}.slice"


def tree(pods: int, files: Mapping[str, str] | None = None) -> trees.Tree:
    """A cgroup v2 node with the knobs the agent writes, in the kubelet's cgroups and in ``pods`` pods."""
    made = trees.proc() | {SWITCH: "0\n", f"{STATE}/": "", f"{trees.CGROUP}/cgroup.controllers": "cpu memory\n"}
    for path in (ROOT, QOS, *(pod(number) for number in range(pods))):
        made |= trees.below(f"{trees.CGROUP}/{path}", dict(KNOB_FILES if files is None else files))
    return made


def values(root: Path) -> dict[str, bytes]:
    """Every file there is outside the agent's own directory, and its bytes."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if not relative.startswith(STATE):
                with open(path, "rb") as file:
                    found[relative] = file.read()
    return found


class Pages:
    """Keeps ``memory.low`` in whole pages, rounded down, as the kernel does: it shows when the file is read."""

    def __init__(self, size: int = PAGE) -> None:
        self._size = size

    def __call__(self, operation: str, path: str) -> int:
        if operation == "read" and path.endswith("/memory.low"):
            with open(path, encoding="ascii") as file:
                value = file.readline()
            if value.strip().isdigit() and int(value) % self._size:
                with open(path, "w", encoding="ascii") as file:
                    file.write(f"{int(value) - int(value) % self._size}\n")
        return 0


class Clock:
    """A clock that stands still until it is moved. Waiting moves it, so that nothing really waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Agent:
    """One run of the acting half on a folder: everything that is opened is closed in the end, nothing is put back."""

    def __init__(
        self,
        root: Path,
        *,
        fault: FaultHook | None = None,
        write: Callable[[int, bytes], int] = os.write,
        compact_bytes: int = COMPACT_BYTES,
        boot_id: str = trees.BOOT_ID,
        clock: Clock | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.clock = clock or Clock()
        with ExitStack() as opened:
            host = opened.enter_context(HostFs(str(root), fault=fault))
            hierarchies = opened.enter_context(Hierarchies.detect(host))
            self.journal = opened.enter_context(
                Journal.open(str(root / STATE), boot_id, fault=fault, write=write, compact_bytes=compact_bytes)
            )
            self.applier = Applier(
                Knobs(host, hierarchies),
                self.journal,
                clock=self.clock,
                random=random.Random(7).random,
                pause=self.clock.wait,
                settings=settings or Settings(),
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def want(
    target: Target | str,
    knob: Knob,
    value: str,
    *,
    policy: str = "preemption",
    on_exit: OnExit = OnExit.RESTORE,
    phase: int = 0,
) -> Write:
    where = cgroup(target) if isinstance(target, str) else target
    return Write(where, knob, value, policy, "the test wants it", on_exit, phase)


def switch(value: str = "1") -> Write:
    return want(NODE, Knob.MEMCG_QOS_ENABLE, value)


def plan(*writes: Write) -> Plan:
    return merge(writes, ["preemption"])
