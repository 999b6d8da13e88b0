"""
The chart, installed by Helm into a real API server, and its pod, started as rendered on this machine's real kernel.

The image is the real one. What is not there: scheduler, kubelet and controllers: see node.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cluster.api import ApiError
from tests.deploy.cgroups import parent
from tests.deploy.container import PodVolumes, command
from tests.deploy.helm import CHART, HelmError, only, render
from tests.deploy.image import podman
from tests.deploy.node import NAMESPACE, until_metric
from tests.running import Usage
from tests.running import command as plimsoll

pytestmark = pytest.mark.cluster

# What a container has on every node, and the runtime's own files, which no chart asks for.
RUNTIMES_MOUNTS = re.compile(
    r"/|/(proc|sys|dev)(/.*)?|/etc/(hosts|hostname|resolv\.conf)|/run/(\.containerenv|secrets)"
)
# Tries every directory that is mounted, and prints which take a new file.
WRITE_EVERYWHERE = """
import os
for line in open("/proc/self/mountinfo"):
    path = line.split()[4]
    if os.path.isdir(path) and not path.startswith(("/proc", "/dev")):
        try:
            os.close(os.open(path + "/plimsoll-test", os.O_WRONLY | os.O_CREAT))
        except OSError:
            continue
        print(path)
"""
OPEN_TO_WRITE = "import sys; open(sys.argv[1], 'r+b', buffering=0)"


def test_the_pods_of_the_node_are_measured(node):
    """From the API server with the account's token, and from the kernel through the mounts: one pod, all the way."""
    assert node.get("/healthz")[0] == 200
    until_metric(node, lambda value: value == 1, "plimsoll_pod_info", namespace="default", pod="shop", state="found")
    assert node.metric("plimsoll_pod_memory_bytes", pod="shop") is not None
    for source in ("api-server", "kernel"):
        until_metric(node, lambda value: value == 1, "plimsoll_source_up", source=source)
    assert node.metric("plimsoll_build_info", native="true") == 1


def test_nothing_is_missed_inside(node):
    """`plimsoll doctor` finds in the container, as a nobody, all that it finds on the machine as root."""
    inside = node.container.execute("plimsoll", "doctor", "--format=json")
    assert inside.returncode == 0, inside.stderr
    outside = plimsoll("doctor", "--format", "json")

    def found(text):
        return {each["name"] for each in json.loads(text) if each["available"]}

    # This test's own interpreter may be without the C reader.
    assert found(inside.stdout) - {"native-reader"} == found(outside.stdout) - {"native-reader"}
    assert "cgroup" in found(inside.stdout)
    assert "native-reader" in found(inside.stdout)


def test_nothing_of_the_node_is_there_but_what_the_chart_says(node):
    """The mounts are the rendered ones, and none of them can be written but the pod's own."""
    (container,) = node.pod["containers"]
    # /var/run is a link to /run in the image.
    declared = {mount["mountPath"].replace("/var/run/", "/run/") for mount in container["volumeMounts"]}
    mounts = node.container.execute("python", "-c", "print(open('/proc/self/mountinfo').read())").stdout
    there = {line.split()[4] for line in mounts.splitlines() if line}
    # cgroup v1 has a mount for each hierarchy below the declared one.
    extra = {each for each in there if not RUNTIMES_MOUNTS.fullmatch(each)} - declared

    assert declared <= there
    assert extra == set()
    writable = node.container.execute("python", "-c", WRITE_EVERYWHERE)
    assert writable.stdout.split() == ["/run/plimsoll"], writable.stderr
    node.container.execute("python", "-c", "import os; os.unlink('/run/plimsoll/plimsoll-test')")


def test_no_control_file_can_be_written(node):
    """In every hierarchy, by every file that is there for it."""
    names = ("cgroup.procs", "cpu.shares", "cpu.weight", "memory.limit_in_bytes", "memory.high")
    files = [path for name in names for path in node.cgroups.files(name)]

    assert len(files) >= len(node.cgroups.hierarchies)
    for path in files:
        assert node.container.execute("python", "-c", "import sys; open(sys.argv[1])", str(path)).returncode == 0, path
        assert node.container.execute("python", "-c", OPEN_TO_WRITE, str(path)).returncode != 0, path


