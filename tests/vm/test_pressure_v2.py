"""A stock kernel with cgroup v2: real stalls in real pods, seen by the agent, told by a real Prometheus server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.vm.agent import HOME, WITHOUT_HARDWARE, WITHOUT_OPENEULER, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod
from tests.vm.prometheus import Prometheus, Sample

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

# For conditions that are true within seconds on an idle machine.
SECONDS = 300.0
# A pod that works for a moment each second waits for almost nothing.
QUIET = 0.1
DATA = "/dev/disk/by-id/virtio-plimsoll-data"
SWAP = "/dev/disk/by-id/virtio-plimsoll-swap"


@dataclass
class Node:
    """A node with its pods, the running agent and the server that scrapes it."""

    guest: Machine
    agent: Agent
    prometheus: Prometheus
    pods: dict[str, Pod]

    def wait_share(self, name: str, cause: str, least: float, *, family: str = "waiting", source: str = "psi") -> None:
        """Until the pod lost at least this share of the last seconds to the cause."""
        promql = share(family, f'pod="{name}",cause="{cause}",source="{source}"')
        self.prometheus.wait(promql, above(least), SECONDS)

    def check_quiet(self) -> None:
        """
        The neighbour that does next to nothing waits for next to nothing, while the load goes on.

        Not at every moment: that this machine leaves the guest's processors alone for a while is waiting to the guest.
        """
        for family, causes in (("waiting", set()), ("stalled", {"cpu_cfs_bandwidth"})):
            wanted = {"cpu", "memory", "io"} | causes

            def quiet(found: list[Sample], wanted: set[str] = wanted) -> bool:
                return {labels["cause"] for labels, value in found if value < QUIET} == wanted

            self.prometheus.wait(share(family, 'pod="quiet"'), quiet, SECONDS)

    def wait_for_absence(self, selector: str) -> None:
        """Until no such series is scraped. A scrape that takes too long is none, and takes every series with it."""
        self.prometheus.wait(f"up == 1 unless on() {selector}", bool, SECONDS)


def share(family: str, selector: str) -> str:
    return f"rate(plimsoll_pod_pressure_{family}_seconds_total{{{selector}}}[10s])"


def above(least: float) -> Callable[[list[Sample]], bool]:
    return lambda found: len(found) == 1 and found[0][1] > least


@pytest.fixture(scope="module")
def guest(guest_image: Image) -> Iterator[Machine]:
    with Machine(guest_image, kernel="6.12") as machine:
        yield machine


@pytest.fixture(scope="module")
def node(guest: Machine) -> Node:
    guest.sh(f"mkswap --quiet {SWAP} && swapon {SWAP}")
    agent = Agent(guest)
    names = ("quiet", "throttled", "crowded", "squeezed", "slow")
    pods = {name: Pod(guest, number, name) for number, name in enumerate(names, start=1)}
    pods["quiet"].qos = "BestEffort"
    pods["slow"].qos = "Guaranteed"
    limits = {"throttled": "CPUQuota=20%", "squeezed": "MemoryHigh=48M", "slow": f"IOReadIOPSMax={DATA} 20"}
    for name, pod in pods.items():
        pod.start(*([limits[name]] if name in limits else []))
    agent.start()
    prometheus = Prometheus(guest)
    prometheus.wait('count(plimsoll_pod_info{state="found"})', above(len(pods) - 1), SECONDS)
    return Node(guest, agent, prometheus, pods)


def test_a_quota_shows_as_cpu_pressure_and_as_throttling(node: Node) -> None:
    """A task that wants a whole CPU and may have a fifth of one waits most of the time, and its quota is named."""
    with node.pods["throttled"].load("spin", "1"):
        node.wait_share("throttled", "cpu", 0.5)
        node.wait_share("throttled", "cpu_cfs_bandwidth", 0.5, family="stalled", source="derived")
        node.prometheus.wait(
            'plimsoll_pod_pressure_ratio{pod="throttled",cause="cpu",degree="some",window="10s"}', above(0.3), SECONDS
        )
        node.prometheus.wait(
            'rate(plimsoll_pod_pressure_events_total{pod="throttled",event="nr_throttled"}[10s])', above(3), SECONDS
        )
        node.check_quiet()


def test_contention_shows_as_cpu_pressure_and_not_as_throttling(node: Node) -> None:
    """Four tasks that share two CPUs wait for each other; nobody's quota is to blame."""
    with node.pods["crowded"].load("spin", "4"):
        node.wait_share("crowded", "cpu", 0.5)
        (throttled,) = node.prometheus.query(share("stalled", 'pod="crowded",cause="cpu_cfs_bandwidth"'))
        assert throttled[1] == 0
        node.check_quiet()


def test_a_working_set_over_memory_high_shows_as_memory_pressure(node: Node) -> None:
    """A pod held below what it touches waits for reclaim; the limit it hit and the pages it got back are counted."""
    events = 'rate(plimsoll_pod_pressure_events_total{{pod="squeezed",event="{}"}}[10s])'
    with node.pods["squeezed"].load("touch", "32", "3"):
        node.wait_share("squeezed", "memory", 0.15)
        node.prometheus.wait(events.format("memory_high"), above(0), SECONDS)
        node.prometheus.wait(events.format("workingset_refault_anon"), above(0), SECONDS)
        node.check_quiet()


