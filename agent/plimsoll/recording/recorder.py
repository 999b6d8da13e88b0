"""
Writes a recording. One that cannot go on stops, says so once, and never stops the agent.

Owns the file while it is written: its size and its end. It must not know what a snapshot means.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from plimsoll import __version__
from plimsoll.config.schema import Config
from plimsoll.log import Event, Log
from plimsoll.model.plain import PlainForm
from plimsoll.model.snapshot import Snapshot
from plimsoll.options import Options
from plimsoll.recording.lines import CONFIGURATION, FORMAT, SNAPSHOT, SUFFIX, VERSION, Header, line
from plimsoll.sources.worker import Stuck, Worker

_FILE_MODE = 0o600
# A link or a FIFO planted here must not lead us to another file or hold us up.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# The end of a gzip stream: a last block, checksum and length.
_TAIL_BYTES = 64
_GZIP_WINDOW = 31
# A write of some hundred kilobytes takes milliseconds; one that takes this long is hung.
WRITE_DEADLINE = 10.0


class Recorder:
    """
    Writes one recording. ``stopped`` says why it no longer does, empty while it does. One thread.

    What an earlier snapshot held is in the file when :meth:`record` returns, also with compression.
    """

    def __init__(self, path: str, node: str, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take ``path``; with ``.gz`` at its end, compressed. Raises OSError, also for a file with something in it."""
        self._path = path
        self._max_bytes = max_bytes
        self._header: Header | None = Header(FORMAT, VERSION, __version__, node)
        self._form = PlainForm(Snapshot)
        self._config: Config | None = None
        self._packer = zlib.compressobj(wbits=_GZIP_WINDOW) if path.endswith(SUFFIX) else None
        self._worker: Worker[None] = Worker("record", clock)
        self._size = 0
        self._torn = False
        self.stopped = ""
        self._descriptor = _take(path)

    def record(self, snapshot: Snapshot, config: Config) -> None:
        """Append a snapshot, and the configuration if it is another one than before. Raises nothing."""
        if self.stopped:
            return
        try:
            lines = self._lines(snapshot, config)
        except ValueError as error:
            self._stop(f"snapshot {snapshot.sequence} cannot be written down: {error}")
            return
        before = None if self._packer is None else self._packer.copy()
        data = self._packed(lines)
        if self._size + len(data) + _TAIL_BYTES > self._max_bytes:
            self._packer = before
            self._stop(f"its limit of {self._max_bytes} bytes is reached")
            return
        answer = self._worker.call(lambda: self._append(data), WRITE_DEADLINE)
        if isinstance(answer, Stuck):
            # The thread is still in it: the descriptor cannot be closed below it.
            self._descriptor = -1
            self._stop(f"a write has not come back for {answer.seconds:.0f} s")
        elif answer.error is not None:
            self._packer = before
            self._stop(str(answer.error))

    def close(self) -> None:
        """End the recording; closing twice is allowed."""
        if not self.stopped:
            self.stopped = "closed"
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _lines(self, snapshot: Snapshot, config: Config) -> bytes:
        found: list[object] = []
        if self._header is not None:
            found.append(self._header._asdict())
            self._header = None
        if config != self._config:
            self._config = config
            # How the agent is reached and what it logs decides nothing.
            sections = config.model_dump(mode="json", by_alias=True, exclude={"http", "log"})
            found.append({CONFIGURATION: sections})
        found.append({SNAPSHOT: self._form.encode(snapshot)})
        return b"".join(line(each) for each in found)

    def _packed(self, lines: bytes) -> bytes:
        if self._packer is None:
            return lines
        # To the last byte: whoever is killed next has lost nothing of this one.
        return self._packer.compress(lines) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def _append(self, data: bytes) -> None:
        if os.fstat(self._descriptor).st_nlink == 0:
            # It would go on taking room where nobody sees it.
            raise OSError(errno.ENOENT, "the file was removed", self._path)
        written = 0
        self._torn = True
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            self._torn = False
            raise
        self._torn = False
        self._size += written

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        _log.warning(Event.RECORDING_STOPPED, file=self._path, reason=reason)
        self._end()

    def _end(self) -> None:
        self._worker.stop()
        if self._descriptor < 0:
            return
        if self._packer is not None and self._size and not self._torn:
            # Without its end it can be read all the same, as a recording that breaks off.
            with suppress(OSError):
                os.write(self._descriptor, self._packer.flush(zlib.Z_FINISH))
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = -1


def recorder_of(options: Options) -> Recorder | None:
    """The one the options name, if they do. Raises as :class:`Recorder`."""
    return None if options.record is None else Recorder(options.record, options.node_name, options.record_bytes)


def _take(path: str) -> int:
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    except FileExistsError:
        descriptor = os.open(path, _FLAGS)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
                raise FileExistsError(errno.EEXIST, "is not a file of one's own to record to", path) from None
            if found.st_size:
                raise FileExistsError(
                    errno.EEXIST, "has something in it, which a recording does not overwrite; name a new file", path
                ) from None
            os.fchmod(descriptor, _FILE_MODE)
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


_log = Log("recording")
