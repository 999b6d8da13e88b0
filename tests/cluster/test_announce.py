"""Notices against a real kube-apiserver: what it stores, which rights it really takes, what kubectl shows."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from plimsoll.config.report_section import NoticesSection
from plimsoll.model.announcing import Channel
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.sources.kube.announcing import Announcer
from plimsoll.sources.kube.timing import Timing
from tests.cluster import pods
from tests.cluster.api import Api, ApiError
from tests.cluster.control_plane import ControlPlane
from tests.running import until
from tests.telling import BOTH, BRISK, CONDITION, CONDITIONS, EVENTS, MESSAGE, REASON, Telling, note

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

# Of errors these tests say that there are none: a busy machine is not to make one.
PATIENT = Timing(connect=60.0)

PODS_RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
EVENTS_RULE = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}
STATUS_RULE = {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}

Begin = Callable[..., AbstractContextManager[Telling]]


@pytest.fixture
def node(request: pytest.FixtureRequest) -> str:
    """A name that is this test's alone, for its node, its pod and its namespace."""
    name: str = request.node.name
    # Cut off, the names of two tests may be one.
    return f"node-{zlib.crc32(name.encode()):08x}"


@pytest.fixture
def telling(control_plane: ControlPlane, node: str, tmp_path: Path) -> Begin:
    """Makes an announcer that runs for a while; by default with the rights of the chart where both features are on."""
    control_plane.service_account("default", "teller", (PODS_RULE, EVENTS_RULE, STATUS_RULE))

    @contextmanager
    def begin(section: NoticesSection, user: str = "teller", **limits: Any) -> Iterator[Telling]:
        kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig", user=f"default/{user}")
        announcer = Announcer(
            node, section, kubeconfig=str(kubeconfig), limits=BRISK._replace(**limits), timing=PATIENT
        )
        try:
            announcer.start()
            yield Telling(announcer, patience=120.0)
        finally:
            announcer.stop()

    return begin


def a_running_pod(control_plane: ControlPlane, namespace: str, name: str, node: str) -> dict[str, Any]:
    pod = control_plane.create_pod(namespace, name, node)
    control_plane.set_pod_status(namespace, name)
    return pod


def events(control_plane: ControlPlane, pod: dict[str, Any]) -> list[dict[str, Any]]:
    namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
    path = f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid%3D{uid}"
    return list(control_plane.request("GET", path)["items"])


def conditions(control_plane: ControlPlane, pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    status = control_plane.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]
    return {each["type"]: each for each in status["conditions"]}


def refuses(control_plane: ControlPlane, namespace: str) -> bool:
    """Whether nothing can be created in it. Creates nothing."""
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "any-"}}
    try:
        control_plane.request("POST", f"/api/v1/namespaces/{namespace}/configmaps?dryRun=All", item)
    except ApiError as error:
        if error.reason != "Forbidden":
            raise
        return True
    return False


def test_an_event_is_stored_once_counted_and_shown(
    control_plane: ControlPlane, node: str, telling: Begin, tmp_path: Path
) -> None:
    """Said in every tick: one event with all that kubectl needs; an hour later (here: at once) its count is 2."""
    pod = a_running_pod(control_plane, "default", node, node)
    with telling(EVENTS) as agent:
        for _ in range(20):
            agent.tick(pod, notes=(note(pod),))
        agent.until_sent(Channel.EVENT, 1)
        agent.tick(pod, notes=(note(pod),))
        (event,) = events(control_plane, pod)
        assert agent.announcer.state.failed == {}
    with telling(EVENTS, repeat=1.0) as agent:
        # An agent that was restarted finds its event, then counts on from what it says.
        agent.until(
            lambda: agent.tick(pod, notes=(note(pod),)) or agent.sent(Channel.EVENT) >= 2, "counted"
        )  # fmt: skip
        (counted,) = events(control_plane, pod)

    assert event["reason"] == REASON
    assert event["message"] == MESSAGE
    assert (event["type"], event["count"]) == ("Warning", 1)
    assert event["source"] == {"component": "plimsoll", "host": node}
    assert (event["reportingComponent"], event["reportingInstance"]) == ("plimsoll", node)
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert counted["metadata"]["name"] == event["metadata"]["name"]
    assert counted["count"] == 2
    assert counted["firstTimestamp"] == event["firstTimestamp"]
    assert counted["lastTimestamp"] > event["lastTimestamp"]
    kubectl = shutil.which("kubectl")
    if kubectl is not None:
        admin = str(control_plane.kubeconfig(tmp_path / "admin"))
        shown = subprocess.run([kubectl, "--kubeconfig", admin, "describe", "pod", node],
                               capture_output=True, text=True, check=True, timeout=60).stdout  # fmt: skip
        (line,) = (each for each in shown.splitlines() if REASON in each)
        assert "Warning" in line
        assert "(x2 over" in line
        assert "plimsoll" in line
        assert MESSAGE in line


