"""Reclaiming slice by slice: what is asked of the kernel, when it stops, and what is said of it afterwards."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from plimsoll.actuators.reclaimer import EXCESS, WRITTEN_EXCESS, Reclaimer
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.memory import Earned, Offload
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Reclaim, Selector, Watch, cgroup
from tests.acting import Clock, pod
from tests.fixtures.hosts import trees

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Path:
    tree = {f"{trees.CGROUP}/cgroup.controllers": "memory\n"}
    for number in range(3):
        files = {"memory.current": f"{200 * MIB}\n", "memory.reclaim": ""}
        tree |= trees.below(f"{trees.CGROUP}/{pod(number)}", files)
    return trees.write(tmp_path, tree)


class Kernel:
    """
    Takes what is asked for from the pod's usage when ``memory.reclaim`` is written, as far as there is any.

    A write is seen when the file is opened next or read; so the fault hook does the work at the moment of the write.
    """

    def __init__(self, root: Path, clock: Clock, *, cold: int = 1 << 40, seconds: float = 0.02) -> None:
        self.root = root
        self.clock = clock
        self.cold = cold
        self.seconds = seconds
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.slice = 32 * MIB

    def __call__(self, operation: str, path: str) -> int:
        if operation != "write" or not path.endswith("/memory.reclaim"):
            return 0
        self.asked += 1
        self.clock.now += self.seconds
        usage = self.root / path.removeprefix(str(self.root)).lstrip("/").replace("memory.reclaim", "memory.current")
        taken = min(self.cold, self.slice)
        self.cold -= taken
        usage.write_text(f"{int(usage.read_text(encoding='ascii')) - taken}\n", encoding="ascii")
        self.meanwhile()
        return 0 if taken == self.slice else errno.EAGAIN


@contextmanager
def reclaimer(root: Path, kernel: Kernel, slice_bytes: int | None = None) -> Iterator[Reclaimer]:
    """It asks for what the kernel takes at a time, or for so much."""
    with HostFs(str(root), fault=kernel) as host, Hierarchies.detect(host) as hierarchies:
        yield Reclaimer(hierarchies, clock=kernel.clock, slice_bytes=slice_bytes or kernel.slice)


def reclaim(number: int, size: int) -> Reclaim:
    return Reclaim(f"uid-{number}", cgroup(pod(number)), size, "overcommit", "the test wants it")


def run(found: Reclaimer, *reclaims: Reclaim, seconds: float = 5.0, watches: Sequence[Watch] = ()) -> None:
    found.want(each.pod for each in reclaims)
    found.run(watches, reclaims, seconds)


def test_who_waits_for_its_turn_is_busy(node: Path) -> None:
    """From the first moment: a second request would be lost."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        seen: list[list[int]] = []
        kernel.meanwhile = lambda: seen.append([found.offloads[f"uid-{each}"].busy_bytes for each in (0, 1)])
        run(found, reclaim(0, 32 * MIB), reclaim(1, 32 * MIB))
        after = [found.offloads[f"uid-{each}"].busy_bytes for each in (0, 1)]
    assert seen == [[32 * MIB, 32 * MIB], [0, 32 * MIB]]
    assert after == [0, 0]


def test_what_is_asked_for_is_cut_in_slices(node: Path) -> None:
    """No single write asks for more than a slice; what was freed and how long it took adds up."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        run(found, reclaim(0, 96 * MIB))
        (result,) = found.take()
        assert (result.outcome, result.freed, round(result.seconds, 3)) == (Outcome.OK, 96 * MIB, 0.06)
        assert kernel.asked == 3
        assert found.offloads["uid-0"] == Offload(
            *(96 * MIB, 96 * MIB, result.seconds, 0, Selector.PLAIN, 0),
            {"plain": Earned(96 * MIB, 96 * MIB, result.seconds)},
        )
        assert found.take() == ()


def test_what_it_came_to_is_known_as_long_as_the_pod_is_there(node: Path) -> None:
    """Counters do not begin anew because nothing is wanted of a pod for a while."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        run(found, reclaim(0, 32 * MIB), reclaim(1, 32 * MIB))
        before = found.offloads["uid-0"]
        found.run((), (), 5.0, {"uid-0"})
        assert found.offloads == {"uid-0": before}
        found.want(["uid-0"])
        found.run((), [reclaim(0, 32 * MIB)], 5.0, {"uid-0"})
        assert found.offloads["uid-0"].asked == 64 * MIB


