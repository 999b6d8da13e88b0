"""
What takes long to make, kept in the tests' cache folder.

Owns that folder, and the folder ``vm`` there: one sub-folder per kind and key, complete or absent, the oldest removed.
Makes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Each may take half a gigabyte; several working copies may want theirs.
KEPT = 3


def cache() -> Path:
    """The cache folder: $PLIMSOLL_CACHE, or .cache/plimsoll in the home folder."""
    configured = os.environ.get("PLIMSOLL_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "plimsoll"


def kept(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder for this key, filled by ``build`` if there is none. Safe against a second build at the same time."""
    place = cache() / "vm" / f"{kind}-{key}"
    try:
        os.utime(place)
    except FileNotFoundError:
        pass  # there is none, or none any more
    else:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.parent / ".lock"):
        if not place.exists():
            for left in place.parent.glob(f".{kind}.*"):
                shutil.rmtree(left, ignore_errors=True)
            # A name of its own: what a build that was killed has begun may still write to its folder.
            unfinished = Path(tempfile.mkdtemp(prefix=f".{kind}.", dir=place.parent))
            unfinished.chmod(0o755)
            say(f"making {kind}; it is kept in {place}")
            started = time.monotonic()
            try:
                build(unfinished)
                unfinished.rename(place)  # it is there whole or not at all
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            say(f"made {kind} in {time.monotonic() - started:.0f} s")
            made = sorted(place.parent.glob(f"{kind}-*"), key=lambda each: each.stat().st_mtime)
            for unused in made[:-KEPT]:
                shutil.rmtree(unused)
    return place


def digest(*parts: bytes) -> str:
    """A key: different where any part is."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"[tests] {text}", file=sys.stderr, flush=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold this lock file, after any other process that has it."""
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build in {path.parent}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock back, as does the end of the process
