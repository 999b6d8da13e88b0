"""
What runs without the tracer of a coverage measurement or a debugger, which makes Python some times slower.

For lives that end at a step of one that ran whole: they run no line that it has not, some hundred times. It must not be
used for what nothing else runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untraced() -> Iterator[None]:
    """In this thread, and only what is called within the block."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