def test_the_process_has_no_privilege(node):
    """A nobody without a single capability, now or ever, behind a seccomp filter; and small."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{node.container.pid}/status").read_text().splitlines()
        if ":\t" in line
    )

    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    (container,) = node.pod["containers"]
    request = container["resources"]["requests"]["memory"]
    assert Usage.of(node.container.pid).peak_mib < int(request.removesuffix("Mi"))


def test_the_account_may_list_and_watch_pods_and_nothing_else(node):
    """By the API server's own answer to what the token may, beyond what every account may."""
    node.cluster.service_account(NAMESPACE, "bare", [])

    def rules(account: str) -> set[tuple[str, ...]]:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": NAMESPACE},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        token = node.cluster.token(NAMESPACE, account)
        status = node.cluster.request("POST", path, review, token=token)["status"]
        return {
            (*kind["verbs"], *kind.get("apiGroups", ()), *kind.get("resources", ()), *kind.get("nonResourceURLs", ()))
            for kind in status["resourceRules"] + status["nonResourceRules"]
        }

    assert rules("plimsoll") - rules("bare") == {("list", "watch", "", "pods")}
    token = node.cluster.token(NAMESPACE, "plimsoll")
    for forbidden in ("/api/v1/secrets", "/api/v1/nodes", "/api/v1/namespaces/default/pods/shop"):
        with pytest.raises(ApiError) as refused:
            node.cluster.request("GET", forbidden, token=token)
        assert refused.value.status == 403


def test_an_upgrade_of_the_configuration_restarts_nothing(node):
    """Helm changes the ConfigMap only; the kubelet changes the mounted file; the agent takes it over."""
    generation = node.daemon_set["metadata"]["generation"]
    before = node.metric("plimsoll_config_last_reload_success_timestamp_seconds")
    config = {**node.values["config"], "pressure": {"interval": "1s", "windows": ["10s", "60s"]}}
    node.helm("upgrade", CHART, config=config)
    node.volumes.write_config(node.object(f"/api/v1/namespaces/{NAMESPACE}/configmaps/plimsoll"))

    until_metric(node, lambda value: value != before, "plimsoll_config_last_reload_success_timestamp_seconds")
    assert node.metric("plimsoll_config_last_reload_successful") == 1
    assert node.daemon_set["metadata"]["generation"] == generation
    until_metric(node, lambda value: value is not None, "plimsoll_node_pressure_ratio", window="60s")


def test_a_bad_configuration_never_reaches_the_cluster(node):
    """Helm refuses it, and what is installed stays."""
    before = node.object(f"/api/v1/namespaces/{NAMESPACE}/configmaps/plimsoll")["data"]
    with pytest.raises(HelmError, match="maxSeries"):
        node.helm("upgrade", CHART, config={"pressure": {"maxSeries": 1}})

    assert node.object(f"/api/v1/namespaces/{NAMESPACE}/configmaps/plimsoll")["data"] == before


def test_an_enforcing_pod_can_write_control_files(node, agent_image, tmp_path):
    """The other row of the matrix: root without a capability is enough, and the journal's place is the node's."""
    objects = render({"config": {"preemption": {"mode": "enforce"}}}, "--skip-schema-validation")
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    volumes = PodVolumes(tmp_path, only(objects, "ConfigMap"), {})
    names = ("cgroup.procs", "cpu.shares", "cpu.weight", "memory.limit_in_bytes", "memory.high")
    files = [str(path) for name in names for path in node.cgroups.files(name)]
    code = "import sys\nfor path in sys.argv[1:]: open(path, 'r+b', buffering=0)\n"
    code += "print(*(line for line in open('/proc/self/status') if line.startswith('Cap')))\n"
    code += "open('/run/plimsoll/journal', 'w')"
    with parent() as place:
        arguments = command(spec, agent_image, volumes, {}, place)
        done = podman("run", "--rm", "--entrypoint=python", *arguments, "-I", "-c", code, *files)

    assert [int(value, 16) for value in re.findall(r"^ ?Cap\w+:\t(\w+)$", done.stdout, re.MULTILINE)] == [0] * 5
    assert (tmp_path / "-run-plimsoll/journal").exists()


def test_what_frequencies_need(agent_image, tmp_path):
    """As rendered: the CPUs' files are on a mount that can be written, the rest of /sys is not, and one capability."""
    values = {"config": {"frequency": {"mode": "enforce"}}, "frequency": {"speedSelectResource": "squat.ai/isst"}}
    objects = render(values)
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    volumes = PodVolumes(tmp_path, only(objects, "ConfigMap"), {})
    code = "import os\n"
    code += "for each in ('/sys', '/sys/devices/system/cpu'): print(bool(os.statvfs(each).f_flag & os.ST_RDONLY))\n"
    code += "print(*(line for line in open('/proc/self/status') if line.startswith('Cap')))\n"
    with parent() as place:
        arguments = command(spec, agent_image, volumes, {}, place)
        done = podman("run", "--rm", "--entrypoint=python", *arguments, "-I", "-c", code)

    assert done.stdout.split()[:2] == ["True", "False"]
    masks = dict(re.findall(r"^ ?Cap(\w+):\t(\w+)$", done.stdout, re.MULTILINE))
    assert {name: int(masks[name], 16) for name in ("Eff", "Prm", "Bnd")} == dict.fromkeys(
        ("Eff", "Prm", "Bnd"), 1 << 21
    )
