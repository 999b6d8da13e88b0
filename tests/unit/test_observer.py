"""What is observed: while a read of the kernel hangs (F28), and only what somebody needs."""

from __future__ import annotations

import threading
import time

import pytest

from plimsoll import observer as module
from plimsoll.config.schema import Config
from plimsoll.observer import Observer
from plimsoll.options import Options
from plimsoll.sources.manifests import ManifestPods
from tests.support import manifest, v2_node, v2_pod


@pytest.fixture
def observer(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "OBSERVE_DEADLINE", 30.0)
    root, pods = tmp_path / "host", tmp_path / "pods"
    kubepods = v2_node(root)
    pods.mkdir()
    for number in (1, 2):
        v2_pod(kubepods, number)
        (pods / f"{number}.yaml").write_text(manifest(number, f"web-{number}"))
    now = [0.0]
    clock = lambda: now[0]  # noqa: E731
    observer = Observer(Options(pods=str(pods), root=str(root)), Config(), ManifestPods(str(pods), clock=clock), clock)
    yield observer, pods, now
    observer.close()


def test_the_last_figures_stand_while_a_read_hangs(observer, monkeypatch):
    """The source is stuck and ages; the figures do not change; a deleted pod is gone; afterwards all is fresh."""
    observer, pods, now = observer
    good = observer.snapshot()
    assert len(good.pods) == 2
    release = threading.Event()
    sample = observer._node.sample
    monkeypatch.setattr(observer._node, "sample", lambda: (release.wait(60), sample())[1])
    monkeypatch.setattr(module, "OBSERVE_DEADLINE", 0.01)

    now[0] = 7.0
    (pods / "2.yaml").unlink()
    hung = observer.snapshot()

    assert [each.pod.name for each in hung.pods] == ["web-1"]
    assert hung.pods[0].pressures == good.pods[0].pressures
    kernel = hung.sources[-1]
    assert (kernel.ok, kernel.complete, kernel.age_seconds) == (False, True, 7.0)

    release.set()
    monkeypatch.setattr(module, "OBSERVE_DEADLINE", 30.0)
    deadline = time.monotonic() + 60
    while not (fresh := observer.snapshot()).sources[-1].ok:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert fresh.sources[-1].age_seconds == 0.0
    assert len(fresh.pods) == 1


@pytest.mark.parametrize(("mode", "known"), [("off", False), ("observe", True)])
def test_what_an_eviction_needs_is_read_only_where_it_may_come_to_one(observer, mode, known):
    """Use of CPUs and disks, also after a reload; a folder of pods says that nobody can be asked to evict."""
    observer, _, now = observer
    # The rest of this configuration reads nothing of the kind.
    off = {"mode": "off"}
    observer.reconfigure(Config.model_validate({"frequency": off, "overcommit": off, "eviction": {"mode": mode}}))
    found = []
    for now[0] in (20.0, 40.0):
        found = observer.snapshot().pods
    assert [each.cpu_usage is not None for each in found] == [known, known]

    (api,) = [each for each in observer.snapshot().capabilities if each.name == "eviction-api"]
    assert (api.available, api.reason) == (False, "no-api-server")
    assert "--kubeconfig" in api.cure


def test_an_agent_of_a_cluster_can_ask_for_evictions(observer, tmp_path):
    """Whether it has the right is only known when it asks."""
    source = observer[0]._source
    with_server = Observer(Options(kubeconfig="x", root=str(tmp_path / "host")), Config(), source, lambda: 0.0)
    try:
        capabilities = with_server.snapshot().capabilities
    finally:
        with_server.close()
    assert next(each for each in capabilities if each.name == "eviction-api").available
