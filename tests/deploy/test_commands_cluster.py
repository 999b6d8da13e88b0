"""The documents' commands for a cluster and an image, as they are shown: see test_commands.py."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil

import pytest
import yaml

from plimsoll import __version__
from tests.cluster.build import build
from tests.deploy.cgroups import parent
from tests.deploy.commands import REPOSITORY
from tests.deploy.image import build_options, podman, podman_command
from tests.deploy.shell import Shell
from tests.running import command
from tests.support import v2_node

pytestmark = pytest.mark.cluster

REGISTRY = "registry.example.com"
DAEMON_SET = "/apis/apps/v1/namespaces/plimsoll/daemonsets/plimsoll"


@pytest.fixture
def shell(helm, cluster, tmp_path):
    """In the repository, with the Helm that is built here, whose cluster is the test's."""
    environment = {"KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig"))}
    return Shell(REPOSITORY, tmp_path / "home", {"helm": f'exec {build("helm")} "$@"'}, environment)


def config(cluster) -> dict:
    found = cluster.request("GET", "/api/v1/namespaces/plimsoll/configmaps/plimsoll")["data"]
    return yaml.safe_load(next(iter(found.values())))


def image_of(cluster) -> str:
    (container,) = cluster.request("GET", DAEMON_SET)["spec"]["template"]["spec"]["containers"]
    return container["image"]


# The first of this file: the others find it there.
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs a kubectl")
def test_kubectl_makes_the_namespace(cluster, shell):
    """As a new user's first command."""
    assert "created" in shell.run("kubectl create namespace plimsoll")
    assert cluster.request("GET", "/api/v1/namespaces/plimsoll")["status"]["phase"] == "Active"


def test_install_upgrade_uninstall(cluster, shell):
    """Nothing is added but the registry: the API server has what each says, one after the other."""
    cluster.namespace("plimsoll")
    shell.run(
        "helm install plimsoll deploy/helm/plimsoll --namespace plimsoll --set image.registry=REGISTRY",
        REGISTRY=REGISTRY,
    )
    assert image_of(cluster) == f"{REGISTRY}/plimsoll:{__version__}"
    shell.run(
        "helm upgrade plimsoll deploy/helm/plimsoll --namespace plimsoll --reset-then-reuse-values"
        " --set config.pressure.interval=10s"
    )
    shell.run(
        "helm upgrade plimsoll deploy/helm/plimsoll --namespace plimsoll --reset-then-reuse-values"
        " --set config.notices.events=true"
    )
    shell.run(
        "helm upgrade plimsoll deploy/helm/plimsoll --namespace plimsoll --reset-then-reuse-values"
        " --set config.eviction.mode=enforce"
    )
    found = config(cluster)
    assert (found["pressure"], found["notices"], found["eviction"]) == (
        {"interval": "10s"},
        {"events": True},
        {"mode": "enforce"},
    )
    shell.run("helm uninstall plimsoll --namespace plimsoll")
    assert cluster.request("GET", "/apis/apps/v1/namespaces/plimsoll/daemonsets")["items"] == []

    shell.run(
        "helm install plimsoll deploy/helm/plimsoll --namespace plimsoll"
        " --set image.registry=REGISTRY --set image.digest=sha256:…",
        **{"REGISTRY": REGISTRY, "…": "0" * 64},
    )
    assert image_of(cluster) == f"{REGISTRY}/plimsoll@sha256:{'0' * 64}"
    shell.run(
        "helm upgrade plimsoll NEW/deploy/helm/plimsoll --namespace plimsoll --reset-then-reuse-values"
        " --set image.digest=sha256:…",
        **{"NEW": REPOSITORY, "…": "1" * 64},
    )
    assert image_of(cluster) == f"{REGISTRY}/plimsoll@sha256:{'1' * 64}"
    shell.run("helm uninstall plimsoll --namespace plimsoll")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs a kubectl")
