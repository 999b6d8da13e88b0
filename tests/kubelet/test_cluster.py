"""The chart on a whole cluster: a real kubelet and containerd, the agent in its DaemonSet, pods of every vocabulary."""

from __future__ import annotations

import pytest

from tests.deploy.helm import CHART
from tests.kubelet import workload
from tests.kubelet.cgroups import settings
from tests.kubelet.installed import EFFECT_SECONDS, FOLLOWED_SECONDS, SYSTEMDS, Installed
from tests.kubelet.node import NODE
from tests.kubelet.release import CONFIG, Release
from tests.kubelet.up import Cluster
from tests.kubelet.workload import WORKLOADS, Workload
from tests.running import until

pytestmark = [pytest.mark.vm, pytest.mark.cluster, pytest.mark.timeout(3600)]

# What the kubelet gives its pods in memory.low: nothing; the agent protects a high-priority pod's request of 64Mi.
PROTECTED = str(64 << 20)
BY_NAME = {each.name: each for each in WORKLOADS}


@pytest.fixture(scope="module")
def installed(whole_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    release = Release(whole_cluster, tmp_path_factory.mktemp("release"))
    workload.create(whole_cluster.control_plane, *WORKLOADS)
    before = settings(whole_cluster.node.guest, whole_cluster.node.driver)
    release.install()
    return Installed(whole_cluster, release, before)


def test_every_vocabulary_is_understood(installed: Installed) -> None:
    """Of pods of every QoS class, whatever words their owners use, in the cgroups the kubelet made."""
    wanted = {(each.name, each.priority, each.qos) for each in WORKLOADS}

    def understood(found: list[tuple[dict[str, str], float]]) -> bool:
        return {(each["pod"], each["priority"], each["qos_class"]) for each, _ in found} == wanted

    query = f'plimsoll_pod_info{{namespace="{workload.NAMESPACE}", managed="true", state="found"}}'
    installed.release.prometheus.wait(query, understood, EFFECT_SECONDS)


def test_low_pods_give_way_and_nobody_else(installed: Installed) -> None:
    """cpu.idle of each low-priority pod's cgroup is 1, of no other; what a high-priority pod asked for is protected."""
    for each in WORKLOADS:
        installed.wait(each, "cpu.idle", "1" if each.priority == "low" else "0")
        installed.wait(each, "memory.low", PROTECTED if each.priority == "high" else "0")


def test_pressure_reaches_prometheus(installed: Installed) -> None:
    """A pod that is held back by its limit waits for the CPU, and Prometheus knows why; an idle one does not."""
    waiting = 'increase(plimsoll_pod_pressure_waiting_seconds_total{{pod="{}", cause="cpu"}}[30s])'
    prometheus = installed.release.prometheus
    prometheus.wait(waiting.format("volcano"), lambda found: bool(found) and found[0][1] > 5, EFFECT_SECONDS)
    throttled = 'increase(plimsoll_pod_pressure_stalled_seconds_total{pod="volcano", cause="cpu_cfs_bandwidth"}[30s])'
    prometheus.wait(throttled, lambda found: bool(found) and found[0][1] > 5, EFFECT_SECONDS)
    prometheus.wait(waiting.format("silent"), lambda found: bool(found) and found[0][1] < 5, EFFECT_SECONDS)


def test_an_owner_changes_the_annotation(installed: Installed) -> None:
    """The pod gives way from then on, and no longer when its owner takes that back, with the weight it had."""
    pod = BY_NAME["silent"]
    weight = installed.setting(pod, "cpu.weight")
    workload.annotate(installed.cluster.control_plane, pod, qos_priority="low")
    installed.wait(pod, "cpu.idle", "1")
    workload.annotate(installed.cluster.control_plane, pod, qos_priority=None)
    installed.wait(pod, "cpu.idle", "0")
    assert installed.setting(pod, "cpu.weight") == weight


def test_a_pod_that_gives_way_is_resized_in_place(installed: Installed) -> None:
    """
    The kernel refuses the kubelet a new weight while the pod is idle: it is let off for as long as the resize takes,
    gives way again, and has the weight of its new request once it need not any more.
    """
    pod, cluster = BY_NAME["volcano"], installed.cluster.control_plane
    installed.wait(pod, "cpu.idle", "1")
    limit = installed.setting(pod, "cpu.max")
    workload.resize(cluster, pod, "50m", "60m")
    installed.wait(pod, "cpu.max", "6000 100000")
    installed.wait(pod, "cpu.idle", "1")
    workload.annotate(cluster, pod, qos_priority="normal")
    installed.wait(pod, "cpu.idle", "0")
    larger = int(installed.setting(pod, "cpu.weight"))
    # A second resize within ten minutes would not be let off.
    workload.resize(cluster, pod, "10m", "50m")
    weight = int(installed.setting(pod, "cpu.weight"))
    workload.annotate(cluster, pod, qos_priority=None)
    installed.wait(pod, "cpu.idle", "1")
    installed.wait(pod, "cpu.max", limit)
    assert larger > weight
    assert [each["restartCount"] for each in cluster.request("GET", pod.path)["status"]["containerStatuses"]] == [0]


@pytest.mark.parametrize(
    "command",
    ["systemctl restart kubelet", "systemctl restart containerd", "systemctl daemon-reload"],
    ids=["kubelet", "containerd", "systemd"],
)
def test_the_node_goes_on(installed: Installed, command: str) -> None:
    """After a restart of what runs the pods low ones still give way, and new ones do; the agent was not restarted."""
    cluster, agent = installed.cluster.control_plane, installed.release.restarts
    installed.guest.sh(command, timeout=EFFECT_SECONDS)
    new = Workload(f"new-{command.rpartition(' ')[2]}", "BestEffort", "low", {"plimsoll.io/qos-priority": "low"})
    workload.create(cluster, new)
    try:
        for each in (new, BY_NAME["rubik"], BY_NAME["volcano"]):
            installed.wait(each, "cpu.idle", "1")
    finally:
        workload.delete(cluster, new)
    assert installed.release.restarts == agent


def test_the_api_server_is_away_for_a_while(installed: Installed) -> None:
    """What stands goes on standing and is put right again; what is said in the meantime is followed afterwards."""
    cluster, pod, agent = installed.cluster.control_plane, BY_NAME["katalyst"], installed.release.restarts
    up = 'plimsoll_source_up{source="api-server"}'
    installed.wait(BY_NAME["rubik"], "cpu.idle", "1")
    path = installed.path(BY_NAME["rubik"])
    cluster.stop_apiserver()
    try:
        installed.wait_for_metric(up, 0)
        installed.guest.sh(f"echo 0 > {path}/cpu.idle")
        installed.guest.sh(f"until [ $(cat {path}/cpu.idle) = 1 ]; do sleep 0.5; done", timeout=EFFECT_SECONDS)
    finally:
        cluster.start_apiserver()
    workload.annotate(cluster, pod, qos_priority="low")
    installed.wait_for_metric(up, 1)
    installed.wait(pod, "cpu.idle", "1")
    workload.annotate(cluster, pod, qos_priority=None)
    installed.wait(pod, "cpu.idle", "0")
    assert installed.release.restarts == agent


def test_an_upgrade_is_followed_and_rolled_back_without_a_restart(installed: Installed) -> None:
    """Helm changes the ConfigMap, the kubelet the file, the agent itself; and all the way back again."""
    agent, pod = installed.release.restarts, BY_NAME["rubik"]
    windows = 'plimsoll_node_pressure_ratio{cause="cpu", degree="some", window="60s"}'
    installed.wait(pod, "cpu.idle", "1")
    changed = {**CONFIG, "pressure": {"interval": "1s", "windows": ["10s", "60s"]}}
    installed.release.helm("upgrade", CHART, config={**changed, "preemption": {"mode": "enforce", "cpu": "off"}})
    try:
        installed.wait(pod, "cpu.idle", "0", FOLLOWED_SECONDS)
        installed.release.prometheus.wait(windows, lambda found: len(found) == 1, EFFECT_SECONDS)
    finally:
        installed.release.helm("rollback")
    installed.wait(pod, "cpu.idle", "1", FOLLOWED_SECONDS)
    assert installed.release.restarts == agent


def test_a_killed_agent_is_started_again(installed: Installed) -> None:
    """The kubelet starts another after SIGKILL; that one knows what stood before, and goes on."""
    uid, restarts = installed.release.restarts
    installed.guest.sh("pkill -KILL -f plimsoll.cli")
    until(lambda: installed.release.restarts == (uid, restarts + 1), "another container", EFFECT_SECONDS)
    installed.release.wait_until_ready()
    for each in WORKLOADS:
        installed.wait(each, "cpu.idle", "1" if each.priority == "low" else "0")


def test_uninstalling_leaves_no_trace(installed: Installed) -> None:
    """Every setting of every cgroup on the node is what it was before the install, also those that were written."""
    for each in WORKLOADS:
        installed.wait(each, "cpu.idle", "1" if each.priority == "low" else "0")
    written = {(f"/sys/fs/cgroup/{line['target']}", line["knob"]) for line in installed.release.audit if line["knob"]}
    installed.release.uninstall()
    try:
        until(lambda: not installed.release.pods, "no agent", EFFECT_SECONDS)
        # The kubelet weighs its classes by what their pods request, the agent's among them, once a minute.
        until(lambda: not installed.changed(), "as before", FOLLOWED_SECONDS)
        assert written
        assert not [knob for _, knob in written if knob.endswith(SYSTEMDS)]
    finally:
        installed.release.install()


def test_the_node_is_the_real_one(installed: Installed) -> None:
    """Of this Kubernetes' release, with Debian's containerd, on a stock kernel."""
    node = installed.cluster.control_plane.request("GET", f"/api/v1/nodes/{NODE}")["status"]["nodeInfo"]
    assert node["kernelVersion"] == installed.guest.kernel_release
    assert node["containerRuntimeVersion"].startswith("containerd://")
