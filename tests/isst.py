"""A machine with Speed Select: its files in a folder, its device the simulator's register model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.registers import Registers
from plimsoll.model.cpus import format_cpus
from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe
from plimsoll.simulator.speed_select_sysfs import FOLDER, lay_out
from plimsoll.simulator.tree import Tree
from tests.support import write

GENERATIONS = tuple(Generation)


class Rig(NamedTuple):
    """The model, what was found of it, and how long was waited."""

    model: SpeedSelect
    platform: Platform
    registers: Registers
    pauses: list[float]

    def state(self) -> Mapping[str, int | str]:
        return dict(self.model.registers())


def machine(generation: Generation) -> MachineDescription:
    """Two packages; with TPMI each has a hole in its power domains and a die without CPUs."""
    if generation is Generation.TPMI:
        return describe(generation, domains=2, io_domains=1, missing_domains=frozenset({1}))
    return describe(generation)


@contextmanager
def host(root: Path, description: MachineDescription, *, offline: frozenset[int] = frozenset()) -> Iterator[HostFs]:
    """The files, made where there are none yet."""
    if not (root / "sys").exists():
        root.mkdir(exist_ok=True)
        lay_out(Tree(str(root)), description, offline=offline)
    with HostFs(str(root)) as found:
        yield found


@contextmanager
def large_host(root: Path, description: MachineDescription) -> Iterator[HostFs]:
    """Only what detection looks at: thousands of files take longer to make than a test should."""
    for core in description.cores:
        for cpu in core.cpus:
            write(root / f"{FOLDER}/cpu{cpu}/topology", {"physical_package_id": f"{core.package}\n"})
    write(root / FOLDER, {"online": f"{format_cpus(description.cpus)}\n"})
    with HostFs(str(root)) as found:
        yield found


def rig(root: Path, generation: Generation, *, kernel: Kernel | None = None, interlocked: bool = True) -> Rig:
    """A machine with nothing wrong, found; its log is empty."""
    description = machine(generation)
    model = SpeedSelect(description, kernel=kernel, interlocked=interlocked)
    pauses: list[float] = []
    with host(root, description) as found:
        platform = Platform.detect(found, transport=model, pause=pauses.append)
    assert isinstance(platform, Platform), platform
    model.log.clear()
    return Rig(model, platform, Registers(platform), pauses)
