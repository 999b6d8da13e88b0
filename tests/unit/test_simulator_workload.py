"""The cast of the demo and what it wants: repeatable, bounded, with jobs that come and go."""

from __future__ import annotations

import pytest

from plimsoll.config.annotations import intent
from plimsoll.config.loader import load_config
from plimsoll.config.pod_object import decode
from plimsoll.model.pod import PodObject, Priority
from plimsoll.simulator import cast
from plimsoll.simulator.pod_object import pod_object
from plimsoll.simulator.workload import LINGER_SECONDS, PodSpec, Shape, Workload

TIMES = [0.0, 0.25, 7.5, 31.0, 59.75, 123.0, 3600.0]
JOB = PodSpec("ns", "job", Shape.BATCH, cpu=1.0, memory=1 << 30, lifetime=10.0)


def test_the_same_seed_gives_the_same_day_in_any_order():
    """Nothing is kept between questions, and another seed is another day."""
    forward = Workload(cast.PODS, seed=3)
    backward = Workload(cast.PODS, seed=3)
    day = {now: [(pod, forward.demand(pod, now)) for pod in forward.instances(now)] for now in TIMES}

    for now in reversed(TIMES):
        assert [(pod, backward.demand(pod, now)) for pod in backward.instances(now)] == day[now]
    other = Workload(cast.PODS, seed=4)
    assert [pod.uid for pod in other.instances(0.0)] != [pod.uid for pod, _ in day[0.0]]


@pytest.mark.parametrize("now", TIMES)
def test_demands_stay_near_what_the_pod_is_made_for(now):
    """Noise and bursts included: never negative, never a tenth above full load."""
    workload = Workload(cast.PODS)
    for pod in workload.instances(now):
        demand = workload.demand(pod, now)
        assert 0 < demand.cpu <= pod.spec.cpu * 1.1
        assert 0 < demand.memory <= pod.spec.memory
        assert 0 <= demand.io <= pod.spec.io * 1.1


def test_loads_differ_by_shape():
    """A steady pod stays, a wave rises and falls once a day, a burst is quiet or not, a batch job ramps up."""
    specs = [PodSpec("ns", shape.value, shape, cpu=1.0, memory=1 << 30, base=0.0) for shape in Shape]
    workload = Workload(specs, day=100.0)
    loads = {
        pod.spec.shape: [workload.demand(pod, now).memory for now in range(100)] for pod in workload.instances(0.0)
    }

    assert len(set(loads[Shape.STEADY])) == 1
    assert max(loads[Shape.DIURNAL]) > 1.8 * min(loads[Shape.DIURNAL])
    assert len(set(loads[Shape.DIURNAL])) > 40
    assert len(set(loads[Shape.BURSTY])) == 2
    assert loads[Shape.BATCH][0] < loads[Shape.BATCH][1] < loads[Shape.BATCH][10] == loads[Shape.BATCH][99]


def test_jobs_follow_one_another():
    """A job runs for its lifetime, is finished for a moment, and another takes its place under another name and UID."""
    workload = Workload([JOB])
    seen = [workload.instances(step / 4)[0] for step in range(400)]
    names = list(dict.fromkeys(pod.name for pod in seen))

    assert 7 <= len(names) <= 9
    assert len({pod.uid for pod in seen}) == len({pod.container for pod in seen}) == len(names)
    whole = [pod for pod in seen if pod.name == names[1]]
    assert sum(not pod.finished for pod in whole) == pytest.approx(10.0 * 4, abs=1)
    assert sum(pod.finished for pod in whole) == pytest.approx(LINGER_SECONDS * 4, abs=1)
    assert [pod.finished for pod in whole] == sorted(pod.finished for pod in whole)


@pytest.mark.parametrize("now", TIMES)
def test_the_agent_understands_every_object_as_meant(now):
    """Each decodes, and the class the kubelet reports is the one Kubernetes derives from the requests and limits."""
    for pod in Workload(cast.PODS).instances(now):
        raw = pod_object(pod, "node", "containerd")
        found = decode(raw)
        assert isinstance(found, PodObject), found
        assert found.uid == pod.uid
        assert found.finished is pod.finished
        assert [container.id for container in found.containers] == [pod.container]
        del raw["status"]["qosClass"]
        assert decode(raw).qos_class is pod.spec.qos_class


def test_the_cast_shows_what_the_demo_is_to_show(tmp_path):
    """With the demo's configuration: every priority, a spelling mistake, a claim that is refused, an unmanaged pod."""
    file = tmp_path / "plimsoll.yaml"
    file.write_text(cast.CONFIG)
    section = load_config(str(file)).priority
    intents = {
        pod.spec.name: intent(decode(pod_object(pod, "node", "containerd")), section)
        for pod in Workload(cast.PODS).instances(0.0)
    }

    assert {each.priority for each in intents.values()} == set(Priority)
    reasons = {name: [each.reason for each in found.rejected] for name, found in intents.items() if found.rejected}
    assert reasons == {"images": ["malformed"], "miner": ["untrusted-namespace"]}
    assert [name for name, found in intents.items() if not found.managed] == ["node-local-dns"]