def test_a_condition_follows_and_leaves_the_others_alone(
    control_plane: ControlPlane, node: str, telling: Begin
) -> None:
    """True with its message, then False with a new transition time; the kubelet's own stay as they were."""
    pod = a_running_pod(control_plane, "default", node, node)
    before = conditions(control_plane, pod)
    with telling(CONDITIONS) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until_sent(Channel.CONDITION, 1)
        on = conditions(control_plane, pod)
        time.sleep(1.1)  # the API server's times are whole seconds
        agent.tick(pod)
        agent.tick(pod)
        agent.until_sent(Channel.CONDITION, 2)
        off = conditions(control_plane, pod)

    assert (on[CONDITION]["status"], on[CONDITION]["reason"], on[CONDITION]["message"]) == (
        "True",
        "preemption",
        MESSAGE,
    )
    assert off[CONDITION]["status"] == "False"
    assert off[CONDITION].get("message", "") == ""
    assert off[CONDITION]["lastTransitionTime"] > on[CONDITION]["lastTransitionTime"]
    for after in (on, off):
        assert {type_: each for type_, each in after.items() if type_ != CONDITION} == before


def test_a_restarted_agent_takes_back_what_is_no_longer_true(
    control_plane: ControlPlane, node: str, telling: Begin
) -> None:
    """The condition stays when the agent ends; the next agent finds it and says what is true now."""
    pod = a_running_pod(control_plane, "default", node, node)
    with telling(CONDITIONS) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until_sent(Channel.CONDITION, 1)
    assert conditions(control_plane, pod)[CONDITION]["status"] == "True"
    with telling(CONDITIONS) as agent:
        agent.until(lambda: agent.tick(pod) or agent.sent(Channel.CONDITION) == 1, "taken back")
        assert conditions(control_plane, pod)[CONDITION]["status"] == "False"
    with telling(CONDITIONS) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until_sent(Channel.CONDITION, 1)
        assert conditions(control_plane, pod)[CONDITION]["status"] == "True"


@pytest.mark.parametrize(
    "case",
    [(EVENTS, Channel.EVENT, EVENTS_RULE), (CONDITIONS, Channel.CONDITION, STATUS_RULE)],
    ids=["events", "conditions"],
)
def test_a_missing_right_is_named_once_and_used_when_it_is_granted(
    control_plane: ControlPlane, node: str, telling: Begin, case: tuple[NoticesSection, Channel, Any]
) -> None:
    """403 with the rights of the chart's default: one request, not one per tick; later, one more."""
    section, channel, granted = case
    account = f"learner-{channel}"
    pod = a_running_pod(control_plane, "default", node, node)
    control_plane.service_account("default", account, (PODS_RULE,))
    with telling(section, account, forbidden=600.0) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until(lambda: agent.failed(channel, "forbidden") == 1, "refused")
        for _ in range(50):
            agent.tick(pod, notes=(note(pod),))
            time.sleep(0.02)
        state = agent.announcer.state
    assert state.failed == {(channel, "forbidden"): 1}
    reason, message = state.troubles[channel]
    assert reason == "forbidden"
    assert f"system:serviceaccount:default:{account}" in message
    assert "ClusterRole" in message
    assert state.sent == {channel: 0}
    control_plane.service_account("default", account, (PODS_RULE, granted))
    with telling(section, account, forbidden=0.2) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until_sent(channel, 1)
        assert agent.announcer.state.troubles == {}


