"""
The agent's image, really built: a base made of Debian packages, the Dockerfile, podman.

Owns the recipe and its storage, apart from the machine's own images; starts no container (see container.py). No
registry is asked for anything: the base has the short name that the Dockerfile asks for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.kept import cache
from tests.vm import apt
from tests.vm.kept import digest, kept, say

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = (REPOSITORY / "requirements.lock", REPOSITORY / "requirements-build.lock")
SUITE = "bookworm"
PYTHON = "3.11"  # bookworm's
BASE = "debian:bookworm-slim"
TAG = "localhost/plimsoll:test"
BUILD_TAG = "localhost/plimsoll:test-build"
# As the images called "slim" leave them out.
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# The Debian package that has each program needed on the host. crun would do but for hosts with both cgroup versions.
PROGRAMS = {"mmdebstrap": "mmdebstrap", "podman": "podman", "runc": "runc", "setpriv": "util-linux"}
RUN_ROOT = Path("/run/plimsoll-containers")


class ImageError(RuntimeError):
    """The image cannot be built here; the text says why and what to do about it."""


def podman(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman on the tests' own storage. Raises ImageError with the end of its output when it fails."""
    command = ["podman", "--root", str(cache() / "containers"), "--runroot", str(RUN_ROOT), "--runtime", "runc"]
    # No systemd is asked for a cgroup: there may be none.
    command += ["--cgroup-manager", "cgroupfs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ImageError(f"podman {arguments[0]} failed with status {done.returncode}:\n{output}")
    return done


def image() -> str:
    """The image's identity, built first where the sources have changed. Raises ImageError."""
    _check_host()
    base = kept("container-base", _base_key(), _build_base) / "base.tar"
    wheels = kept("container-wheels", _wheels_key(), _download_wheels)
    # A base that is imported again would be another one, and nothing built on it would be found again.
    imported = podman("image", "inspect", "--format", '{{ index .Labels "key" }}', BASE, check=False)
    if imported.returncode != 0 or imported.stdout.strip() != _base_key():
        podman("import", "--quiet", "--change", f"LABEL key={_base_key()}", base, BASE)
    say("building the agent's image; its layers are kept")
    arguments: list[str | Path] = ["build", "--quiet", "--network=host", "--pull=never", "--layers"]
    arguments += ["--volume", f"{wheels}:/mnt:ro", "--build-arg=PIP_FIND_LINKS=/mnt", "--build-arg=PIP_NO_INDEX=1"]
    arguments += [f"--build-arg=VERSION={_version()}", "--file", REPOSITORY / "Dockerfile"]
    # The stage before the last gets a name, too: what has none is thrown away below. An hour, since another run of the
    # tests may be about to use what it has just built.
    podman(*arguments, "--target=program", f"--tag={BUILD_TAG}", REPOSITORY)
    identity = podman(*arguments, f"--tag={TAG}", REPOSITORY).stdout.strip()
    podman("image", "prune", "--force", "--filter=until=1h")
    return identity


def _version() -> str:
    text = (REPOSITORY / "agent/plimsoll/__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def _check_host() -> None:
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise ImageError(f"the image's tests need the Debian packages {' '.join(missing)}: apt-get install them")
    if os.geteuid() != 0:
        raise ImageError("building the image needs root: it is made and run as a node does it")


def _base_key() -> str:
    return digest(Path(__file__).read_bytes(), Path(apt.__file__).read_bytes())


def _wheels_key() -> str:
    return digest(Path(__file__).read_bytes(), *(lock.read_bytes() for lock in LOCKS))


def _build_base(folder: Path) -> None:
    sources = folder / "debian.sources"
    try:
        sources.write_text(apt.sources(SUITE))
    except apt.AptError as error:
        raise ImageError(str(error)) from error
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    # These stay in the base: the Dockerfile's apt-get reaches the mirrors as the host does.
    command += [f"--aptopt={option}" for option in apt.options()]
    _run([*command, SUITE, str(folder / "base.tar"), str(sources)])


def _download_wheels(folder: Path) -> None:
    # By the host's pip, which knows where packages come from here; the build inside gets a folder.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
        command += ["--platform", f"{tag}_{os.uname().machine}"]
    for lock in LOCKS:
        command += ["--requirement", str(lock)]
    _run(command)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ImageError(f"{command[0]} failed with status {done.returncode}:\n{output}")