def test_kubectl_finds_the_agent(cluster, shell):
    """As far as it goes without a kubelet: the DaemonSet, its pod, and then the API server looks for the node."""
    cluster.namespace("plimsoll")
    shell.run(
        "helm install plimsoll deploy/helm/plimsoll --namespace plimsoll --set image.registry=REGISTRY",
        REGISTRY=REGISTRY,
    )
    template = cluster.request("GET", DAEMON_SET)["spec"]["template"]
    spec = {**template["spec"], "nodeName": "node-1", "priorityClassName": "", "serviceAccountName": "default"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plimsoll-1", "labels": template["metadata"]["labels"]},
        "spec": spec,
    }
    cluster.request("POST", "/api/v1/namespaces/plimsoll/pods", pod)
    assert "plimsoll-1" in shell.run("kubectl --namespace plimsoll get pods --output wide")
    assert "labeled" in shell.run("kubectl label namespace plimsoll pod-security.kubernetes.io/enforce=privileged")
    (line,) = (
        each for each in (REPOSITORY / "docs/operations.md").read_text().splitlines() if "exec daemonset" in each
    )

    assert '"node-1" not found' in shell.run(line.strip(), code=1)

    container = {"name": "x", "image": "x"}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "plimsoll-cleanup"},
        "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    }
    cluster.request("POST", "/apis/batch/v1/namespaces/plimsoll/jobs", job)
    # Its pod would be a controller's to make.
    assert "deleted" in shell.run("kubectl --namespace plimsoll delete job plimsoll-cleanup")
    shell.run("helm uninstall plimsoll --namespace plimsoll")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs a kubectl")
def test_pods_as_kubectl_prints_them(cluster, shell, tmp_path):
    """A folder with its output is what `--pods` reads: the same pods as the API server has."""
    uids = {}
    for name in ("one", "two"):
        uids[name] = cluster.create_pod("default", name, "node-1")["metadata"]["uid"]
        cluster.set_pod_status("default", name)
    (tmp_path / "pods").mkdir()
    (tmp_path / "pods/all.yaml").write_text(shell.run("kubectl get pods -o yaml"))
    v2_node(tmp_path / "host")
    page = command("metrics", "--root", tmp_path / "host", "--pods", tmp_path / "pods").stdout

    for name, uid in uids.items():
        assert re.search(rf'plimsoll_pod_info{{.*pod="{name}".*uid="{uid}"', page), page


@pytest.fixture
def cgroup():
    with parent() as place:
        yield place


@pytest.fixture
def images(agent_image, cgroup, tmp_path):
    """podman with the tests' own storage; packages come from where the tests keep them, and there is no systemd."""
    limit = os.sysconf("SC_OPEN_MAX")
    options = {
        "build": build_options(),
        "run": ("--pull=never", "--network=none", "--passwd=false", "--cgroups=no-conmon"),
        "push": (),
    }
    # podman's own limits may be higher than what this process may set.
    options["run"] += (f"--cgroup-parent=/{cgroup}", f"--ulimit=nofile={limit}:{limit}", "--ulimit=nproc=4096:4096")
    program = shutil.which("podman")
    assert program is not None
    cases = [
        f'{verb}) exec {shlex.join([program, *podman_command(verb, *more)[1:]])} "$@" ;;'
        for verb, more in options.items()
    ]
    script = "\n".join(["verb=$1", "shift", "case $verb in", *cases, "esac", "exit 2"])
    yield Shell(REPOSITORY, tmp_path / "home", {"podman": script})
    podman("image", "untag", "localhost/plimsoll:0.1.0", check=False)


def test_the_image(agent_image, images, tmp_path):
    """It is built as documented, without any argument, and is the one of all other tests; its contents are told."""
    shell = images
    shell.run("podman build --tag plimsoll:0.1.0 .")
    (found,) = json.loads(podman("image", "inspect", "localhost/plimsoll:0.1.0").stdout)
    assert found["Id"] == agent_image
    document = json.loads(
        shell.run("podman run --rm --entrypoint /usr/bin/cat plimsoll:0.1.0 /usr/share/plimsoll/sbom.cdx.json")
    )
    assert document["metadata"]["component"]["version"] == __version__

    # A folder is what takes the place of a registry: podman's second argument.
    shell.run(
        "podman build --tag REGISTRY/plimsoll:0.1.0 . && podman push REGISTRY/plimsoll:0.1.0",
        (f"dir:{tmp_path}/pushed",),
        REGISTRY="localhost",
    )
    assert (tmp_path / "pushed/manifest.json").exists()
    shutil.rmtree(tmp_path / "pushed")