def test_what_it_came_to_stays_with_its_selector(node: Path) -> None:
    """A pod that goes on with another selector takes nothing along; the sum is still the pod's."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        watch = Watch("uid-0", (cgroup(pod(0)),), Selector.MGLRU, "overcommit", 180.0)
        run(found, reclaim(0, 64 * MIB), watches=[watch])
        assert found.offloads["uid-0"].earned == {"mglru": Earned(64 * MIB, 64 * MIB, pytest.approx(0.04))}
        run(found, reclaim(0, 32 * MIB), watches=[watch._replace(selector=Selector.PLAIN)])
        after = found.offloads["uid-0"]
    assert after.earned == {
        "mglru": Earned(64 * MIB, 64 * MIB, pytest.approx(0.04)),
        "plain": Earned(32 * MIB, 32 * MIB, pytest.approx(0.02)),
    }
    assert (after.selector, after.asked, after.freed) == ("plain", 96 * MIB, 96 * MIB)


def test_less_than_asked_is_no_failure_and_ends_it(node: Path) -> None:
    """EAGAIN: the kernel found no more. It is not asked again, and the next pod has its turn."""
    kernel = Kernel(node, Clock(), cold=40 * MIB)
    with reclaimer(node, kernel) as found:
        run(found, reclaim(0, 96 * MIB), reclaim(1, 32 * MIB))
        first, second = found.take()
        assert (first.outcome, first.freed) == (Outcome.BUSY, 40 * MIB)
        assert second.outcome is Outcome.BUSY
        assert kernel.asked == 3
        assert found.offloads["uid-0"].partial == 1


def test_it_stops_between_two_slices_when_no_longer_wanted(node: Path) -> None:
    """Whoever withdraws a pod waits for one slice at most."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        kernel.meanwhile = lambda: found.want([])
        run(found, reclaim(0, 96 * MIB))
        (result,) = found.take()
        assert (result.outcome, result.freed) == (Outcome.HELD, 32 * MIB)
        assert kernel.asked == 1


def test_it_stops_when_time_is_up(node: Path) -> None:
    """The deadline is for all pods together, and overrun by one slice at most."""
    kernel = Kernel(node, Clock(), seconds=2.0)
    with reclaimer(node, kernel) as found:
        run(found, reclaim(0, 96 * MIB), reclaim(1, 32 * MIB), seconds=3.0)
        first, second = found.take()
        assert (first.outcome, first.freed) == (Outcome.HELD, 64 * MIB)
        assert (second.outcome, second.freed) == (Outcome.HELD, 0)


class Swapping(Kernel):
    """A kernel that also counts what goes to swap; ``excess``: bytes more than it was asked for, each time."""

    excess = 0

    def __call__(self, operation: str, path: str) -> int:
        if operation == "write" and path.endswith("/memory.reclaim"):
            swap = self.root / path.removeprefix(str(self.root)).lstrip("/").replace("reclaim", "swap.current")
            swap.write_text(f"{int(swap.read_text(encoding='ascii')) + self.slice + self.excess}\n", encoding="ascii")
        return super().__call__(operation, path)


