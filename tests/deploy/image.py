"""
The agent's image, really built: a base made of Debian packages, the Dockerfile, podman.

Owns the recipe and its storage, apart from the machine's own images; starts no container (see container.py). No
registry is asked for anything: the base has the short name that the Dockerfile asks for.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.debian import RECIPE, ImageError, bootstrap, pip, require_programs, require_root, run
from tests.kept import cache, digest, kept, locked, say

# What podman() raises is had here, too.
__all__ = ["ImageError", "image", "podman"]

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


def podman(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman on the tests' own storage. Raises ImageError with the end of its output when it fails."""
    return run(podman_command(*arguments), name=f"podman {arguments[0]}", check=check)


def podman_command(*arguments: str | Path) -> list[str]:
    """The command line of :func:`podman`."""
    command = ["podman", "--root", str(cache() / "containers"), "--runroot", str(RUN_ROOT), "--runtime", "runc"]
    # No systemd is asked for a cgroup: there may be none.
    return [*command, "--cgroup-manager", "cgroupfs", *map(str, arguments)]


def image() -> str:
    """
    The image's identity, built first where the sources have changed. Raises ImageError.

    Safe against a second build at the same time.
    """
    require_programs(PROGRAMS, "the image's tests")
    require_root("building the image", "it is made and run as a node does it")
    base = kept("container-base", _base_key(), _build_base) / "base.tar"
    with locked(cache() / "containers.lock"):
        return _build(base)


def build_options() -> list[str]:
    """What makes `podman build` ask nobody for anything but Debian's packages, once :func:`image` has been there."""
    options = ["--quiet", "--network=host", "--pull=never", "--layers"]
    options += [f"--volume={kept('container-wheels', _wheels_key(), _download_wheels)}:/mnt:ro"]
    return [*options, "--build-arg=PIP_FIND_LINKS=/mnt", "--build-arg=PIP_NO_INDEX=1"]


def _build(base: Path) -> str:
    # A base that is imported again would be another one, and nothing built on it would be found again.
    imported = podman("image", "inspect", "--format", '{{ index .Labels "key" }}', BASE, check=False)
    if imported.returncode != 0 or imported.stdout.strip() != _base_key():
        podman("import", "--quiet", "--change", f"LABEL key={_base_key()}", base, BASE)
    say("building the agent's image; its layers are kept")
    arguments: list[str | Path] = ["build", *build_options(), "--file", REPOSITORY / "Dockerfile"]
    # The stage before the last gets a name, too: what has none is thrown away below. An hour, since another run of the
    # tests may be about to use what it has just built.
    podman(*arguments, "--target=program", f"--tag={BUILD_TAG}", REPOSITORY)
    identity = podman(*arguments, f"--tag={TAG}", REPOSITORY).stdout.strip()
    podman("image", "prune", "--force", "--filter=until=1h")
    return identity


def _base_key() -> str:
    return _key()


def _wheels_key() -> str:
    return _key(*LOCKS)


def _key(*inputs: Path) -> str:
    return digest(*(path.read_bytes() for path in (Path(__file__), *RECIPE, *inputs)))


def _build_base(folder: Path) -> None:
    # The apt options stay in the base: the Dockerfile's apt-get reaches the mirrors as the host does.
    bootstrap(SUITE, folder / "base.tar", folder / "debian.sources", excluded=EXCLUDED)


def _download_wheels(folder: Path) -> None:
    # By the host's pip, which knows where packages come from here; the build inside gets a folder.
    pip("download", PYTHON, LOCKS, f"--dest={folder}")
