"""
The container images of a node without a registry, and the disk that brings them there with the kubelet.

Owns the pause image, made of Kubernetes' own source, and the disk's content. The agent's image is that of
tests/deploy/image.py; it is the pods' image, too, for whatever its Python can do.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.cluster.build import KUBERNETES, MODULE, build
from tests.debian import require_programs, run
from tests.deploy.image import TAG, podman
from tests.kept import digest, kept
from tests.vm.ext4 import ext4

PAUSE = "localhost/pause:test"
ARCHIVE = "images.tar"
# The Debian package that has each program needed on the host.
PROGRAMS = {"gcc": "gcc", "podman": "podman"}


def disk(folder: Path, agent_image: str) -> Path:
    """A file system with ``kubelet`` and :data:`ARCHIVE`, written into ``folder``. Raises ImageError, BuildError."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        content = Path(scratch)
        shutil.copy(build("kubelet"), content)
        pause()
        podman("tag", agent_image, TAG)
        # One archive for both: a layer that is in two is there once.
        podman("save", "--quiet", "--multi-image-archive", f"--output={content / ARCHIVE}", TAG, PAUSE)
        target = folder / "node.ext4"
        ext4(content, target)
    return target


def pause() -> None:
    """Makes the image of every pod's first process, :data:`PAUSE`. Raises ImageError."""
    require_programs(PROGRAMS, "the kubelet's tests")
    source = _module() / "build/pause/linux/pause.c"
    layer = kept(
        "pause", digest(source.read_bytes(), Path(__file__).read_bytes()), lambda place: _compile(source, place)
    )
    if podman("image", "exists", PAUSE, check=False).returncode != 0:
        podman(
            "import",
            "--quiet",
            '--change=ENTRYPOINT ["/pause"]',
            "--change=USER 65535:65535",
            layer / "pause.tar",
            PAUSE,
        )


def _module() -> Path:
    done = run(["go", "list", "-m", "-f", "{{.Dir}}", KUBERNETES], folder=MODULE, environment={"GOWORK": "off"})
    return Path(done.stdout.strip())


def _compile(source: Path, folder: Path) -> None:
    # Static: there is nothing else in the image.
    run(["gcc", "-Os", "-static", "-s", "-o", str(folder / "pause"), str(source)])
    run(
        [
            "tar",
            "--create",
            "--owner=0",
            "--group=0",
            f"--file={folder / 'pause.tar'}",
            f"--directory={folder}",
            "pause",
        ]
    )
