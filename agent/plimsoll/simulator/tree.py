"""
Files of a simulated kernel in a folder: their text changes, their inodes and sizes do not.

A reader that holds a descriptor and reads from the start, as the agent does, must get one state or the next, never a
mixture. A file in a folder makes no such promise when its size changes, so a file's text has one length for life
(``simulator/spelling.py`` fills up with leading zeros) and is replaced by one pwrite(2). What is left is the copying
inside the two system calls: two processes that did nothing but read and write one file met in it at most once in a
thousand writes, which for ten writes a second makes one mixture in ten million reads.

One thing a folder cannot do: a descriptor held on a removed file keeps answering, where the kernel says ENODEV.
"""

from __future__ import annotations

import os
import shutil


class Tree:
    """The folder. Paths are relative to it and come from this program only."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._shown: dict[str, str] = {}

    def path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def directory(self, path: str) -> None:
        """Make a directory and its parents, as far as they are missing."""
        os.makedirs(self.path(path), exist_ok=True)

    def link(self, path: str, target: str) -> None:
        os.symlink(target, self.path(path))

    def fixed(self, path: str, text: str) -> None:
        """A file this program never changes after, exactly as given."""
        self.directory(os.path.dirname(path))
        with open(self.path(path), "x", encoding="ascii") as file:
            file.write(text)

    def read(self, path: str) -> str:
        """What stands in a file now: an agent may have written to it. Empty when it is not there."""
        try:
            with open(self.path(path), encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def put(self, path: str, text: str) -> None:
        """
        Show ``text`` in a file that can change; the first call makes it.

        Raises ValueError when the text has not the length of the first one.
        """
        shown = self._shown.get(path)
        if shown == text:
            return
        if shown is None:
            self.directory(os.path.dirname(path))
        elif len(shown) != len(text):
            raise ValueError(f"{path}: {len(text)} characters cannot replace {len(shown)}")
        descriptor = os.open(self.path(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, text.encode("ascii"), 0)
        finally:
            os.close(descriptor)
        self._shown[path] = text

    def swap(self, path: str, text: str) -> None:
        """Show ``text`` of any length in a file that no reader holds: each one opens it anew and finds it whole."""
        if self.read(path) == text:
            return
        new = self.path(f"{path}.new")
        with open(new, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(new, self.path(path))

    def remove(self, path: str) -> None:
        """Remove a directory with everything in it."""
        below = f"{path}/"
        for known in [each for each in self._shown if each.startswith(below)]:
            del self._shown[known]
        shutil.rmtree(self.path(path))
