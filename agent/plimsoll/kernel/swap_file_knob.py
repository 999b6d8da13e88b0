"""
Whether there is a swap file of the agent's making, in the shape of a knob.

``absent``, or the size of the file that is there, whoever made it. It must not know why one is wanted.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from plimsoll.kernel.closing import Closing
from plimsoll.kernel.hostfs import HostFs, Reading
from plimsoll.kernel.swap_file import is_own, length, make, remove, vacant
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.plan import SWAP_ABSENT, Target, TargetKind

_SIZE = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_OTHER = b"other\n"


class SwapFileKnob(Closing):
    """One name in one folder. ``identity`` is the folder's inode: the file itself comes and goes."""

    __slots__ = ("_host", "_path", "identity")

    def __init__(self, host: HostFs, path: str, identity: int) -> None:
        self._host = host
        self._path = path
        self.identity = identity

    @classmethod
    def of(cls, host: HostFs, target: Target) -> SwapFileKnob | Outcome:
        """The file of this name, there or not; GONE where there is no folder for it."""
        if target.kind is not TargetKind.SWAP:
            return Outcome.MISSING
        try:
            descriptor = host.open(os.path.dirname(target.path), os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
            return Outcome.GONE if outcome is Outcome.MISSING else outcome
        try:
            return cls(host, target.path, os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """There is nothing to let go of."""

    def read(self) -> Reading:
        """What is there now; a device, or a link that leads nowhere, is none of ours."""
        try:
            if vacant(self._host, self._path):
                return Reading(f"{SWAP_ABSENT}\n".encode("ascii"), Outcome.OK)
            descriptor = self._host.open(self._path, os.O_PATH)
        except FileNotFoundError:
            return Reading(_OTHER, Outcome.OK)
        except OSError as error:
            code = error.errno or errno.EIO
            return Reading(None, outcome_of(code), code)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return Reading(b"%d\n" % found.st_size if stat.S_ISREG(found.st_mode) else _OTHER, Outcome.OK)

    def write(self, text: str) -> tuple[Outcome, int]:
        """Make the file, or remove the one that the agent made. HELD: something stands in the way."""
        value = text.removesuffix("\n")
        if value == SWAP_ABSENT:
            return remove(self._host, self._path)
        if _SIZE.fullmatch(value) is None or int(value) % os.sysconf("SC_PAGE_SIZE"):
            return Outcome.REJECTED, errno.EINVAL
        if is_own(self._host, self._path) and length(self._host, self._path) == int(value):
            return Outcome.OK, 0
        return make(self._host, self._path, int(value))