@pytest.mark.parametrize(
    ("excess", "written", "outcome", "slices"),
    [
        (0, False, Outcome.OK, 3),
        (EXCESS - 1, False, Outcome.OK, 3),
        (EXCESS, False, Outcome.EXCEEDED, 1),
        # All of it should have been there already.
        (WRITTEN_EXCESS - 32 * MIB - 1, True, Outcome.OK, 3),
        (WRITTEN_EXCESS - 32 * MIB, True, Outcome.EXCEEDED, 1),
    ],
)
def test_more_than_asked_ends_it(node: Path, excess: int, written: bool, outcome: Outcome, slices: int) -> None:
    """The kernel had to look far: it takes what is used next. A little more than asked for is how it always is."""
    (node / trees.CGROUP / pod(0) / "memory.swap.current").write_text("0\n", encoding="ascii")
    kernel = Swapping(node, Clock())
    kernel.excess = excess
    with reclaimer(node, kernel) as found:
        # What came beyond a slice counts for the next.
        run(found, reclaim(0, 3 * (32 * MIB + max(0, excess)))._replace(written=written))
        (result,) = found.take()
        assert (result.outcome, kernel.asked) == (outcome, slices)
        assert found.offloads["uid-0"].exceeded == (outcome is Outcome.EXCEEDED)


@pytest.mark.parametrize(("taken", "excess"), [(2, 2), (4, -4)])
def test_what_huge_pages_bring_with_them_counts(node: Path, taken: int, excess: int) -> None:
    """A slice of 2 MiB that moves or frees 4 is two; or the last of them would go for what is in use."""
    (node / trees.CGROUP / pod(0) / "memory.swap.current").write_text("0\n", encoding="ascii")
    kernel = Swapping(node, Clock())
    kernel.slice = taken * MIB
    kernel.excess = excess * MIB
    with reclaimer(node, kernel, 2 * MIB) as found:
        run(found, reclaim(0, 8 * MIB))
        (result,) = found.take()
    assert (result.outcome, kernel.asked) == (Outcome.OK, 2)


def test_a_pod_that_is_gone(node: Path) -> None:
    """A cgroup that vanished is GONE; nothing is made in its place."""
    kernel = Kernel(node, Clock())
    with reclaimer(node, kernel) as found:
        run(found, reclaim(9, 32 * MIB))
        (result,) = found.take()
        assert (result.outcome, result.freed) == (Outcome.GONE, 0)
    assert not (node / trees.CGROUP / pod(9)).exists()


def test_a_kernel_without_the_file(tmp_path: Path) -> None:
    """Before Linux 5.19 there is no memory.reclaim: MISSING, and no file is created."""
    files = trees.below(f"{trees.CGROUP}/{pod(0)}", {"memory.current": "1\n"})
    root = trees.write(tmp_path, {f"{trees.CGROUP}/cgroup.controllers": "memory\n"} | files)
    with reclaimer(root, Kernel(root, Clock())) as found:
        run(found, reclaim(0, 32 * MIB))
        assert found.take()[0].outcome is Outcome.MISSING
    assert not (root / trees.CGROUP / pod(0) / "memory.reclaim").exists()


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (("type=anon",), ["type=anon", "type=anon"]),
        (("swappiness=max", "swappiness=200"), ["type=anon", "swappiness=max", "swappiness=max"]),
        (("swappiness=200",), ["type=anon", "swappiness=max", "swappiness=200", "swappiness=200"]),
        ((), ["type=anon", "swappiness=max", "swappiness=200", "", ""]),
    ],
)
def test_the_best_words_the_kernel_takes(node: Path, known: tuple[str, ...], asked: list[str]) -> None:
    """openEuler, Linux after 6.12, 6.12, 6.1: each is asked once for what it does not know, and then never again."""
    file = node / trees.CGROUP / pod(0) / "memory.reclaim"
    heard: list[str] = []
    words = iter(asked)

    def kernel(operation: str, path: str) -> int:
        if operation != "write" or not path.endswith("/memory.reclaim"):
            return 0
        heard.append(next(words))
        return 0 if heard[-1] in ("", *known) else errno.EINVAL

    with HostFs(str(node), fault=kernel) as host, Hierarchies.detect(host) as hierarchies:
        found = Reclaimer(hierarchies, clock=Clock(), slice_bytes=32 * MIB)
        run(found, reclaim(0, 64 * MIB)._replace(swappiness=200))
        assert [each.outcome for each in found.take()] == [Outcome.OK]
    assert heard == asked
    assert file.read_text(encoding="ascii") == f"{32 * MIB} {asked[-1]}".rstrip()