def test_the_right_to_create_alone_does_not_count_up(control_plane: ControlPlane, node: str, telling: Begin) -> None:
    """Both verbs are needed, and no other: the patch is refused without its own."""
    pod = a_running_pod(control_plane, "default", node, node)
    rule = {**EVENTS_RULE, "verbs": ["create"]}
    control_plane.service_account("default", "creator", (PODS_RULE, rule))
    with telling(EVENTS, "creator", repeat=0.5) as agent:
        agent.until(
            lambda: agent.tick(pod, notes=(note(pod),)) or agent.failed(Channel.EVENT, "forbidden") == 1, "refused"
        )
        assert agent.sent(Channel.EVENT) == 1
        assert "patch" in agent.announcer.state.troubles[Channel.EVENT][1]


def test_a_pod_that_is_gone_and_one_that_has_its_name_are_left_alone(
    control_plane: ControlPlane, node: str, telling: Begin
) -> None:
    """The condition of a pod that was deleted lands neither nowhere for ever nor on the next pod of that name."""
    gone = a_running_pod(control_plane, "default", node, node)
    control_plane.delete_pod("default", node)
    with telling(CONDITIONS) as agent:
        agent.tick(gone, notes=(note(gone),))
        agent.until(lambda: agent.failed(Channel.CONDITION, "gone") == 1, "gone")
    successor = a_running_pod(control_plane, "default", node, node)
    with telling(CONDITIONS) as agent:
        agent.tick(gone, notes=(note(gone),))
        agent.until(lambda: agent.failed(Channel.CONDITION, "gone") == 1, "another one")
        for _ in range(20):
            agent.tick(gone, notes=(note(gone),))
        assert agent.announcer.state.troubles == {}

    assert CONDITION not in conditions(control_plane, successor)


def test_a_namespace_that_ends_is_no_missing_right(control_plane: ControlPlane, node: str, telling: Begin) -> None:
    """Nothing can be created in it (403) nor in one that is no more (404); the others are told all the same."""
    control_plane.namespace(node)
    ending = a_running_pod(control_plane, node, "ending", node)
    never = {"metadata": {"namespace": "no-such", "name": "x", "uid": str(uuid.uuid4())}}
    lasting = a_running_pod(control_plane, "default", node, node)
    control_plane.request("DELETE", f"/api/v1/namespaces/{node}")
    # Who decides on creating follows the namespaces at a distance.
    until(lambda: refuses(control_plane, node), "nothing can be created in it")
    with telling(EVENTS) as agent:
        agent.tick(ending, never, lasting, notes=(note(ending), note(never), note(lasting)))
        agent.until_sent(Channel.EVENT, 1)
        agent.until(lambda: agent.failed(Channel.EVENT, "gone") == 2, "gone")
        state = agent.announcer.state

    assert state.failed == {(Channel.EVENT, "gone"): 2}
    assert state.troubles == {}
    assert len(events(control_plane, lasting)) == 1


def test_an_event_that_was_forgotten_is_created_again(control_plane: ControlPlane, node: str, telling: Begin) -> None:
    """The API server forgets events after an hour: the hourly count finds nothing, and the event comes anew."""
    pod = a_running_pod(control_plane, "default", node, node)
    with telling(EVENTS, repeat=1.0) as agent:
        agent.tick(pod, notes=(note(pod),))
        agent.until_sent(Channel.EVENT, 1)
        (event,) = events(control_plane, pod)
        control_plane.request("DELETE", f"/api/v1/namespaces/default/events/{event['metadata']['name']}")
        agent.until(lambda: agent.tick(pod, notes=(note(pod),)) or agent.sent(Channel.EVENT) == 2, "created anew")
        (anew,) = events(control_plane, pod)

    assert anew["metadata"]["uid"] != event["metadata"]["uid"]
    assert agent.announcer.state.failed == {}


