"""
/dev/isst_interface in a guest, seen from the test: which machine it is, what its registers hold, what goes wrong next.

Owns the places in the guest and the server's life there. What the server does is told by server.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.vm.agent import HOME, SOURCES
from tests.vm.isst.tool import PROGRAM
from tests.vm.machine import Machine, Result

HERE = Path(__file__).resolve().parent
DEVICE = "/dev/isst_interface"
UNIT = "isst.service"
SOCKET = "/run/isst.socket"
SYSFS = "/run/isst-sys"
CPU = "/sys/devices/system/cpu"
# On a processor that they know these would make a device node of the same name.
KERNEL_ARGUMENTS = ("module_blacklist=isst_if_common,isst_tpmi,isst_tpmi_core",)
# Everything is slow where the processor is emulated, importing most of all.
SECONDS = 120.0

Registers = Mapping[str, int | str]


def processor(model: int, stepping: int = 8) -> tuple[str, ...]:
    """QEMU's options for two packages of two cores with two threads, of an Intel model of family 6."""
    cpu = f"max,vendor=GenuineIntel,family=6,model={model},stepping={stepping}"
    return "-cpu", cpu, "-smp", "8,sockets=2,cores=2,threads=2"


class Emulator:
    """The device of one guest, started at once; the guest must have been booted with :data:`KERNEL_ARGUMENTS`."""

    def __init__(self, guest: Machine) -> None:
        self._guest = guest
        self._shown: Mapping[str, Any] | None = None
        guest.push_tree(f"{HOME}/agent", SOURCES)
        guest.push_tree(f"{HOME}/isst", HERE)
        guest.sh(
            f"modprobe cuse && systemd-run --quiet --unit={UNIT} --setenv=PYTHONPATH={HOME}/agent:/opt/site "
            f"python3 {HOME}/isst/server.py {SOCKET}"
        )
        guest.sh(
            f"until [ -S {SOCKET} ]; do systemctl is-active --quiet {UNIT} || exit 1; sleep 0.2; done",
            timeout=SECONDS,
        )

    def start(
        self, machine: Mapping[str, Any], found: Mapping[str, int] | None = None, **settings: Mapping[str, Any]
    ) -> None:
        """
        Make it another machine, with its CPUs in sysfs: fresh from reset but for what is ``found`` in its registers.

        ``settings``: ``kernel`` and ``set``, arguments of Kernel and SpeedSelect.
        """
        pokes = [{"do": "poke", "register": register, "value": value} for register, value in (found or {}).items()]
        requests: list[Mapping[str, Any]] = [{"do": "machine", "machine": machine, **settings}, *pokes]
        if machine == self._shown:
            self._ask(*requests)
            return
        # What has a file there open goes on reading the old one: unmount lazily.
        self._guest.sh(f"! mountpoint -q {CPU} || umount -l {CPU}; rm -rf {SYSFS}; mkdir {SYSFS}")
        self._ask(*requests, {"do": "sysfs", "root": SYSFS})
        # The kernel's tool keeps the topology that it saw first.
        self._guest.sh(f"mount --bind {SYSFS}{CPU} {CPU}; rm -f /run/isst_cpu_topology.dat")
        self._shown = machine

    def registers(self) -> Registers:
        """As the model spells them, see speed_select_hardware.Hardware.registers()."""
        found: Registers = self._ask({"do": "registers"})[0]
        return found

    def log(self) -> list[dict[str, Any]]:
        """The exchanges since the start, as server.py shows them."""
        found: list[dict[str, Any]] = self._ask({"do": "log"})[0]
        return found

    def poke(self, register: str, value: int) -> None:
        """Change a register behind everybody's back."""
        self._ask({"do": "poke", "register": register, "value": value})

    def kill_at(self, number: int) -> None:
        """Kill whoever asks for the write of this number from now on, counted from 0, before it is done."""
        self._ask({"do": "kill", "number": number})

    def fault(self, name: str, *arguments: Any) -> None:
        """Let one of speed_select_fault's faults happen."""
        self._ask({"do": "fault", "name": name, "arguments": arguments})

    def calm(self) -> None:
        """Let none of the faults happen that have not happened yet."""
        self._ask({"do": "calm"})

    def _ask(self, *requests: Mapping[str, Any]) -> list[Any]:
        argv = ["python3", "-IS", f"{HOME}/isst/ask.py", SOCKET, json.dumps(requests)]
        answers: list[Any] = json.loads(self._guest.run(argv, timeout=SECONDS).check().stdout)
        return answers


class Tool:
    """The kernel's intel-speed-select in a guest."""

    def __init__(self, guest: Machine, program: Path) -> None:
        self._guest = guest
        self._path = f"/usr/local/bin/{PROGRAM}"
        guest.push(self._path, program.read_bytes(), 0o755)

    def run(self, *arguments: str) -> Result:
        """Run it; its exit code is 0 for most failures, its words are on standard error."""
        return self._guest.run([self._path, *arguments], timeout=SECONDS)
