"""The program as its users have it: commands, exit codes, a page for Prometheus, clean ends."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.hosts import trees
from tests.running import Running, command, until
from tests.support import CONTAINER, UID, manifest, pressure_stat, v1_node, v1_pod, v2_node, v2_pod


@pytest.fixture
def start(tmp_path):
    with ExitStack() as running:

        def start(root: Path, pods: Path, *more: object) -> Running:
            return running.enter_context(Running(tmp_path, "--root", root, "--pods", pods, *more))

        yield start


@pytest.fixture
def pods(tmp_path):
    folder = tmp_path / "pods"
    folder.mkdir()
    (folder / "web.yaml").write_text(manifest(1, "web", plimsoll_io__qos_priority="high"))
    (folder / "web.yaml").write_text((folder / "web.yaml").read_text().replace("plimsoll-io", "plimsoll.io"))
    return folder


@pytest.fixture
def stock(tmp_path):
    root = tmp_path / "host"
    v2_pod(v2_node(root), 1, throttled=(1_000_000, 500_000))
    return root


def test_one_observation_of_a_stock_node(stock, pods):
    """PSI under its own source, throttling derived and flagged, absent things absent."""
    text = command("metrics", "--root", stock, "--pods", pods).stdout

    label = 'namespace="shop",pod="web",priority="high"'
    assert f'plimsoll_pod_pressure_waiting_seconds_total{{{label},cause="memory",source="psi"}} 1.500000' in text
    assert f'plimsoll_pod_pressure_stalled_seconds_total{{{label},cause="irq",source="psi"}} 0.000017' in text
    assert (
        f'plimsoll_pod_pressure_stalled_seconds_total{{{label},cause="cpu_cfs_bandwidth",source="derived"}} 1.500000'
    ) in text
    assert f'plimsoll_pod_pressure_events_total{{{label},cause="swap",event="workingset_refault_anon"}} 6' in text
    assert (
        f'plimsoll_pod_pressure_ratio{{{label},cause="cpu",source="psi",degree="some",window="10s"}} 0.0125'
    ) in text
    assert 'window="60s"' not in text
    assert "global_memory_reclaim" not in text
    assert not re.search(r'node_pressure_stalled.*cause="cpu"', text)


def test_one_observation_of_an_openeuler_node(tmp_path, pods):
    """The kernel's own split by cause; the CPU sections have no `some`; nothing is derived beside the exact figure."""
    root = tmp_path / "host"
    v1_pod(v1_node(root), 1, swap=731_245, cpu_cfs_bandwidth=98_234_411)

    text = command("metrics", "--root", root, "--pods", pods).stdout

    label = 'namespace="shop",pod="web",priority="high"'
    source = 'source="pressure.stat"'
    assert f'plimsoll_pod_pressure_waiting_seconds_total{{{label},cause="swap",{source}}} 0.731245' in text
    assert f'stalled_seconds_total{{{label},cause="cpu_cfs_bandwidth",{source}}} 98.234411' in text
    assert f'waiting_seconds_total{{{label},cause="cpu_qos"' not in text
    assert "derived" not in text
    assert f"plimsoll_pod_memory_bytes{{{label}}} 8192" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus package")
def test_promtool_finds_nothing_to_say(stock, pods):
    """The page follows Prometheus' own rules for names, types and units."""
    text = command("metrics", "--root", stock, "--pods", pods).stdout

    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_a_running_agent_follows_its_node(start, stock, pods):
    """Ready after the first set; figures move; a pod whose cgroup goes is gone; a deleted pod's series vanish."""
    agent = start(stock, pods, "--config", _config(stock.parent))
    until(lambda: agent.get("/readyz")[0] == 200, "ready")
    assert agent.get("/healthz") == (200, b"OK\n")
    assert agent.get("/nothing")[0] == 404
    waiting = 'plimsoll_pod_pressure_waiting_seconds_total{.*pod="web".*cause="memory".*}'
    assert agent.metric(waiting) == "1.500000"
    assert gzip.decompress(agent.get("/metrics", **{"Accept-Encoding": "gzip"})[1]).startswith(b"# HELP")

    pod = next(stock.glob("sys/fs/cgroup/kubepods.slice/*/*pod*"))
    (pod / "memory.pressure").write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n")
    until(lambda: agent.metric(waiting) == "2.500000", "the new total")
    assert agent.metric('plimsoll_capability{capability="state-directory",.*') == "1"
    view = json.loads(agent.get("/status.json")[1])
    assert view["pods"][0]["uid"] == UID.format(1)
    assert view["pods"][0]["origin"] == "plimsoll.io/qos-priority"

    (pods / "web.yaml").unlink()
    until(lambda: 'pod="web"' not in agent.get("/metrics")[1].decode(), "the series to vanish")
    assert agent.stop() == 0


