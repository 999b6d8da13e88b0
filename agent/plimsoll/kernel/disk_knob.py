"""
A control file with a line for each disk: reading and writing the line of one.

The kernel takes one line a write, prints none where nothing is limited, and leaves the other disks' alone. This module
must not know which value is wanted.
"""

from __future__ import annotations

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import Reading
from plimsoll.kernel.knob_file import KnobFile
from plimsoll.model.outcome import Outcome


class DiskKnob(Closing):
    """
    What one cgroup may have of the disk ``number`` (``MAJOR:MINOR``).

    ``unlimited`` is how a line is spelled that the kernel does not print. Owns ``file``.
    """

    __slots__ = ("_file", "_number", "_unlimited")

    def __init__(self, file: KnobFile, number: str, unlimited: str) -> None:
        self._file = file
        self._number = number
        self._unlimited = unlimited

    @property
    def identity(self) -> int:
        """The cgroup's."""
        return self._file.identity

    def close(self) -> None:
        """Let go of the cgroup; closing twice is allowed."""
        self._file.close()

    def read(self) -> Reading:
        """What stands there now for this disk, without its number."""
        reading = self._file.read()
        if reading.outcome is not Outcome.OK or reading.data is None:
            return reading
        for line in reading.data.split(b"\n"):
            number, _, value = line.partition(b" ")
            if number == self._number.encode("ascii"):
                return reading._replace(data=value)
        return reading._replace(data=self._unlimited.encode("ascii"))

    def write(self, text: str) -> tuple[Outcome, int]:
        """Put one value there in one system call; as in :meth:`KnobFile.write`."""
        return self._file.write(f"{self._number} {text}")

    def present(self) -> Outcome:
        """As in :meth:`KnobFile.present`."""
        return self._file.present()
