"""
How this kernel is told to take what swap can hold, and to leave the page cache: no file says which words it knows.

Owns the words of ``memory.reclaim`` beside the size. A kernel refuses words it does not know (EINVAL) before it has
done anything, so the best ones are tried first and what was refused is remembered. It must not know why anything is
reclaimed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from plimsoll.kernel.hostfs import Directory
from plimsoll.kernel.reclaim.plain import Answer, reclaim
from plimsoll.model.outcome import Outcome

ANON_FIRST = 200
"""The swappiness that asks for what swap can hold, and for nothing else where the kernel has a word for that."""

# openEuler kernels; Linux after 6.12, where 200 still takes the page cache first as long as there is much of it.
_ANON_ONLY = ("type=anon", "swappiness=max")


class Wording:
    """What one node's kernel has been found to take. One thread calls it."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def reclaim(
        self,
        directory: Directory,
        size: int,
        swappiness: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> Answer:
        """
        As ``plain.reclaim``, in the best words the kernel takes. REJECTED where it takes not even the bare size.

        ``swappiness`` is a wish: 0..200, ``None`` for the kernel's own; a kernel that takes none goes by its own.
        """
        refused: list[str] = []
        for words in self._best_first(swappiness):
            answer = reclaim(directory, size, words, clock=clock)
            if answer.outcome is not Outcome.REJECTED:
                # Now it is known that it was the words.
                self._refused.update(refused)
                return answer
            refused.append(words)
        return answer

    def _best_first(self, swappiness: int | None) -> Iterator[str]:
        if swappiness is not None:
            known = _ANON_ONLY if swappiness >= ANON_FIRST else ()
            yield from (each for each in (*known, f"swappiness={swappiness}") if each not in self._refused)
        yield ""