def test_a_cgroup_made_again_is_a_new_one(start, stock, pods):
    """F07, F08: a vanished cgroup harms nothing, its successor under the same name is read afresh."""
    agent = start(stock, pods, "--config", _config(stock.parent))
    until(lambda: agent.metric('plimsoll_pod_info{.*state="found"}'), "found")
    pod = next(stock.glob("sys/fs/cgroup/kubepods.slice/*/*pod*"))

    # A folder cannot answer ENODEV on an open descriptor as the kernel does; an emptied file is the nearest it can.
    for path in [*pod.glob("*/*"), *pod.glob("*.*")]:
        if path.is_file():
            path.write_text("")
    shutil.rmtree(pod)
    until(lambda: agent.metric('plimsoll_read_errors_total{.*outcome="malformed"}'), "the torn file counted")
    assert agent.get("/healthz")[0] == 200
    assert agent.stop() == 0


def test_the_second_agent_leaves_the_first_alone(start, stock, pods):
    """F20: exit 75, naming the process that holds the node."""
    agent = start(stock, pods)
    agent.event("agent-started")

    done = command("run", "--root", stock, "--pods", pods, "--listen", "127.0.0.1:0", "--lock-wait", "0", code=75)

    assert str(agent.process.pid) in done.stderr
    assert agent.stop(signal.SIGINT) == 0


def test_a_bad_reload_keeps_the_last_good_configuration(start, stock, pods, tmp_path):
    """F34: the agent runs on, says so in a metric and a log line with file and line, and recovers."""
    config = _config(tmp_path)
    agent = start(stock, pods, "--config", config)
    until(lambda: agent.metric("plimsoll_config_last_reload_successful") == "1", "running")

    config.write_text("pressure: {interval: 1s, windws: [60s]}\n")
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: agent.metric("plimsoll_config_last_reload_successful") == "0", "refusal")
    (problem,) = agent.event("config-rejected")["problems"]
    assert problem == f"{config}:1: pressure.windws: there is no such key, did you mean windows?"

    config.write_text("pressure: {interval: 1s, windows: [60s]}\n")
    agent.process.send_signal(signal.SIGHUP)
    until(lambda: 'window="60s"' in agent.get("/metrics")[1].decode(), "the new window")
    assert agent.metric("plimsoll_config_last_reload_successful") == "1"
    assert agent.stop() == 0


def test_a_duration_ends_the_agent(stock, pods):
    """`--duration` stops by itself with exit code 0."""
    command("run", "--root", stock, "--pods", pods, "--listen", "127.0.0.1:0", "--duration", "0.2")


def test_wrong_use_has_its_exit_codes(tmp_path, stock):
    """2 usage, 1 a folder that is not there or no cluster to ask, 78 a configuration that is wrong."""
    command("run", "--pods", tmp_path, "--kubeconfig", tmp_path / "config", code=2)
    for seconds in ("-1", "nan", "inf", "soon"):
        assert "--lock-wait" in command("run", "--lock-wait", seconds, code=2).stderr
    assert "--kubeconfig FILE" in command("run", "--root", stock, "--node-name", "n", code=1).stderr
    assert "nowhere" in command("metrics", "--root", stock, "--pods", tmp_path / "nowhere", code=1).stderr
    bad = tmp_path / "bad.yaml"
    bad.write_text("pressure:\n  intervall: 5s\n")
    assert command("check-config", bad, code=78).stderr == (
        f"{bad}:2: pressure.intervall: there is no such key, did you mean interval?\n"
    )
    bad.write_text("")
    command("check-config", bad)


