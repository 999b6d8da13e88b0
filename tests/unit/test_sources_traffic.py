"""What pods read and write: the text of both versions of cgroups, and rates only of what belongs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.io_traffic import IoTraffic
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample
from plimsoll.sources.traffic import PodTraffic
from tests.fixtures.colocated import sample
from tests.support import v1_node, v2_node, write

V2 = "253:16 rbytes=1000 wbytes=500 rios=3 wios=4 dbytes=9 dios=9\n253:0 rbytes=7 wbytes=0 rios=1 wios=0\n"
# As some kernels print disks without figures, and with what iocost adds.
V2_JOINED = "7:7 7:6 253:16 rbytes=1000 wbytes=500 rios=3 cost.usage=77 use_delay=0\n253:0 rbytes=7\n"
V2_ODD = "rbytes=5\n253:16 rbytes=x wbytes=500 rios\n253:17 rbytes=123456789012345678901\n\nnonsense\n"
V1 = (
    "253:16 Read 1000\n253:16 Write 500\n253:16 Sync 1500\n253:16 Async 0\n253:16 Discard 3\n253:16 Total 1503\n"
    "253:0 Read 7\n253:0 Total 7\nTotal 1510\n"
)
PATH = "kubepods/pod1"


def read(root: Path) -> object:
    with HostFs(str(root)) as host, Hierarchies.detect(host) as hierarchies:
        return IoTraffic(hierarchies).read(PATH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (V2, {"253:16": 1500, "253:0": 7}),
        (V2_JOINED, {"253:16": 1500, "253:0": 7}),
        (V2_ODD, {"253:16": 500, "253:17": 0}),
        ("", {}),
        (None, None),
    ],
    ids=["plain", "joined", "odd", "empty", "no-file"],
)
def test_v2(tmp_path: Path, text: str | None, expected: object) -> None:
    """Reads and writes of each disk; nothing of what only looks like one."""
    v2_node(tmp_path)
    write(tmp_path / "sys/fs/cgroup" / PATH, {} if text is None else {"io.stat": text})
    assert read(tmp_path) == expected


def test_v1(tmp_path: Path) -> None:
    """The file that counts the containers, too; its sums are left out."""
    base = v1_node(tmp_path)
    write(base / "blkio", {"blkio.reset_stats": ""})
    write(base / "blkio" / PATH, {"blkio.throttle.io_service_bytes_recursive": V1})
    assert read(tmp_path) == {"253:16": 1500, "253:0": 7}


def test_a_host_without_the_controller(tmp_path: Path) -> None:
    """Unknown, not nothing."""
    v1_node(tmp_path)
    assert read(tmp_path) is None


class Counters:
    """In the place of the kernel's: by path."""

    def __init__(self) -> None:
        self.by_path: dict[str, dict[str, int] | None] = {}
        self.asked: list[str] = []

    def read(self, path: str) -> dict[str, int] | None:
        self.asked.append(path)
        return self.by_path.get(path)


def rates(traffic: PodTraffic, now: float, *samples: PodSample) -> list[float | None]:
    return [each.io_rate for each in traffic.with_rates(samples, now)]


def test_rates() -> None:
    """The busiest disk's, from two looks at the same cgroup; a disk that comes meanwhile counts from nothing."""
    counters = Counters()
    traffic = PodTraffic(counters)  # type: ignore[arg-type]
    pod = sample(1)
    assert pod.cgroup is not None
    counters.by_path[pod.cgroup] = {"253:0": 1000, "253:16": 5000}
    assert rates(traffic, 10.0, pod) == [None]
    counters.by_path[pod.cgroup] = {"253:0": 1600, "253:16": 5100, "252:0": 500}
    assert rates(traffic, 12.0, pod) == [300.0]
    counters.by_path[pod.cgroup] = {"253:0": 0, "253:16": 0}
    assert rates(traffic, 14.0, pod) == [0.0]
    assert rates(traffic, 14.0, pod) == [None]


def test_unknown_stays_unknown() -> None:
    """Another cgroup of the same pod, one that cannot be read, and the look after it."""
    counters = Counters()
    traffic = PodTraffic(counters)  # type: ignore[arg-type]
    pod = sample(1)
    moved = replace(pod, cgroup="elsewhere")
    counters.by_path = {str(pod.cgroup): {"253:0": 1000}, "elsewhere": {"253:0": 9000}}
    assert rates(traffic, 1.0, pod) == [None]
    assert rates(traffic, 2.0, moved) == [None]
    assert rates(traffic, 3.0, moved) == [0.0]
    counters.by_path = {}
    assert rates(traffic, 4.0, moved) == [None]
    counters.by_path = {"elsewhere": {"253:0": 9999}}
    assert rates(traffic, 5.0, moved) == [None]


def test_only_low_priority_pods_are_read() -> None:
    """Nobody needs the others' figures."""
    counters = Counters()
    pods = (sample(1, Priority.HIGH), sample(2, Priority.NORMAL), sample(3, managed=False), sample(4))
    PodTraffic(counters).with_rates(pods, 1.0)  # type: ignore[arg-type]
    assert counters.asked == [pods[3].cgroup]
