"""
Debian trees made on this host, from its own mirrors and its own pip: a guest's disk, a container's base.

Owns the commands. Keeps nothing (see kept.py) and knows no image. What stands here may change what is made, so
:data:`RECIPE` belongs into every key.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.vm import apt

RECIPE = (Path(__file__), Path(apt.__file__))

_LAST_LINES = 40


class ImageError(RuntimeError):
    """An image cannot be made here; the text says why and what to do about it."""


def require_programs(programs: Mapping[str, str], who: str) -> None:
    """Raise ImageError unless the host has these programs; ``programs``: the Debian package of each."""
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if missing:
        raise ImageError(f"{who} need the Debian packages {' '.join(missing)}: apt-get install them")


def require_root(what: str, why: str) -> None:
    """Raise ImageError unless this is root."""
    if os.geteuid() != 0:
        raise ImageError(f"{what} needs root: {why}")


def run(
    command: Sequence[str],
    *,
    name: str = "",
    check: bool = True,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """
    Run a program, asked nothing, in ``folder`` if that is given.

    Raises ImageError with the end of its output when it fails; ``name`` is what it is called there.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-_LAST_LINES:])
        raise ImageError(f"{name or command[0]} failed with status {done.returncode}:\n{output}")
    return done


def bootstrap(
    suite: str,
    target: Path,
    sources: Path,
    *,
    excluded: Iterable[str],
    options: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """
    A minimal system of one release in ``target``: a folder, or an archive by its ending. Raises ImageError.

    ``sources`` is written: where the packages come from. Files that match ``excluded`` are left out. ``options`` are
    mmdebstrap's, whose hooks run on the host with this ``environment``.
    """
    try:
        sources.write_text(apt.sources(suite))
    except apt.AptError as error:
        raise ImageError(str(error)) from error
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in excluded]
    command += [f"--aptopt={option}" for option in apt.options()]
    run([*command, suite, str(target), str(sources)], environment=environment)


def pip(verb: str, python: str, locks: Iterable[Path], *options: str) -> None:
    """Install or download what is locked, for the ``python`` of this version. Raises ImageError."""
    # That may not be the one that runs the tests; pip picks the wheels for that one. --no-deps: the locks are
    # complete, and hashes are required for everything in them.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", verb, "--quiet", "--no-deps"]
    command += ["--require-hashes", "--python-version", python, "--implementation", "cp"]
    for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
        command += ["--platform", f"{tag}_{os.uname().machine}"]
    for lock in locks:
        command += ["--requirement", str(lock)]
    run([*command, *options], name=f"pip {verb}")
