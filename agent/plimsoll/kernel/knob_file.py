"""
A knob's file, held by its cgroup's directory or by the host's: reading and writing it.

One value is one write(2), and the answer is an outcome. This module must not know which value is wanted, what was
written before, or what to do when somebody else wrote.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import Directory, Reading
from plimsoll.kernel.knob_spec import Carried
from plimsoll.model.outcome import Outcome, outcome_of

# A cgroup's write handler gets one page or nothing: longer text is E2BIG.
WRITE_LIMIT = 4096


class KnobFile(Closing):
    """
    One knob of one target, held by the cgroup's directory: a cgroup made again under the same name is another one.

    ``identity`` is the directory's inode number in its hierarchy, 0 for the node.
    """

    __slots__ = ("_blank", "_carried", "_directory", "_file", "_reached", "_widest", "identity")

    def __init__(
        self,
        directory: Directory,
        file: str,
        reached: tuple[Directory, str] | None,
        carried: tuple[Carried, ...] = (),
        *,
        blank: str | None = None,
        widest: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        ``reached``: by which directory and path the cgroup was found; ``None`` for the node's own files.

        ``carried`` and ``blank`` are the knob's. ``widest`` gives a value that lets a cgroup have all that the empty
        one would, ``None`` where it cannot be known.
        """
        self._blank = blank
        self._widest = widest
        self._carried = next((each.file for each in carried if directory.exists(each.file)), None)
        self._directory = directory
        self._file = file
        self._reached = reached
        self.identity = 0 if reached is None else directory.inode()

    def close(self) -> None:
        """Let go of the cgroup; closing twice is allowed. The host's own directory is not ours to close."""
        if self._reached is not None:
            self._directory.close()

    def read(self) -> Reading:
        """What stands there now."""
        reading = self._read(self._file)
        if self._blank is not None and reading.data is not None:
            line, end, tail = reading.data.partition(b"\n")
            if not line.strip():
                # A recorded file keeps the tail of a longer value until it is cut: then it is not yet as it was.
                return reading._replace(data=self._blank.encode("ascii") + (end + tail if tail else b""))
        if self._carried is None or reading.data != b"0\n":
            return reading
        beside = self._read(self._carried)
        if beside.outcome is not Outcome.OK or beside.data is None:
            return beside
        return reading._replace(data=b"0 %s=%s" % (self._carried.encode("ascii"), beside.data))

    def _read(self, file: str) -> Reading:
        reading = self._directory.read(file)
        return reading._replace(outcome=self._vanished()) if reading.outcome is Outcome.MISSING else reading

    def write(self, text: str) -> tuple[Outcome, int]:
        """
        Put one value there in one system call, or one for each file: the outcome and its errno, 0 where none failed.

        OK says that the kernel took it, not that it keeps it. Text of more than one line, or that does not fit a page,
        is REJECTED unseen.
        """
        if self._blank is not None and text == self._blank:
            return self._put_blank()
        head, carries, value = text.partition(f" {self._carried}=")
        answer = self._write(self._file, head)
        if not carries or self._carried is None or answer[0] is not Outcome.OK:
            return answer
        # In this order: while the knob is set the kernel refuses the other.
        return self._write(self._carried, value)

    def _put_blank(self) -> tuple[Outcome, int]:
        answer = self._put(self._file, b"\n")
        # cpuset.cpus of a cgroup with tasks never goes back to nothing (validate_change() in kernel/cgroup/cpuset.c).
        # The name of all there may ever be does the same: what the cgroup above lacks does not count.
        widest = self._widest() if answer[0] is Outcome.NOSPACE else None
        return answer if widest is None else self._write(self._file, widest)

    def _write(self, file: str, text: str) -> tuple[Outcome, int]:
        line = text.removesuffix("\n")
        if not line or not line.isascii() or not line.isprintable():
            return Outcome.REJECTED, errno.EINVAL
        data = f"{line}\n".encode("ascii")
        return (Outcome.REJECTED, errno.E2BIG) if len(data) > WRITE_LIMIT else self._put(file, data)

    def _put(self, file: str, data: bytes) -> tuple[Outcome, int]:
        outcome, code = self._directory.write(file, data)
        return (self._vanished() if outcome is Outcome.MISSING else outcome), code

    def present(self) -> Outcome:
        """OK, or why the file cannot be had: MISSING where this cgroup lacks it, GONE where the cgroup vanished."""
        try:
            os.close(self._directory.open(self._file, os.O_PATH))
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
            return self._vanished() if outcome is Outcome.MISSING else outcome
        return Outcome.OK

    def _vanished(self) -> Outcome:
        """ENOENT below a held directory: a kernel without this file, or a cgroup that is no more?"""
        if self._reached is None:
            return Outcome.MISSING
        above, path = self._reached
        try:
            with above.directory(path) as now:
                return Outcome.MISSING if now.inode() == self.identity else Outcome.GONE
        except OSError as error:
            return Outcome.GONE if outcome_of(error.errno or 0) is Outcome.MISSING else Outcome.MISSING
