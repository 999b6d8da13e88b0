"""What every way of finding cold memory can be asked. It must not know why, or how much is wanted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from plimsoll.model.plan import Selector, Watch


class ColdMemory(Protocol):
    """
    Finds cold memory of pods by one mechanism of the kernel. One thread calls all of it but :meth:`cold`,
    :meth:`halt` and :attr:`usable`.

    Nothing it sets in the kernel may outlive :meth:`close`, nor hurt anybody when the process is killed before that.
    """

    @property
    def selector(self) -> Selector: ...

    @property
    def usable(self) -> bool:
        """Whether it works here. While it does not, another one is to be asked; some time later it may try again."""

    def watch(self, watches: Sequence[Watch]) -> None:
        """From now on know what is cold in these pods, and in no others. Asked again with the same, does nothing."""

    def advance(self, now: float) -> None:
        """Do what is due at ``now`` (monotonic seconds): an ageing pass, a change of state. Takes bounded time."""

    def halt(self, keep: Collection[str]) -> None:
        """From this moment on page out nothing by itself of other pods than these. Does not block."""

    def cold(self, pod: str) -> int | None:
        """Bytes of a watched pod that were idle for the whole window; ``None`` while that is not known yet."""

    def close(self) -> None:
        """Leave nothing behind."""
