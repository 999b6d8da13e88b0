"""The source as the daemon sees it: what a wrong set-up says, and what observing costs and keeps."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import Priority
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.sources.kube import KubePods
from tests.fault.kube_day import PRIORITY, day, manifest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a kubeconfig"),
        ("- a list", "not a kubeconfig"),
        ("a: [open", "not a kubeconfig"),
        ("kind: Config\n", "not a kubeconfig"),
        (json.dumps({"clusters": [], "contexts": [], "users": [], "current-context": "x"}), "not a kubeconfig"),
        (
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c"}}],
                    "users": [],
                    "current-context": "x",
                }
            ),
            "has no server",
        ),
    ],
    ids=["empty", "list", "yaml", "nothing", "no-context", "no-server"],
)
def test_a_wrong_kubeconfig_is_said_at_the_start(tmp_path: Path, text: str, said: str) -> None:
    """With the file's name and what to look at, as ValueError."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    with pytest.raises(ValueError, match=said) as failed:
        KubePods("node-1", kubeconfig=str(path))
    assert str(path) in str(failed.value)


def test_a_missing_kubeconfig_is_said_at_the_start(tmp_path: Path) -> None:
    """A file that is not there, and a directory in its place, are OSErrors with the path."""
    with pytest.raises(FileNotFoundError, match="kubeconfig"):
        KubePods("node-1", kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(IsADirectoryError):
        KubePods("node-1", kubeconfig=str(tmp_path))


def test_outside_a_cluster_the_cure_is_said(tmp_path: Path) -> None:
    """No service address in the environment, or no token: ValueError that names the option to use instead."""
    address = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for environ in ({}, address):
        with pytest.raises(ValueError, match="--kubeconfig FILE"):
            KubePods("node-1", environ=environ, service_account=str(tmp_path))
    (tmp_path / "token").write_text("t")
    with pytest.raises(ValueError, match="certification file"):
        KubePods("node-1", environ=address, service_account=str(tmp_path))


@pytest.mark.parametrize("name", ["", "a,metadata.name=b", "Node-1", "a b", "ä", "-a", "a" * 300])
def test_a_name_no_node_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """It goes into a field selector: a comma would select something else."""
    with pytest.raises(ValueError, match="--node-name"):
        KubePods(name, kubeconfig=str(tmp_path / "unused"))


def test_a_token_that_no_header_can_carry_is_not_shown(tmp_path: Path) -> None:
    """A token file with line breaks: the source fails with a reason, and the token stays secret."""
    with day(tmp_path, "a") as today:
        today.source.stop()
        today.server.token = "secret\nvalue"
        source = KubePods("node-1", kubeconfig=today.server.write_kubeconfig(today.kubeconfig))
        source.start()
        try:
            today.until(lambda: "credentials" in source.observe(PRIORITY).state.errors, "refused")
            detail = source.observe(PRIORITY).state.detail
        finally:
            source.stop()

    assert "no HTTP header" in detail
    assert "secret" not in detail


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's server is on the loopback; a proxy that a shell is set up with has no part in that."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.com")
    with day(tmp_path, "a") as today:
        today.until_names("a")


def test_unchanged_pods_are_the_same_objects(tmp_path: Path) -> None:
    """A change of one pod, and a bookmark, leave the others' identity alone: who compares by identity is right."""
    with day(tmp_path, "a", "b", bookmark_seconds=0.05) as today:
        today.until_names("a", "b")
        before = {pod.name: pod for pod in today.now().pods}
        today.server.put_pod(manifest("b", **{"plimsoll.io/qos-priority": "low"}))
        today.until(lambda: {pod.name: pod.priority for pod in today.now().pods}["b"] is Priority.LOW, "low")
        after = {pod.name: pod for pod in today.now().pods}

    assert after["a"] is before["a"]
    assert after["b"] is not before["b"]


def test_a_new_priority_section_counts_at_once(tmp_path: Path) -> None:
    """After a reload of the configuration the intents are decided afresh, without asking the API server."""
    with day(tmp_path, "a") as today:
        today.until_names("a")
        section = PrioritySection(namespaces={"shop": Priority.LOW})

        assert [pod.priority for pod in today.now().pods] == [Priority.NORMAL]
        assert [pod.priority for pod in today.source.observe(section).pods] == [Priority.LOW]
        assert len(today.script.asked(watching=False)) == 1


def test_observing_does_not_wait_for_the_server(tmp_path: Path) -> None:
    """While the server answers nothing at all, observing still answers, from any thread."""
    with day(tmp_path, lists=(lambda exchange: exchange.hang(),)) as today:
        today.until(lambda: bool(today.script.seen), "asked")
        done = threading.Event()
        threading.Thread(target=lambda: (today.now(), done.set()), daemon=True).start()

        assert done.wait(30)
        assert not today.source.wait_complete(0.0)


def test_stopping_without_a_start_is_allowed(tmp_path: Path) -> None:
    """The daemon stops whatever it has made, also when something else failed before the start."""
    server = ApiServer()
    server.start()
    source = KubePods("node-1", kubeconfig=server.write_kubeconfig(tmp_path / "kubeconfig"))
    server.stop()
    server.stop()

    source.stop()
    source.stop()

    assert source.observe(PRIORITY).pods == ()


def test_the_kubeconfig_of_the_simulated_server_is_private(tmp_path: Path) -> None:
    """It holds a token."""
    server = ApiServer()

    assert Path(server.write_kubeconfig(tmp_path / "kubeconfig")).stat().st_mode & 0o777 == 0o600


def test_only_an_agent_with_an_api_server_pays_for_the_client() -> None:
    """Importing daemon and source loads nothing of the kubernetes package; making a source does, without models."""
    program = (
        "import sys, plimsoll.daemon, plimsoll.sources.kube\n"
        "before = 'kubernetes' in sys.modules\n"
        "import plimsoll.sources.kube.connection\n"
        "models = [n for n in sys.modules if n.startswith(('kubernetes.client.models.', 'kubernetes.client.api.'))]\n"
        "print(before, 'kubernetes' in sys.modules, models)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)

    assert found.stdout.split(maxsplit=2) == ["False", "True", "[]\n"]
