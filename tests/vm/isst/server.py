"""
/dev/isst_interface in a guest: a simulated machine's registers behind a real device node.

    server.py SOCKET    make the device, and answer lists of requests on the socket (see ask.py) with lists of answers

Requests, by what to ``do``:

- ``machine``: start anew with ``machine``, ``kernel`` and ``set``, the arguments of describe(), Kernel and SpeedSelect
- ``registers``, ``log``: what they hold, and the exchanges since the start: when each was over (CLOCK_MONOTONIC), which
  CPUs were ``slow`` then, whether any domain had turbo frequency on with core-power off (``unprioritised``), and which
  of the registers written were not in the agent's journal then (``unknown``): while it asks it cannot write there
- ``poke``: a foreign hand; the ``register`` and its ``value``, at once or before the ``step``-th ioctl
- ``fault``: one of speed_select_fault's by ``name``, with its ``arguments``
- ``calm``: what has not gone wrong by now does not any more
- ``kill``: SIGKILL for whoever asks for the write of this ``number``, before it is done
- ``sysfs``: the files of the machine's CPUs in the folder ``root``

Owns the merging of the two; the model is the product's (plimsoll.simulator), the device's wire format is cuse.py's.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cuse import Cuse

from plimsoll.actuators.replay import replay
from plimsoll.model.plan import Knob
from plimsoll.policies.frequency_groups import LOW_CLASS
from plimsoll.simulator import speed_select_fault
from plimsoll.simulator.speed_select import Exchange, SpeedSelect
from plimsoll.simulator.speed_select_fault import Command
from plimsoll.simulator.speed_select_hardware import TURBO_FREQUENCY
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, describe
from plimsoll.simulator.speed_select_sysfs import lay_out
from plimsoll.simulator.tree import Tree

NAME = "isst_interface"
_SYS_ADMIN = 21
JOURNAL = Path("/run/plimsoll/journal")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class KilledError(Exception):
    """The caller has been killed in the middle of its ioctl."""


class Server:
    """The device's other half: whatever machine was asked for last."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._states: list[dict[str, Any]] = []
        self._journals: list[tuple[set[tuple[str, str]], bytes]] = []
        self._found: list[list[str]] = []
        self._caller = 0
        self._model = self._start({"machine": {"generation": "tpmi"}})

    def size(self, request: int, start: bytes) -> int:
        return self._model.size(request, start)

    def ioctl(self, request: int, buffer: bytearray, pid: int) -> int:
        self._caller = pid
        self._model.kernel.sys_admin = sys_admin(pid)
        try:
            return self._model.ioctl(request, buffer)
        except OSError as error:
            return -(error.errno or errno.EIO)
        except KilledError:
            return -errno.EINTR

    def answer(self, request: dict[str, Any]) -> Any:
        """The JSON answer to one request."""
        match request["do"]:
            case "machine":
                self._model = self._start(request)
            case "registers":
                return dict(self._model.registers())
            case "log":
                return [
                    {
                        "time_ns": when,
                        "step": each.step,
                        "request": each.request,
                        "result": each.result,
                        "commands": [{**command._asdict(), "error": error} for command, error in each.commands],
                        **state,
                        "unknown": unjournalled,
                    }
                    for when, each, state, unjournalled in zip(
                        self._times, self._model.log, self._states, self._unknown(), strict=True
                    )
                ]
            case "poke":
                poke = partial(self._model.hardware.poke, request["register"], request["value"])
                if "step" in request:
                    self._model.faults.append(speed_select_fault.at(request["step"], poke))
                else:
                    poke()
            case "fault":
                fault = getattr(speed_select_fault, request["name"])(*request["arguments"])
                self._model.faults.append(fault)
            case "calm":
                self._model.faults.clear()
            case "kill":
                self._model.faults.append(speed_select_fault.at_write(request["number"], self._kill))
            case "sysfs":
                lay_out(Tree(request["root"]), self._model.machine)
            case other:
                raise ValueError(f"cannot do {other}")
        return None

    def _start(self, request: dict[str, Any]) -> SpeedSelect:
        machine = dict(request["machine"])
        generation = Generation(machine.pop("generation"))
        for name in ("missing_domains", "fused_off"):
            if name in machine:
                machine[name] = frozenset(machine[name])
        self._times, self._states, self._journals, self._found = [], [], [], []
        return SpeedSelect(
            describe(generation, **machine),
            kernel=Kernel(**request.get("kernel", {})),
            observe=self._note,
            **request.get("set", {}),
        )

    def _kill(self) -> None:
        os.kill(self._caller, signal.SIGKILL)
        # Nobody is there to see it; the write must not be done.
        raise KilledError

    def _note(self, exchange: Exchange) -> None:
        self._times.append(time.monotonic_ns())
        hardware = self._model.hardware
        cores = self._model.machine.cores
        slow = (each for each in cores if hardware.class_of(each.package, each.domain, each.core) == LOW_CLASS)
        self._states.append(
            {
                "slow": sorted(cpu for each in slow for cpu in each.cpus),
                "unprioritised": any(
                    domain.features & TURBO_FREQUENCY and not hardware.prioritised(domain)
                    for domain in hardware.domains.values()
                ),
            }
        )
        # Whoever waits for the ioctl is not to wait for what is reckoned from it.
        written = {place(command) for command, error in exchange.commands if command.write and not error}
        self._journals.append((written, JOURNAL.read_bytes() if written and JOURNAL.exists() else b""))

    def _unknown(self) -> list[list[str]]:
        """Of each exchange's writes, the registers whose originals were not in the agent's journal by then."""
        for written, journal in self._journals[len(self._found) :]:
            self._found.append(unknown(written, journal))
        return self._found


def unknown(written: set[tuple[str, str]], data: bytes) -> list[str]:
    """The registers whose originals are not in this journal of an agent on this machine."""
    if not written:
        return []
    known = {(str(key.knob), key.target.path) for key in replay(data, BOOT_ID.read_text().strip()).originals}
    return sorted(" ".join(each) for each in written - known)


def place(command: Command) -> tuple[str, str]:
    """Knob and address, as in the journal."""
    kind, _, number = command.register.partition("/")
    if kind == "assoc":
        return Knob.CLOS_ASSOCIATION, f"{command.package}/{command.domain}/{number}"
    if kind == "clos":
        return Knob.CLOS_PARAMETERS, f"{command.package}/{command.domain}/{number}"
    knob = {"features": Knob.TURBO_FREQUENCY, "msr": Knob.TURBO_LIMITS}.get(kind, Knob.CORE_POWER)
    return knob, str(command.package)


def sys_admin(pid: int) -> bool:
    """Whether the process has CAP_SYS_ADMIN, which the driver asks the kernel for."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _SYS_ADMIN & 1)
    return False


def serve(path: str) -> None:
    """Until it is killed."""
    server = Server()
    cuse = Cuse(NAME, server)
    cuse.serve()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    while True:
        ready, _, _ = select.select([cuse, listener], [], [])
        if cuse in ready:
            cuse.serve()
        if listener in ready:
            with listener.accept()[0] as client:
                requests = json.loads(client.makefile("rb").readline())
                client.sendall(json.dumps([server.answer(each) for each in requests]).encode())


if __name__ == "__main__":
    serve(sys.argv[1])
