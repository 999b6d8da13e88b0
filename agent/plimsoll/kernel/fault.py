"""
Scripted faults: a system call fails with the errno somebody wants, before it is made.

A hook is given by tests, and by a simulated node that answers for its kernel; the agent has none. This module must not
know which calls there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable

FaultHook = Callable[[str, str], int]
"""Called as ``hook(operation, path)`` before each system call; a non-zero errno fails it."""


def inject(fault: FaultHook | None, operation: str, path: str) -> None:
    """Ask the hook, where there is one. Raises the OSError it wants, about ``path``."""
    code = 0 if fault is None else fault(operation, path)
    if code:
        raise OSError(code, os.strerror(code), path)
