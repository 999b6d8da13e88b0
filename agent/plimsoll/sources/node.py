"""The node's own sample: pressure, memory and CPUs. It must not know pods."""

from __future__ import annotations

from plimsoll.kernel import proc
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.snapshot import NodeSample


class NodeFiles:
    """Reads what ``/proc`` says of the whole node."""

    def __init__(self, host: HostFs) -> None:
        self._host = host

    def sample(self) -> NodeSample:
        """One observation; what the kernel does not give is ``None`` or absent."""
        memory = proc.read_meminfo(self._host)
        return NodeSample(
            pressures=proc.read_pressure(self._host).pressures,
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            cpus=proc.read_cpu_count(self._host),
        )
