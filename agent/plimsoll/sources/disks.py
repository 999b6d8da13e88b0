"""The node's disks as the policy of I/O limits needs them. It must not know pods."""

from __future__ import annotations

from plimsoll.kernel.disks import device_names, read_disks
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.disk import Disk

# A volume may be renamed and the root file system be moved without any device coming or going.
FRESH_SECONDS = 60.0


class NodeDisks:
    """Reads them afresh when one comes or goes, and now and then: a storage node has thousands of files about them."""

    def __init__(self, host: HostFs) -> None:
        self._host = host
        self._names: tuple[str, ...] | None = None
        self._read = 0.0
        self._disks: tuple[Disk, ...] = ()

    def sample(self, now: float) -> tuple[Disk, ...]:
        """The whole disks there are; ``now`` is monotonic seconds. Raises nothing."""
        names = device_names(self._host)
        if names != self._names or now - self._read >= FRESH_SECONDS:
            self._names, self._read = names, now
            self._disks = read_disks(self._host, names)
        return self._disks