def test_reads_from_a_throttled_disk_show_as_io_pressure(node: Node) -> None:
    """Direct reads that io.max lets through 20 times a second are nearly all waiting."""
    with node.pods["slow"].load("read", DATA):
        node.wait_share("slow", "io", 0.5)
        node.wait_share("slow", "io", 0.5, family="stalled")
        node.check_quiet()


def test_pods_that_vanish_while_the_agent_looks_harm_nothing(node: Node) -> None:
    """Cgroups come and go beneath a running agent: it neither stumbles nor complains and keeps nothing of them."""
    prometheus, agent = node.prometheus, node.agent
    pid = agent.pid
    assert pid > 0
    pods = [Pod(node.guest, 100 + number, f"churn-{number}", "BestEffort") for number in range(10)]
    (before,) = prometheus.wait("process_open_fds", bool, SECONDS)
    for pod in pods:
        pod.declare()
    paths = [f"/sys/fs/cgroup/{pod.slice_path}" for pod in pods]
    churn = ["python3", f"{HOME}/scripts/churn.py", "25", *paths]
    removed = int(node.guest.run(churn, timeout=120).check().stdout)
    assert removed > len(pods)

    # The agent did see cgroups that it was reading vanish. (How often is chance: a pod is looked for every 5 s.)
    gone = prometheus.query('sum(count_over_time(plimsoll_pod_info{pod=~"churn-.*",state="gone"}[2m]))')
    assert gone[0][1] >= 3, f"{removed} pods were removed"
    for pod in pods:
        pod.forget()
    node.wait_for_absence('{pod=~"churn-.*"}')
    prometheus.wait("process_open_fds", lambda now: bool(now) and now[0][1] <= before[1], SECONDS)

    assert agent.pid == pid
    assert {value for _, value in prometheus.query("min_over_time(plimsoll_source_up[2m])")} == {1.0}
    assert prometheus.query("plimsoll_read_errors_total") == []
    assert prometheus.query("plimsoll_source_errors_total") == []
    # A slow machine may make a tick late; anything else would be news.
    assert {(line["level"], line["event"]) for line in agent.log()} - {("warning", "tick-late")} <= {
        ("info", "http-listening"),
        ("info", "agent-started"),
    }


def test_pressure_turned_off_in_one_cgroup_is_absent_until_it_is_turned_on(node: Node) -> None:
    """Files that vanish below a pod that lives on take their series with them, and nothing else of the pod."""
    switch = f"/sys/fs/cgroup/{node.pods['slow'].slice_path}/cgroup.pressure"
    psi = 'plimsoll_pod_pressure_waiting_seconds_total{pod="slow"}'
    node.guest.sh(f"echo 0 > {switch}")
    try:
        node.wait_for_absence(psi)
        node.prometheus.wait('plimsoll_pod_info{pod="slow",state="found"}', bool, SECONDS)
        node.prometheus.wait('plimsoll_pod_memory_bytes{pod="slow"}', bool, SECONDS)
        assert node.prometheus.query("plimsoll_read_errors_total") == []
    finally:
        node.guest.sh(f"echo 1 > {switch}")
    node.prometheus.wait(
        psi, lambda found: {labels["cause"] for labels, _ in found} == {"cpu", "memory", "io"}, SECONDS
    )


def test_open_files_of_a_removed_cgroup_are_gone(node: Node) -> None:
    """Both readers call a removed cgroup gone, and one that was made again under its name another file."""
    answers = node.agent.script(
        "removed_cgroup.py", "sys/fs/cgroup", "memory.pressure=PSI", "cpu.stat=KEYED", "memory.current=VALUE"
    )
    files = ("memory.pressure", "cpu.stat", "memory.current")
    expected = {
        "made": ["ok", 1],
        "removed": ["gone", 1],
        # Nothing is held open any more that could tell "gone" from "never there".
        "still removed": ["missing", 1],
        "made again": ["ok", 2],
        "replaced": ["ok", 3],
    }
    for reader, steps in answers.items():
        assert steps == {step: dict.fromkeys(files, seen) for step, seen in expected.items()}, reader


def test_doctor_knows_the_node(node: Node) -> None:
    """On a stock kernel with cgroup v2 all is there but what only other kernels have, with the reason."""
    found = node.agent.doctor()
    found.pop("native-reader")  # built or not: not the kernel's matter
    absent = {name: each["reason"] for name, each in found.items() if not each["available"]}

    assert found["cgroup"]["detail"].startswith("cgroup v2;")
    assert found["kubepods"]["detail"] == "systemd driver at /kubepods.slice."
    # Debian builds its kernels without CONFIG_IRQ_TIME_ACCOUNTING.
    assert absent == {
        **WITHOUT_OPENEULER,
        **WITHOUT_HARDWARE,
        **dict.fromkeys(("blkio-throttle", "cpu-shares", "cpuset-v1"), "cgroup-v2"),
        "cpuset-v2": "no-file",  # no cgroup of pods was given the controller
        "psi-irq": "not-built",
    }
