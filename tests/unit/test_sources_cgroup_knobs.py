"""What the pods' samples carry for those who act: the cgroups above and below, and the mark that cannot be undone."""

from __future__ import annotations

from pathlib import Path

from plimsoll.config.annotations import intent
from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.schema import PrioritySection
from plimsoll.kernel.batch import BatchReader
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.plan import Knob
from plimsoll.model.pod import Pod
from plimsoll.model.snapshot import PodSample
from plimsoll.sources.cgroups import RESCAN_SECONDS, PodCgroups
from tests.support import CONTAINER, UID, v1_node, v1_pod, v2_node, v2_pod, write


def pod(number: int = 1, phase: str = "Running") -> Pod:
    raw = {"metadata": {"uid": UID.format(number), "namespace": "shop", "name": "web"}, "status": {"phase": phase}}
    found = decode(raw)
    assert not isinstance(found, PodRejected)
    return Pod(found, intent(found, PrioritySection()))


def observed(root: Path, *ticks: tuple[Pod, float]) -> list[PodSample]:
    with HostFs(str(root)) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader())
        found = [cgroups.observe([who], now)[0] for who, now in ticks]
        cgroups.close()
        return found


def test_paths(tmp_path: Path) -> None:
    """The kubelet's root above the pod, and the containers directly below it, as paths below the hierarchy."""
    directory = v2_pod(v2_node(tmp_path), 1)
    write(directory / f"cri-containerd-{CONTAINER.format(1)}.scope" / "init.scope", {})
    (sample,) = observed(tmp_path, (pod(), 0.0))
    below = directory.relative_to(tmp_path / "sys/fs/cgroup")
    assert sample.kubelet_root == "kubepods.slice"
    assert sample.cgroup == str(below)
    assert sample.container_cgroups == (f"{below}/cri-containerd-{CONTAINER.format(1)}.scope",)
    assert sample.knobs == {}


def test_a_new_container(tmp_path: Path) -> None:
    """A container that starts is there after the next look, at the latest; at once when the pod's status says so."""
    directory = v2_pod(v2_node(tmp_path), 1)
    same = pod()
    with HostFs(str(tmp_path)) as host, Hierarchies.detect(host) as hierarchies:
        cgroups = PodCgroups(hierarchies, BatchReader())
        counts = []
        for number, (who, now) in enumerate(
            ((same, 0.0), (same, 1.0), (same, RESCAN_SECONDS), (pod(), RESCAN_SECONDS))
        ):
            counts.append(len(cgroups.observe([who], now)[0].container_cgroups))
            write(directory / f"cri-containerd-{CONTAINER.format(2 + number)}.scope", {})
        cgroups.close()
    assert counts == [1, 1, 3, 4]


def test_a_pod_without_a_cgroup(tmp_path: Path) -> None:
    """Nothing is said of where a pod would be."""
    v2_node(tmp_path)
    (sample,) = observed(tmp_path, (pod(), 0.0))
    assert (sample.kubelet_root, sample.container_cgroups, sample.knobs) == (None, (), {})


def test_the_mark(tmp_path: Path) -> None:
    """cpu.qos_level is read where the kernel has it, when the pod is looked up; its absence is no error."""
    base = v1_node(tmp_path)
    directory = v1_pod(base, 1)
    assert observed(tmp_path, (pod(), 0.0))[0].knobs == {}
    write(directory, {"cpu.qos_level": "-1\n"})
    (sample,) = observed(tmp_path, (pod(), 0.0))
    assert sample.knobs == {Knob.CPU_QOS_LEVEL: "-1"}
    assert sample.kubelet_root == "kubepods"
    assert sample.errors == {}
