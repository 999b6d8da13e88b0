"""The image as it is built: what is in it, and that it runs without what is not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from urllib.parse import unquote

import pytest

from plimsoll import __version__
from tests.deploy.cgroups import parent
from tests.deploy.cyclonedx import complaint
from tests.deploy.image import BASE, ImageError, podman
from tests.support import manifest, v2_node, v2_pod

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("checkers")]

# Prints every file and folder of the image that the user who runs this could change.
WRITABLE = """
import os
for folder, folders, files in os.walk("/"):
    folders[:] = [each for each in folders if os.path.join(folder, each) not in ("/proc", "/sys", "/dev")]
    for path in [folder, *(os.path.join(folder, each) for each in files)]:
        if not os.path.islink(path) and os.access(path, os.W_OK):
            print(path)
"""
TOOLS = """
import importlib.util, shutil
print(*(each for each in ("gcc", "cc", "c99", "ld", "make", "pip", "pip3", "curl", "wget") if shutil.which(each)))
print(*(each for each in ("pip", "setuptools", "wheel", "kubernetes.aio") if importlib.util.find_spec(each)))
"""
LIMIT = os.sysconf("SC_OPEN_MAX")
NARROW = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL")


def run(image: str, *arguments: str, options: Sequence[str] = NARROW) -> subprocess.CompletedProcess[str]:
    """One command of the image, by default with nothing to write to; never with a network."""
    limits = (f"--ulimit=nofile={LIMIT}:{LIMIT}", "--ulimit=nproc=4096:4096")
    with parent() as place:
        common = ("--rm", "--pull=never", "--network=none", "--passwd=false", "--cgroups=no-conmon", *limits)
        return podman("run", *common, f"--cgroup-parent=/{place}", *options, image, *arguments)


def test_its_labels_and_its_user(agent_image):
    """The kubelet can check that the user is not root: it is a number. Tools find version and licence."""
    (found,) = json.loads(podman("image", "inspect", agent_image).stdout)

    assert found["Config"]["User"] == "65532:65532"
    # By the Dockerfile's own default: the documented build says nothing of it.
    assert found["Labels"]["org.opencontainers.image.version"] == __version__
    assert found["Labels"]["org.opencontainers.image.base.name"] == BASE
    assert found["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_version_with_the_c_reader(agent_image):
    """The installed program, and the extension built for the image's own Python."""
    assert run(agent_image, "--version").stdout == f"plimsoll {__version__}\n"
    doctor = json.loads(run(agent_image, "doctor", "--format=json").stdout)
    assert next(each["available"] for each in doctor if each["name"] == "native-reader")


def test_what_the_hooks_pod_sleeps_with(agent_image):
    """The one program of Debian's that the chart names by its path."""
    assert run(agent_image, "0", options=(*NARROW, "--entrypoint=/usr/bin/sleep")).returncode == 0


def test_nothing_that_builds_or_downloads(agent_image):
    """No compiler, no pip, and not the client that is left out."""
    assert run(agent_image, "-c", TOOLS, options=("--entrypoint=python",)).stdout.split() == []


def installed(image: str) -> set[str]:
    """What is in the image by its own tools, as package URLs without what is behind the version."""
    packages = run(image, "--show", "--showformat=pkg:deb/debian/${Package}@${Version}\\n",
                   options=("--entrypoint=/usr/bin/dpkg-query",)).stdout.split()  # fmt: skip
    code = "from importlib.metadata import distributions as d\nfor e in d(): print(e.metadata['Name'], e.version)"
    found = [line.split() for line in run(image, "-c", code, options=("--entrypoint=python",)).stdout.splitlines()]
    distributions = (f"pkg:pypi/{name.lower().replace('_', '-').replace('.', '-')}@{number}" for name, number in found)
    return {*packages, *distributions}


def test_what_it_is_made_of(agent_image):
    """The image's own document is a strict CycloneDX one and names exactly what is installed, the program among it."""
    path = "/usr/share/plimsoll/sbom.cdx.json"
    text = run(agent_image, path, options=(*NARROW, "--entrypoint=/usr/bin/cat")).stdout
    found = json.loads(text)
    components = [unquote(each["purl"].partition("?")[0]) for each in found["components"]]

    assert complaint(text) == ""
    assert found["metadata"]["component"]["version"] == __version__
    assert sorted(components) == sorted(installed(agent_image))
    assert f"pkg:pypi/plimsoll@{__version__}" in components
    assert len({each["bom-ref"] for each in found["components"]}) == len(components)
    assert "licenses" in next(each for each in found["components"] if each["name"] == "plimsoll")


def test_a_document_that_is_none_would_be_noticed():
    """The check above can fail."""
    assert "'y'" in complaint('{"bomFormat": "CycloneDX", "specVersion": "1.6", "y": 1}')


def test_nobody_can_change_the_program(agent_image):
    """On a file system that could be written: only what is everybody's is the user's."""
    found = run(agent_image, "-c", WRITABLE, options=("--entrypoint=python",)).stdout.split()

    assert set(found) <= {"/tmp", "/var/tmp", "/run/lock"}


def test_it_runs_without_a_shell(agent_image, tmp_path):
    """The whole agent for two ticks, on a recorded node: shells and perl are not to be had."""
    v2_pod(v2_node(tmp_path / "host"), 1)
    (tmp_path / "host/run/plimsoll").mkdir()
    (tmp_path / "host/run/plimsoll").chmod(0o777)
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods/a.yaml").write_text(manifest(1, "a"))
    (tmp_path / "nothing").write_text("")
    # pytest's folders are root's alone.
    tmp_path.chmod(0o755)
    hidden = ("/usr/bin/dash", "/usr/bin/bash", "/usr/bin/perl")
    masks = [f"--volume={tmp_path}/nothing:{each}:ro" for each in hidden]
    mounts = (f"--volume={tmp_path}/host:/host", f"--volume={tmp_path}/pods:/pods:ro", *masks)
    node = ("--root=/host", "--pods=/pods")
    done = run(agent_image, "run", *node, "--listen=127.0.0.1:0", "--duration=1", options=(*NARROW, *mounts))
    # podman may have something to say, too.
    events = [json.loads(line)["event"] for line in done.stderr.splitlines() if line.startswith("{")]
    page = run(agent_image, "metrics", *node, options=(*NARROW, *mounts)).stdout

    assert {"agent-started", "agent-stopped"} <= set(events)
    assert "plimsoll_pod_pressure_waiting_seconds_total{" in page
    with pytest.raises(ImageError, match="126"):
        run(agent_image, "-c", "true", options=("--entrypoint=/usr/bin/dash", *masks))
