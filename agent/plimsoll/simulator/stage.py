"""
Where a demonstration is shown: pictures one over the other on a terminal, now and then one in a log; then what is kept.

What it is given may hold a stranger's text. It must not ask anybody anything, nor know the story.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from plimsoll.status_view import view
from plimsoll.terminal import Screen, Style, printable, style_of

# What is not redrawn in place, as in a CI log, is shown less often.
_PLAIN_SECONDS = 5.0


class Stage:
    """Shows on ``stream``; ``plain``: as in a log even on a terminal. Use it as a context."""

    def __init__(self, stream: TextIO, clock: Callable[[], float], *, plain: bool) -> None:
        self._stream = stream
        self._clock = clock
        self._plain = plain
        self._screen = Screen(stream)
        self._due = float("-inf")

    def __enter__(self) -> Self:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, trace)

    def scene(self) -> None:
        """Another one begins: its first picture is shown in a log, too."""
        self._due = float("-inf")

    def show(self, heading: Sequence[str], status: Mapping[str, Any] | None = None) -> None:
        """A picture: lines, and below them what an agent says."""
        style, now = self._style(), self._clock()
        if not style.live and now < self._due:
            return
        self._due = now + _PLAIN_SECONDS
        lines = [printable(line, style)[: style.width] for line in heading]
        self._screen.show([*lines, "", *([] if status is None else [*view(status, style), ""])], style)

    def keep(self, status: Mapping[str, Any], told: Sequence[str]) -> None:
        """After the context: on a terminal all pictures are gone, so the last one is left to be read and copied."""
        style = self._style()
        lines = [*view(status, style), "", *(printable(line, style) for line in told)]
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()

    def _style(self) -> Style:
        style = style_of(self._stream, os.environ)
        return style._replace(live=False, colour=False) if self._plain else style
