"""A whole agent tells a pod's owner what was not followed, once, and says so on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plimsoll.simulator.apiserver import ApiServer
from tests.running import Running, until
from tests.support import UID, v2_node, v2_pod

if TYPE_CHECKING:
    from pathlib import Path

TYPO = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": UID.format(1),
        "annotations": {"plimsoll.io/qos-priority": "hihg"},
    },
    "spec": {"nodeName": "n", "containers": []},
    "status": {"phase": "Running", "qosClass": "BestEffort"},
}
EVENTS = "notices:\n  events: true\npressure:\n  interval: 1s\n"


def until_told(agent: Running) -> None:
    """Until the event is stored: now, or already before this agent was started."""
    until(lambda: agent.metric("plimsoll_intent_rejected.*"), "the tick that saw the pod")
    seen = agent.metric("plimsoll_ticks_total")
    # What waits is as it was before a tick tells the next.
    until(lambda: agent.metric("plimsoll_ticks_total") != seen, "the tick after it")
    sent = r'plimsoll_notices_sent_total\{channel="event"\}'
    until(lambda: agent.metric(sent) == "1" or agent.metric("plimsoll_notices_waiting") == "0", "the notice")


def test_a_typo_comes_back_as_an_event(tmp_path: Path, server: ApiServer) -> None:
    """An annotation that is not followed is an event on its pod, stored once however often the agent starts."""
    v2_pod(v2_node(tmp_path / "node"), 1)
    config = tmp_path / "config.yaml"
    config.write_text(EVENTS)
    server.put_pod(TYPO)
    kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
    arguments = ("--root", tmp_path / "node", "--kubeconfig", kubeconfig, "--node-name", "n", "--config", config)
    for _ in range(2):
        with Running(tmp_path, *arguments) as agent:
            until_told(agent)
            assert agent.stop() == 0
    (event,) = server.events
    assert (event["reason"], event["type"]) == ("IntentRejected", "Warning")
    assert event["involvedObject"]["uid"] == UID.format(1)
    assert "hihg" in event["message"]


def test_nothing_is_told_unless_asked_for(tmp_path: Path, server: ApiServer) -> None:
    """Without the feature there is no request, no series, and the page says that it is off."""
    v2_pod(v2_node(tmp_path / "node"), 1)
    server.put_pod(TYPO)
    kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
    arguments = ("--root", tmp_path / "node", "--kubeconfig", kubeconfig, "--node-name", "n")
    with Running(tmp_path, *arguments) as agent:
        until(lambda: agent.metric("plimsoll_intent_rejected.*"), "the tick that saw the pod")
        until(lambda: b'"unavailable": "off"' in agent.get("/status.json")[1], "the page")
        assert agent.metric("plimsoll_notices_.*") is None
        assert agent.stop() == 0
        assert server.events == ()
