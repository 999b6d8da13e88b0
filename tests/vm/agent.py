"""
Plimsoll in a guest: its sources put there, its command line, the running agent as a systemd unit.

Owns the places in the guest. What is asserted about the answers is the test's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plimsoll.kernel.probe import Name
from tests.fixtures.hosts.capabilities import FREQUENCIES
from tests.vm.machine import Machine, Result

SOURCES = Path(__file__).resolve().parents[2] / "agent"
SCRIPTS = Path(__file__).resolve().parent / "scripts"
HOME = "/opt/plimsoll"
PODS = "/etc/plimsoll/pods"
CONFIG = "/etc/plimsoll/plimsoll.yaml"
LOG = "/run/plimsoll.log"
UNIT = "plimsoll.service"
PORT = 9470
ENFORCE = f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\npreemption: {{mode: enforce}}\n"
"""A configuration to push to CONFIG: preemption writes."""
WITHOUT_OPENEULER = dict.fromkeys(
    ("pressure-stat", "cpu-qos-level", "memory-qos-level", "memcg-qos-enable", "swapfile", Name.SWAP_TIERS), "not-built"
)
WITHOUT_HARDWARE = dict.fromkeys((*FREQUENCIES, Name.KUBELET_SWAP), "no-file")
"""What no guest has, by capability with the reason: only openEuler's kernels; frequencies, a kubelet."""
# Importing takes seconds where the processor is emulated.
COMMAND_SECONDS = 120.0

_ENVIRONMENT = {"PYTHONPATH": f"{HOME}/agent:/opt/site", "NODE_NAME": "guest"}


class Agent:
    """The agent of one guest; copies the sources there at once. ``interval``: between observations, as configured."""

    def __init__(self, guest: Machine, *, interval: str = "1s") -> None:
        self._guest = guest
        guest.push_tree(f"{HOME}/agent", SOURCES)
        guest.push_tree(f"{HOME}/scripts", SCRIPTS)
        guest.sh(f"mkdir -p {PODS}")
        guest.push(CONFIG, f"pressure: {{interval: {interval}}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n")

    def plimsoll(self, *arguments: str) -> Result:
        """Run one of the agent's commands."""
        argv = ["python3", "-m", "plimsoll.cli", *arguments]
        return self._guest.run(argv, env=_ENVIRONMENT, timeout=COMMAND_SECONDS)

    def doctor(self) -> dict[str, dict[str, Any]]:
        """The node's capabilities by name, as ``plimsoll doctor --format json`` gives them."""
        found = json.loads(self.plimsoll("doctor", "--format", "json").check().stdout)
        return {each["name"]: each for each in found}

    def metrics(self) -> str:
        """The page of ``plimsoll metrics`` for the guest's pods."""
        return self.plimsoll("metrics", "--pods", PODS).check().stdout

    def script(self, name: str, *arguments: str, timeout: float = COMMAND_SECONDS) -> Any:
        """The JSON that one of scripts/ prints within so many seconds, run with the agent's packages."""
        argv = ["python3", f"{HOME}/scripts/{name}", *arguments]
        return json.loads(self._guest.run(argv, env=_ENVIRONMENT, timeout=timeout).check().stdout)

    def start(self, *properties: str) -> None:
        """Start the agent as a unit of its own, with these properties, and wait until systemd has it running."""
        environment = " ".join(f"--setenv={name}={value}" for name, value in _ENVIRONMENT.items())
        options = " ".join(f"-p {each}" for each in (f"StandardError=append:{LOG}", *properties))
        self._guest.sh(
            f"systemd-run --quiet --unit={UNIT} {environment} {options} "
            f"python3 -m plimsoll.cli run --pods {PODS} --config {CONFIG}"
        )

    def stop(self, signal: str = "TERM") -> None:
        """Send it the signal and wait for its end."""
        self._guest.sh(
            f"systemctl kill --signal={signal} {UNIT}; "
            f"while systemctl is-active --quiet {UNIT}; do sleep 0.2; done; systemctl reset-failed {UNIT} || true",
            timeout=COMMAND_SECONDS,
        )

    @property
    def pid(self) -> int:
        """Process id of the running agent, 0 when it has ended."""
        return int(self._guest.sh(f"systemctl show --property=MainPID --value {UNIT}"))

    def log(self) -> list[dict[str, Any]]:
        """The running agent's log by lines. A line that is no JSON (a traceback) raises ValueError with the log."""
        text = self._guest.pull(LOG).decode()
        try:
            return [json.loads(line) for line in text.splitlines()]
        except ValueError as error:
            raise ValueError(f"not a log line among these:\n{text}") from error