def test_a_refusal_that_is_not_about_the_words(node: Path) -> None:
    """A cgroup that takes not even the bare size says nothing of what the kernel knows."""
    codes = [errno.EINVAL] * 4 + [0, 0]

    def kernel(operation: str, _: str) -> int:
        return codes.pop(0) if operation == "write" else 0

    with HostFs(str(node), fault=kernel) as host, Hierarchies.detect(host) as hierarchies:
        found = Reclaimer(hierarchies, clock=Clock(), slice_bytes=32 * MIB)
        run(found, reclaim(0, 32 * MIB)._replace(swappiness=200), reclaim(1, 32 * MIB)._replace(swappiness=200))
        assert [each.outcome for each in found.take()] == [Outcome.REJECTED, Outcome.OK]
    assert (node / trees.CGROUP / pod(1) / "memory.reclaim").read_text(encoding="ascii") == f"{32 * MIB} type=anon"


class Recorder:
    """A selector that notes what it was asked."""

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.calls: list[object] = []

    def watch(self, watches: Sequence[Watch]) -> None:
        self.calls.append(tuple(each.pod for each in watches))

    usable = True

    def halt(self, keep: Collection[str]) -> None:
        self.calls.append(sorted(keep))

    def advance(self, now: float) -> None:
        self.calls.append(now)

    def cold(self, pod: str) -> int | None:
        return 7 if pod == "uid-0" else None

    def close(self) -> None:
        self.calls.append("closed")


def test_each_selector_has_its_own_pods(node: Path) -> None:
    """A selector is told of its own watches only, every time, and asked for what is cold in those."""
    kernel = Kernel(node, Clock())
    mglru, damon = Recorder(Selector.MGLRU), Recorder(Selector.DAMON)
    with HostFs(str(node)) as host, Hierarchies.detect(host) as hierarchies:
        found = Reclaimer(hierarchies, (mglru, damon), clock=kernel.clock)
        watch = Watch("uid-0", (cgroup(pod(0)),), Selector.MGLRU, "overcommit", 180.0)
        run(found, watches=[watch])
        assert mglru.calls == [("uid-0",), kernel.clock.now]
        assert damon.calls == [(), kernel.clock.now]
        assert found.cold("uid-0") == 7
        assert found.cold("uid-1") is None
        assert found.offloads == {"uid-0": Offload(selector=Selector.MGLRU)}
        found.run((), (), 5.0, {"uid-0"})
        assert found.offloads == {"uid-0": Offload(selector=Selector.MGLRU)}
        run(found)
        assert found.offloads == {}
        assert found.cold("uid-0") is None
        found.close()
        assert mglru.calls[-1] == damon.calls[-1] == "closed"


def test_halting_reaches_every_selector_at_once(node: Path) -> None:
    """Beside the worker's turn, from the thread that decides."""
    mglru, damon = Recorder(Selector.MGLRU), Recorder(Selector.DAMON)
    with HostFs(str(node)) as host, Hierarchies.detect(host) as hierarchies:
        found = Reclaimer(hierarchies, (mglru, damon), clock=Clock())
        found.keep(["uid-1", "uid-0"])
        assert mglru.calls == damon.calls == [["uid-0", "uid-1"]]
        assert found.failing == ()
        damon.usable = False
        assert found.failing == ("damon",)


def test_the_first_run_comes_without_a_watch(node: Path) -> None:
    """What an earlier life has left to a selector is found though no pod is watched in this one."""
    with HostFs(str(node)) as host, Hierarchies.detect(host) as hierarchies:
        found = Reclaimer(hierarchies, (), clock=Clock())
        assert found.watching
        run(found)
        assert not found.watching