def test_the_doctor_says_why_and_what_to_do(tmp_path, stock):
    """Every capability has an answer; one that is missing has a reason and a cure. A node without cgroups is fine."""
    found = {each["name"]: each for each in json.loads(command("doctor", "--root", stock, "--format", "json").stdout)}
    assert found["psi-memory"]["available"]
    assert not found["pressure-stat"]["available"]
    assert found["pressure-stat"]["reason"]
    assert found["pressure-stat"]["cure"]

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "cure:" in command("doctor", "--root", empty).stdout


@pytest.mark.parametrize("kind", ["no_psi", "no_memory_controller", "hybrid", "stock_v1", "bare"])
def test_an_agent_on_any_node_is_ready(start, tmp_path, pods, kind):
    """F29: what a node lacks is a capability with a reason; the agent serves, is ready, and makes nothing up."""
    root = trees.write(tmp_path / "host", trees.ALL[kind]())
    (root / "run").mkdir(exist_ok=True)
    agent = start(root, pods)
    until(lambda: agent.get("/readyz")[0] == 200, "ready")

    page = agent.get("/metrics")[1].decode()
    assert re.search(r'plimsoll_capability\{capability="[a-z-]+",reason="[a-z-]+"\} 0', page)
    assert "plimsoll_pod_pressure" not in page
    assert agent.metric('plimsoll_pod_info{.*pod="web".*state="pending"}') == "1"
    assert agent.stop() == 0


def test_container_level_is_a_choice(stock, pods, tmp_path):
    """Off by default (series cost money), on by one line, under the container's name."""
    config = tmp_path / "c.yaml"
    config.write_text("pressure: {containers: true, causes: [memory]}\n")

    text = command("metrics", "--root", stock, "--pods", pods, "--config", config).stdout

    assert re.search(r'plimsoll_container_pressure_waiting_seconds_total{.*container="main".*cause="memory"', text)
    assert 'cause="io"' not in text
    assert CONTAINER.format(1) not in text


def test_an_unknown_section_is_passed_on(tmp_path, pods):
    """A later kernel's section appears under its own name."""
    root = tmp_path / "host"
    pod = v1_pod(v1_node(root), 1)
    more = "net_rx\nsome avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
    (pod / "pressure.stat").write_text(pressure_stat() + more)

    text = command("metrics", "--root", root, "--pods", pods).stdout

    assert 'cause="net_rx",source="pressure.stat"} 0.000005' in text


def _config(folder: Path) -> Path:
    path = folder / "plimsoll.yaml"
    path.write_text("pressure: {interval: 1s}\n")
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="makes real cgroups: needs root")
def test_real_cgroups_of_this_kernel(tmp_path, pods):
    """On a kernel with a writable cgroup2 mount, a pod's real pressure files are read through the whole program."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]
    if not mounts or not os.access(mounts[0], os.W_OK):
        pytest.skip("no writable cgroup2 mount here; the guest covers it")
    base = Path(mounts[0]) / f"plimsolltest{os.getpid()}"
    pod = base / "kubepods/besteffort" / f"pod{UID.format(1)}"
    pod.mkdir(parents=True)
    try:
        config = tmp_path / "c.yaml"
        config.write_text("pressure: {causes: [cpu, memory, io]}\n")
        text = command("metrics", "--pods", pods, "--config", config).stdout
    finally:
        for path in (pod, pod.parent, pod.parent.parent, base):
            path.rmdir()

    assert "plimsoll_pod_info" in text
    assert 'state="found"' in text
    assert re.search(r'plimsoll_pod_pressure_waiting_seconds_total{.*pod="web".*cause="cpu",source="psi"} \d', text)
