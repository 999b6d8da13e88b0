"""A kernel read that hangs: the last figures stand with their age, and deleted pods still vanish (F28)."""

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