def test_words_of_any_kind_are_taken(control_plane: ControlPlane, node: str, telling: Begin) -> None:
    """The longest message, in letters of three bytes, as event and as condition, for a pod with the longest name."""
    name = "a." * 126 + "b"
    pod = a_running_pod(control_plane, "default", name, node)
    with telling(BOTH) as agent:
        agent.tick(pod, notes=(note(pod, "€" * 5000),))
        agent.until_sent(Channel.EVENT, 1)
        agent.until_sent(Channel.CONDITION, 1)
        assert agent.announcer.state.failed == {}
    (event,) = events(control_plane, pod)

    assert 1000 < len(event["message"].encode()) <= 1024
    assert conditions(control_plane, pod)[CONDITION]["message"] == event["message"]


def writes(api: Api, pod: dict[str, Any], other: dict[str, Any]) -> list[Any]:
    """What a client is told that writes events and conditions: the parts a simulation has to get right."""
    told: list[Any] = []

    def ask(method: str, path: str, body: dict[str, Any], pick: Callable[[dict[str, Any]], Any]) -> None:
        content_type = "application/json" if method == "POST" else "application/strategic-merge-patch+json"
        try:
            told.append(pick(api.request(method, f"/api/v1/namespaces/{path}", body, content_type=content_type)))
        except ApiError as error:
            details = error.body.get("details", {}) if isinstance(error.body, dict) else {}
            told.append((error.status, [each["field"] for each in details.get("causes", ()) if "field" in each]))

    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    event = {
        "metadata": {"name": f"{name}.1"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": name, "uid": uid},
        "reason": "Odd", "message": "Words.", "count": 1,
    }  # fmt: skip
    words = lambda found: (found["reason"], found["message"], found["count"])  # noqa: E731 - as short as it is
    ask("POST", "default/events", event, words)
    ask("POST", "default/events", event, words)
    ask("PATCH", f"default/events/{name}.1", {"count": 2}, words)
    ask("PATCH", f"default/events/{name}.2", {"count": 2}, words)
    ask("POST", "default/events", {**event, "involvedObject": {"namespace": "elsewhere"}}, words)

    def kept(found: dict[str, Any]) -> Any:
        return found["metadata"]["uid"] == uid, [
            (each["type"], each["status"]) for each in found["status"]["conditions"]
        ]

    for of, status in ((uid, "True"), (uid, "False"), (other["metadata"]["uid"], "True")):
        condition = {"type": "plimsoll.io/Odd", "status": status}
        patch = {"metadata": {"uid": of}, "status": {"conditions": [condition]}}
        ask("PATCH", f"default/pods/{name}/status", patch, kept)
    ask("PATCH", "default/pods/no-such/status", {"status": {}}, kept)
    return told


def test_the_simulated_server_takes_writes_as_the_real_one_does(control_plane: ControlPlane, node: str) -> None:
    """Created, there already, counted, not there, of another namespace; a condition set, changed, of another pod."""
    pod = a_running_pod(control_plane, "default", node, node)
    other = control_plane.create_pod("default", f"{node}-other", node)
    simulated = ApiServer()
    simulated.start()
    try:
        manifest = pods.manifest("default", node, node)
        copy = simulated.put_pod({**manifest, "status": control_plane.request(
            "GET", f"/api/v1/namespaces/default/pods/{node}")["status"]})  # fmt: skip
        imitated = writes(Api(simulated.url, simulated.token), copy, other)
    finally:
        simulated.stop()

    assert imitated == writes(control_plane.api, pod, other)
    assert len(imitated) == 9
